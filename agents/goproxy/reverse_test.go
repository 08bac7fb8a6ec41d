package goproxy_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/agents/goproxy"
	"github.com/speedscale/speedscale/traffic"
)

// start runs a proxy until the test ends.
func start(t *testing.T, cfg config.Proxy, o goproxy.Options) *goproxy.Proxy {
	t.Helper()
	o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	p, err := goproxy.New(cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Run did not end")
		}
	})
	return p
}

func reverse(upstream string) config.Proxy {
	return config.Proxy{
		Mode: config.ModeReverse, InListen: "127.0.0.1:0", Reverse: upstream,
		Service: "cart", Namespace: "shop", Cluster: "test",
	}
}

func TestReverseRecordsPairs(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, r.Method+" "+r.URL.Path+" "+string(b))
	}))
	defer app.Close()
	var rec recorder
	p := start(t, reverse(app.Listener.Addr().String()), goproxy.Options{Recorder: &rec})

	c := &http.Client{Transport: &http.Transport{}}
	defer c.CloseIdleConnections()
	for range 3 {
		res, err := c.Post("http://"+p.InAddr().String()+"/items?x=1", "text/plain", strings.NewReader("apple"))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if string(b) != "POST /items apple" {
			t.Fatalf("body is %q", b)
		}
	}
	pairs := rec.waitPairs(t, 3)
	for i, pair := range pairs {
		if pair.Direction != traffic.Direction_DIRECTION_IN || pair.Service != "cart" || pair.Namespace != "shop" || pair.Cluster != "test" {
			t.Errorf("pair %d is of %v %q %q %q", i, pair.Direction, pair.Cluster, pair.Namespace, pair.Service)
		}
		if len(pair.Uuid) != 16 || pair.Duration <= 0 || pair.Ts == 0 || pair.NetworkAddress == "" {
			t.Errorf("pair %d is not complete: %v", i, pair)
		}
		if got := string(pair.Http.Req.Body); got != "apple" {
			t.Errorf("request body is %q", got)
		}
		if got := string(pair.Http.Res.Body); got != "POST /items apple" {
			t.Errorf("response body is %q", got)
		}
		n := pair.Netinfo
		if n.GetId() == "" || n.Downstream.GetIpAddress() != "127.0.0.1" || n.Upstream.GetPort() == 0 || n.Upstream.GetBytesSent() == 0 {
			t.Errorf("netinfo is %v", n)
		}
		if pair.Tags["source"] != "goproxy" || pair.Tags["proxyLocation"] != "in" || pair.Tags["proxyType"] != "reverse" || pair.Tags["sequence"] == "" || pair.Tags["proxyId"] == "" {
			t.Errorf("tags are %v", pair.Tags)
		}
	}
	if s := p.Status().Inbound; s.Connections != 1 || s.Pairs != 3 || len(s.Lost) != 0 {
		t.Errorf("status is %+v", s)
	}
}
