package goproxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/proxy"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/agents/goproxy"
	"github.com/speedscale/speedscale/traffic"
)

func forward() config.Proxy {
	return config.Proxy{Mode: config.ModeForward, OutListen: "127.0.0.1:0", Service: "cart"}
}

// echo answers with what the server saw of a request.
func echo(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s host=%s proxy=%q body=%s", r.Method, r.RequestURI, r.Host,
			r.Header.Get("Proxy-Connection")+r.Header.Get("Proxy-Authorization")+r.Header.Get("X-Hop"), b)
	}))
	t.Cleanup(s.Close)
	return s
}

func get(t *testing.T, c *http.Client, u string) string {
	t.Helper()
	res, err := c.Get(u)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestForwardPlainHTTP(t *testing.T) {
	a, b := echo(t), echo(t)
	var rec recorder
	p := start(t, forward(), goproxy.Options{Recorder: &rec})
	tr := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: p.OutAddr().String(), User: url.UserPassword("u", "secret")})}
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr}
	for i, s := range []*httptest.Server{a, a, b, a} {
		got := get(t, c, fmt.Sprintf("%s/x%d?q=%%2F", s.URL, i))
		want := fmt.Sprintf("GET /x%d?q=%%2F host=%s proxy=\"\" body=", i, s.Listener.Addr())
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	pairs := rec.waitPairs(t, 4)
	for _, pair := range pairs {
		if pair.Direction != traffic.Direction_DIRECTION_OUT || pair.Tags["proxyLocation"] != "out" {
			t.Errorf("pair is %v", pair)
		}
		if v, ok := traffic.HeaderValue(pair.Http.Req.Headers, "Proxy-Authorization"); ok {
			t.Errorf("the proxy's credentials %q were recorded", v)
		}
	}
}

func TestForwardKeepsBytesOfBodyAndDropsHopByHop(t *testing.T) {
	s := echo(t)
	p := start(t, forward(), goproxy.Options{})
	c := dialTo(t, p.OutAddr())
	fmt.Fprintf(c, "POST http://%s HTTP/1.1\r\nHost: other\r\nX-Hop: 1\r\nProxy-Connection: keep-alive\r\nConnection: keep-alive, X-Hop\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\n\r\n", s.Listener.Addr())
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := io.ReadAll(res.Body)
	if want := fmt.Sprintf(`POST / host=%s proxy="" body=hello`, s.Listener.Addr()); string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
	// The connection goes on.
	fmt.Fprintf(c, "GET http://%s/2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", s.Listener.Addr())
	if res, err = http.ReadResponse(r, nil); err != nil {
		t.Fatal(err)
	}
	if got, _ = io.ReadAll(res.Body); !strings.HasPrefix(string(got), "GET /2 ") {
		t.Errorf("got %q", got)
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("after Connection: close the client reads %v", err)
	}
}

func TestForwardUpgradeIsTunnelled(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello ")
		io.Copy(c, rw)
	}))
	defer s.Close()
	var rec recorder
	p := start(t, forward(), goproxy.Options{Recorder: &rec})
	c := dialTo(t, p.OutAddr())
	fmt.Fprintf(c, "GET http://%s/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nping", s.Listener.Addr())
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != 101 {
		t.Fatalf("%v, %v", res, err)
	}
	c.CloseWrite()
	got, _ := io.ReadAll(r)
	if string(got) != "hello ping" {
		t.Errorf("the tunnel gave %q", got)
	}
	rec.waitLoss(t, traffic.ReasonUpgraded)
}

func TestForwardHTTPErrors(t *testing.T) {
	p := start(t, forward(), goproxy.Options{})
	dead := deadAddr(t)
	for _, tt := range []struct {
		name, request string
		status        int
	}{
		{"origin form", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"other scheme", "GET https://x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"two lengths", "POST http://x/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
		{"space before colon", "POST http://x/ HTTP/1.1\r\nContent-Length : 1\r\n\r\n", 400},
		{"refused", "GET http://" + dead + "/ HTTP/1.1\r\nHost: x\r\n\r\n", 502},
		{"no port", "CONNECT x HTTP/1.1\r\n\r\n", 400},
		{"connect refused", "CONNECT " + dead + " HTTP/1.1\r\n\r\n", 502},
		{"the proxy itself", "GET http://" + p.OutAddr().String() + "/ HTTP/1.1\r\nHost: x\r\n\r\n", 502},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := dialTo(t, p.OutAddr())
			io.WriteString(c, tt.request)
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != tt.status {
				t.Errorf("status is %d, want %d", res.StatusCode, tt.status)
			}
			io.Copy(io.Discard, res.Body)
		})
	}
}

func TestForwardConnect(t *testing.T) {
	s := echo(t)
	var rec recorder
	p := start(t, forward(), goproxy.Options{Recorder: &rec})
	c := dialTo(t, p.OutAddr())
	fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\nGET /early HTTP/1.1\r\nHost: shop.example\r\n\r\n", s.Listener.Addr())
	r := bufio.NewReader(c)
	if res, err := http.ReadResponse(r, &http.Request{Method: "CONNECT"}); err != nil || res.StatusCode != 200 {
		t.Fatalf("%v, %v", res, err)
	}
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := io.ReadAll(res.Body)
	if !strings.HasPrefix(string(got), "GET /early host=shop.example") {
		t.Errorf("got %q", got)
	}
	rec.waitPairs(t, 1)
}

func TestForwardSOCKS5(t *testing.T) {
	for _, tt := range []struct{ listen, host string }{
		{"127.0.0.1:0", "127.0.0.1"},
		{"[::1]:0", "::1"},
		{"127.0.0.1:0", "shop.example"},
	} {
		t.Run(tt.host, func(t *testing.T) {
			l, err := net.Listen("tcp", tt.listen)
			if err != nil {
				t.Skipf("SKIPPED: %s is not to be listened on: %v", tt.listen, err)
			}
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hi") }))
			s.Listener.Close()
			s.Listener = l
			s.Start()
			defer s.Close()
			cfg := forward()
			cfg.HostAliases = map[string]string{"shop.example": "127.0.0.1"}
			var rec recorder
			p := start(t, cfg, goproxy.Options{Recorder: &rec})
			dialer, err := proxy.SOCKS5("tcp", p.OutAddr().String(), nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			tr := &http.Transport{DialContext: func(_ context.Context, network, addr string) (net.Conn, error) {
				return dialer.Dial(network, addr)
			}}
			defer tr.CloseIdleConnections()
			port := l.Addr().(*net.TCPAddr).Port
			if got := get(t, &http.Client{Transport: tr}, "http://"+net.JoinHostPort(tt.host, fmt.Sprint(port))+"/"); got != "hi" {
				t.Errorf("got %q", got)
			}
			rec.waitPairs(t, 1)
		})
	}
}

func TestForwardSOCKS5Refusals(t *testing.T) {
	p := start(t, forward(), goproxy.Options{})
	_, port, _ := net.SplitHostPort(deadAddr(t))
	var n uint16
	fmt.Sscan(port, &n)
	for _, tt := range []struct {
		name string
		send []byte
		want []byte
	}{
		{"authentication only", []byte{5, 1, 2}, []byte{5, 0xff}},
		{"refused", []byte{5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, byte(n >> 8), byte(n)}, []byte{5, 0, 5, 5, 0, 1, 0, 0, 0, 0, 0, 0}},
		{"bind", []byte{5, 1, 0, 5, 2, 0, 1, 127, 0, 0, 1, 0, 80}, []byte{5, 0, 5, 7, 0, 1, 0, 0, 0, 0, 0, 0}},
		{"address type", []byte{5, 1, 0, 5, 1, 0, 9}, []byte{5, 0, 5, 8, 0, 1, 0, 0, 0, 0, 0, 0}},
		{"version 4 refused", []byte{4, 1, byte(n >> 8), byte(n), 127, 0, 0, 1, 'u', 0}, []byte{0, 91, 0, 0, 0, 0, 0, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := dialTo(t, p.OutAddr())
			c.Write(tt.send)
			got, _ := io.ReadAll(c)
			if string(got) != string(tt.want) {
				t.Errorf("answer is %v, want %v", got, tt.want)
			}
		})
	}
}
