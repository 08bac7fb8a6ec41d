package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/speedscale/speedscale/agents/agent"
)

// TestMain is an agent too, which does what its argument says.
func TestMain(m *testing.M) {
	if os.Getenv("BE_AGENT") == "" {
		os.Exit(m.Run())
	}
	os.Exit(agent.Main("test", func(ctx context.Context, env *agent.Env) error {
		env.Vars.Port("PORT", 1)
		if err := env.Vars.Err(); err != nil {
			return err
		}
		switch env.Args[0] {
		case "fail":
			return errors.New("it failed")
		case "wait":
			os.Stdout.WriteString("ready\n")
			<-ctx.Done()
			return context.Cause(ctx)
		}
		return nil
	}))
}

func TestExitCodes(t *testing.T) {
	for _, tt := range []struct {
		arg, port, log string
		code           int
	}{
		{"end", "", "", agent.ExitOK},
		{"fail", "", "it failed", agent.ExitError},
		{"end", "x", `PORT=\"x\"`, agent.ExitSettings},
	} {
		cmd := exec.Command(os.Args[0], tt.arg)
		cmd.Env = append(os.Environ(), "BE_AGENT=1", "PORT="+tt.port)
		var log bytes.Buffer
		cmd.Stderr = &log
		cmd.Run()
		if code := cmd.ProcessState.ExitCode(); code != tt.code || !strings.Contains(log.String(), tt.log) {
			t.Errorf("%s with port %q: exit code %d, want %d; log %s", tt.arg, tt.port, code, tt.code, &log)
		}
	}
}

func TestSignalEndsInOrder(t *testing.T) {
	cmd := exec.Command(os.Args[0], "wait")
	cmd.Env = append(os.Environ(), "BE_AGENT=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	io.ReadFull(out, make([]byte, len("ready\n")))
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestVars(t *testing.T) {
	env := map[string]string{
		"S": " x ", "B": "true", "D": "5m", "N": "64Ki", "L": "a, b,,c", "P": "k=v,k2=v2=x", "A": "host:80",
		"bad bool": "yes!", "bad int": "7", "bad size": "9999999Gi", "bad pair": "x", "bad address": "host", "bad choice": "z", "bad duration": "-1s",
	}
	v := agent.NewVars(func(name string) string { return env[name] })
	got := []any{
		v.String("S", "d"), v.String("none", "d"), v.Bool("B", false), v.Duration("D", 0), v.Bytes("N", 0, 1, 1<<20),
		v.List("L"), v.Pairs("P"), v.Address("A", ""), v.Address("none", "d:1"), v.Int("none", 3, 0, 5), v.Choice("none", "a", "a", "b"),
	}
	want := []any{
		"x", "d", true, 5 * time.Minute, int64(64 << 10),
		[]string{"a", "b", "c"}, map[string]string{"k": "v", "k2": "v2=x"}, "host:80", "d:1", int64(3), "a",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if err := v.Err(); err != nil {
		t.Errorf("good values give %v", err)
	}
	v.Bool("bad bool", false)
	v.Int("bad int", 1, 0, 5)
	v.Bytes("bad size", 1, 0, 1<<30)
	v.Pairs("bad pair")
	v.Address("bad address", "")
	v.Choice("bad choice", "a", "a")
	v.Duration("bad duration", 0)
	v.Missing("gone", "it is needed")
	err := v.Err()
	if err == nil {
		t.Fatal("no error")
	}
	for name := range env {
		if strings.HasPrefix(name, "bad") != strings.Contains(err.Error(), name) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if !strings.Contains(err.Error(), "gone is not set") {
		t.Error(err)
	}
}

func TestPrefixes(t *testing.T) {
	for text, want := range map[string]string{
		"": "[]", "10.1.2.3/8, ::ffff:1.2.3.4,1.2.3.4,fd00::1": "[10.0.0.0/8 1.2.3.4/32 fd00::1/128]", "*,10.0.0.0/8": "[0.0.0.0/0 ::/0 10.0.0.0/8]",
		"10.0.0": "RANGES", "10.0.0.0/33": "RANGES", "::ffff:10.0.0.0/104": "RANGES",
	} {
		v := agent.NewVars(func(string) string { return text })
		got := fmt.Sprint(v.Prefixes("RANGES"))
		if err := v.Err(); err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestLoggerWritesJSONAtItsLevel(t *testing.T) {
	var b bytes.Buffer
	l := agent.Logger(&b, "goproxy", slog.LevelInfo)
	l.Debug("no")
	l.Info("yes", "for", time.Second)
	var line map[string]any
	if err := json.Unmarshal(b.Bytes(), &line); err != nil || line["msg"] != "yes" || line["agent"] != "goproxy" {
		t.Errorf("%q, %v", &b, err)
	}
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- agent.Serve(ctx, l, h) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "http://" + l.Addr().String()
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

func TestHealth(t *testing.T) {
	var wrong error
	url := serve(t, agent.Health(agent.Checks{
		Ready: func() error { return wrong }, Note: func() string { return "a note" },
	}))
	if code, text := get(t, url+"/healthz"); code != 200 || text != "ok: a note\n" {
		t.Errorf("%d %q", code, text)
	}
	wrong = errors.New("draining")
	if code, text := get(t, url+"/readyz"); code != 503 || text != "draining\n" {
		t.Errorf("%d %q", code, text)
	}
	if code, _ := get(t, url+"/other"); code != 404 {
		t.Errorf("status of another path is %d", code)
	}
}

func TestMetrics(t *testing.T) {
	r := prometheus.NewRegistry()
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "seen_total", Help: "Seen."}, func() float64 { return 7 }))
	if code, text := get(t, serve(t, agent.Metrics(r))+"/metrics"); code != 200 || !strings.Contains(text, "seen_total 7") {
		t.Errorf("%d %q", code, text)
	}
}
