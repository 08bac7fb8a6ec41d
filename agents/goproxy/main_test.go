package goproxy_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/broker"
	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/agents/goproxy"
	"github.com/speedscale/speedscale/traffic"
)

// TestMain is the binary too.
func TestMain(m *testing.M) {
	if os.Getenv("BE_GOPROXY") != "" {
		os.Exit(agent.Main("goproxy", goproxy.Main))
	}
	goleak.VerifyTestMain(m)
}

// forwarder takes batches as the real one does.
type forwarder struct {
	addr string
	mu   sync.Mutex
	got  []*traffic.Batch
}

func startForwarder(t *testing.T) *forwarder {
	t.Helper()
	s, err := broker.Start(broker.Options{Name: "forwarder", Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Connect(t.Context(), bus.ConnectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f := &forwarder{addr: s.Addr().String()}
	r, err := bus.Receive(bus.ReceiverOptions{Conn: c, Handle: func(_ context.Context, b *traffic.Batch) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.got = append(f.got, b)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		c.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s.Shutdown(ctx)
	})
	return f
}

// count says how many pairs came, how many producers said goodbye, and how many
// connections were lost for a reason.
func (f *forwarder) count(reason string) (pairs, goodbyes int, lost uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range f.got {
		pairs += len(b.Pairs)
		if b.Goodbye {
			goodbyes++
		}
		for _, l := range b.Losses {
			if l.Reason == reason {
				lost += l.Connections
			}
		}
	}
	return pairs, goodbyes, lost
}

// freePorts are ports that were free a moment ago.
func freePorts(t *testing.T, n int) []string {
	t.Helper()
	var out []string
	for range n {
		_, port, _ := net.SplitHostPort(deadAddr(t))
		out = append(out, port)
	}
	return out
}

// binary is the running agent.
type binary struct {
	*exec.Cmd
	in, health, metrics string
	exited              chan error
}

func startBinary(t *testing.T, app, forwarder string, env ...string) *binary {
	t.Helper()
	ports := freePorts(t, 3)
	host, port, _ := net.SplitHostPort(app)
	b := &binary{
		Cmd: exec.Command(os.Args[0]),
		in:  "http://127.0.0.1:" + ports[0], health: "http://127.0.0.1:" + ports[1], metrics: "http://127.0.0.1:" + ports[2],
		exited: make(chan error, 1),
	}
	b.Env = append(os.Environ(), "BE_GOPROXY=1", "PROXY_TYPE=reverse", "APP_LABEL=cart", "PROXY_BIND=127.0.0.1",
		"PROXY_IN_PORT="+ports[0], "HEALTH_HTTP_PORT="+ports[1], "METRICS_HTTP_PORT="+ports[2],
		"REVERSE_PROXY_HOST="+host, "REVERSE_PROXY_PORT="+port, "FORWARDER_ADDR="+forwarder, "DRAIN_TIMEOUT=5s")
	b.Env = append(b.Env, env...)
	b.Stderr = t.Output()
	b.WaitDelay = 100 * time.Millisecond // a relay without its supervisor drains first
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		b.exited <- b.Wait()
	}()
	t.Cleanup(func() {
		b.Process.Kill()
		<-gone
	})
	eventually(t, func() bool {
		res, err := http.Get(b.health + "/readyz")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == 200
	}, "the binary is not ready")
	return b
}

// relay is the process id of the relay process.
func (b *binary) relay(t *testing.T) int {
	t.Helper()
	var pid int
	eventually(t, func() bool {
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", b.Process.Pid)) // by thread
		if len(lists) == 0 {
			t.Skip("SKIPPED: the children of a process are not to be had here")
		}
		var all []string
		for _, l := range lists {
			children, _ := os.ReadFile(l)
			all = append(all, strings.Fields(string(children))...)
		}
		if len(all) != 1 {
			return false
		}
		var err error
		pid, err = strconv.Atoi(all[0])
		return err == nil
	}, "the relay has no process")
	return pid
}

// request answers what a new connection gets.
func request(url string) (string, error) {
	tr := &http.Transport{DisableKeepAlives: true}
	res, err := (&http.Client{Transport: tr, Timeout: 5 * time.Second}).Get(url)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

// TestBinaryStartsWithoutItsTLSFiles: an app must not wait for a Secret that is not there.
func TestBinaryStartsWithoutItsTLSFiles(t *testing.T) {
	app, f := tlsServer(t), startForwarder(t)
	missing := filepath.Join(t.TempDir(), "missing")
	b := startBinary(t, app.Listener.Addr().String(), f.addr, "TLS_IN_UNWRAP=true", "TLS_IN_PUBLIC_KEY="+missing, "TLS_IN_PRIVATE_KEY="+missing)
	tr := app.Client().Transport.(*http.Transport).Clone()
	defer tr.CloseIdleConnections()
	if got := get(t, &http.Client{Transport: tr}, strings.Replace(b.in, "http", "https", 1)+"/x"); !strings.HasSuffix(got, " /x") {
		t.Errorf("got %q", got)
	}
	if text, _ := request(b.metrics + "/metrics"); !strings.Contains(text, `reason="unusable_file"} 1`) {
		t.Errorf("metrics do not count the connection:\n%s", text)
	}
}

func TestBinaryCapturesSurvivesAndSaysGoodbye(t *testing.T) {
	app, f := echo(t), startForwarder(t)
	b := startBinary(t, app.Listener.Addr().String(), f.addr)
	if _, err := request(b.in + "/1"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { n, _, _ := f.count(""); return n == 1 }, "the pair did not arrive")

	best := time.Hour
	for deaths := range 3 {
		syscall.Kill(b.relay(t), syscall.SIGKILL)
		start := time.Now()
		for {
			if _, err := request(b.in + "/again"); err == nil {
				break
			}
			if time.Since(start) > 5*time.Second {
				t.Fatal("the relay is not back")
			}
		}
		took := time.Since(start)
		t.Logf("death %d: back after %v", deaths+1, took)
		best = min(best, took)
	}
	// A timing is no gate where the race detector or a busy machine slows the
	// start of a process; make bench has the figure.
	if limit := 100 * time.Millisecond; best > limit {
		t.Logf("the quickest restart took %v, want at most %v on a quiet machine", best, limit)
	}

	// After three deaths it relays without capture, and says so everywhere.
	before, _, _ := f.count("")
	if _, err := request(b.in + "/uncaptured"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { _, _, n := f.count(traffic.ReasonDisabled); return n > 0 }, "the loss is not counted")
	if after, _, _ := f.count(""); after != before {
		t.Error("a pair was captured all the same")
	}
	if text, _ := request(b.health + "/healthz"); !strings.Contains(text, "without capture") {
		t.Errorf("health says %q", text)
	}
	text, _ := request(b.metrics + "/metrics")
	for _, want := range []string{"speedscale_goproxy_capture_disabled 1", "speedscale_goproxy_restarts_total 3"} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics lack %q", want)
		}
	}

	b.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-b.exited:
		if err != nil {
			t.Errorf("exit: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it did not end on SIGTERM")
	}
	if _, n, _ := f.count(""); n != 1 {
		t.Errorf("%d goodbyes, want that of the last relay", n)
	}
}

// TestBinaryDrainsToTheEndWhereSocketsDoNotTell: in a node's network an app that was idle
// for longer than drainQuiet after SIGTERM still comes through.
func TestBinaryDrainsToTheEndWhereSocketsDoNotTell(t *testing.T) {
	app, f := echo(t), startForwarder(t)
	b := startBinary(t, app.Listener.Addr().String(), f.addr, "DRAIN_WHOLE=true", "DRAIN_TIMEOUT=4s")
	b.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-b.exited:
		t.Fatalf("it ended before the app: %v", err)
	case <-time.After(2 * time.Second): // of another process, whose clock is the real one
	}
	if _, err := request(b.in + "/late"); err != nil {
		t.Errorf("a late request: %v", err)
	}
	select {
	case err := <-b.exited:
		if err != nil {
			t.Errorf("exit: %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("it did not end with its drain time-out")
	}
}

// TestBinaryInAReplayCounts: no pair leaves the pod, and the forwarder hears where
// requests came from.
func TestBinaryInAReplayCounts(t *testing.T) {
	app, f := echo(t), startForwarder(t)
	b := startBinary(t, app.Listener.Addr().String(), f.addr, "REPLAY_ID=r1", "MASK_IN=sidecar")
	for range 3 {
		if _, err := request(b.in + "/orders"); err != nil {
			t.Fatal(err)
		}
	}
	b.Process.Signal(syscall.SIGTERM)
	if err := <-b.exited; err != nil {
		t.Errorf("it ended with %v", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	seen := uint64(0)
	for _, batch := range f.got {
		if len(batch.Pairs) > 0 {
			t.Errorf("a pair of a replay was published: %v", batch.Pairs[0])
		}
		for _, l := range batch.Losses {
			if l.Reason != traffic.ReasonReplay || l.Replay != "r1" || l.Source != "127.0.0.1" || l.Direction != traffic.Direction_DIRECTION_IN {
				t.Errorf("loss %v", l)
			}
			seen += l.Pairs
		}
	}
	if seen != 3 {
		t.Errorf("%d requests were counted, want 3", seen)
	}
}

func TestBinaryWithoutForwarderRelays(t *testing.T) {
	app := echo(t)
	b := startBinary(t, app.Listener.Addr().String(), deadAddr(t))
	for i := range 50 {
		if got, err := request(fmt.Sprintf("%s/%d", b.in, i)); err != nil || !strings.HasPrefix(got, "GET /") {
			t.Fatalf("%q, %v", got, err)
		}
	}
	// What nobody takes does not keep it beyond the time that it has: it ends by itself.
	b.Process.Signal(syscall.SIGTERM)
	if err := <-b.exited; err != nil {
		t.Errorf("it ended with %v", err)
	}
}
