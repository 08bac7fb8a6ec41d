package intercept_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/speedscale/speedscale/agents/intercept"
)

func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }

func newInterceptor(t testing.TB, o intercept.Options) *intercept.Interceptor {
	t.Helper()
	i, err := intercept.New(o)
	must(t, err)
	return i
}

func TestOutboundGo(t *testing.T) {
	world := newAuthority(t, "World CA")
	server := serveHTTP(t, &tls.Config{Certificates: []tls.Certificate{world.issue("localhost")}})
	ca, trust := newCA(t)
	i := newInterceptor(t, intercept.Options{CA: ca, UpstreamCA: []string{world.file}})
	for _, c := range []struct {
		h2          bool
		proto, alpn string
	}{{false, "HTTP/1.1", "http/1.1"}, {true, "HTTP/2.0", "h2"}} {
		p := startProxy(t, server, outbound(i, "127.0.0.1:443"))
		cfg := &tls.Config{RootCAs: trust}
		if !c.h2 {
			cfg.NextProtos = []string{"http/1.1"}
		}
		got, err := get(p, cfg, c.h2)
		if err != nil || !strings.HasPrefix(got, c.proto) {
			t.Fatalf("%s: %q, %v", c.alpn, got, err)
		}
		res := p.result(t)
		if res.Opaque || res.ServerName != "localhost" || res.ALPN != c.alpn {
			t.Errorf("%s: %+v", c.alpn, res)
		}
		if want := map[bool]string{false: "GET /path HTTP/1.1", true: "PRI * HTTP/2.0"}[c.h2]; !strings.HasPrefix(p.plaintext(), want) {
			t.Errorf("%s: plaintext %.40q, want %q", c.alpn, p.plaintext(), want)
		}
	}
	if n := count(i, "localhost", intercept.ReasonIntercepted); n != 2 {
		t.Errorf("%d intercepted, want 2: %v", n, i.Counts())
	}
}

// TestALPNIsTheHosts: a client that offers h2 gets http/1.1 from a host that
// speaks nothing else, and no protocol from a host that knows no ALPN.
func TestALPNIsTheHosts(t *testing.T) {
	world := newAuthority(t, "World CA")
	ca, trust := newCA(t)
	i := newInterceptor(t, intercept.Options{CA: ca, UpstreamCA: []string{world.file}})
	for _, c := range []struct {
		host []string
		want string
	}{{[]string{"http/1.1"}, "http/1.1"}, {nil, ""}, {[]string{"h2", "http/1.1"}, "h2"}} {
		server := serveEcho(t, &tls.Config{Certificates: []tls.Certificate{world.issue("localhost")}, NextProtos: c.host})
		p := startProxy(t, server, outbound(i, server))
		conn, err := tls.Dial("tcp", p.addr, &tls.Config{RootCAs: trust, ServerName: "localhost", NextProtos: []string{"h2", "spdy/3", "http/1.1"}})
		must(t, err)
		if got := conn.ConnectionState().NegotiatedProtocol; got != c.want {
			t.Errorf("host speaks %v: client got %q, want %q", c.host, got, c.want)
		}
		conn.Close()
	}
}

// serveEcho is a TLS server that sends back what it got, in upper case, after
// the client's half-close.
func serveEcho(t testing.TB, cfg *tls.Config) string {
	l, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	must(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(10 * time.Second))
				b, err := io.ReadAll(c)
				if err == nil {
					c.Write(bytes.ToUpper(b))
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

func TestHalfClose(t *testing.T) {
	world := newAuthority(t, "World CA")
	ca, trust := newCA(t)
	i := newInterceptor(t, intercept.Options{CA: ca, UpstreamCA: []string{world.file}})
	p := startProxy(t, serveEcho(t, &tls.Config{Certificates: []tls.Certificate{world.issue("localhost")}}), outbound(i, ""))
	conn, err := tls.Dial("tcp", p.addr, &tls.Config{RootCAs: trust, ServerName: "localhost"})
	must(t, err)
	defer conn.Close()
	big := bytes.Repeat([]byte("abcdefgh"), 64<<10)
	go func() { conn.Write(big); conn.CloseWrite() }()
	got, err := io.ReadAll(conn)
	if err != nil || !bytes.Equal(got, bytes.ToUpper(big)) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestPrivateCAIsRelayedOpaque(t *testing.T) {
	private := newAuthority(t, "Private CA")
	server := serveHTTP(t, &tls.Config{Certificates: []tls.Certificate{private.issue("localhost")}})
	ca, _ := newCA(t)
	i := newInterceptor(t, intercept.Options{CA: ca})
	p := startProxy(t, server, outbound(i, "127.0.0.1:443"))
	for n := range 3 {
		if got, err := get(p, &tls.Config{RootCAs: private.pool}, true); err != nil || !strings.HasPrefix(got, "HTTP/2.0") {
			t.Fatalf("request %d: %q, %v", n, got, err)
		}
	}
	// The detour of dialling twice is paid once.
	if n := p.dials.Load(); n != 4 {
		t.Errorf("%d dials for 3 connections, want 4", n)
	}
	if res := p.result(t); !res.Opaque || res.Reason != intercept.ReasonUnverified || res.ServerName != "localhost" {
		t.Errorf("%+v", res)
	}
	if n := count(i, "localhost", intercept.ReasonUnverified); n != 3 {
		t.Errorf("%d counted, want 3: %v", n, i.Counts())
	}
	if strings.Contains(p.plaintext(), "/path") {
		t.Error("an opaque connection was read")
	}
}

func TestPinnedClients(t *testing.T) {
	world := newAuthority(t, "World CA")
	server := serveHTTP(t, &tls.Config{Certificates: []tls.Certificate{world.issue("localhost")}})
	ca, trust := newCA(t)
	trust.AddCert(world.cert)
	pin := func(state tls.ConnectionState) error {
		if !state.PeerCertificates[0].Equal(state.VerifiedChains[0][0]) || state.VerifiedChains[0][1].Subject.CommonName != "World CA" {
			return errors.New("certificate is not the pinned one")
		}
		return nil
	}
	for name, cfg := range map[string]*tls.Config{
		"alert in TLS 1.3":    {RootCAs: trust, VerifyConnection: pin},
		"alert in TLS 1.2":    {RootCAs: trust, VerifyConnection: pin, MaxVersion: tls.VersionTLS12},
		"CA unknown":          {RootCAs: world.pool},
		"CA unknown, TLS 1.2": {RootCAs: world.pool, MaxVersion: tls.VersionTLS12},
	} {
		t.Run(name, func(t *testing.T) {
			i := newInterceptor(t, intercept.Options{CA: ca, UpstreamCA: []string{world.file}})
			p := startProxy(t, server, outbound(i, "127.0.0.1:443"))
			if _, err := get(p, cfg, true); err == nil {
				t.Fatal("the pinned client took our leaf")
			}
			waitCount(t, i, "localhost", intercept.ReasonClientRefused, 1)
			for n := range 2 {
				if _, err := get(p, cfg, true); err != nil {
					t.Fatalf("connection %d after the refused one: %v", n+1, err)
				}
			}
			waitCount(t, i, "localhost", intercept.ReasonClientRefused, 3)
		})
	}
}

func waitCount(t *testing.T, i *intercept.Interceptor, host, reason string, want int64) {
	t.Helper()
	for range 300 {
		if count(i, host, reason) == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%q %q: want %d in %v", host, reason, want, i.Counts())
}

// TestPinCheckedAfterHandshake: some clients (OkHttp) complete the handshake,
// look at the certificate then, and close without a byte.
func TestPinCheckedAfterHandshake(t *testing.T) {
	world := newAuthority(t, "World CA")
	server := serveHTTP(t, &tls.Config{Certificates: []tls.Certificate{world.issue("localhost")}})
	ca, trust := newCA(t)
	trust.AddCert(world.cert)
	i := newInterceptor(t, intercept.Options{CA: ca, UpstreamCA: []string{world.file}})
	p := startProxy(t, server, outbound(i, ""))
	issuer := func() string {
		conn, err := tls.Dial("tcp", p.addr, &tls.Config{RootCAs: trust, ServerName: "localhost"})
		must(t, err)
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].Issuer.CommonName
	}
	if got := issuer(); !strings.HasPrefix(got, "Speedscale") {
		t.Fatalf("first connection: leaf of %q", got)
	}
	waitCount(t, i, "localhost", intercept.ReasonClientRefused, 1)
	if got := issuer(); got != "World CA" {
		t.Errorf("second connection: leaf of %q", got)
	}
}

func TestMutualTLS(t *testing.T) {
	world, clients, strangers := newAuthority(t, "World CA"), newAuthority(t, "Clients CA"), newAuthority(t, "Strangers CA")
	ca, trust := newCA(t)
	trust.AddCert(world.cert)
	own := clients.issue("app")
	oursCert, oursKey := writePair(t, clients.issue("proxy"))
	badCert, badKey := writePair(t, strangers.issue("stranger"))
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		server := serveHTTP(t, &tls.Config{
			Certificates: []tls.Certificate{world.issue("localhost")}, MaxVersion: version,
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients.pool,
		})
		// This one does not tell which CAs it accepts, so that any certificate is shown.
		silent := serveHTTP(t, &tls.Config{
			Certificates: []tls.Certificate{world.issue("localhost")}, MaxVersion: version,
			ClientAuth: tls.RequireAnyClientCert,
			VerifyConnection: func(state tls.ConnectionState) error {
				_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: clients.pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
				return err
			},
		})
		for name, c := range map[string]struct {
			server, cert, key, want, reason string
		}{
			"opaque":           {server, "", "", "by app", intercept.ReasonClientCert},
			"configured":       {server, oursCert, oursKey, "by proxy", intercept.ReasonIntercepted},
			"other CA":         {server, badCert, badKey, "by app", intercept.ReasonClientCert},
			"rejected":         {silent, badCert, badKey, "by app", intercept.ReasonRejectedCert},
			"taken by silence": {silent, oursCert, oursKey, "by proxy", intercept.ReasonIntercepted},
		} {
			t.Run(tls.VersionName(version)+" "+name, func(t *testing.T) {
				i := newInterceptor(t, intercept.Options{CA: ca, UpstreamCA: []string{world.file}, ClientCert: c.cert, ClientKey: c.key})
				p := startProxy(t, c.server, outbound(i, ""))
				for range 2 {
					got, err := get(p, &tls.Config{RootCAs: trust, Certificates: []tls.Certificate{own}}, true)
					if err != nil || !strings.Contains(got, c.want) {
						t.Errorf("%q, %v; want %q", got, err, c.want)
					}
				}
				if n := count(i, "localhost", c.reason); n != 2 {
					t.Errorf("counted %v, want 2 of %q", i.Counts(), c.reason)
				}
			})
		}
	}
}

func TestResumption(t *testing.T) {
	world := newAuthority(t, "World CA")
	server := serveHTTP(t, &tls.Config{Certificates: []tls.Certificate{world.issue("localhost")}})
	ca, trust := newCA(t)
	i := newInterceptor(t, intercept.Options{CA: ca, UpstreamCA: []string{world.file}})
	p := startProxy(t, server, outbound(i, ""))
	resumed := false
	cfg := &tls.Config{RootCAs: trust, ClientSessionCache: tls.NewLRUClientSessionCache(4),
		VerifyConnection: func(s tls.ConnectionState) error { resumed = s.DidResume; return nil }}
	for n, want := range []bool{false, true} {
		got, err := get(p, cfg, true)
		must(t, err)
		if resumed != want || strings.Contains(got, "resumed=true") != want {
			t.Errorf("connection %d: client resumed %v, upstream %q, want %v", n, resumed, got, want)
		}
	}
}

func TestWithoutSNI(t *testing.T) {
	world := newAuthority(t, "World CA")
	server := serveHTTP(t, &tls.Config{Certificates: []tls.Certificate{world.issue("localhost")}})
	ca, trust := newCA(t)
	i := newInterceptor(t, intercept.Options{CA: ca, UpstreamCA: []string{world.file}})
	p := startProxy(t, server, outbound(i, "127.0.0.1:443"))
	conn, err := tls.Dial("tcp", p.addr, &tls.Config{RootCAs: trust, ServerName: "127.0.0.1"})
	must(t, err)
	// The client may know the host by any of its names.
	if err := conn.VerifyHostname("localhost"); err != nil {
		t.Error(err)
	}
	conn.Close()
	if res := p.result(t); res.Opaque || res.ServerName != "127.0.0.1" {
		t.Errorf("%+v", res)
	}
	// Nobody names the host.
	p = startProxy(t, server, outbound(i, ""))
	conn, err = tls.Dial("tcp", p.addr, &tls.Config{RootCAs: world.pool, ServerName: "127.0.0.1"})
	must(t, err)
	conn.Close()
	if res := p.result(t); res.Reason != intercept.ReasonNoName {
		t.Errorf("%+v", res)
	}
}

func TestClientsThatCannotBeIntercepted(t *testing.T) {
	world := newAuthority(t, "World CA")
	server := serveEcho(t, &tls.Config{Certificates: []tls.Certificate{world.issue("localhost")}, NextProtos: []string{"mqtt"}, MinVersion: tls.VersionTLS10})
	ca, _ := newCA(t)
	i := newInterceptor(t, intercept.Options{CA: ca, UpstreamCA: []string{world.file}})
	for reason, cfg := range map[string]*tls.Config{
		intercept.ReasonALPN:    {NextProtos: []string{"mqtt"}},
		intercept.ReasonVersion: {MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
	} {
		p := startProxy(t, server, outbound(i, ""))
		cfg.RootCAs, cfg.ServerName = world.pool, "localhost"
		conn, err := tls.Dial("tcp", p.addr, cfg)
		if err != nil {
			t.Errorf("%s: %v", reason, err)
			continue
		}
		conn.Close()
		if res := p.result(t); res.Reason != reason || p.dials.Load() != 1 {
			t.Errorf("%+v, %d dials; want %s, one", res, p.dials.Load(), reason)
		}
	}
}

func TestCountsAreBounded(t *testing.T) {
	i := newInterceptor(t, intercept.Options{})
	for n := range 600 {
		a, b := net.Pipe()
		_, err := i.Outbound(t.Context(), b, nil, func(context.Context) (net.Conn, error) { return a, nil }, "host-"+string(rune('a'+n/26/26))+string(rune('a'+n/26%26))+string(rune('a'+n%26)))
		must(t, err)
		a.Close()
		b.Close()
	}
	counts := i.Counts()
	if len(counts) > 513 || count(i, intercept.OtherHosts, intercept.ReasonNoCertificate) != 600-512 {
		t.Errorf("%d entries, %d others", len(counts), count(i, intercept.OtherHosts, intercept.ReasonNoCertificate))
	}
}
