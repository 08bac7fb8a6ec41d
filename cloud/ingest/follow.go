package ingest

import (
	"context"
	"errors"
	"sync"

	"github.com/speedscale/speedscale/cloud/archive"
)

const (
	// maxFollowers bounds those who follow at a time.
	maxFollowers = 32
	// followBytes bounds what waits for one of them: records, and itemBytes for each
	// batch. All of them hold the same records.
	followBytes = 4 << 20
	itemBytes   = 256
)

// Errors of Follow and Next.
var (
	ErrFollowers = errors.New("too many follow what arrives already: try again later")
	ErrStopping  = errors.New("the cloud is being stopped")
)

// Taken is a batch that was taken in, or what a follower missed of some.
type Taken struct {
	// Sequence is that of the batch in the stream; of several, of the last.
	Sequence uint64
	// Records are the new pairs of the batch, encoded. They must not be changed.
	Records [][]byte
	// Skipped counts pairs that there was no room for, since the follower was slow.
	Skipped uint64
}

// Follower gets what the archiver takes from the stream, in that order, each batch
// once. It is there for one reader at a time.
type Follower struct {
	hub  *hub
	wake chan struct{} // has room for one

	mu    sync.Mutex
	queue []Taken
	bytes int
	last  uint64
	ended bool
}

// hub hands batches to followers. The archiver never waits for one of them.
type hub struct {
	mu        sync.Mutex
	followers map[*Follower]struct{}
	stopping  bool
}

// Follow begins to gather the batches that are taken from the stream from now on,
// and are not archived yet. What was taken before is archived after a Flush. The
// caller closes the Follower.
func (in *Ingest) Follow() (*Follower, error) {
	h := &in.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.stopping:
		return nil, ErrStopping
	case len(h.followers) >= maxFollowers:
		return nil, ErrFollowers
	}
	f := &Follower{hub: h, wake: make(chan struct{}, 1)}
	if h.followers == nil {
		h.followers = make(map[*Follower]struct{})
	}
	h.followers[f] = struct{}{}
	return f, nil
}

// StopFollowing ends all that follow, and lets nobody begin.
func (in *Ingest) StopFollowing() {
	h := &in.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopping = true
	for f := range h.followers {
		f.mu.Lock()
		f.ended = true
		f.mu.Unlock()
		f.signal()
	}
}

// hand gives new pairs of a batch to those who follow.
func (in *Ingest) hand(seq uint64, pairs []archive.Pair) {
	h := &in.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.followers) == 0 {
		return
	}
	t := Taken{Sequence: seq, Records: make([][]byte, len(pairs))}
	for i := range pairs {
		t.Records[i] = pairs[i].Record()
	}
	for f := range h.followers {
		in.counts.skipped.Add(f.add(t))
	}
}

// add queues a batch, unless there is no room, or it came before: an attempt to
// archive that failed begins anew.
func (f *Follower) add(t Taken) (skipped uint64) {
	size := itemBytes
	for _, r := range t.Records {
		size += len(r)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if t.Sequence <= f.last {
		return 0
	}
	f.last = t.Sequence
	if f.bytes > 0 && f.bytes+size > followBytes { // one batch always has room
		skipped = uint64(len(t.Records))
		if end := len(f.queue) - 1; f.queue[end].Records == nil {
			f.queue[end].Sequence = t.Sequence
			f.queue[end].Skipped += skipped
			return skipped
		}
		t, size = Taken{Sequence: t.Sequence, Skipped: skipped}, itemBytes
	}
	f.queue = append(f.queue, t)
	f.bytes += size
	f.signal()
	return skipped
}

func (f *Follower) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Next returns all that waits, or waits for something. It returns ErrStopping when the
// cloud ends, and the error of ctx.
func (f *Follower) Next(ctx context.Context) ([]Taken, error) {
	for {
		f.mu.Lock()
		queue, ended := f.queue, f.ended
		f.queue, f.bytes = nil, 0
		f.mu.Unlock()
		switch {
		case len(queue) > 0:
			return queue, nil
		case ended:
			return nil, ErrStopping
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Close ends it.
func (f *Follower) Close() {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	delete(f.hub.followers, f)
}
