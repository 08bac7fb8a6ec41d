package intercept_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/speedscale/speedscale/agents/intercept"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// authority is a CA of the outside world, made with the standard library alone.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	file string
}

func newAuthority(t testing.TB, name string) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 1, 0), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	a := &authority{t: t, cert: cert, key: key, pool: x509.NewCertPool(), file: filepath.Join(t.TempDir(), "ca.pem")}
	a.pool.AddCert(cert)
	must(t, os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644))
	return a
}

// issue returns a certificate for localhost and 127.0.0.1, for servers and clients.
func (a *authority) issue(name string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(a.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 1, 0), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    []string{"localhost", name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	must(a.t, err)
	leaf, err := x509.ParseCertificate(der)
	must(a.t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func writePair(t testing.TB, c tls.Certificate) (certFile, keyFile string) {
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	replacePair(t, c, certFile, keyFile)
	return certFile, keyFile
}

func replacePair(t testing.TB, c tls.Certificate, certFile, keyFile string) {
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	must(t, err)
	must(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	must(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}), 0o644))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// serveHTTP starts an HTTPS server (h2 and http/1.1) that answers with the
// protocol and the common name of the client's certificate.
func serveHTTP(t testing.TB, cfg *tls.Config) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	srv := &http.Server{TLSConfig: cfg, ErrorLog: nil, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := "nobody"
		if len(r.TLS.PeerCertificates) > 0 {
			who = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		fmt.Fprintf(w, "%s by %s resumed=%v", r.Proto, who, r.TLS.DidResume)
	})}
	srv.ErrorLog = discardLog()
	go srv.ServeTLS(l, "", "")
	t.Cleanup(func() { srv.Close() })
	return l.Addr().String()
}

// proxy relays connections between a listener and an upstream through an
// Interceptor, as goproxy does.
type proxy struct {
	t     testing.TB
	addr  string
	dials atomic.Int64
	mu    sync.Mutex
	seen  bytes.Buffer // plaintext from clients
	last  []intercept.Result
	errs  []error
	open  func(ctx context.Context, c net.Conn, dial intercept.Dial) (intercept.Result, error)
}

func outbound(i *intercept.Interceptor, host string) func(context.Context, net.Conn, intercept.Dial) (intercept.Result, error) {
	return func(ctx context.Context, c net.Conn, dial intercept.Dial) (intercept.Result, error) {
		return i.Outbound(ctx, c, nil, dial, host)
	}
}

func startProxy(t testing.TB, upstream string, open func(context.Context, net.Conn, intercept.Dial) (intercept.Result, error)) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p := &proxy{t: t, addr: l.Addr().String(), open: open}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.handle(ctx, c, upstream) })
		}
	})
	t.Cleanup(func() { l.Close(); cancel(); wg.Wait() })
	return p
}

func (p *proxy) handle(ctx context.Context, c net.Conn, upstream string) {
	defer c.Close()
	res, err := p.open(ctx, c, func(ctx context.Context) (net.Conn, error) {
		p.dials.Add(1)
		return (&net.Dialer{}).DialContext(ctx, "tcp", upstream)
	})
	p.mu.Lock()
	if err != nil {
		p.errs = append(p.errs, err)
	} else {
		p.last = append(p.last, res)
	}
	p.mu.Unlock()
	if err != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { c.Close(); res.ServerConn.Close() })
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { p.copy(res.ServerConn, res.ClientConn, true) })
	wg.Go(func() { p.copy(res.ClientConn, res.ServerConn, false) })
	wg.Wait()
	res.ClientConn.Close()
	res.ServerConn.Close()
}

func (p *proxy) copy(dst, src net.Conn, record bool) {
	buf := make([]byte, 16384)
	for {
		n, err := src.Read(buf)
		if record {
			p.mu.Lock()
			p.seen.Write(buf[:n])
			p.mu.Unlock()
		}
		if _, werr := dst.Write(buf[:n]); n > 0 && werr != nil {
			src.Close()
			return
		}
		if err != nil {
			dst.(interface{ CloseWrite() error }).CloseWrite()
			if !errors.Is(err, io.EOF) {
				dst.Close()
			}
			return
		}
	}
}

func (p *proxy) plaintext() string { p.mu.Lock(); defer p.mu.Unlock(); return p.seen.String() }

func (p *proxy) result(t *testing.T) intercept.Result {
	t.Helper()
	for range 200 {
		p.mu.Lock()
		last := p.last
		p.mu.Unlock()
		if len(last) > 0 {
			return last[len(last)-1]
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("no connection was relayed")
	return intercept.Result{}
}

// get asks the proxy for https://localhost/ once, on a connection of its own.
func get(p *proxy, cfg *tls.Config, h2 bool) (string, error) {
	tr := &http.Transport{
		TLSClientConfig:   cfg,
		ForceAttemptHTTP2: h2,
		DisableKeepAlives: !h2,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", p.addr)
		},
	}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr, Timeout: 10 * time.Second}).Get("https://localhost/path")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

func count(i *intercept.Interceptor, host, reason string) int64 {
	for _, c := range i.Counts() {
		if c.Host == host && c.Reason == reason {
			return c.Connections
		}
	}
	return 0
}

func newCA(t testing.TB) (*intercept.CA, *x509.CertPool) {
	ca, err := intercept.NewCA()
	must(t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.CertPEM())
	return ca, pool
}
