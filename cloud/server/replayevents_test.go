package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/nats-io/nats.go/jetstream"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/ingest"
	"github.com/speedscale/speedscale/cloud/replays"
	"github.com/speedscale/speedscale/cloud/server"
)

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

// However many publish at once, and whenever the replay ends: each event that was
// taken is there once, in one order, and none after the end.
func TestManyPublishOneOrder(t *testing.T) {
	c, meta := withSnapshot(t, t.TempDir())
	r := c.startReplay(t, meta.ID)
	var taken atomic.Int64
	var publishers sync.WaitGroup
	for i := range 8 {
		publishers.Go(func() {
			for n := range 200 {
				err := c.publishEvents(t, r.id, progress(int64(n)), logLine(fmt.Sprint(i)))
				switch {
				case err == nil:
					taken.Add(2)
				case code(err) == connect.CodeFailedPrecondition:
					return
				default:
					t.Error(err)
				}
			}
		})
	}
	for taken.Load() < 40 && !t.Failed() {
		time.Sleep(time.Millisecond)
	}
	if _, err := c.replays.End(t.Context(), &cloudv1.EndReplayRequest{Id: r.id, Discard: true}); err != nil {
		t.Fatal(err)
	}
	publishers.Wait()
	events, err := c.watch(t.Context(), r.id, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range events {
		if last := i == len(events)-1; e.GetSequence() != uint64(i+1) || (e.GetEnd() != nil) != last {
			t.Fatalf("event %d of %d: %v", i+1, len(events), e)
		}
	}
	if int64(len(events)) != taken.Load()+1 {
		t.Errorf("%d events, %d were taken", len(events), taken.Load())
	}
}

func TestEventsAreLeftOutWhenTheDiskIsFull(t *testing.T) {
	dir := t.TempDir()
	c, meta := withSnapshot(t, dir)
	key := c.key
	c.stop()
	c = start(t, server.Options{DataDir: dir, Ingest: ingest.Options{Reserve: 1 << 60}}, key)
	r := c.startReplay(t, meta.ID)
	if err := r.agent.publishEvents(t, r.id, progress(1), logLine("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.replays.End(t.Context(), &cloudv1.EndReplayRequest{Id: r.id, Discard: true}); err != nil {
		t.Fatal(err)
	}
	c.mustTell(t, r.id, 0, `1 cloud end Passed "" report=false dropped=2`)
}
