package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// nginx runs nginx with one worker and the given server blocks.
func (b *bench) nginx(ctx context.Context, name, servers, addr string) (*process, error) {
	dir := filepath.Join(b.dir, "nginx-"+name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	conf := fmt.Sprintf(`user root;
worker_processes 1;
daemon off;
pid %[1]s/pid;
error_log %[1]s/error.log;
worker_rlimit_nofile 65536;
events { worker_connections 30000; }
http {
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
  default_type application/json;
  open_file_cache max=20000;
%[2]s
}
`, dir, servers)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		return nil, err
	}
	p, err := start(ctx, nil, "nginx", "-c", file)
	if err != nil {
		return nil, err
	}
	if err := p.listening(addr); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// backend is nginx that answers 500 bytes, on addr. It counts (see received).
func (b *bench) backend(ctx context.Context, addr string) (*process, error) {
	return b.nginx(ctx, "backend", fmt.Sprintf("  server { listen %s backlog=20000; location / { return 200 '%s'; } location = /stub_status { stub_status; } }", addr, body(500)), addr)
}

// body is JSON of so many bytes.
func body(n int) string {
	const frame = `{"padding":""}`
	return `{"padding":"` + strings.Repeat("x", n-len(frame)) + `"}`
}

// haproxy runs haproxy with one thread from listen to upstream.
func (b *bench) haproxy(ctx context.Context, name, mode, listen, listenOpts, upstream, upstreamOpts string) (*process, error) {
	conf := fmt.Sprintf(`global
  nbthread 1
  maxconn 4000
defaults
  mode %s
  timeout connect 10s
  timeout client 1h
  timeout server 1h
  %s
frontend in
  bind %s %s
  default_backend out
backend out
  server s %s %s
`, mode, map[string]string{"http": "http-reuse safe", "tcp": ""}[mode], listen, listenOpts, upstream, upstreamOpts)
	file := filepath.Join(b.dir, "haproxy-"+name+".cfg")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		return nil, err
	}
	p, err := start(ctx, nil, "haproxy", "-db", "-f", file)
	if err != nil {
		return nil, err
	}
	if err := p.listening(listen); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// nginxProxy runs nginx as a reverse proxy with keep-alive to upstream.
func (b *bench) nginxProxy(ctx context.Context, listen, upstream string) (*process, error) {
	return b.nginx(ctx, "proxy", fmt.Sprintf(`  upstream u { server %s; keepalive 64; keepalive_requests 1000000000; }
  server { listen %s; location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; } }`, upstream, listen), listen)
}

// certificate writes a certificate for 127.0.0.1 and its key.
func (b *bench) certificate() (cert, key string, err error) {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "bench"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, priv.Public(), priv)
	if err != nil {
		return "", "", err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return "", "", err
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	cert, key = filepath.Join(b.dir, "bench.crt"), filepath.Join(b.dir, "bench.key")
	for file, data := range map[string][]byte{cert: certPEM, key: keyPEM, filepath.Join(b.dir, "bench.pem"): append(certPEM, keyPEM...)} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			return "", "", err
		}
	}
	return cert, key, nil
}
