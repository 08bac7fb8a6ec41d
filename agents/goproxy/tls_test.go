package goproxy_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/agents/goproxy"
	"github.com/speedscale/speedscale/agents/intercept"
	"github.com/speedscale/speedscale/traffic"
)

// tlsServer answers over TLS, with h2 where the client offers it.
func tlsServer(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Proto+" "+r.URL.Path)
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func writePEM(t *testing.T, kind string, der []byte) string {
	t.Helper()
	f := filepath.Join(t.TempDir(), "file.pem")
	if err := os.WriteFile(f, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

// proxied is a client that goes through a proxy and trusts some roots.
func proxied(t *testing.T, p *goproxy.Proxy, h2 bool, roots ...[]byte) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	for _, r := range roots {
		pool.AppendCertsFromPEM(r)
	}
	tr := &http.Transport{
		Proxy:             http.ProxyURL(&url.URL{Scheme: "http", Host: p.OutAddr().String()}),
		TLSClientConfig:   &tls.Config{RootCAs: pool},
		ForceAttemptHTTP2: h2,
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func ca(t *testing.T) *intercept.CA {
	t.Helper()
	ca, err := intercept.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func TestTLSOutIsRecorded(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		h2         bool
		version    string
	}{
		{"http/1.1", "HTTP/1.1 /x", false, "1.1"},
		{"h2", "HTTP/2.0 /x", true, "2.0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, ours := tlsServer(t), ca(t)
			cfg := forward()
			cfg.TLS = config.TLS{Out: true, UpstreamCA: []string{writePEM(t, "CERTIFICATE", s.Certificate().Raw)}}
			var rec recorder
			p := start(t, cfg, goproxy.Options{Recorder: &rec, CA: ours})
			c := proxied(t, p, tt.h2, ours.CertPEM())
			if got := get(t, c, s.URL+"/x"); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			pair := rec.waitPairs(t, 1)[0]
			if u := pair.Http.Req.Url; u != s.URL+"/x" || pair.Http.Req.Version != tt.version {
				t.Errorf("recorded %q, HTTP %s", u, pair.Http.Req.Version)
			}
		})
	}
}

// What cannot be verified is left closed, and goes on working.
func TestTLSOutUnverifiedIsOpaque(t *testing.T) {
	s, ours := tlsServer(t), ca(t)
	cfg := forward()
	cfg.TLS.Out = true
	var rec recorder
	p := start(t, cfg, goproxy.Options{Recorder: &rec, CA: ours})
	own := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	for range 2 {
		c := proxied(t, p, false, own)
		if got := get(t, c, s.URL+"/x"); got != "HTTP/1.1 /x" {
			t.Errorf("got %q", got)
		}
	}
	rec.waitLoss(t, traffic.ReasonOpaqueTLS)
	if n := p.Status().Outbound.Lost[traffic.ReasonOpaqueTLS].Connections; n != 2 {
		t.Errorf("%d connections are counted, want 2", n)
	}
}

func TestTLSWithoutInterceptionIsOpaque(t *testing.T) {
	s := tlsServer(t)
	var rec recorder
	p := start(t, forward(), goproxy.Options{Recorder: &rec})
	own := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	c := proxied(t, p, false, own)
	get(t, c, s.URL+"/x")
	c.CloseIdleConnections()
	rec.waitLoss(t, traffic.ReasonOpaqueTLS)
	eventually(t, func() bool { return p.Status().Outbound.Lost[traffic.ReasonOpaqueTLS].Bytes > 1000 }, "its bytes are not counted")
}

func TestTLSInWithTheAppsCertificate(t *testing.T) {
	s := tlsServer(t)
	key, err := x509.MarshalPKCS8PrivateKey(s.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cfg := reverse(s.Listener.Addr().String())
	cfg.TLS = config.TLS{InCert: writePEM(t, "CERTIFICATE", s.Certificate().Raw), InKey: writePEM(t, "PRIVATE KEY", key)}
	var rec recorder
	p := start(t, cfg, goproxy.Options{Recorder: &rec})
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer tr.CloseIdleConnections()
	if got := get(t, &http.Client{Transport: tr}, "https://"+p.InAddr().String()+"/x"); got != "HTTP/1.1 /x" {
		t.Errorf("got %q", got)
	}
	if pair := rec.waitPairs(t, 1)[0]; pair.Direction != traffic.Direction_DIRECTION_IN {
		t.Errorf("direction is %v", pair.Direction)
	}
}

// A server that speaks first gets through where TLS is looked for.
func TestTLSOutServerFirst(t *testing.T) {
	cfg := config.Proxy{Mode: config.ModeForward, TLS: config.TLS{Out: true}}
	l, accepted := listenOnce(t)
	cfg.Mappings = []config.Mapping{{Listen: "127.0.0.1:0", Upstream: l}}
	p := start(t, cfg, goproxy.Options{CA: ca(t)})
	c := dialTo(t, p.MappingAddr(0))
	s := accepted()
	s.Write([]byte("220 hello\r\n"))
	expect(t, c, "220 hello\r\n")
	c.Write([]byte("EHLO x\r\n"))
	expect(t, s, "EHLO x\r\n")
}
