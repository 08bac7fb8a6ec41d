package goproxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/agents/goproxy"
	"github.com/speedscale/speedscale/agents/proxyproto"
)

// headerListener reads the PROXY header of each connection.
type headerListener struct {
	net.Listener
	headers chan *proxyproto.Header
}

type headerConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *headerConn) Read(b []byte) (int, error) { return c.r.Read(b) }

func (l *headerListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	r := bufio.NewReader(c)
	h, err := proxyproto.Read(r)
	if err != nil {
		return nil, err
	}
	l.headers <- h
	return &headerConn{c, r}, nil
}

// responder answers HTTP/1.1 and HTTP/2 in the clear, behind PROXY headers.
func responder(t *testing.T) (addr string, headers chan *proxyproto.Header) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	hl := &headerListener{l, make(chan *proxyproto.Header, 16)}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "mocked %s %s", r.Proto, r.Host)
	}), Protocols: new(http.Protocols)}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	go s.Serve(hl)
	t.Cleanup(func() { s.Close() })
	return l.Addr().String(), hl.headers
}

// mocks are slice keys without a protocol.
func mocks(keys ...string) (list []config.Mock) {
	for _, k := range keys {
		list = append(list, config.Mock{Key: k})
	}
	return list
}

func TestMockedHostGoesToTheResponder(t *testing.T) {
	addr, headers := responder(t)
	ours := ca(t)
	cfg := forward()
	cfg.Route = &config.Route{
		Responder: addr, Default: config.RouteRefuse,
		Mocks: mocks("cart:api.example:443", "cart:plain.example:80"),
	}
	var rec recorder
	p := start(t, cfg, goproxy.Options{Recorder: &rec, CA: ours})
	for _, tt := range []struct {
		name, url, want string
		h2              bool
		header          proxyproto.Header
	}{
		{"CONNECT", "https://api.example/x", "mocked HTTP/1.1 api.example", false, proxyproto.Header{Authority: "api.example", SliceKey: "cart:api.example:443"}},
		{"CONNECT and h2", "https://API.example/x", "mocked HTTP/2.0 API.example", true, proxyproto.Header{Authority: "api.example", ALPN: "h2", SliceKey: "cart:api.example:443"}},
		{"plain", "http://plain.example/x", "mocked HTTP/1.1 plain.example", false, proxyproto.Header{Authority: "plain.example", SliceKey: "cart:plain.example:80"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := proxied(t, p, tt.h2, ours.CertPEM())
			if got := get(t, c, tt.url); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			h := <-headers
			if h.Authority != tt.header.Authority || h.SliceKey != tt.header.SliceKey || !tt.h2 == (h.ALPN == "h2") {
				t.Errorf("PROXY header is %+v, want %+v", h, tt.header)
			}
		})
	}
	for _, pair := range rec.waitPairs(t, 3) {
		if a := pair.NetworkAddress; !strings.Contains(a, ".example") {
			t.Errorf("network address is %q", a)
		}
	}
}

// TestMockHasAllFormsOfItsName: whichever the client uses, the responder is told the
// recorded one. One that was recorded itself comes first.
func TestMockHasAllFormsOfItsName(t *testing.T) {
	addr, headers := responder(t)
	ours := ca(t)
	cfg := forward()
	cfg.Route = &config.Route{
		Responder: addr, Default: config.RouteRefuse, Search: []string{"shop.svc.cluster.local", "svc.cluster.local", "cluster.local"},
		Mocks: mocks("cart:db.shop.svc.cluster.local:80", "cart:ledger:443", "cart:ledger.shop:80"),
	}
	p := start(t, cfg, goproxy.Options{CA: ours})
	c := proxied(t, p, false, ours.CertPEM())
	for u, want := range map[string]string{
		"http://db/":                                "db.shop.svc.cluster.local",
		"http://DB.shop/":                           "db.shop.svc.cluster.local",
		"http://db.shop.svc/":                       "db.shop.svc.cluster.local",
		"http://db.shop.svc.cluster.local/":         "db.shop.svc.cluster.local",
		"https://ledger.shop.svc.cluster.local/":    "ledger",
		"https://ledger.shop/":                      "ledger",
		"http://ledger.shop.svc.cluster.local:80/x": "ledger.shop",
		"http://ledger/":                            "ledger.shop",
	} {
		if got := get(t, c, u); !strings.HasPrefix(got, "mocked HTTP/1.1 ") {
			t.Errorf("%s: %q", u, got)
		}
		if h := <-headers; h.Authority != want {
			t.Errorf("%s came to the responder as %q, want %q", u, h.Authority, want)
		}
		c.CloseIdleConnections()
	}
	res, err := c.Get("http://db.other/")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("a host of another namespace: status %d", res.StatusCode)
	}
}

// TestMockSpeaksTheRecordedProtocol: a client that would rather speak HTTP/2 gets
// HTTP/1.1 where that was recorded, and the other way round.
func TestMockSpeaksTheRecordedProtocol(t *testing.T) {
	addr, headers := responder(t)
	ours := ca(t)
	for alpn, want := range map[string]string{"http/1.1": "HTTP/1.1", "h2": "HTTP/2.0", "": "HTTP/2.0"} {
		cfg := forward()
		cfg.Route = &config.Route{Responder: addr, Default: config.RouteRefuse, Mocks: []config.Mock{{Key: "cart:api.example:443", ALPN: alpn}}}
		p := start(t, cfg, goproxy.Options{CA: ours})
		if got := get(t, proxied(t, p, true, ours.CertPEM()), "https://api.example/x"); got != "mocked "+want+" api.example" {
			t.Errorf("recorded %q: got %q, want %s", alpn, got, want)
		}
		<-headers
	}
	cfg := forward()
	cfg.Route = &config.Route{Responder: addr, Default: config.RouteRefuse, Mocks: []config.Mock{{Key: "cart:api.example:443", ALPN: "h2"}}}
	p := start(t, cfg, goproxy.Options{CA: ours})
	if got := get(t, proxied(t, p, false, ours.CertPEM()), "https://api.example/x"); got != "mocked HTTP/1.1 api.example" {
		t.Errorf("a client that speaks no HTTP/2 got %q", got)
	}
}

func TestOtherHostsByDefault(t *testing.T) {
	real := echo(t)
	addr, _ := responder(t)
	for _, def := range []string{config.RoutePassthrough, config.RouteRefuse} {
		t.Run(def, func(t *testing.T) {
			cfg := forward()
			cfg.Route = &config.Route{Responder: addr, Default: def, Mocks: mocks("cart:api.example:443")}
			p := start(t, cfg, goproxy.Options{CA: ca(t)})
			res, err := proxied(t, p, false).Get(real.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			want := map[string]int{config.RoutePassthrough: 200, config.RouteRefuse: 403}[def]
			if res.StatusCode != want {
				t.Errorf("status is %d, want %d", res.StatusCode, want)
			}
			if n := p.Status().Outbound.Refused["route"]; (n == 1) != (def == config.RouteRefuse) {
				t.Errorf("%d were counted as refused", n)
			}
		})
	}
}

// While it is not known which host is meant, none is dialled; and a mocked host
// never is, even where the responder is away.
func TestMockedHostIsNeverDialled(t *testing.T) {
	real := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	real.Config.ConnState = func(c net.Conn, s http.ConnState) {
		if s == http.StateNew {
			t.Errorf("the real host was dialled from %s", c.RemoteAddr())
		}
	}
	real.Start()
	defer real.Close()
	port := real.Listener.Addr().(*net.TCPAddr).Port
	cfg := forward()
	cfg.HostAliases = map[string]string{"api.example": "127.0.0.1"}
	cfg.Route = &config.Route{
		Responder: deadAddr(t), Default: config.RoutePassthrough,
		Mocks: mocks(fmt.Sprintf("cart:api.example:%d", port)),
	}
	p := start(t, cfg, goproxy.Options{CA: ca(t)})
	target := fmt.Sprintf("api.example:%d", port)
	for name, ask := range map[string]string{
		"CONNECT":          "CONNECT " + target + " HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nHost: " + target + "\r\n\r\n",
		"plain":            "GET http://" + target + "/ HTTP/1.1\r\nHost: x\r\n\r\n",
		"CONNECT, by Host": fmt.Sprintf("CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nHost: %s\r\n\r\n", port, target),
		"CONNECT, no name": fmt.Sprintf("CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\nEHLO x\r\n\r\n", port),
	} {
		t.Run(name, func(t *testing.T) {
			c := dialTo(t, p.OutAddr())
			io.WriteString(c, ask)
			got, _ := io.ReadAll(c)
			if strings.Contains(string(got), "200 OK") {
				t.Errorf("answer is %q", got)
			}
		})
	}
}

// A connection to an address is routed by what its first bytes name.
func TestRouteByFirstBytes(t *testing.T) {
	addr, headers := responder(t)
	ours := ca(t)
	cfg := forward()
	cfg.Route = &config.Route{Responder: addr, Default: config.RouteRefuse, Mocks: mocks("cart:api.example:443", "cart:plain.example:443", "cart:10.9.9.9:443")}
	p := start(t, cfg, goproxy.Options{CA: ours})
	connect := func(t *testing.T, host string) *net.TCPConn {
		c := dialTo(t, p.OutAddr())
		fmt.Fprintf(c, "CONNECT %s:443 HTTP/1.1\r\n\r\n", host)
		expect(t, c, "HTTP/1.1 200 Connection established\r\n\r\n")
		return c
	}
	for _, tt := range []struct{ name, host, key, want string }{
		{"Host", "10.1.1.1", "cart:plain.example:443", "mocked HTTP/1.1 plain.example"},
		{"address", "10.9.9.9", "cart:10.9.9.9:443", "mocked HTTP/1.1 plain.example"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := connect(t, tt.host)
			io.WriteString(c, "GET / HTTP/1.1\r\nHost: plain.example\r\nConnection: close\r\n\r\n")
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			if b, _ := io.ReadAll(res.Body); string(b) != tt.want {
				t.Errorf("got %q, want %q", b, tt.want)
			}
			h := <-headers
			if h.SliceKey != tt.key || h.Destination.String() != tt.host+":443" {
				t.Errorf("PROXY header is %+v", h)
			}
		})
	}
	t.Run("authority", func(t *testing.T) {
		c := connect(t, "10.1.1.1")
		tr := &http.Transport{Protocols: new(http.Protocols), DialContext: func(context.Context, string, string) (net.Conn, error) { return c, nil }}
		tr.Protocols.SetUnencryptedHTTP2(true)
		defer tr.CloseIdleConnections()
		r, _ := http.NewRequest("GET", "http://api.example/", nil)
		res, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if h := <-headers; h.SliceKey != "cart:api.example:443" {
			t.Errorf("PROXY header is %+v", h)
		}
	})
}
