package wire_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
	"github.com/speedscale/speedscale/traffic/wire/http1"
	"github.com/speedscale/speedscale/traffic/wire/http2"
	"github.com/speedscale/speedscale/traffic/wire/sniff"
	"github.com/speedscale/speedscale/traffic/wire/wiretest"
)

// tap relays connections to an upstream and decodes what passes, as the
// sidecar does: each direction writes first and decodes then, so that the
// decoder sees the two directions in any order.
type tap struct {
	addr     string
	upstream string
	mu       sync.Mutex
	rec      wiretest.Recorder
	budget   *wire.Budget
	conns    sync.WaitGroup
}

func newTap(t *testing.T, upstream string) *tap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tp := &tap{addr: l.Addr().String(), upstream: upstream, budget: wire.NewBudget(256 << 20)}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			tp.conns.Go(func() { tp.relay(c) })
		}
	})
	t.Cleanup(func() { l.Close(); accepting.Wait() })
	return tp
}

func (tp *tap) relay(down net.Conn) {
	defer down.Close()
	up, err := net.Dial("tcp", tp.upstream)
	if err != nil {
		return
	}
	defer up.Close()
	var d wire.Decoder // under tp.mu
	var first []byte   // of the client, until its protocol is known
	type early struct {
		b  []byte
		at time.Time
	}
	var answers []early // of the server, until then; nil data is its end
	feed := func(from wire.Side, b []byte, at time.Time) {
		tp.mu.Lock()
		defer tp.mu.Unlock()
		if d == nil && from == wire.Server {
			answers = append(answers, early{append([]byte(nil), b...), at})
			return
		}
		if d == nil {
			first = append(first, b...)
			kind, enough := sniff.Protocol(first)
			if !enough {
				return
			}
			opt := wire.Options{Sink: &tp.rec, Scheme: "http", Budget: tp.budget}
			if b = first; kind == sniff.HTTP2 {
				d = http2.New(opt)
			} else {
				d = http1.New(opt)
			}
			for _, a := range answers {
				d.Data(wire.Server, a.b, a.at)
				if a.b == nil {
					d.End(wire.Server, a.at)
				}
			}
		}
		if b == nil {
			d.End(from, at)
		} else {
			d.Data(from, b, at)
		}
	}
	copyAll := func(from wire.Side, dst, src net.Conn) {
		buf := make([]byte, 16<<10)
		for {
			n, err := src.Read(buf)
			at := time.Now()
			if n > 0 {
				dst.Write(buf[:n])
				feed(from, buf[:n], at)
			}
			if err != nil {
				dst.(*net.TCPConn).CloseWrite()
				feed(from, nil, at)
				return
			}
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() { copyAll(wire.Client, up, down) })
	wg.Go(func() { copyAll(wire.Server, down, up) })
	wg.Wait()
	tp.mu.Lock()
	defer tp.mu.Unlock()
	if d != nil {
		d.Close()
	}
}

// pairs waits for the connections to end and returns what was captured.
func (tp *tap) pairs(t *testing.T) []*traffic.RRPair {
	t.Helper()
	ended := make(chan struct{})
	go func() { tp.conns.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("connections stay open")
	}
	if n := tp.budget.Used(); n != 0 {
		t.Errorf("budget after all: %d bytes taken", n)
	}
	if len(tp.rec.LostPairs) != 0 {
		t.Errorf("lost %v", tp.rec.LostPairs)
	}
	return tp.rec.Pairs
}

// echo answers with what it was sent.
func echo(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "text/plain")
	if r.URL.Query().Has("early") {
		w.WriteHeader(http.StatusEarlyHints)
	}
	if r.URL.Query().Has("trailer") {
		w.Header().Set("Trailer", "X-Sum")
		defer w.Header().Set("X-Sum", "1")
	}
	if r.URL.Query().Has("flush") {
		for len(b) > 1000 {
			w.Write(b[:1000])
			w.(http.Flusher).Flush()
			b = b[1000:]
		}
	}
	w.Write(b)
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h, Protocols: &protocols}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return l.Addr().String()
}

func TestNetHTTP(t *testing.T) {
	for name, unencrypted2 := range map[string]bool{"HTTP1": false, "HTTP2": true} {
		t.Run(name, func(t *testing.T) {
			tp := newTap(t, serve(t, http.HandlerFunc(echo)))
			var protocols http.Protocols
			protocols.SetHTTP1(!unencrypted2)
			protocols.SetUnencryptedHTTP2(unencrypted2)
			// A connection of HTTP/2 whose last stream is still being put away is not idle to CloseIdleConnections.
			tr := &http.Transport{Protocols: &protocols, ExpectContinueTimeout: 5 * time.Second, IdleConnTimeout: time.Second}
			client := &http.Client{Transport: tr, Timeout: 20 * time.Second}
			bodies := []string{"", "x", strings.Repeat("0123456789", 1000), strings.Repeat("abc", 200_000)}
			queries := []string{"", "early", "trailer", "flush"}
			want := map[string]string{}
			var wg sync.WaitGroup
			for _, method := range []string{"GET", "HEAD", "POST"} {
				for i, b := range bodies {
					for _, q := range queries {
						path := "/" + method + "/" + string(rune('a'+i)) + q
						want[path] = b
						wg.Go(func() {
							req, _ := http.NewRequest(method, "http://"+tp.addr+path+"?"+q, strings.NewReader(b))
							if q == "flush" && method == "POST" { // chunked, of unknown length
								req.Body, req.ContentLength, req.GetBody = io.NopCloser(strings.NewReader(b)), -1, nil
							}
							if q == "early" && method == "POST" {
								req.Header.Set("Expect", "100-continue")
							}
							res, err := client.Do(req)
							if err != nil {
								t.Error(err)
								return
							}
							io.Copy(io.Discard, res.Body)
							res.Body.Close()
						})
					}
				}
			}
			wg.Wait()
			tr.CloseIdleConnections()
			pairs := tp.pairs(t)
			if len(pairs) != len(want) {
				t.Fatalf("%d pairs of %d, opaque %v", len(pairs), len(want), tp.rec.Closed)
			}
			for _, p := range pairs {
				checkEcho(t, p, want[p.Location])
			}
		})
	}
}

func checkEcho(t *testing.T, p *traffic.RRPair, body string) {
	t.Helper()
	req, res := p.Http.Req, p.Http.Res
	if string(req.Body) != body || req.BodySize != int64(len(body)) {
		t.Errorf("%s %s: request body of %d bytes, want %d", p.Command, p.Location, len(req.Body), len(body))
	}
	if p.Command == "HEAD" {
		body = ""
	}
	if string(res.Body) != body || p.Status != "200" || res.ContentType != "text/plain" {
		t.Errorf("%s %s: status %s, %s, body of %d bytes, want %d", p.Command, p.Location, p.Status, res.ContentType, len(res.Body), len(body))
	}
	if strings.Contains(req.Uri, "?trailer") && p.Command != "HEAD" {
		if v, _ := traffic.HeaderValue(res.Trailers, "X-Sum"); v != "1" {
			t.Errorf("%s %s: trailers %v", p.Command, p.Location, res.Trailers)
		}
	}
	if p.Duration <= 0 || p.WireformatSize < int64(len(req.Body)+len(res.Body)) {
		t.Errorf("%s %s: duration %d, size %d", p.Command, p.Location, p.Duration, p.WireformatSize)
	}
}

// command runs a program of the system, or skips the test where it is missing.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func TestCurl(t *testing.T) {
	upstream := serve(t, http.HandlerFunc(echo))
	for _, args := range [][]string{
		{"--http1.1"}, {"--http1.0"}, {"--http2-prior-knowledge"},
		{"--http1.1", "-d", "a=1"}, {"--http2-prior-knowledge", "-d", "a=1"},
		{"--http1.1", "-H", "Transfer-Encoding: chunked", "-d", "chunked"},
		{"--http1.1", "-H", "Expect: 100-continue", "-d", "wait"},
		{"--http1.1", "-I"}, {"--http1.1", "--compressed"},
		{"--http1.1", "-X", "OPTIONS", "--request-target", "*"},
	} {
		tp := newTap(t, upstream)
		url := "http://" + tp.addr + "/p"
		command(t, "curl", append([]string{"-sS", "-o", "/dev/null", url}, args...)...)
		if pairs := tp.pairs(t); len(pairs) != 1 || pairs[0].Status != "200" {
			t.Errorf("curl %v: pairs %v, want 1", args, pairs)
		}
	}
}

func TestCurlUpgradeOffer(t *testing.T) {
	tp := newTap(t, serve(t, http.HandlerFunc(echo)))
	command(t, "curl", "-sS", "--http2", "-o", "/dev/null", "-d", "x=1", "http://"+tp.addr+"/up")
	if pairs := tp.pairs(t); len(pairs) != 1 || string(pairs[0].Http.Req.Body) != "x=1" {
		t.Errorf("pairs %v, want one with the body", pairs)
	}
}

// nghttpd starts nghttp2's server and returns its address.
func nghttpd(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("nghttpd")
	if err != nil {
		t.Skip("nghttpd is not installed")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command(path, "--no-tls", "-a", "127.0.0.1", "--echo-upload", "--trailer", "x-end: yes", port)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for range 100 {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return addr
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("nghttpd did not start within 5 s")
	return ""
}

func TestH2loadAgainstNghttpd(t *testing.T) {
	tp := newTap(t, nghttpd(t))
	out := command(t, "h2load", "-n", "2000", "-c", "4", "-m", "20", "-H", "x-a: b", "http://"+tp.addr+"/none")
	if !strings.Contains(out, "2000 done") {
		t.Fatalf("h2load: %s", out)
	}
	pairs := tp.pairs(t)
	if len(pairs) != 2000 {
		t.Fatalf("%d pairs of 2000, opaque %v", len(pairs), tp.rec.Closed)
	}
	for _, p := range pairs {
		if p.Status != "404" || p.Location != "/none" || len(p.Http.Res.Body) == 0 || p.Http.Req.Version != "2.0" {
			t.Fatalf("pair %v", p)
		}
	}
}

func TestH2loadWithHTTP1(t *testing.T) {
	tp := newTap(t, serve(t, http.HandlerFunc(echo)))
	out := command(t, "h2load", "--h1", "-n", "2000", "-c", "8", "-m", "4", "http://"+tp.addr+"/p?q")
	if !strings.Contains(out, "2000 done") {
		t.Fatalf("h2load: %s", out)
	}
	if pairs := tp.pairs(t); len(pairs) != 2000 {
		t.Fatalf("%d pairs of 2000, opaque %v", len(pairs), tp.rec.Closed)
	}
}

func TestIdleConnectionsAreSmall(t *testing.T) {
	request := []byte("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	response := []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
	// SETTINGS, and a request with two fields in the header table.
	start := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00" +
		"\x00\x00\x0e\x01\x05\x00\x00\x00\x01\x82\x86\x84\x41\x01h\x40\x03abc\x02de")
	answer := []byte("\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x01\x01\x05\x00\x00\x00\x01\x88")
	for name, tt := range map[string]struct {
		new               func(wire.Options) wire.Decoder
		request, response []byte
		max               uint64
	}{
		"HTTP1": {func(o wire.Options) wire.Decoder { return http1.New(o) }, request, response, 1500},
		"HTTP2": {func(o wire.Options) wire.Decoder { return http2.New(o) }, start, answer, 4000},
	} {
		const n = 2000
		rec := &wiretest.Recorder{}
		decoders := make([]wire.Decoder, n)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.GC() // a sync.Pool keeps what other tests put into it through one
		runtime.ReadMemStats(&before)
		for i := range decoders {
			d := tt.new(wire.Options{Sink: rec, Scheme: "http"})
			d.Data(wire.Client, tt.request, wiretest.Start())
			d.Data(wire.Server, tt.response, wiretest.Start())
			decoders[i] = d
		}
		if len(rec.Pairs) != n {
			t.Fatalf("%s: %d pairs of %d, lost %v", name, len(rec.Pairs), n, rec.LostPairs)
		}
		rec.Pairs = nil
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&after)
		size := (after.HeapAlloc - before.HeapAlloc) / n
		t.Logf("%s: %d bytes for each idle connection", name, size)
		if size > tt.max {
			t.Errorf("%s: %d bytes for each idle connection, want at most %d", name, size, tt.max)
		}
		runtime.KeepAlive(decoders)
	}
}
