// Package ingest takes batches from agents into the archive, each exactly once.
//
// Agents publish to a JetStream stream, whose acknowledgement says that a batch
// is on disk. The archiver reads the stream from the sequence after the one that
// the catalog says is archived, leaves out batches that it has seen of their
// producer, uploads a segment, and then commits the segment, the sequence it
// reaches and the batches seen in one transaction of the catalog. Only then is
// the stream purged. Where anything fails before the commit, nothing has
// happened: the next attempt starts from the catalog again, and overwrites the
// object, which is named by the sequence it starts at.
package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/speedscale/speedscale/agents/broker"
	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/agents/disk"
	"github.com/speedscale/speedscale/cloud/archive"
	"github.com/speedscale/speedscale/cloud/catalog"
)

// Options are what an Ingest is made with.
type Options struct {
	// Broker has the stream, in a store.
	Broker  *broker.Server
	Catalog *catalog.Catalog
	Archive *archive.Archive
	// StoreDir is the folder of the broker's store.
	StoreDir string
	// Reserve is how many bytes of the store's volume are left free: agents are
	// refused when there is less, while the archiver goes on with what it has.
	// 0 means a twentieth of the volume, at least 128 and at most 512 MiB. It should
	// hold a few segments.
	Reserve int64
	// StreamBytes bounds what waits for the archiver; 0 means 4 GiB.
	StreamBytes int64
	// A segment is written when it has SegmentRows (0: 50,000) pairs, SegmentBytes
	// (0: 32 MiB) before compression, or when its first batch has waited for
	// SegmentAge (0: 2 s).
	SegmentRows  int
	SegmentBytes int
	SegmentAge   time.Duration
	Logger       *slog.Logger
}

// Ingest is the stream and its archiver. Its methods are safe for concurrent use.
type Ingest struct {
	o      Options
	log    *slog.Logger
	nc     *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream
	wake   chan struct{}
	counts counts
	hub    hub
	fault  func(step string) error // nil but in tests

	// suspect: the volume was full, so the store may have failed to write.
	suspect atomic.Bool

	limiting sync.Mutex // one change of the stream's limit at a time
	limit    int64      // the stream's MaxBytes

	mu        sync.Mutex
	committed uint64 // stream sequence
	target    uint64 // the highest that a flush waits for
	waiters   map[*waiter]struct{}
	failure   error  // of the last attempt to archive
	refused   string // why the stream takes nothing
}

type waiter struct {
	seq  uint64
	done chan error // one result, buffered
}

type counts struct {
	batches, pairs, repeated, malformed, replayed, segments, failures, skipped atomic.Uint64
}

// Stats are counted since the start.
type Stats struct {
	// Batches and Pairs were archived; Repeated are batches that came again.
	Batches, Pairs, Repeated uint64
	// Malformed counts batches and pairs that could not be read.
	Malformed uint64
	// Replayed counts pairs of replays, which are not archived.
	Replayed uint64
	// Segments were written; Failures are attempts to write one that failed.
	Segments, Failures uint64
	// Skipped counts pairs that a follower missed because it was slow.
	Skipped uint64
}

// Open makes the stream, or finds it as it was left, and puts it in step with the
// catalog. The caller calls Run, and Close when that has returned.
func Open(ctx context.Context, o Options) (*Ingest, error) {
	o.StreamBytes = cmp.Or(o.StreamBytes, 4<<30)
	o.SegmentRows = cmp.Or(o.SegmentRows, 50_000)
	o.SegmentBytes = cmp.Or(o.SegmentBytes, 32<<20)
	o.SegmentAge = cmp.Or(o.SegmentAge, 2*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Reserve == 0 {
		space, err := disk.SpaceOf(o.StoreDir)
		if err != nil {
			return nil, fmt.Errorf("ingest: store %q: %w", o.StoreDir, err)
		}
		o.Reserve = min(max(space.Size/20, 128<<20), 512<<20)
	}
	in := &Ingest{o: o, log: o.Logger, wake: make(chan struct{}, 1), waiters: make(map[*waiter]struct{})}
	var err error
	if in.nc, err = o.Broker.Connect(ctx, bus.ConnectOptions{Name: "archiver", Logger: o.Logger}); err != nil {
		return nil, fmt.Errorf("ingest: %w", err)
	}
	if in.js, err = jetstream.New(in.nc); err == nil {
		err = in.openStream(ctx)
	}
	if err != nil {
		in.nc.Close()
		return nil, fmt.Errorf("ingest: %w", err)
	}
	return in, nil
}

// Close ends the archiver's connection to the bus.
func (in *Ingest) Close() { in.nc.Close() }

// Run archives until ctx ends. What fails is tried again, after at most 5 s.
func (in *Ingest) Run(ctx context.Context) {
	var guard sync.WaitGroup
	defer guard.Wait()
	guard.Go(func() { in.guard(ctx) })
	const first, last = 100 * time.Millisecond, 5 * time.Second
	for wait := first; ; wait = min(2*wait, last) {
		began := in.Committed()
		err := in.archive(ctx)
		if ctx.Err() != nil {
			in.fail(ctx.Err())
			return
		}
		in.counts.failures.Add(1)
		in.fail(err)
		in.log.Error("archiving failed, and will be tried again", "error", err, "committed", in.Committed())
		if in.Committed() > began {
			wait = first
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// Committed returns the stream sequence that the archive has reached.
func (in *Ingest) Committed() uint64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.committed
}

// Holds returns the first and the last stream sequence that is not purged.
func (in *Ingest) Holds(ctx context.Context) (first, last uint64, err error) {
	info, err := in.stream.Info(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("ingest: stream %s: %w", bus.IngestStream, err)
	}
	return info.State.FirstSeq, info.State.LastSeq, nil
}

// Flush returns when all that the stream holds at the call is archived. It fails
// when archiving does.
func (in *Ingest) Flush(ctx context.Context) error {
	info, err := in.stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("ingest: stream %s: %w", bus.IngestStream, err)
	}
	w := &waiter{seq: info.State.LastSeq, done: make(chan error, 1)}
	in.mu.Lock()
	if in.committed >= w.seq {
		in.mu.Unlock()
		return nil
	}
	in.waiters[w] = struct{}{}
	in.target = max(in.target, w.seq)
	in.mu.Unlock()
	select {
	case in.wake <- struct{}{}:
	default:
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		in.mu.Lock()
		delete(in.waiters, w)
		in.mu.Unlock()
		return fmt.Errorf("ingest: archiving what was captured last: %w", ctx.Err())
	}
}

// reached notes a commit.
func (in *Ingest) reached(seq uint64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.committed, in.failure = seq, nil
	for w := range in.waiters {
		if w.seq <= seq {
			w.done <- nil
			delete(in.waiters, w)
		}
	}
}

// fail notes that archiving failed, and tells those who wait for it.
func (in *Ingest) fail(err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.failure = err
	for w := range in.waiters {
		w.done <- fmt.Errorf("ingest: archiving fails at the moment: %w", err)
		delete(in.waiters, w)
	}
}

// flushTarget returns the sequence that someone waits for.
func (in *Ingest) flushTarget() uint64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.target
}

// Status says how many batches wait for the archiver, and why nothing is taken
// in at the moment, "" where it is.
func (in *Ingest) Status(ctx context.Context) (waiting uint64, refused string, err error) {
	info, err := in.stream.Info(ctx)
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case in.refused != "":
		refused = in.refused
	case err != nil:
		return 0, "", fmt.Errorf("ingest: stream %s: %w", bus.IngestStream, err)
	case in.failure != nil:
		refused = "pairs are kept in the stream, but not archived: " + in.failure.Error()
	}
	if err == nil && info.State.LastSeq > in.committed {
		waiting = info.State.LastSeq - in.committed
	}
	return waiting, refused, nil
}

// Full says why nothing more is taken in, "" where it is. Others that write to the
// store's volume heed it too.
func (in *Ingest) Full() string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.refused
}

// Stats returns the counts so far.
func (in *Ingest) Stats() Stats {
	c := &in.counts
	return Stats{
		Batches: c.batches.Load(), Pairs: c.pairs.Load(), Repeated: c.repeated.Load(),
		Malformed: c.malformed.Load(), Replayed: c.replayed.Load(), Segments: c.segments.Load(), Failures: c.failures.Load(),
		Skipped: c.skipped.Load(),
	}
}

// errStopped ends an attempt whose stream went away.
var errStopped = errors.New("the stream's consumer stopped")

// step lets tests make an attempt fail at a place.
func (in *Ingest) step(name string) error {
	if in.fault == nil {
		return nil
	}
	return in.fault(name)
}
