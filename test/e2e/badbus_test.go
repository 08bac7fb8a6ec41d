package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/speedscale/speedscale/agents/bus"
)

// TestBadInputBus throws garbage at the ports of forwarder and cloud, with and
// without a token: they answer whoever comes next, and count what they could not read.
func TestBadInputBus(t *testing.T) {
	busAddr, _ := freeAddr(t)
	d := deployCloud(t, t.TempDir(), "-bus-listen", busAddr)
	d.deployForwarder()
	for _, addr := range []string{d.forwarderAddr, busAddr, d.cloud.addr, d.forwarderHealth, d.forwarderMetrics} {
		throwAll(t, addr)
	}
	// Who may publish may still publish nonsense.
	for _, target := range []struct{ addr, token, subject string }{
		{d.forwarderAddr, d.token, bus.RawPairs + "mallory"}, {busAddr, d.key, bus.IngestPairs + "mallory"},
	} {
		conn, err := bus.Connect(t.Context(), bus.ConnectOptions{URLs: []string{"nats://" + target.addr}, Token: target.token})
		if err != nil {
			t.Fatal(err)
		}
		d.eventually("the bus does not let a client in", conn.IsConnected)
		for _, b := range [][]byte{nil, []byte("nonsense"), bytes.Repeat([]byte{0xff}, 1<<20), {0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f}} {
			m, err := conn.Request(target.subject, b, 10*time.Second)
			if err != nil {
				t.Errorf("%s on %s: %v", firstLine(b), target.subject, err)
			} else if target.addr == d.forwarderAddr && m.Header.Get(bus.HeaderError) == "" {
				t.Errorf("the forwarder acknowledged %d bytes of nonsense", len(b))
			}
		}
		if err := conn.Publish(target.subject, make([]byte, 64<<20)); !errors.Is(err, nats.ErrMaxPayload) {
			t.Errorf("64 MiB: %v", err)
		}
		conn.Close()
	}
	malformed := func() bool {
		n, ok := metric(d.cloud.addr, "speedscale_cloud_ingest_malformed_total")
		return ok && n >= 4
	}
	d.flush()
	d.eventually("the cloud does not count what it cannot read", malformed)
	if n, ok := metric(d.forwarderMetrics, "speedscale_forwarder_batches_refused_total"); !ok || n < 4 {
		t.Errorf("the forwarder counts %v refused batches", n)
	}
	memory := func(most int) {
		for _, s := range []*service{d.cloud, d.forwarder} {
			peak := peakMemory(t, s.current().cmd.Process.Pid)
			t.Logf("%s had at most %d MiB", s.name, peak)
			if peak > most {
				t.Errorf("%s had %d MiB, want at most %d", s.name, peak, most)
			}
		}
	}
	memory(mostMemory)
	badCalls(t, d)
	memory(mostMemory)

	// What is well still goes all the way.
	d.deployProxy(startNginx(t), d.forwarderAddr)
	c, err := net.Dial("tcp", d.in)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := exchange(c, bufio.NewReader(c), "/well"); err != nil {
		t.Error(err)
	}
	c.Close()
	d.proxy.stop()
	d.drainForwarder()
	if r := d.flush(); r.Pairs != 1 {
		t.Errorf("the archive has %d pairs, want 1", r.Pairs)
	}
}

// badCalls makes calls of the API that are wrong in all ways.
func badCalls(t *testing.T, d *deployment) {
	t.Helper()
	const search = "/speedscale.cloud.v1.TrafficService/Ingest"
	for _, call := range []struct {
		what, path, key, kind string
		body                  io.Reader
		codes                 []int
	}{
		{"no key", search, "", "application/json", strings.NewReader("{}"), []int{401}},
		{"unknown key", search, "nobody", "application/json", strings.NewReader("{}"), []int{401}},
		{"no JSON", search, d.key, "application/json", strings.NewReader("{{{"), []int{400}},
		{"unknown field", search, d.key, "application/json", strings.NewReader(`{"nothing":1}`), []int{200, 400}},
		{"no protobuf", search, d.key, "application/proto", strings.NewReader("\xff\xff\xff"), []int{400}},
		{"unknown type", search, d.key, "text/html", strings.NewReader("<p>"), []int{415}},
		{"unknown call", search + "Nothing", d.key, "application/json", strings.NewReader("{}"), []int{404}},
		{"100 MB", search, d.key, "application/json", io.LimitReader(zeros{}, 100<<20), []int{400, 413, 429}},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.cloudURL+call.path, call.body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", call.kind)
		if call.key != "" {
			req.Header.Set("Authorization", "Bearer "+call.key)
		}
		res, err := client(t).Do(req)
		if err != nil {
			// The server may end a body that is too large before it has all of it.
			if call.what != "100 MB" {
				t.Errorf("%s: %v", call.what, err)
			}
			continue
		}
		res.Body.Close()
		ok := false
		for _, c := range call.codes {
			ok = ok || c == res.StatusCode
		}
		if !ok {
			t.Errorf("%s: the API answers %d, want one of %d", call.what, res.StatusCode, call.codes)
		}
	}
}

// TestBadInputMock throws garbage at a responder with a snapshot of which a line is
// broken: the line is named, and the rest is answered for.
func TestBadInputMock(t *testing.T) {
	addr := startNginx(t)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	lport, lportNumber := freeAddr(t)
	u := newUser(t)
	var script strings.Builder
	for i := range 3 {
		fmt.Fprintf(&script, "curl -sS --fail http://%s/r/%d\n", lport, i)
	}
	captured := u.run("capture", "client", "--out-port", "0", "--reverse-proxy", lportNumber+"=127.0.0.1:"+port, "--", "sh", "-ec", script.String())
	if captured.code != 0 || !strings.Contains(captured.stderr, "3 outbound") {
		t.Fatalf("capture ended with %d\n%s%s", captured.code, captured.stdout, captured.stderr)
	}
	u.must("create", "snapshot", "--name", "broken")
	dir := u.must("pull", "snapshot", "broken")
	file := filepath.Join(dir, "reaction.jsonl")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(b, []byte("\n"))
	lines[1] = append(lines[1][:len(lines[1])/2:len(lines[1])/2], '\n')
	if err := os.WriteFile(file, bytes.Join(lines, nil), 0o600); err != nil {
		t.Fatal(err)
	}

	health, healthPort := freeAddr(t)
	listen, _ := freeAddr(t)
	responder := &service{t: t, name: "responder", addr: listen, env: []string{
		"SNAPSHOT_DIR=" + dir, "RESPONDER_LISTEN=" + listen, "HEALTH_HTTP_PORT=" + healthPort, "METRICS_HTTP_ENABLE=false",
	}}
	responder.start()
	if want := "reaction.jsonl:2"; !strings.Contains(responder.printed(), want) {
		t.Errorf("the responder does not name %q:\n%s", want, responder.printed())
	}
	throwAll(t, listen)
	throwAll(t, health)
	for path, want := range map[string]int{"/r/0": 200, "/r/1": 404, "/r/2": 200} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+listen+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = lport // by which the app knew it
		res, err := client(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != want {
			t.Errorf("%s: %d, want %d: %s %v", path, res.StatusCode, want, body, err)
		}
	}
	peak := peakMemory(t, responder.current().cmd.Process.Pid)
	t.Logf("the responder had at most %d MiB", peak)
	if peak > mostMemory {
		t.Errorf("the responder had %d MiB, want at most %d", peak, mostMemory)
	}
	responder.stop()
}
