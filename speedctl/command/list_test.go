package command_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/speedscale/speedscale/speedctl/command"
	"github.com/speedscale/speedscale/speedctl/term"
)

// screen takes what a command prints, and says when something is there.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// twoReplays serves a list of TrafficReplays that change.
type twoReplays struct {
	*apiServer
	mu    sync.Mutex
	phase string
}

func (r *twoReplays) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if !strings.HasSuffix(q.URL.Path, "/trafficreplays") {
		r.apiServer.ServeHTTP(w, q)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	item := `{"apiVersion": "speedscale.com/v1", "kind": "TrafficReplay", "metadata": {"name": %q, "namespace": "shop", "creationTimestamp": %q},
		"spec": {"snapshotID": "s", "testConfigID": "standard", "mode": %q}, "status": {"conditions": [{"type": "Ready", "status": "False", "message": %q}]}}`
	now := time.Now().UTC()
	fmt.Fprintf(w, `{"kind": "TrafficReplayList", "apiVersion": "speedscale.com/v1", "items": [`+item+`,`+item+`]}`,
		"young", now.Add(-time.Minute).Format(time.RFC3339), "full-replay", r.phase, "old", now.Add(-48*time.Hour).Format(time.RFC3339), "responder-only", "waits")
}

func startReplays(t *testing.T) (r *twoReplays, run func(ctx context.Context, out *screen, args ...string) (code int, said string)) {
	t.Helper()
	r = &twoReplays{apiServer: newAPIServer(t), phase: "starts"}
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	r.URL = s.URL
	file, home := r.kubeconfig(t), t.TempDir()
	return r, func(ctx context.Context, out *screen, args ...string) (int, string) {
		var said bytes.Buffer
		w := &term.World{In: strings.NewReader(""), Out: out, Err: &said, Getenv: func(name string) string { return map[string]string{"SPEEDSCALE_HOME": home}[name] }}
		code := command.Execute(ctx, w, append(args, "--kubeconfig", file))
		return code, said.String()
	}
}

func TestSortBy(t *testing.T) {
	_, run := startReplays(t)
	for by, first := range map[string]string{"age": "young", "name": "old", ".metadata.creationTimestamp": "old", "{.spec.mode}": "young"} {
		var out screen
		code, said := run(t.Context(), &out, "get", "replays", "-n", "shop", "-o", "name", "--sort-by", by)
		if code != 0 || !strings.HasPrefix(out.String(), first) {
			t.Errorf("by %s: exit code %d: %s%s", by, code, out.String(), said)
		}
	}
	var out screen
	if code, said := run(t.Context(), &out, "get", "replays", "--sort-by", "size"); code != 2 || !strings.Contains(said, `--sort-by "size": want a column (namespace, name,`) {
		t.Errorf("exit code %d: %s", code, said)
	}
}

func TestWatch(t *testing.T) {
	r, run := startReplays(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out screen
	ended := make(chan int, 1)
	go func() {
		code, _ := run(ctx, &out, "get", "replays", "-n", "shop", "--watch")
		ended <- code
	}()
	waitFor := func(text string) {
		for !strings.Contains(out.String(), text) && ctx.Err() == nil {
			time.Sleep(10 * time.Millisecond)
		}
	}
	waitFor("starts")
	r.mu.Lock()
	r.phase = "generates"
	r.mu.Unlock()
	waitFor("generates")
	cancel()
	if code := <-ended; code != term.ExitCanceled {
		t.Errorf("exit code %d", code)
	}
	got := out.String()
	if strings.Count(got, "old") != 1 || strings.Count(got, "young") != 2 {
		t.Errorf("what did not change is printed again, or what did is not:\n%s", got)
	}
	if code, said := run(t.Context(), &out, "get", "replays", "--watch", "-o", "json"); code != 2 || !strings.Contains(said, "--watch: want a table") {
		t.Errorf("exit code %d: %s", code, said)
	}
}
