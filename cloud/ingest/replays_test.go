package ingest_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/speedscale/speedscale/cloud/catalog"
	"github.com/speedscale/speedscale/cloud/ingest"
	"github.com/speedscale/speedscale/traffic"
)

func TestPairsOfReplaysAreNotArchived(t *testing.T) {
	r := start(t, t.TempDir(), ingest.Options{}, nil)
	b := newBatch("p1", 1, 6)
	var live []*traffic.RRPair
	for i, p := range b.Pairs {
		if i%2 == 0 {
			p.Tags = map[string]string{traffic.TagReplay: "0b9c"}
			continue
		}
		live = append(live, p)
	}
	if err := r.publish(t, b); err != nil {
		t.Fatal(err)
	}
	r.flush(t)
	wantOnce(t, r.uuids(t), &traffic.Batch{Pairs: live})
	losses, err := r.cat.Losses(t.Context(), 0, 0, "")
	if err != nil {
		t.Fatal(err)
	}
	var lost uint64
	for _, l := range losses {
		if l.Reason != traffic.ReasonReplay || l.Namespace != b.Pairs[0].Namespace || l.Bytes == 0 {
			t.Errorf("loss %+v", l)
		}
		lost += l.Pairs
	}
	if st := r.Stats(); lost != 3 || st.Replayed != 3 || st.Pairs != 3 {
		t.Errorf("%d pairs counted as lost, %+v", lost, st)
	}
	// They are no gap.
	if gaps, err := r.cat.Gaps(t.Context(), 0, 0); len(gaps) != 0 || err != nil {
		t.Errorf("gaps %v, %v", gaps, err)
	}
}

// TestWhatCameInDuringReplaysIsCountedOnce: by its source, of replays that run in the
// sidecar's namespace.
func TestWhatCameInDuringReplaysIsCountedOnce(t *testing.T) {
	r := start(t, t.TempDir(), ingest.Options{}, func(step string) error {
		if rand.N(3) == 0 {
			return fmt.Errorf("injected at %s", step)
		}
		return nil
	})
	for _, id := range []string{"r1", "r2"} {
		if err := r.cat.StartReplay(t.Context(), catalog.Replay{ID: id, Namespace: "shop", Expires: math.MaxInt64}, catalog.Key{ID: id, Hash: []byte(id)}); err != nil {
			t.Fatal(err)
		}
	}
	in, out := traffic.Direction_DIRECTION_IN, traffic.Direction_DIRECTION_OUT
	for n := range uint64(4) {
		b := newBatch("p1", n+1, 0)
		b.Losses = []*traffic.Loss{
			{Reason: traffic.ReasonReplay, Replay: "r1", Source: "10.0.0.1", Namespace: "shop", Direction: in, Pairs: 10},
			{Reason: traffic.ReasonReplay, Replay: "r1", Source: "10.0.0.2", Namespace: "shop", Direction: in, Pairs: 1},
			{Reason: traffic.ReasonReplay, Replay: "r1", Source: "10.0.0.3", Namespace: "elsewhere", Direction: in, Pairs: 1},
			{Reason: traffic.ReasonReplay, Replay: "r1", Namespace: "shop", Direction: out, Pairs: 5},
			{Reason: traffic.ReasonOpaqueTLS, Replay: "r1", Namespace: "shop", Direction: in, Connections: 2},
			{Reason: traffic.ReasonUpgraded, Replay: "r1", Namespace: "shop", Direction: in, Connections: 1},
			{Reason: traffic.ReasonReplay, Replay: "gone", Source: "10.0.0.1", Namespace: "shop", Direction: in, Pairs: 1},
			{Reason: traffic.ReasonReplay, Replay: "r2", Source: "10.0.0.1", Namespace: "shop", Direction: in, Pairs: 1},
		}
		for range 2 { // it comes again
			if err := r.publish(t, b); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.flush(t)
	want := catalog.Received{
		{Replay: "r1", Address: "10.0.0.1"}: {Requests: 40},
		{Replay: "r1", Address: "10.0.0.2"}: {Requests: 4},
		{Replay: "r1"}:                      {Connections: 8},
	}
	got, err := r.cat.Received(t.Context(), "r1")
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v, (-want +got):\n%s", err, diff)
	}
	if got, err := r.cat.Received(t.Context(), "gone"); len(got) > 0 || err != nil {
		t.Errorf("of a replay that does not run: %v, %v", got, err)
	}
	if err := r.cat.EndReplay(t.Context(), "r1", catalog.ReplayEnd{Ended: 1}, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := r.cat.Received(t.Context(), "r1"); len(got) > 0 || err != nil {
		t.Errorf("of a replay that has ended: %v, %v", got, err)
	}
}
