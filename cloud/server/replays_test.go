package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/replays"
	"github.com/speedscale/speedscale/cloud/server"
	"github.com/speedscale/speedscale/traffic/report"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

// watch returns the events of a replay until it has ended.
func (c *cloud) watch(ctx context.Context, id string, after uint64) ([]*cloudv1.ReplayEvent, error) {
	stream, err := c.replays.Watch(ctx, &cloudv1.WatchReplayRequest{Id: id, After: after})
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	var events []*cloudv1.ReplayEvent
	for stream.Receive() {
		events = append(events, stream.Msg())
	}
	return events, stream.Err()
}

// replay is one that was started, with a client that has its token.
type replay struct {
	id    string
	meta  *snapshot.Meta
	agent *cloud
}

func (c *cloud) startReplay(t testing.TB, snapshotID string) *replay {
	t.Helper()
	r := &replay{id: uuid.NewString()}
	r.restart(t, c, snapshotID, time.Now().Add(time.Hour))
	return r
}

func (r *replay) restart(t testing.TB, c *cloud, snapshotID string, expires time.Time) {
	t.Helper()
	res, err := c.replays.Start(t.Context(), &cloudv1.StartReplayRequest{
		Id: r.id, Name: "checkout-pr-42", Cluster: "c1", Namespace: "shop", SnapshotId: snapshotID, TestConfigId: "standard",
		BuildTag: "pr-42", Target: "Deployment/checkout", Expires: expires.Unix(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.meta, err = snapshot.ParseMeta(res.GetSnapshot()); err != nil {
		t.Fatal(err)
	}
	r.agent = client(c.URL(), res.GetToken())
	t.Cleanup(r.agent.web.CloseIdleConnections)
}

func logLine(text string) *cloudv1.ReplayEvent {
	return &cloudv1.ReplayEvent{Source: "collector", Event: &cloudv1.ReplayEvent_Log{Log: &cloudv1.LogLine{Pod: "p", Line: text}}}
}

func progress(sent int64) *cloudv1.ReplayEvent {
	return &cloudv1.ReplayEvent{Source: "generator-0", Event: &cloudv1.ReplayEvent_Progress{Progress: &cloudv1.ReplayProgress{Sent: sent}}}
}

func phase(name string) *cloudv1.ReplayEvent {
	return &cloudv1.ReplayEvent{Source: "operator", Event: &cloudv1.ReplayEvent_Phase{Phase: &cloudv1.ReplayPhase{Name: name}}}
}

func (c *cloud) publishEvents(t testing.TB, id string, events ...*cloudv1.ReplayEvent) error {
	t.Helper()
	return second(c.replays.Publish(t.Context(), &cloudv1.PublishRequest{ReplayId: id, Events: events}))
}

func (c *cloud) putPart(t testing.TB, id, name string, doc []byte) error {
	t.Helper()
	return second(c.replays.PutPart(t.Context(), &cloudv1.PutPartRequest{ReplayId: id, Name: name, Part: doc}))
}

// generated is the part of a generator whose requests all passed.
func generated(t testing.TB, requests int) []byte {
	t.Helper()
	b := report.NewBuilder(nil, report.Options{})
	p := newBatch("p", 1, 1).Pairs[0]
	for range requests {
		b.AddResult(report.Result{Recorded: p, Observed: p, At: time.Now(), Planned: time.Millisecond, Sent: time.Millisecond})
	}
	doc, err := json.Marshal(b.Part())
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// told writes events as lines: sequence, source and what they say.
func told(events []*cloudv1.ReplayEvent) []string {
	var lines []string
	for _, e := range events {
		line := fmt.Sprintf("%d %s ", e.GetSequence(), e.GetSource())
		switch {
		case e.GetPhase() != nil:
			line += "phase " + e.GetPhase().GetName()
		case e.GetProgress() != nil:
			line += fmt.Sprint("sent ", e.GetProgress().GetSent())
		case e.GetLog() != nil:
			line += e.GetLog().GetLine()
		case e.GetEnd() != nil:
			line += fmt.Sprintf("end %s %q report=%v dropped=%d", e.GetEnd().GetStatus(), e.GetEnd().GetError(), e.GetEnd().GetReport(), e.GetEnd().GetDropped())
		}
		lines = append(lines, line)
	}
	return lines
}

func (c *cloud) mustTell(t testing.TB, id string, after uint64, want ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	events, err := c.watch(ctx, id, after)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, told(events)); diff != "" {
		t.Errorf("events after %d: %s", after, diff)
	}
}

func TestReplayFromStartToReport(t *testing.T) {
	c, meta := withSnapshot(t, t.TempDir())
	r := c.startReplay(t, "latest")
	if r.meta.ID != meta.ID {
		t.Errorf("snapshot %q, want %q", r.meta.ID, meta.ID)
	}
	if files := r.agent.download(t, meta.ID); len(files) != 4 {
		t.Errorf("%d files", len(files))
	}
	live := make(chan []string, 1)
	go func() {
		events, err := c.watch(t.Context(), r.id, 0)
		if err != nil {
			t.Error(err)
		}
		live <- told(events)
	}()
	for i, err := range []error{
		c.publishEvents(t, r.id, phase("prepare"), phase("responder")),
		r.agent.publishEvents(t, r.id, progress(10), logLine("hello")),
		r.agent.putPart(t, r.id, "generator-0", generated(t, 1)),
		r.agent.putPart(t, r.id, "generator-0", generated(t, 30)),
		r.agent.putPart(t, r.id, "generator-1", generated(t, 12)),
	} {
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
	ended, err := c.replays.End(t.Context(), &cloudv1.EndReplayRequest{Id: r.id})
	if err != nil {
		t.Fatal(err)
	}
	var made report.Report
	if err := json.Unmarshal(ended.GetReport(), &made); err != nil {
		t.Fatal(err)
	}
	if made.ID != r.id || made.Status != report.Passed || made.Requests.Sent != 42 || made.Snapshot.ID != meta.ID || made.Latency.Sent.Count != 42 ||
		made.BuildTag != "pr-42" || made.Name != "checkout-pr-42" || made.Target != "Deployment/checkout" || made.Tags["namespace"] != "shop" {
		t.Errorf("report: %+v", made)
	}
	want := []string{"1 operator phase prepare", "2 operator phase responder", "3 generator-0 sent 10", "4 collector hello", `5 cloud end Passed "" report=true dropped=0`}
	select {
	case got := <-live:
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("live: %s", diff)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("who watches is not told that the replay has ended")
	}
	c.mustTell(t, r.id, 0, want...)
	c.mustTell(t, r.id, 3, want[3:]...)
	c.mustTell(t, r.id, 5, want[4:]...)
	got, err := c.reports.Get(t.Context(), &cloudv1.GetReportRequest{Id: r.id})
	if err != nil || string(got.GetReport()) != string(ended.GetReport()) {
		t.Errorf("the report that is kept: %v", err)
	}
	list, err := c.reports.List(t.Context(), &cloudv1.ListReportsRequest{})
	if err != nil || len(list.GetReports()) != 1 || strings.Contains(string(list.GetReports()[0]), `"endpoints"`) {
		t.Errorf("the reports that are kept: %v", err)
	}
	again, err := c.replays.End(t.Context(), &cloudv1.EndReplayRequest{Id: r.id, Error: "too late"})
	if err != nil || string(again.GetReport()) != string(ended.GetReport()) {
		t.Errorf("ended again: %v", err)
	}
	c.mustTell(t, r.id, 4, want[4:]...)
	// Nothing can be added, and the token opens nothing any more.
	for name, err := range map[string]error{
		"publish": c.publishEvents(t, r.id, progress(11)),
		"part":    c.putPart(t, r.id, "generator-0", generated(t, 1)),
		"start": second(c.replays.Start(t.Context(), &cloudv1.StartReplayRequest{
			Id: r.id, SnapshotId: meta.ID, TestConfigId: "standard", Expires: time.Now().Add(time.Hour).Unix()})),
	} {
		if code(err) != connect.CodeFailedPrecondition {
			t.Errorf("%s after the end: %v", name, err)
		}
	}
	if err := r.agent.publishEvents(t, r.id, progress(11)); code(err) != connect.CodeUnauthenticated {
		t.Errorf("the token after the end: %v", err)
	}
}

func TestHowReplaysEnd(t *testing.T) {
	c, meta := withSnapshot(t, t.TempDir())
	for name, e := range map[string]struct {
		end   *cloudv1.EndReplayRequest
		parts map[string][]byte
		want  string
	}{
		"nothing was sent": {&cloudv1.EndReplayRequest{}, nil, `1 cloud end Error "no agent of the replay handed in its part of the report" report=true dropped=0`},
		"canceled":         {&cloudv1.EndReplayRequest{Canceled: "by ann"}, map[string][]byte{"generator-0": generated(t, 3)}, `1 cloud end Canceled "by ann" report=true dropped=0`},
		"failed":           {&cloudv1.EndReplayRequest{Error: "no pod is ready"}, nil, `1 cloud end Error "no pod is ready" report=true dropped=0`},
		"discarded":        {&cloudv1.EndReplayRequest{Discard: true}, map[string][]byte{"responder": generated(t, 0)}, `1 cloud end Passed "" report=false dropped=0`},
	} {
		t.Run(name, func(t *testing.T) {
			r := c.startReplay(t, meta.ID)
			for part, doc := range e.parts {
				if err := r.agent.putPart(t, r.id, part, doc); err != nil {
					t.Fatal(err)
				}
			}
			e.end.Id = r.id
			res, err := c.replays.End(t.Context(), e.end)
			if err != nil || len(res.GetReport()) == 0 != e.end.GetDiscard() {
				t.Errorf("report of %d bytes, %v", len(res.GetReport()), err)
			}
			c.mustTell(t, r.id, 0, e.want)
		})
	}
}

// A replay whose operator is gone ends when its token does.
func TestReplayThatNobodyEnds(t *testing.T) {
	c, meta := withSnapshot(t, t.TempDir())
	r := c.startReplay(t, meta.ID)
	first := r.agent
	if err := first.putPart(t, r.id, "generator-0", generated(t, 7)); err != nil {
		t.Fatal(err)
	}
	expires := time.Now().Add(2 * time.Second).Truncate(time.Second)
	r.restart(t, c, meta.ID, expires)
	if err := first.publishEvents(t, r.id, progress(1)); code(err) != connect.CodeUnauthenticated {
		t.Errorf("the token before the one that is good: %v", err)
	}
	c.mustTell(t, r.id, 0, fmt.Sprintf(`1 cloud end Error "nobody ended the replay before its token expired at %s; the operator that ran it may be gone" report=true dropped=0`,
		expires.UTC().Format(time.RFC3339)))
	res, err := c.reports.Get(t.Context(), &cloudv1.GetReportRequest{Id: r.id})
	if err != nil || !strings.Contains(string(res.GetReport()), `"sent":7`) {
		t.Errorf("report %s, %v", res.GetReport(), err)
	}
	if err := r.agent.publishEvents(t, r.id, progress(1)); code(err) != connect.CodeUnauthenticated {
		t.Errorf("the token that expired: %v", err)
	}
}

func TestEventsBeyondTheBoundAreCounted(t *testing.T) {
	dir := t.TempDir()
	c, meta := withSnapshot(t, dir)
	key := c.key
	c.stop()
	o := server.Options{DataDir: dir, Replays: replays.Limits{Events: 4, Parts: 2, PartBytes: 2000}}
	c = start(t, o, key)
	r := c.startReplay(t, meta.ID)
	if err := r.agent.publishEvents(t, r.id, logLine("1"), logLine("2"), logLine("3")); err != nil {
		t.Fatal(err)
	}
	if err := r.agent.publishEvents(t, r.id, logLine("4"), logLine("5"), progress(6)); err != nil {
		t.Fatal(err)
	}
	for _, part := range []struct {
		name string
		size int
		want connect.Code
	}{{"a", 100, 0}, {"b", 3000, connect.CodeResourceExhausted}, {"b", 100, 0}, {"c", 100, connect.CodeResourceExhausted}, {"b", 200, 0}} {
		doc := `{"version":1,"timeline":{"interval":1},"name":"` + strings.Repeat("x", part.size) + `"}`
		if err := r.agent.putPart(t, r.id, part.name, []byte(doc)); code(err) != part.want {
			t.Errorf("part %q of %d bytes: %v", part.name, part.size, err)
		}
	}
	// A restart forgets nothing of it.
	c.stop()
	c = start(t, o, key)
	r.restart(t, c, meta.ID, time.Now().Add(time.Hour))
	for range 5 {
		if err := r.agent.publishEvents(t, r.id, progress(7), logLine("8")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.replays.End(t.Context(), &cloudv1.EndReplayRequest{Id: r.id, Discard: true}); err != nil {
		t.Fatal(err)
	}
	c.mustTell(t, r.id, 0, "1 collector 1", "2 collector 2", "3 collector 3", "4 collector 4", "5 generator-0 sent 6",
		"6 cloud the replay has more events than are kept (4, or 64 MiB): logs, cluster events, usage and failed pairs are left out from here on, and counted",
		"7 generator-0 sent 7", "8 generator-0 sent 7", `9 cloud end Passed "" report=false dropped=9`)
	res, err := c.web.Get(c.URL() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := res.Write(&b); err != nil || res.StatusCode != http.StatusOK {
		t.Fatal(err)
	}
	for _, want := range []string{"speedscale_cloud_replay_events_total 3", "speedscale_cloud_replay_events_dropped_total 8"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("metrics lack %q", want)
		}
	}
}

// Of a replay that ended so long ago that its events are gone, the end is told.
func TestEventsThatAreGone(t *testing.T) {
	c, meta := withSnapshot(t, t.TempDir())
	r := c.startReplay(t, meta.ID)
	if err := r.agent.publishEvents(t, r.id, progress(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.replays.End(t.Context(), &cloudv1.EndReplayRequest{Id: r.id, Canceled: "enough"}); err != nil {
		t.Fatal(err)
	}
	nc, err := c.BusConn(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), "REPLAYS")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.CachedInfo().Config; got.MaxAge != 7*24*time.Hour || got.MaxBytes <= 0 {
		t.Errorf("the stream is not bounded: %+v", got)
	}
	if err := s.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.mustTell(t, r.id, 0, `2 cloud end Canceled "enough" report=true dropped=0`)
}

func TestTokenOpensItsReplayOnly(t *testing.T) {
	var text log
	c := start(t, server.Options{DataDir: t.TempDir(), BusListen: "127.0.0.1:0", Logger: slog.New(slog.NewTextHandler(&text, nil))}, "")
	meta, other := c.snapshotOf(t, "mine"), c.snapshotOf(t, "other")
	r, another := c.startReplay(t, meta.ID), c.startReplay(t, meta.ID)
	for _, id := range []string{meta.ID, meta.Info.Name} {
		if _, err := r.agent.snapshots.Get(t.Context(), &cloudv1.GetSnapshotRequest{Id: id}); err != nil {
			t.Errorf("its snapshot as %q: %v", id, err)
		}
	}
	if _, err := r.agent.masking.Get(t.Context(), &cloudv1.GetMaskingRequest{KeyId: meta.Masking.KeyID}); err != nil {
		t.Errorf("its masking key: %v", err)
	}
	for name, err := range map[string]error{
		"other snapshot":   second(r.agent.snapshots.Get(t.Context(), &cloudv1.GetSnapshotRequest{Id: other.ID})),
		"latest snapshot":  second(r.agent.snapshots.Get(t.Context(), &cloudv1.GetSnapshotRequest{Id: "latest"})),
		"unknown snapshot": second(r.agent.snapshots.Get(t.Context(), &cloudv1.GetSnapshotRequest{Id: "nope"})),
		"download": func() error {
			s, err := r.agent.snapshots.Download(t.Context(), &cloudv1.DownloadSnapshotRequest{Id: other.ID})
			if err != nil {
				return err
			}
			defer s.Close()
			for s.Receive() {
			}
			return s.Err()
		}(),
		"current key":     second(r.agent.masking.Get(t.Context(), &cloudv1.GetMaskingRequest{})),
		"other key":       second(r.agent.masking.Get(t.Context(), &cloudv1.GetMaskingRequest{KeyId: "other"})),
		"publish":         r.agent.publishEvents(t, another.id, progress(1)),
		"publish nowhere": r.agent.publishEvents(t, "", progress(1)),
		"phase":           r.agent.publishEvents(t, r.id, phase("report")),
		"part":            r.agent.putPart(t, another.id, "generator-0", generated(t, 1)),
	} {
		if code(err) != connect.CodePermissionDenied {
			t.Errorf("%s: %v", name, err)
		}
	}
	// calls are about nothing of the replay's.
	for name, e := range calls() {
		if err := e.call(t.Context(), r.agent); code(err) != connect.CodePermissionDenied {
			t.Errorf("%s: %v", name, err)
		}
	}
	if keys, err := c.keys.List(t.Context(), &cloudv1.ListKeysRequest{}); err != nil || len(keys.GetKeys()) != 1 {
		t.Errorf("tokens are among the API keys: %v, %v", keys, err)
	}
	if nc, err := nats.Connect(c.BusURL(), nats.Token(r.agent.key), nats.MaxReconnects(0)); err == nil {
		nc.Close()
		t.Error("a token opens the bus")
	}
	wrong := client(c.URL(), r.agent.key[:len(r.agent.key)-4]+"0000")
	defer wrong.web.CloseIdleConnections()
	if err := wrong.publishEvents(t, r.id, progress(1)); code(err) != connect.CodeUnauthenticated {
		t.Errorf("a wrong token: %v", err)
	}
	if secret := r.agent.key[strings.LastIndex(r.agent.key, "_")+1:]; strings.Contains(text.String(), secret) {
		t.Error("the log holds a token's secret")
	}
}

func TestWrongReplayRequests(t *testing.T) {
	c, meta := withSnapshot(t, t.TempDir())
	r := c.startReplay(t, meta.ID)
	good := func() *cloudv1.StartReplayRequest {
		return &cloudv1.StartReplayRequest{Id: uuid.NewString(), SnapshotId: meta.ID, TestConfigId: "standard", Expires: time.Now().Add(time.Hour).Unix()}
	}
	for name, e := range map[string]struct {
		change func(*cloudv1.StartReplayRequest)
		want   connect.Code
	}{
		"id":           {func(r *cloudv1.StartReplayRequest) { r.Id = "x" }, connect.CodeInvalidArgument},
		"id's form":    {func(r *cloudv1.StartReplayRequest) { r.Id = "{" + r.Id + "}" }, connect.CodeInvalidArgument},
		"over":         {func(r *cloudv1.StartReplayRequest) { r.Expires = time.Now().Unix() - 1 }, connect.CodeInvalidArgument},
		"for ever":     {func(r *cloudv1.StartReplayRequest) { r.Expires = 1 << 60 }, connect.CodeInvalidArgument},
		"control":      {func(r *cloudv1.StartReplayRequest) { r.Name = "a\nb" }, connect.CodeInvalidArgument},
		"no snapshot":  {func(r *cloudv1.StartReplayRequest) { r.SnapshotId = "" }, connect.CodeInvalidArgument},
		"its snapshot": {func(r *cloudv1.StartReplayRequest) { r.SnapshotId = "nope" }, connect.CodeNotFound},
		"its config":   {func(r *cloudv1.StartReplayRequest) { r.TestConfigId = "nope" }, connect.CodeNotFound},
	} {
		req := good()
		e.change(req)
		if err := second(c.replays.Start(t.Context(), req)); code(err) != e.want {
			t.Errorf("start with another %s: %v", name, err)
		}
	}
	end := &cloudv1.ReplayEvent{Source: "generator-0", Event: &cloudv1.ReplayEvent_End{End: &cloudv1.ReplayEnd{}}}
	for name, err := range map[string]error{
		"no source":     r.agent.publishEvents(t, r.id, &cloudv1.ReplayEvent{Event: logLine("x").Event}),
		"cloud's":       r.agent.publishEvents(t, r.id, &cloudv1.ReplayEvent{Source: "cloud", Event: logLine("x").Event}),
		"empty":         r.agent.publishEvents(t, r.id, &cloudv1.ReplayEvent{Source: "collector"}),
		"end":           c.publishEvents(t, r.id, end),
		"too large":     r.agent.publishEvents(t, r.id, logLine(strings.Repeat("x", 1<<20))),
		"part's name":   r.agent.putPart(t, r.id, "../x", generated(t, 1)),
		"part's JSON":   r.agent.putPart(t, r.id, "generator-0", []byte("{")),
		"part's schema": r.agent.putPart(t, r.id, "generator-0", []byte(`{"version":99}`)),
		"both ends":     second(c.replays.End(t.Context(), &cloudv1.EndReplayRequest{Id: r.id, Error: "a", Canceled: "b"})),
	} {
		if code(err) != connect.CodeInvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := r.agent.publishEvents(t, r.id, logLine(strings.Repeat("x", 3<<20))); code(err) != connect.CodeResourceExhausted {
		t.Errorf("far too large: %v", err)
	}
	unknown := uuid.NewString()
	for name, err := range map[string]error{
		"publish": c.publishEvents(t, unknown, progress(1)),
		"part":    c.putPart(t, unknown, "generator-0", generated(t, 1)),
		"end":     second(c.replays.End(t.Context(), &cloudv1.EndReplayRequest{Id: unknown})),
		"watch":   second(c.watch(t.Context(), unknown, 0)),
	} {
		if code(err) != connect.CodeNotFound {
			t.Errorf("%s of an unknown replay: %v", name, err)
		}
	}
}

// A server that stops does not wait for those who watch.
func TestWatchEndsWithTheServer(t *testing.T) {
	c, meta := withSnapshot(t, t.TempDir())
	r := c.startReplay(t, meta.ID)
	stream, err := c.replays.Watch(t.Context(), &cloudv1.WatchReplayRequest{Id: r.id})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if err := c.publishEvents(t, r.id, phase("prepare")); err != nil {
		t.Fatal(err)
	}
	if !stream.Receive() {
		t.Fatal(stream.Err())
	}
	go c.stop()
	if stream.Receive() || code(stream.Err()) != connect.CodeUnavailable {
		t.Errorf("%v", stream.Err())
	}
	c.stop()
}

// snapshotOf makes a snapshot of a service, masked with the cloud's key.
func (c *cloud) snapshotOf(t testing.TB, service string) *snapshot.Meta {
	t.Helper()
	m, err := c.masking.Get(t.Context(), &cloudv1.GetMaskingRequest{})
	if err != nil {
		t.Fatal(err)
	}
	nc := c.agent(t, c.key)
	waitConnected(t, nc)
	b := newBatch(service, 1, 1)
	b.Pairs[0].Service, b.Pairs[0].MaskKeyId = service, m.GetKeyId()
	if err := publish(t, nc, b); err != nil {
		t.Fatal(err)
	}
	meta, err := c.create(t, &cloudv1.CreateSnapshotRequest{Name: service, Selection: &cloudv1.Selection{Service: service}})
	if err != nil {
		t.Fatal(err)
	}
	return meta
}
