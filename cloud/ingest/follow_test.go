package ingest_test

import (
	"errors"
	"testing"
	"time"

	"github.com/speedscale/speedscale/cloud/ingest"
)

// TestSlowFollower: who does not read misses pairs, which are counted, while the archive
// gets every one, and who reads gets on.
func TestSlowFollower(t *testing.T) {
	r := start(t, t.TempDir(), ingest.Options{SegmentAge: 10 * time.Millisecond}, nil)
	f, err := r.Follow()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const batches, pairs = 40, 10
	for i := range uint64(batches) {
		b := newBatch("p1", i+1, pairs)
		for _, p := range b.Pairs {
			p.Location = "/" + string(make([]byte, 20<<10))
		}
		if err := r.publish(t, b); err != nil {
			t.Fatal(err)
		}
	}
	r.flush(t)
	taken, err := f.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got, skipped, size int
	for _, b := range taken {
		got += len(b.Records)
		skipped += int(b.Skipped)
		for _, record := range b.Records {
			size += len(record)
		}
	}
	if got == 0 || skipped == 0 || got+skipped != batches*pairs || size > 4<<20 {
		t.Errorf("%d pairs of %d bytes, %d skipped", got, size, skipped)
	}
	if last := taken[len(taken)-1].Sequence; last != batches {
		t.Errorf("it is told of sequence %d, want %d", last, batches)
	}
	if st := r.Stats(); st.Pairs != batches*pairs || st.Skipped != uint64(skipped) {
		t.Errorf("stats are %+v", st)
	}
	if err := r.publish(t, newBatch("p1", batches+1, 1)); err != nil {
		t.Fatal(err)
	}
	if taken, err = f.Next(t.Context()); err != nil || len(taken) != 1 || len(taken[0].Records) != 1 || taken[0].Skipped != 0 {
		t.Errorf("after that: %v, %v", taken, err)
	}
}

// TestArchivingAnewHandsNothingTwice: what is taken again after a failure was handed out.
func TestArchivingAnewHandsNothingTwice(t *testing.T) {
	failures := 2
	r := start(t, t.TempDir(), ingest.Options{SegmentAge: 10 * time.Millisecond}, func(step string) error {
		if step == "uploaded" && failures > 0 {
			failures--
			return errors.New("planted")
		}
		return nil
	})
	f, err := r.Follow()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range uint64(5) {
		if err := r.publish(t, newBatch("p1", i+1, 2)); err != nil {
			t.Fatal(err)
		}
	}
	r.flush(t)
	taken, err := f.Next(t.Context())
	if err != nil || len(taken) != 5 {
		t.Errorf("%d batches, %v", len(taken), err)
	}
	r.StopFollowing()
	if _, err := f.Next(t.Context()); !errors.Is(err, ingest.ErrStopping) {
		t.Errorf("after the end: %v", err)
	}
	if _, err := r.Follow(); !errors.Is(err, ingest.ErrStopping) {
		t.Errorf("a new one after the end: %v", err)
	}
}
