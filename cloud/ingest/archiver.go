package ingest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/cloud/catalog"
)

// archive reads the stream from where the catalog is, and writes segments, until
// something fails.
func (in *Ingest) archive(ctx context.Context) error {
	committed, err := in.o.Catalog.Committed(ctx)
	if err != nil {
		return err
	}
	in.reached(committed)
	// The consumer lives in the server's memory and acknowledges nothing: the
	// catalog alone says what is done.
	cons, err := in.js.OrderedConsumer(ctx, bus.IngestStream, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:   committed + 1,
	})
	if err != nil {
		return fmt.Errorf("read stream %s: %w", bus.IngestStream, err)
	}
	iter, err := cons.Messages(jetstream.PullMaxBytes(2 * bus.MaxPayload(0)))
	if err != nil {
		return fmt.Errorf("read stream %s: %w", bus.IngestStream, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	msgs := make(chan jetstream.Msg)
	var failed error // of the reader, valid once msgs is closed
	go func() {
		defer close(msgs)
		for {
			m, err := iter.Next()
			if err != nil {
				failed = err
				return
			}
			select {
			case msgs <- m:
			case <-ctx.Done():
				failed = ctx.Err()
				return
			}
		}
	}()
	err = in.archiveFrom(ctx, msgs)
	cancel()
	iter.Stop()
	for range msgs { // until the reader has ended
	}
	if errors.Is(err, errStopped) {
		err = fmt.Errorf("read stream %s: %w", bus.IngestStream, failed)
	}
	return err
}

func (in *Ingest) archiveFrom(ctx context.Context, msgs <-chan jetstream.Msg) error {
	t := newIntake(in)
	timer := time.NewTimer(in.o.SegmentAge)
	defer timer.Stop()
	for {
		select {
		case m, ok := <-msgs:
			if !ok {
				return errStopped
			}
			if t.seg.last == 0 {
				timer.Reset(in.o.SegmentAge)
			}
			if err := t.add(ctx, m); err != nil {
				return err
			}
		case <-timer.C:
		case <-in.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
		if t.due(in.flushTarget()) {
			if err := in.commit(ctx, &t.seg); err != nil {
				return err
			}
			t.reset()
		}
	}
}

// commit writes a segment and records it.
func (in *Ingest) commit(ctx context.Context, s *segment) error {
	c := catalog.Commit{Seq: s.last, Seen: s.seen, Goodbyes: s.goodbyes, Received: s.received, Time: time.Now().UnixNano()}
	for _, l := range s.losses {
		c.Losses = append(c.Losses, *l)
	}
	if err := in.step("write"); err != nil {
		return err
	}
	if len(s.pairs) > 0 {
		var err error
		if c.Segment, err = in.o.Archive.Write(ctx, s.first, s.last, s.stored, s.pairs); err != nil {
			return err
		}
	}
	if err := in.step("uploaded"); err != nil {
		return err
	}
	// A commit that has begun is not given up half way because the server stops.
	if err := in.o.Catalog.Commit(context.WithoutCancel(ctx), c); err != nil {
		return err
	}
	if err := in.step("committed"); err != nil {
		return err
	}
	if c.Segment != nil {
		in.counts.segments.Add(1)
	}
	in.counts.batches.Add(uint64(s.batches))
	in.counts.pairs.Add(uint64(len(s.pairs)))
	in.reached(s.last) // whoever waits for it reads the counts
	in.log.Debug("segment archived", "sequence", s.last, "pairs", len(s.pairs), "producers", slices.Collect(maps.Keys(s.seen)))
	if err := in.purge(ctx, s.last); err != nil {
		// The next purge has it too.
		in.suspect.Store(true)
		in.log.Warn("the stream keeps what is archived for now", "error", err)
	}
	if err := in.limitStream(ctx); err != nil {
		in.log.Warn("the stream cannot be bounded by what is free on its volume", "error", err)
	}
	return nil
}
