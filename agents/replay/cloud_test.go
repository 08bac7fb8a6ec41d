package replay_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/uuid"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/generator"
	"github.com/speedscale/speedscale/agents/replay"
	"github.com/speedscale/speedscale/agents/responder"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/server"
	"github.com/speedscale/speedscale/test/privateca"
	"github.com/speedscale/speedscale/traffic/mask"
	"github.com/speedscale/speedscale/traffic/report"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

// TestBinariesInACluster runs a responder and two generators that share a replay,
// each with the replay's token only, and has the cloud make one report of them.
func TestBinariesInACluster(t *testing.T) {
	c := newCloud(t)
	dir, _ := newSnapshot(t, 20, c.key(t))
	r := c.start(t, c.upload(t, dir), `{"id":"fast","generator":{"stages":[{"arrivals":{"recordedMultiple":50}}]}}`)
	listen := "127.0.0.1:" + port(t)
	stop := respond(t, r.pod(t, "responder", map[string]string{"RESPONDER_LISTEN": listen, "SNAPSHOT_KEYS": "shop:api.test:80"}))
	var generators sync.WaitGroup
	for i := range 2 {
		generators.Go(func() {
			err := generator.Main(t.Context(), env(r.pod(t, fmt.Sprintf("generator-%d", i), map[string]string{
				"REPLAY_TARGETS": "shop:api.test:80=http://" + listen, "SNAPSHOT_KEYS": "*",
				"GENERATOR_INDEX": fmt.Sprint(i), "GENERATOR_COUNT": "2",
			})))
			if err != nil {
				t.Errorf("generator %d: %v", i, err)
			}
		})
	}
	generators.Wait()
	stop()
	got, events := r.end(t)
	if got.Status != report.Passed || got.Requests != (report.Requests{Sent: 20, Passed: 20}) || got.Latency.Sent.Count != 20 {
		t.Errorf("report is %q (%s) with %+v", got.Status, got.Error, got.Requests)
	}
	if got.Mocks == nil || got.Mocks.Matched != 20 || got.Mocks.Requests != 20 {
		t.Errorf("mocks are %+v", got.Mocks)
	}
	if len(got.Warnings) > 0 && !strings.Contains(got.Warnings[0], "late") {
		t.Errorf("warnings %q", got.Warnings)
	}
	last := map[string]*cloudv1.ReplayEvent{}
	for _, e := range events {
		last[e.GetSource()] = e
	}
	sent, total := int64(0), int64(0)
	for _, name := range []string{"generator-0", "generator-1"} {
		p := last[name].GetProgress()
		if p.GetSent() == 0 || p.GetSent() != p.GetTotal() || p.GetPassed() != p.GetSent() {
			t.Errorf("%s ended with %v", name, p)
		}
		sent, total = sent+p.GetSent(), total+p.GetTotal()
	}
	if sent != 20 || total != 20 {
		t.Errorf("the generators sent %d of %d, want 20", sent, total)
	}
	if m := last["responder"].GetMocks(); m.GetRequests() != 20 || m.GetMatched() != 20 {
		t.Errorf("the responder ended with %v", m)
	}
}

// TestPartsOfOneComponent: those that a process names itself stand beside those of the process before.
func TestPartsOfOneComponent(t *testing.T) {
	c := newCloud(t)
	dir, _ := newSnapshot(t, 1, c.key(t))
	r := c.start(t, c.upload(t, dir), `{"id":"x"}`)
	m, err := (&replay.Cloud{URL: c.url, Token: r.env["SPEEDSCALE_API_KEY"], ReplayID: r.id, Component: "collector"}).Join(
		replay.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, p := range []report.Part{
		{Name: "collector-1", Warnings: []string{"replaced"}}, {Name: "collector-1", Warnings: []string{"one"}},
		{Name: "collector-2", Warnings: []string{"two"}}, {Warnings: []string{"unnamed"}},
	} {
		p.Version = report.PartVersion
		if err := m.PutPart(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	got, _ := r.end(t)
	if text := strings.Join(got.Warnings, " "); text != "one two unnamed" {
		t.Errorf("the report's warnings are %q", text)
	}
}

// TestResponderGivesItsPartWhileItRuns: the replay is ended before its responder is,
// and the report has what that answered, with the misses.
func TestResponderGivesItsPartWhileItRuns(t *testing.T) {
	c := newCloud(t)
	dir, _ := newSnapshot(t, 3, c.key(t))
	way := newWay(t, c)
	r := c.start(t, c.upload(t, dir), `{"id":"x"}`)
	r.env["SPEEDSCALE_APP_URL"] = way.URL
	listen := "127.0.0.1:" + port(t)
	stop := respond(t, r.pod(t, "responder", map[string]string{"RESPONDER_LISTEN": listen}))
	for _, path := range []string{"/items/1?access_token=" + secret, "/items/none?access_token=" + secret} {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://"+listen+path, nil)
		req.Host = "api.test"
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
	way.until(t, func(p *report.Part) bool { return p.Mocks.Requests == 2 })
	r.until(t, func(e *cloudv1.ReplayEvent) bool {
		return e.GetSource() == "responder" && e.GetMocks().GetMissed() == 1
	})
	got, _ := r.end(t)
	way.refuse(func(string) bool { return true }) // or the responder would say that its token is good no more
	http.DefaultClient.CloseIdleConnections()
	stop()
	m := got.Mocks
	if m == nil || m.Requests != 2 || m.Matched != 1 || m.Missed != 1 || len(m.Misses) != 1 || m.Misses[0].Nearest == "" {
		t.Errorf("mocks are %+v", m)
	}
	if text, _ := json.Marshal(got); strings.Contains(string(text), secret) {
		t.Errorf("the report has the secret: %s", text)
	}
}

// TestCloudIsAwayAtFirst: pods start while the cloud is away for a moment, and
// before they end.
func TestCloudIsAwayAtFirst(t *testing.T) {
	c := newCloud(t)
	dir, _ := newSnapshot(t, 4, c.key(t))
	way := newWay(t, c)
	r := c.start(t, c.upload(t, dir), `{"id":"x","generator":{"stages":[{"arrivals":{"recordedMultiple":100}}]}}`)
	r.env["SPEEDSCALE_APP_URL"] = way.URL
	seen := map[string]int{}
	way.refuse(func(call string) bool { // each call fails once
		seen[call]++
		return seen[call] == 1
	})
	app := newApp(t, func(int) string { return "kettle" })
	vars := r.pod(t, "generator-0", map[string]string{"REPLAY_TARGET": app})
	if err := generator.Main(t.Context(), env(vars)); err != nil {
		t.Fatal(err)
	}
	got, events := r.end(t)
	if got.Status != report.MissedGoals || got.Requests != (report.Requests{Sent: 4, Failed: 4}) {
		t.Errorf("report is %q (%s) with %+v", got.Status, got.Error, got.Requests)
	}
	failed := 0
	for _, e := range events {
		if f := e.GetFailed(); f != nil {
			var failure report.Failure
			if err := json.Unmarshal(f.GetFailure(), &failure); err != nil || f.GetMethod() != "GET" || f.GetPath() != "/items/{id}" || len(failure.Differences) == 0 {
				t.Errorf("failed pair %v is %+v, %v", f, failure, err)
			}
			failed++
		}
	}
	if failed != 4 {
		t.Errorf("%d events of failed requests, want 4", failed)
	}
	for _, call := range []string{"Get", "Download", "PutPart", "Publish"} {
		if seen[call] < 2 {
			t.Errorf("%s was called %d times: it was not tried again", call, seen[call])
		}
	}
	if _, err := os.Stat(filepath.Join(vars["SNAPSHOT_DIR"], r.env["SNAPSHOT_ID"], snapshot.MetaFile)); err != nil {
		t.Error(err)
	}
}

// TestCloudWithAPrivateCA: pods verify the cloud by the CA that they are given, and
// without it say what is missing.
func TestCloudWithAPrivateCA(t *testing.T) {
	ca := privateca.New(t, "127.0.0.1")
	c := openCloud(t, server.Options{TLS: ca.Server(t)}, ca.Roots(t))
	dir, _ := newSnapshot(t, 2, c.key(t))
	r := c.start(t, c.upload(t, dir), `{"id":"x","generator":{"stages":[{"arrivals":{"recordedMultiple":100}}]}}`)
	vars := r.pod(t, "generator-0", map[string]string{"REPLAY_TARGET": newApp(t, func(int) string { return "kettle" })})

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := generator.Main(ctx, env(vars)); err == nil || !strings.Contains(err.Error(), "SPEEDSCALE_APP_CA names a PEM file") {
		t.Errorf("without the CA: %v", err)
	}
	vars["SPEEDSCALE_APP_CA"] = ca.CA
	if err := generator.Main(t.Context(), env(vars)); err != nil {
		t.Fatal(err)
	}
	if got, _ := r.end(t); got.Requests.Sent != 2 {
		t.Errorf("report is %q (%s) with %+v", got.Status, got.Error, got.Requests)
	}
}

// TestReplayThatCannotBeRun: why not is in the report.
func TestReplayThatCannotBeRun(t *testing.T) {
	c := newCloud(t)
	dir, _ := newSnapshot(t, 2, c.key(t))
	id := c.upload(t, dir)
	for name, main := range map[string]func(context.Context, *agent.Env) error{"generator-0": generator.Main, "responder": responder.Main} {
		r := c.start(t, id, `{"id":"x"}`)
		err := main(t.Context(), env(r.pod(t, name, map[string]string{
			"SNAPSHOT_KEYS": "other:x:1", "REPLAY_TARGET": "http://127.0.0.1:1", "RESPONDER_LISTEN": "127.0.0.1:" + port(t),
		})))
		const want = `no slice key contains "other:x:1"`
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v, want %s", name, err, want)
		}
		if got, _ := r.end(t); got.Status != report.Error || !strings.Contains(got.Error, want) {
			t.Errorf("%s: report is %q, %s", name, got.Status, got.Error)
		}
		r = c.start(t, id, `{"id":"x"}`)
		err = main(t.Context(), env(r.pod(t, name, map[string]string{
			"SNAPSHOT_ID": uuid.NewString(), "REPLAY_TARGET": "http://127.0.0.1:1", "RESPONDER_LISTEN": "127.0.0.1:" + port(t),
		})))
		if err == nil || connect.CodeOf(err) != connect.CodePermissionDenied {
			t.Errorf("%s: another snapshot than the replay's: %v", name, err)
		}
		if got, _ := r.end(t); got.Status != report.Error || !strings.Contains(got.Error, "snapshot") {
			t.Errorf("%s: report is %q, %s", name, got.Status, got.Error)
		}
	}
}

// TestCanceledGenerator: what was sent until then is in the report, and the exit is
// no failure.
func TestCanceledGenerator(t *testing.T) {
	c := newCloud(t)
	dir, _ := newSnapshot(t, 2, c.key(t))
	r := c.start(t, c.upload(t, dir), `{"id":"x","generator":{"stages":[{"arrivals":{"rate":20},"duration":"1h"}]}}`)
	ctx, cancel := context.WithCancelCause(t.Context())
	app := newApp(t, func(n int) string {
		if n == 10 {
			cancel(errors.New("told so"))
		}
		return "{}"
	})
	if err := generator.Main(ctx, env(r.pod(t, "generator-0", map[string]string{"REPLAY_TARGET": app}))); err != nil {
		t.Errorf("error is %v", err)
	}
	if got, _ := r.end(t); got.Status != report.Canceled || !strings.Contains(got.Error, "told so") || got.Requests.Sent < 9 {
		t.Errorf("report is %q (%s) with %+v", got.Status, got.Error, got.Requests)
	}
}

// TestForeignSnapshot: of a snapshot that another cloud masked, no observed value that
// its rules hide goes to this cloud.
func TestForeignSnapshot(t *testing.T) {
	c := newCloud(t)
	dir, _ := newSnapshot(t, 2, mask.NewKey())
	r := c.start(t, c.upload(t, dir), `{"id":"x","generator":{"stages":[{"arrivals":{"recordedMultiple":100}}]}}`)
	app := newApp(t, func(int) string { return fmt.Sprintf(`{"id":"changed","token":%q}`, secret) })
	if err := generator.Main(t.Context(), env(r.pod(t, "generator-0", map[string]string{"REPLAY_TARGET": app}))); err != nil {
		t.Fatal(err)
	}
	got, events := r.end(t)
	if got.Requests.Failed != 2 || len(got.Failures) != 2 || len(got.Failures[0].Differences) != 1 || got.Failures[0].Differences[0].Location != "http.res.body.id" {
		t.Errorf("report is %q with %+v, failures %+v", got.Status, got.Requests, got.Failures)
	}
	if !slices.ContainsFunc(got.Warnings, func(w string) bool { return strings.Contains(w, "key is not at hand") }) {
		t.Errorf("warnings %q", got.Warnings)
	}
	text, _ := json.Marshal(got)
	if sent := fmt.Sprint(string(text), events); strings.Contains(sent, secret) {
		t.Errorf("the secret is in %s", sent)
	}
}
