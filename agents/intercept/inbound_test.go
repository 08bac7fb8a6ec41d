package intercept_test

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"github.com/speedscale/speedscale/agents/intercept"
)

func inbound(i *intercept.Interceptor) func(context.Context, net.Conn, intercept.Dial) (intercept.Result, error) {
	return func(ctx context.Context, c net.Conn, dial intercept.Dial) (intercept.Result, error) {
		return i.Inbound(ctx, c, nil, dial)
	}
}

func TestInbound(t *testing.T) {
	world := newAuthority(t, "World CA")
	own := world.issue("localhost")
	app := serveHTTP(t, &tls.Config{Certificates: []tls.Certificate{own}})
	cert, key := writePair(t, own)
	i := newInterceptor(t, intercept.Options{InCert: cert, InKey: key})
	for h2, want := range map[bool]string{true: "HTTP/2.0", false: "HTTP/1.1"} {
		p := startProxy(t, app, inbound(i))
		cfg := &tls.Config{RootCAs: world.pool}
		if !h2 {
			cfg.NextProtos = []string{"http/1.1"}
		}
		if got, err := get(p, cfg, h2); err != nil || !strings.HasPrefix(got, want) {
			t.Errorf("%q, %v; want %s", got, err, want)
		}
		if res := p.result(t); res.Opaque || res.ServerName != "localhost" {
			t.Errorf("%+v", res)
		}
		if h2 != strings.HasPrefix(p.plaintext(), "PRI") || p.plaintext() == "" {
			t.Errorf("plaintext %.30q", p.plaintext())
		}
	}
}

func TestInboundOpaque(t *testing.T) {
	world := newAuthority(t, "World CA")
	cert, key := writePair(t, world.issue("localhost"))
	other := serveHTTP(t, &tls.Config{Certificates: []tls.Certificate{world.issue("localhost")}})
	client := world.issue("client")
	mutual := serveHTTP(t, &tls.Config{Certificates: []tls.Certificate{world.issue("localhost")}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: world.pool})
	for name, c := range map[string]struct {
		o      intercept.Options
		app    string
		reason string
	}{
		"no certificate":    {intercept.Options{}, other, intercept.ReasonNoCertificate},
		"other certificate": {intercept.Options{InCert: cert, InKey: key}, other, intercept.ReasonOtherCert},
		"client asked":      {intercept.Options{InCert: cert, InKey: key}, mutual, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := startProxy(t, c.app, inbound(newInterceptor(t, c.o)))
			for range 2 {
				if got, err := get(p, &tls.Config{RootCAs: world.pool, Certificates: []tls.Certificate{client}}, true); err != nil || !strings.HasPrefix(got, "HTTP/2.0") {
					t.Errorf("%q, %v", got, err)
				}
			}
			if res := p.result(t); !res.Opaque || c.reason != "" && res.Reason != c.reason {
				t.Errorf("%+v, want %s", res, c.reason)
			}
		})
	}
}
