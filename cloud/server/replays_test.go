package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/traffic"
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
		r.agent.putPart(t, r.id, "generator-0", []byte(`{"version":1,"timeline":{"interval":1},"warnings":["`+strings.Repeat("x", 5<<20)+`"]}`)),
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
	if len(made.Warnings) > 0 || made.ID != r.id || made.Status != report.Passed || made.Requests.Sent != 42 || made.Snapshot.ID != meta.ID || made.Latency.Sent.Count != 42 ||
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

// TestReportWarnsOfOthersRequests: by the address, what sidecars saw is the generator's
// or another's.
func TestReportWarnsOfOthersRequests(t *testing.T) {
	c, meta := withSnapshot(t, t.TempDir())
	nc := c.agent(t, c.key)
	waitConnected(t, nc)
	r := c.startReplay(t, meta.ID)
	var part report.Part
	if err := json.Unmarshal(generated(t, 3), &part); err != nil {
		t.Fatal(err)
	}
	part.Addresses = []string{"10.0.0.7"}
	doc, err := json.Marshal(part)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.agent.putPart(t, r.id, "generator-0", doc); err != nil {
		t.Fatal(err)
	}
	b := newBatch("goproxy-1", 1, 0)
	for address, n := range map[string]uint64{"10.0.0.7": 3, "10.0.0.8": 12} {
		b.Losses = append(b.Losses, &traffic.Loss{
			Reason: traffic.ReasonReplay, Replay: r.id, Source: address, Namespace: "shop", Direction: traffic.Direction_DIRECTION_IN, Pairs: n,
		})
	}
	if err := publish(t, nc, b); err != nil {
		t.Fatal(err)
	}
	res, err := c.replays.End(t.Context(), &cloudv1.EndReplayRequest{Id: r.id})
	if err != nil {
		t.Fatal(err)
	}
	made, err := report.Parse(res.GetReport())
	if err != nil {
		t.Fatal(err)
	}
	want := "12 requests of others reached the workload during the replay, and may have changed what it answered (10.0.0.8: 12)"
	if !slices.Contains(made.Warnings, want) || made.Others.Requests != 12 || made.Status != report.Passed {
		t.Errorf("%s with %q", made.Status, made.Warnings)
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
