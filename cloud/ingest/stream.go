package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/agents/disk"
)

// requestTimeout bounds a request to the embedded server.
const requestTimeout = 10 * time.Second

func (in *Ingest) config(maxBytes int64, firstSeq uint64) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        bus.IngestStream,
		Description: "masked batches on their way to the archive",
		Subjects:    []string{bus.IngestPairs + ">"},
		Storage:     jetstream.FileStorage,
		Retention:   jetstream.LimitsPolicy,
		// A full stream refuses new batches, and keeps those it acknowledged.
		Discard:    jetstream.DiscardNew,
		MaxBytes:   maxBytes,
		MaxMsgs:    -1,
		Replicas:   1,
		FirstSeq:   firstSeq,
		Duplicates: time.Second, // no message has an id for JetStream to keep
	}
}

// openStream makes or updates the stream, and puts it in step with the catalog.
func (in *Ingest) openStream(ctx context.Context) error {
	committed, err := in.o.Catalog.Committed(ctx)
	if err != nil {
		return err
	}
	in.reached(committed)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	in.stream, err = in.js.Stream(ctx, bus.IngestStream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		in.limit = in.o.StreamBytes
		in.stream, err = in.js.CreateStream(ctx, in.config(in.limit, committed+1))
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", bus.IngestStream, err)
	}
	// After a power loss the stream may end before what the catalog has of it.
	// New batches must not get sequences that count as archived.
	if err := in.purge(ctx, committed); err != nil {
		return err
	}
	info, err := in.stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("stream %s: %w", bus.IngestStream, err)
	}
	if info.State.LastSeq < committed {
		return fmt.Errorf("stream %s ends at %d, but %d is archived: move its files out of %q, and start again",
			bus.IngestStream, info.State.LastSeq, committed, in.o.StoreDir)
	}
	in.limit = info.Config.MaxBytes
	return in.limitStream(ctx)
}

// purge removes what is archived from the stream.
func (in *Ingest) purge(ctx context.Context, committed uint64) error {
	if committed == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if err := in.stream.Purge(ctx, jetstream.WithPurgeSequence(committed+1)); err != nil {
		return fmt.Errorf("purge stream %s: %w", bus.IngestStream, err)
	}
	return nil
}

// guardInterval is how often the volume is looked at.
const guardInterval = 500 * time.Millisecond

// guard keeps the stream from filling the volume, until ctx ends, and opens its
// store anew where that was filled all the same.
func (in *Ingest) guard(ctx context.Context) {
	tick := time.NewTicker(guardInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := in.limitStream(ctx)
		if in.o.Broker.StoreError() != nil {
			in.suspect.Store(true)
			continue // until there is room
		}
		if err == nil && in.suspect.Load() {
			err = in.probe(ctx)
		}
		if err == nil || ctx.Err() != nil {
			in.suspect.Store(false)
			continue
		}
		in.suspect.Store(true)
		in.log.Error("the stream's store does not work", "error", err)
		_, failed := errors.AsType[*jetstream.APIError](err)
		if !failed && !errors.Is(err, jetstream.ErrJetStreamNotEnabled) && !errors.Is(err, errUnknown) {
			continue // it may only be slow
		}
		if err := in.o.Broker.RestartStore(); err != nil {
			in.refuse("the stream's store cannot be opened anew: " + err.Error())
			continue
		}
		in.suspect.Store(false)
		in.log.Info("the stream's store is opened anew")
	}
}

func (in *Ingest) refuse(why string) {
	in.mu.Lock()
	in.refused = why
	in.mu.Unlock()
}

// probe finds out whether the store has failed to write, after which nats-server
// stores nothing more until the store is opened anew. There is no question for
// that, but a purge, of what is purged already, is refused then.
func (in *Ingest) probe(ctx context.Context) error {
	committed := in.Committed()
	if committed == 0 {
		return errUnknown
	}
	return in.purge(ctx, committed)
}

// errUnknown says that the store cannot be asked, so that it is opened anew.
var errUnknown = errors.New("the volume was full, and nothing has been archived yet")

// limitStream bounds the stream by what its volume has left above the reserve. It
// is called after each segment too: what is purged from the stream makes room in it
// that the segment has taken from the volume. A lower limit refuses new batches; it removes none (DiscardNew).
func (in *Ingest) limitStream(ctx context.Context) error {
	space, err := disk.SpaceOf(in.o.StoreDir)
	if err != nil {
		return fmt.Errorf("store %q: %w", in.o.StoreDir, err)
	}
	in.limiting.Lock()
	defer in.limiting.Unlock()
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	info, err := in.stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("stream %s: %w", bus.IngestStream, err)
	}
	used := int64(info.State.Bytes)
	room := max(space.Free-in.o.Reserve, 0)
	switch {
	case room == 0:
		in.refuse(fmt.Sprintf("disk full: the volume of %q has %d MiB free, and %d MiB are kept in reserve; free some space or lower the retention",
			in.o.StoreDir, space.Free>>20, in.o.Reserve>>20))
	case used >= in.o.StreamBytes-int64(bus.MaxPayload(0)):
		in.refuse(fmt.Sprintf("the stream is full: %d MiB wait to be archived", used>>20))
	default:
		in.refuse("")
	}
	limit := max(min(in.o.StreamBytes, used+room), 1)
	// A little more room is not worth writing the configuration.
	if limit == in.limit || limit > in.limit && limit != in.o.StreamBytes && limit-in.limit < room/8 {
		return nil
	}
	if _, err := in.js.UpdateStream(ctx, in.config(limit, info.Config.FirstSeq)); err != nil {
		return fmt.Errorf("limit stream %s to %d bytes: %w", bus.IngestStream, limit, err)
	}
	in.limit = limit
	return nil
}
