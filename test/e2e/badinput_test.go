package e2e

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// garbage is what no client sends that is well: truncated, oversized, malformed and
// adversarial. Every listener gets all of it.
func garbage() map[string][]byte {
	noise := make([]byte, 64<<10)
	rand.Read(noise)
	megabyte := strings.Repeat("x", 1<<20)
	preface := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	settings := "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	headers := "\x00\x00\x01\x01\x00\x00\x00\x00\x01\x82" // HEADERS without END_HEADERS
	continuation := "\x00\x40\x00\x09\x00\x00\x00\x00\x01" + strings.Repeat("\x82", 16<<10)
	// A table entry of 3,000 bytes, referred to 10,000 times.
	bomb := "\x40\x01a\x7f\xb9\x16" + strings.Repeat("b", 3000) + strings.Repeat("\xbe", 10_000)
	return map[string][]byte{
		"nothing":              {},
		"noise":                noise,
		"zeros":                make([]byte, 64<<10),
		"no request line":      []byte("\r\n\r\n\r\n\r\n"),
		"half a request line":  []byte("GET /trunc"),
		"half a head":          []byte("GET / HTTP/1.1\r\nHost: a\r\nX-Cut: of"),
		"half a body":          []byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nshort"),
		"no such version":      []byte("GET / HTTP/9.9\r\nHost: a\r\n\r\n"),
		"field without colon":  []byte("GET / HTTP/1.1\r\nHost a\r\n\r\n"),
		"negative length":      []byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nabcde"),
		"two lengths":          []byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef"),
		"length and chunks":    []byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"),
		"enormous chunk":       []byte("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc"),
		"bad chunk":            []byte("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n"),
		"megabyte target":      []byte("GET /" + megabyte + " HTTP/1.1\r\nHost: a\r\n\r\n"),
		"megabyte field":       []byte("GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + megabyte + "\r\n\r\n"),
		"endless fields":       []byte("GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X-Many: 1\r\n", 100_000)),
		"half a hello":         []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03half"),
		"hello of noise":       append([]byte("\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03"), noise[:16<<10]...),
		"h2 half a frame":      []byte(preface + settings + "\x00\x40\x00\x01\x04\x00\x00\x00\x01half"),
		"h2 noise":             append([]byte(preface+settings), noise...),
		"h2 enormous frame":    []byte(preface + settings + "\xff\xff\xff\x00\x00\x00\x00\x00\x01" + megabyte),
		"h2 continuations":     []byte(preface + settings + headers + strings.Repeat(continuation, 64)),
		"h2 header bomb":       []byte(preface + settings + string([]byte{byte(len(bomb) >> 16), byte(len(bomb) >> 8), byte(len(bomb)), 1, 5, 0, 0, 0, 1}) + bomb),
		"connect to nothing":   []byte("CONNECT HTTP/1.1\r\n\r\n"),
		"connect to no port":   []byte("CONNECT host HTTP/1.1\r\nHost: host\r\n\r\n"),
		"connect to port 0":    []byte("CONNECT 127.0.0.1:0 HTTP/1.1\r\nHost: 127.0.0.1:0\r\n\r\n"),
		"connect, long":        []byte("CONNECT " + megabyte + ":443 HTTP/1.1\r\n\r\n"),
		"proxy a strange URL":  []byte("GET ftp://[::1 HTTP/1.1\r\nHost: a\r\n\r\n"),
		"socks 5, half":        []byte("\x05"),
		"socks 5, no method":   []byte("\x05\xff" + strings.Repeat("\x7f", 255)),
		"socks 5, bad command": []byte("\x05\x01\x00\x05\x09\x00\x01\x7f\x00\x00\x01\x00\x50"),
		"socks 5, bad address": []byte("\x05\x01\x00\x05\x01\x00\x7e\x7f\x00\x00\x01\x00\x50"),
		"socks 5, half a name": []byte("\x05\x01\x00\x05\x01\x00\x03\xffhalf"),
		"socks 4":              []byte("\x04\x01\x00\x50\x7f\x00\x00\x01\x00"),
		"nats, half a connect": []byte("CONNECT {\"verbose\":tr"),
		"nats, bad connect":    []byte("CONNECT {{{{\r\nPING\r\n"),
		"nats, unknown user":   []byte("CONNECT {\"auth_token\":\"nobody\"}\r\nPUB pairs.raw.x 3\r\nabc\r\n"),
		"nats, enormous":       []byte("PUB pairs.raw.x 99999999999999\r\n" + megabyte),
		"nats, endless line":   []byte("SUB " + megabyte),
		"proxy header, half":   []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xffhalf"),
	}
}

// throw sends bytes on a connection of its own, ends its side, and returns what
// came back. A peer may take as long to give up as it gives slow clients.
func throw(t *testing.T, addr, what string, b []byte) (answer []byte) {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Errorf("%s: nobody listens on %s any more: %v", what, addr, err)
		return nil
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(40 * time.Second))
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		c.Write(b) // it may be closed or reset meanwhile, as the peer likes
		c.(*net.TCPConn).CloseWrite()
	}()
	answer, err = io.ReadAll(io.LimitReader(c, 1<<20))
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		t.Errorf("%s: %s keeps the connection, after %q", what, addr, firstLine(answer))
	}
	c.Close()
	<-wrote
	return answer
}

func firstLine(b []byte) string {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	return strings.TrimSpace(string(line[:min(len(line), 200)]))
}

// throwAll throws everything, a few at a time.
func throwAll(t *testing.T, addr string) {
	t.Helper()
	var running sync.WaitGroup
	slots := make(chan struct{}, 4)
	for what, b := range garbage() {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			throw(t, addr, what, b)
		})
	}
	running.Wait()
}

// peakMemory is the most that a process has had resident, in MiB.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skipf("SKIPPED: memory of processes: %v", err)
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	f := strings.Fields(rest)
	if len(f) == 0 {
		t.Fatalf("process %d has ended", pid)
	}
	n, err := strconv.Atoi(f[0])
	if err != nil {
		t.Fatal(err)
	}
	return n >> 10
}

// mostMemory bounds a process that was built with the race detector, whose memory
// is several times that of one without, in MiB. What is sent to each would not fit
// if it were kept.
const mostMemory = 900

// TestBadInputProxy throws garbage at each listener of the proxy, and sends bodies
// of 100 MB both ways: what has an answer is answered as the app alone would, the
// same process lives on, within its memory, and what was lost is counted.
func TestBadInputProxy(t *testing.T) {
	dir := t.TempDir()
	d := deployCloud(t, dir)
	d.deployForwarder()
	app, port := freeAddr(t)
	launch(t, os.Environ(), bin("go-httpbin"), "-host", "127.0.0.1", "-port", port, "-max-body-size", "200000000").waitFor(app)
	out, outPort := freeAddr(t)
	d.deployProxy(app, d.forwarderAddr, "PROXY_TYPE=dual", "PROXY_OUT_PORT="+outPort)
	relay := d.relay()

	good := func(when string) {
		t.Helper()
		for _, args := range [][]string{
			{"http://" + d.in + "/get"},
			{"--noproxy", "", "--proxy", "http://" + out, "http://" + app + "/get"},
			{"--noproxy", "", "--proxytunnel", "--proxy", "http://" + out, "http://" + app + "/get"},
			{"--noproxy", "", "--socks5", out, "http://" + app + "/get"},
		} {
			if b, err := exec.CommandContext(t.Context(), "curl", append([]string{"-sS", "--fail", "-m", "20"}, args...)...).CombinedOutput(); err != nil {
				t.Errorf("%s: curl %v: %v\n%s", when, args, err, b)
			}
		}
	}
	need(t, "curl")
	good("before")
	for what, b := range garbage() {
		alone, relayed := throw(t, app, what, b), throw(t, d.in, what, b)
		// A reset may overtake the answer, on either way.
		if a, r := firstLine(alone), firstLine(relayed); a != r && len(alone) > 0 && len(relayed) > 0 {
			t.Errorf("%s: the app answers %q, and through the proxy %q", what, a, r)
		}
	}
	throwAll(t, out)
	good("after garbage")

	sink := startSink(t)
	bodies(t, out, sink, app, d.in)
	good("after large bodies")
	if now := d.relay(); now != relay || relay == 0 {
		t.Errorf("the relay died: it was process %d, and is %d\n%s", relay, now, tail(d.proxy.printed()))
	}
	peak := peakMemory(t, relay)
	t.Logf("the relay had at most %d MiB", peak)
	if peak > mostMemory {
		t.Errorf("the relay had %d MiB, want at most %d", peak, mostMemory)
	}
	for _, want := range []struct{ name, label string }{
		{"lost_connections_total", `direction="in"`}, {"lost_bytes_total", `direction="in"`},
		{"connections_refused_total", `reason="bad_request"`}, {"pairs_total", `direction="in"`}, {"pairs_total", `direction="out"`},
	} {
		if n, ok := metric(d.proxyMetrics, "speedscale_goproxy_"+want.name, want.label); !ok || n == 0 {
			t.Errorf("the proxy counts no %s with %s", want.name, want.label)
		}
	}
	d.drainProxy()
	d.proxy.stop()
	d.drainForwarder()
	if r := d.flush(); r.Pairs == 0 {
		t.Errorf("nothing is in the archive: %v", r)
	}
}

// startSink starts a server that reads all of each request's body, and answers how
// long it was.
func startSink(t *testing.T) (addr string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			t.Errorf("the body ended after %d bytes: %v", n, err)
		}
		fmt.Fprint(w, n)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// hundredMegabytes is more than the proxy may use for capture.
const hundredMegabytes = 100 << 20

// bodies sends bodies of 100 MB at the same time: by a proxy up to a sink and down
// from go-httpbin, and down from go-httpbin behind its reverse listener.
func bodies(t *testing.T, proxy, sink, httpbin, reverse string) {
	t.Helper()
	curl := func(body io.Reader, args ...string) {
		cmd := exec.CommandContext(t.Context(), "curl", append([]string{"-sS", "--fail", "-m", "100", "--noproxy", "", "-x", "http://" + proxy}, args...)...)
		cmd.Stdin = body
		if b, err := cmd.CombinedOutput(); err != nil || string(b) != strconv.Itoa(hundredMegabytes) {
			t.Errorf("curl %v: %v\n%s", args, err, b)
		}
	}
	var running sync.WaitGroup
	for range 2 {
		running.Go(func() {
			curl(io.LimitReader(zeros{}, hundredMegabytes), "-H", "Expect:", "-T", "-", "http://"+sink+"/")
		})
		running.Go(func() {
			curl(nil, "-o", "/dev/null", "-w", "%{size_download}", "http://"+httpbin+"/range/"+strconv.Itoa(hundredMegabytes))
		})
		running.Go(func() {
			curl(nil, "-x", "", "-o", "/dev/null", "-w", "%{size_download}", "http://"+reverse+"/range/"+strconv.Itoa(hundredMegabytes))
		})
	}
	running.Wait()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
