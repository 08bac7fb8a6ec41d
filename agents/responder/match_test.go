package responder_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/speedscale/speedscale/agents/proxyproto"
	"github.com/speedscale/speedscale/agents/responder"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/mask"
	"github.com/speedscale/speedscale/traffic/signature"
)

// at moves a recorded pair to another host and service.
func at(p *traffic.RRPair, service, host, port string) *traffic.RRPair {
	p.Service, p.NetworkAddress = service, net.JoinHostPort(host, port)
	scheme := "http"
	if port == "443" {
		scheme = "https"
	}
	p.Http.Req.Host, p.Http.Req.Headers[0].Value = host, host
	p.Http.Req.Url = scheme + "://" + host + p.Http.Req.Uri
	return p
}

func TestResponsesInRecordedOrder(t *testing.T) {
	r, addr := start(t, responder.Options{Reactions: pairs(
		recorded("GET", "/n", "", "1"), recorded("GET", "/other", "", "x"), recorded("GET", "/n", "", "2"), recorded("GET", "/n", "", "3"),
	)})
	c := client(t, addr, nil)
	var got []string
	for range 7 {
		_, body := fetch(t, c, "GET", "http://api.test/n", "")
		got = append(got, body)
	}
	if diff := cmp.Diff([]string{"1", "2", "3", "1", "2", "3", "1"}, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	if l := r.Loaded(); l.Pairs != 4 || l.Signatures != 2 {
		t.Errorf("loaded %+v, want 4 pairs of 2 signatures", l)
	}
}

// TestOrderUnderConcurrency: each recorded response is given equally often.
func TestOrderUnderConcurrency(t *testing.T) {
	_, addr := start(t, responder.Options{Reactions: pairs(recorded("GET", "/n", "", "1"), recorded("GET", "/n", "", "2"), recorded("GET", "/n", "", "3"))})
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		seen = map[string]int{}
	)
	for range 6 {
		c := client(t, addr, nil)
		wg.Go(func() {
			for range 50 {
				_, body := fetch(t, c, "GET", "http://api.test/n", "")
				mu.Lock()
				seen[body]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if diff := cmp.Diff(map[string]int{"1": 100, "2": 100, "3": 100}, seen); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
}

// TestWhere: a connection's slice is told by its header, its port, or the Host.
func TestWhere(t *testing.T) {
	opts := responder.Options{Reactions: pairs(
		at(recorded("GET", "/", "", "a"), "shop", "a.test", "80"),
		at(recorded("GET", "/", "", "a8080"), "shop", "a.test", "8080"),
		at(recorded("GET", "/", "", "b"), "shop", "b.test", "80"),
		at(recorded("GET", "/", "", "cart"), "cart", "c.test", "80"),
		at(recorded("GET", "/only", "", "shop"), "shop", "c.test", "80"),
	)}
	r, addr := start(t, opts)
	header := func(key, authority, destination string) *proxyproto.Header {
		h := &proxyproto.Header{SliceKey: key, Authority: authority}
		if destination != "" {
			h.Source, h.Destination = netip.MustParseAddrPort("10.0.0.1:1234"), netip.MustParseAddrPort(destination)
		}
		return h
	}
	tests := []struct {
		name   string
		header *proxyproto.Header
		host   string
		path   string
		status int
		want   string
	}{
		{"by Host", nil, "a.test", "/", 200, "a"},
		{"by Host with port", nil, "A.test:8080", "/", 200, "a8080"},
		{"by Host with the scheme's port", nil, "b.test:80", "/", 200, "b"},
		{"one Host of two services", nil, "c.test", "/", 200, "cart"},
		{"the other", nil, "c.test", "/only", 200, "shop"},
		{"by slice key", header("shop:b.test:80", "", ""), "whatever.test", "/", 200, "b"},
		{"by authority", header("", "b.test", "240.0.0.1:80"), "10.1.2.3", "/", 200, "b"},
		{"a slice that is not recorded", header("shop:z.test:80", "", ""), "a.test", "/", 404, ""},
		{"no such host", nil, "z.test", "/", 404, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, body := fetch(t, client(t, addr, tt.header), "GET", "http://"+tt.host+tt.path, "")
			if status != tt.status || tt.want != "" && body != tt.want {
				t.Errorf("answered %d %q, want %d %q", status, body, tt.status, tt.want)
			}
		})
	}
	if s := r.Stats(); s.Requests != 9 || s.Matched != 7 || s.Missed != 2 || s.Misses[0].Reason != responder.MissNoHost || s.Misses[0].SliceKey != "shop:z.test:80" {
		t.Errorf("stats %+v", s)
	}
	port := serve(t, func(ctx context.Context, l net.Listener) error { return r.ServeSlice(ctx, l, "shop:b.test:80") })
	if status, body := fetch(t, client(t, port, nil), "GET", "http://localhost:9001/", ""); status != 200 || body != "b" {
		t.Errorf("by port: %d %q", status, body)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.ServeSlice(t.Context(), l, "shop:z.test:80"); err == nil || !strings.Contains(err.Error(), "shop:b.test:80") {
		t.Errorf("a slice that is not there: %v", err)
	}
	required, reqAddr := start(t, responder.Options{Reactions: opts.Reactions, Proxy: responder.ProxyRequired})
	if got := exchange(t, reqAddr, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"); got != "" {
		t.Errorf("without the required header: %q", got)
	}
	if required.Stats().Refused != 1 {
		t.Error("the refused connection is not counted")
	}
	if _, err := responder.New(responder.Options{Reactions: opts.Reactions, Keys: []string{"nobody"}}); err == nil {
		t.Error("a key that matches nothing was accepted")
	}
	chosen, err := responder.New(responder.Options{Reactions: opts.Reactions, Keys: []string{"b.test", "cart:c.test:80"}})
	if err != nil || !slices.Equal(chosen.Keys(), []string{"cart:c.test:80", "shop:b.test:80"}) {
		t.Errorf("chosen keys %v, %v", chosen.Keys(), err)
	}
}

// TestMocksSayWhichProtocolWasRecorded: only where it was always the same one.
func TestMocksSayWhichProtocolWasRecorded(t *testing.T) {
	over := func(host, version string) *traffic.RRPair {
		p := recorded("GET", "/", "", "")
		p.NetworkAddress = host + ":443"
		p.Http.Req.Version = version
		return p
	}
	r, err := responder.New(responder.Options{Reactions: pairs(over("a", "1.1"), over("b", "2.0"), over("c", "1.1"), over("c", "2.0"))})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range r.Mocks() {
		got = append(got, m.Key+" "+m.ALPN)
	}
	if want := []string{"shop:a:443 http/1.1", "shop:b:443 h2", "shop:c:443 "}; !slices.Equal(got, want) {
		t.Errorf("mocks are %q, want %q", got, want)
	}
}

func TestMissNamesTheNearest(t *testing.T) {
	near := recorded("POST", "/orders", `{"sku":"a","count":2}`, "")
	r, addr := start(t, responder.Options{Reactions: pairs(
		recorded("GET", "/orders/1", "", ""), near, recorded("POST", "/orders", `{"sku":"b","count":9}`, ""), recorded("GET", "/users?page=1", "", ""),
	)})
	c := client(t, addr, nil)
	req, _ := http.NewRequest("POST", "http://api.test/orders", strings.NewReader(`{"sku":"a","count":3}`))
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var got struct {
		Error, SliceKey, Request string
		Nearest                  struct {
			UUID, Request string
			Differs       []signature.Field
		}
	}
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	want := []signature.Field{{Key: "http:requestBodyJSON.count", Want: "2", Got: "3"}}
	if diff := cmp.Diff(want, got.Nearest.Differs); diff != "" || res.StatusCode != 404 || got.SliceKey != "shop:api.test:80" || got.Request != "POST /orders" || got.Nearest.Request != "POST /orders" {
		t.Errorf("answered %d %+v, differences (-want +got):\n%s", res.StatusCode, got, diff)
	}
	if res.Header.Get("X-Speedscale-Match") != "NO_MATCH" || res.Header.Get("X-Speedscale-Nearest") != got.Nearest.UUID || res.Header.Get("X-Speedscale-Differs") != "http:requestBodyJSON.count" {
		t.Errorf("header %v", res.Header)
	}
	// Each different miss is explained once, and counted.
	for range 3 {
		fetch(t, c, "GET", "http://api.test/users?page=2", "")
	}
	s := r.Stats()
	if s.Missed != 4 || len(s.Misses) != 2 || s.Misses[1].Count != 3 || s.Misses[1].Nearest.Location != "/users" {
		t.Errorf("stats %+v", s)
	}
}

func TestMissesAreBounded(t *testing.T) {
	r, addr := start(t, responder.Options{Reactions: pairs(recorded("GET", "/", "", ""))})
	var in strings.Builder
	for i := range responder.DefaultMaxMisses + 50 {
		fmt.Fprintf(&in, "GET /%d HTTP/1.1\r\nHost: api.test\r\n\r\n", i)
	}
	exchange(t, addr, in.String())
	if s := r.Stats(); s.Missed != responder.DefaultMaxMisses+50 || len(s.Misses) != responder.DefaultMaxMisses || s.Unexplained != 50 {
		t.Errorf("missed %d, explained %d, unexplained %d", s.Missed, len(s.Misses), s.Unexplained)
	}
}

func TestWhatCannotBeServed(t *testing.T) {
	cut := recorded("GET", "/cut", "", "ab")
	cut.Http.Res.BodySize = 1 << 21
	upgrade := recorded("GET", "/ws", "", "")
	upgrade.Http.Res.StatusCode = 101
	injected := recorded("GET", "/injected", "", "", "X-A", "b\r\nX-Injected: c")
	unanswered := recorded("GET", "/unanswered", "", "")
	unanswered.Http.Res = nil
	r, addr := start(t, responder.Options{Reactions: pairs(cut, upgrade, injected, unanswered, &traffic.RRPair{L7Protocol: "postgres"})})
	want := map[string]int{responder.UnusableUpgrade: 1, responder.UnusableMalformed: 1, responder.UnusableNoResponse: 1, responder.UnusableProtocol: 1}
	if diff := cmp.Diff(want, r.Loaded().Unusable); diff != "" {
		t.Errorf("unusable (-want +got):\n%s", diff)
	}
	status, body := fetch(t, client(t, addr, nil), "GET", "http://api.test/cut", "")
	if status != 404 || !strings.Contains(body, responder.MissCutAnswer) || r.Stats().Missed != 1 {
		t.Errorf("a cut body: %d %q", status, body)
	}
}

func newMasker(t *testing.T) *mask.Masker {
	t.Helper()
	m, err := mask.New(mask.Standard(), mask.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

const secret = "hunter2-hunter2"

// TestMasked: with the key, requests are masked alike and matched exactly;
// without it, a masked value stands for any.
func TestMasked(t *testing.T) {
	masker := newMasker(t)
	masked := func(method, uri, body string) *traffic.RRPair {
		p := recorded(method, uri, body, `{"ok":true}`)
		p.Http.Req.Headers = append(p.Http.Req.Headers, &traffic.Header{Name: "Content-Type", Value: "application/json"})
		if _, err := masker.Mask(p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	reactions := pairs(masked("POST", "/login", `{"user":"ann","password":"`+secret+`"}`), masked("GET", "/me?access_token="+secret, ""))
	for p := range reactions {
		if strings.Contains(p.String(), secret) {
			t.Fatal("the test's snapshot has the secret")
		}
	}
	tests := []struct {
		name, method, uri, body string
		withKey, without        int
	}{
		{"the same secret", "POST", "/login", `{"user":"ann","password":"` + secret + `"}`, 200, 200},
		{"another secret", "POST", "/login", `{"user":"ann","password":"other-other"}`, 404, 200},
		{"another user", "POST", "/login", `{"user":"bob","password":"` + secret + `"}`, 404, 404},
		{"in the query", "GET", "/me?access_token=" + secret, "", 200, 200},
		{"another in the query", "GET", "/me?access_token=other-other", "", 404, 200},
	}
	withKey, keyAddr := start(t, responder.Options{Reactions: reactions, Masker: masker})
	without, plainAddr := start(t, responder.Options{Reactions: reactions})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for addr, want := range map[string]int{keyAddr: tt.withKey, plainAddr: tt.without} {
				status, body := fetch(t, client(t, addr, nil), tt.method, "http://api.test"+tt.uri, tt.body, "Content-Type", "application/json")
				if status != want {
					t.Errorf("with key %t: answered %d %s, want %d", addr == keyAddr, status, body, want)
				}
				if strings.Contains(body, secret) {
					t.Errorf("the answer shows the secret: %s", body)
				}
			}
		})
	}
	for _, r := range []*responder.Responder{withKey, without} {
		if shown := fmt.Sprintf("%+v", r.Stats()); strings.Contains(shown, secret) || strings.Contains(shown, "other-other") {
			t.Errorf("the statistics show a secret: %s", shown)
		}
	}
}

func TestLatency(t *testing.T) {
	tests := []struct {
		latency responder.Latency
		low     time.Duration
	}{{responder.Latency{}, 0}, {responder.Latency{Multiple: 1}, 50 * time.Millisecond}, {responder.Latency{Multiple: 2, Fixed: 20 * time.Millisecond}, 120 * time.Millisecond}}
	for _, tt := range tests {
		_, addr := start(t, responder.Options{Reactions: pairs(recorded("GET", "/", "", "ok")), Latency: tt.latency})
		c := client(t, addr, nil)
		begun := time.Now()
		fetch(t, c, "GET", "http://api.test/", "")
		if took := time.Since(begun); took < tt.low || took > tt.low+5*time.Second {
			t.Errorf("%+v: took %v, want %v", tt.latency, took, tt.low)
		}
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	_, addr := start(t, responder.Options{Reactions: pairs(recorded("GET", "/", "", "ok")), Registry: reg})
	exchange(t, addr, "GET / HTTP/1.1\r\nHost: api.test\r\n\r\nGET /x HTTP/1.1\r\nHost: api.test\r\n\r\n")
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			for _, l := range m.Label {
				got[l.GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	if diff := cmp.Diff(map[string]float64{"match": 1, "miss": 1, "passthrough": 0}, got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

func TestBadOptions(t *testing.T) {
	for name, opts := range map[string]responder.Options{
		"no pairs": {}, "miss": {Reactions: pairs(), OnMiss: "explode"}, "proxy": {Reactions: pairs(), Proxy: "maybe"},
		"no recorder": {Reactions: pairs(), OnMiss: responder.Record}, "latency": {Reactions: pairs(), Latency: responder.Latency{Multiple: -1}},
	} {
		if _, err := responder.New(opts); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
