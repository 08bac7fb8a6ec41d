package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"time"
)

// answer is what the probe knows of a request.
type answer struct {
	// Host is the pod that answers.
	Host string
	// Family is the IP version of the connection.
	Family int
	// Certificate is the common name of the client's verified certificate.
	Certificate string `json:",omitempty"`
	// User is the user in whose name an aggregation layer asks.
	User string `json:",omitempty"`
}

func run(args []string, stdout io.Writer) error {
	switch {
	case len(args) == 2 && args[0] == "get":
		return get(args[1], stdout)
	case len(args) > 0 && len(args) <= 2 && args[0] == "serve":
		return serve(args[1:])
	}
	return fmt.Errorf("got %q, want: serve [CLIENT-CA.pem] | get URL", args)
}

func get(url string, stdout io.Writer) error {
	client := http.Client{Timeout: 10 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(stdout, resp.Body)
	return err
}

func serve(clientCA []string) error {
	failed := make(chan error, 2)
	server := &http.Server{Addr: ":8080", Handler: http.HandlerFunc(respond), ReadHeaderTimeout: 10 * time.Second}
	go func() { failed <- server.ListenAndServe() }()
	if len(clientCA) == 1 {
		config, err := mutualTLS(clientCA[0])
		if err != nil {
			return err
		}
		server := &http.Server{Addr: ":8443", Handler: server.Handler, TLSConfig: config, ReadHeaderTimeout: 10 * time.Second}
		go func() { failed <- server.ListenAndServeTLS("", "") }()
	}
	return <-failed
}

func respond(w http.ResponseWriter, r *http.Request) {
	a := answer{Family: 6, User: r.Header.Get("X-Remote-User")}
	a.Host, _ = os.Hostname()
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok && local.IP.To4() != nil {
		a.Family = 4
	}
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		a.Certificate = r.TLS.PeerCertificates[0].Subject.CommonName
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(a); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// mutualTLS has a certificate made just now, and lets in nobody without one of the authority.
func mutualTLS(clientCA string) (*tls.Config, error) {
	pem, err := os.ReadFile(clientCA)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%q has no certificate", clientCA)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}},
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
	}, nil
}
