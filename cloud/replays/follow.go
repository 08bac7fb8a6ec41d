package replays

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/catalog"
)

// pullBytes bounds what one follower has read ahead.
const pullBytes = 4 << 20

// errStopping ends what is followed.
var errStopping = fmt.Errorf("%w: the cloud is being stopped", ErrUnavailable)

// Follow sends the events of a replay after a sequence, those that are there and
// those to come, until it has sent the one that ends the replay.
func (r *Replays) Follow(ctx context.Context, id string, after uint64, send func(*cloudv1.ReplayEvent) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(r.ctx, func() { cancel(errStopping) })()
	replay, err := r.o.Catalog.Replay(ctx, id)
	if err != nil {
		return err
	}
	until := uint64(0) // sequence in the stream where to stop; 0 means at the end
	if replay.End.Ended != 0 {
		m, err := r.lastMessage(ctx, id)
		if err != nil {
			return err
		}
		if m == nil {
			return send(endEvent(replay.End))
		}
		until = m.Sequence
	}
	over, err := r.read(ctx, id, after, until, send)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	if err != nil || over {
		return err
	}
	// The stream has it no more, or not yet.
	return send(endEvent(replay.End))
}

// read sends what the stream has of a replay. over says that the replay's end was
// among it.
func (r *Replays) read(ctx context.Context, id string, after, until uint64, send func(*cloudv1.ReplayEvent) error) (over bool, err error) {
	unavailable := func(err error) error {
		return fmt.Errorf("%w: read stream %s: %w", ErrUnavailable, streamName, err)
	}
	// The consumer lives in the server's memory, and goes when nobody reads it.
	cons, err := r.js.OrderedConsumer(ctx, streamName, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{subjectPrefix + id},
		DeliverPolicy:  jetstream.DeliverAllPolicy,
	})
	if err != nil {
		return false, unavailable(err)
	}
	it, err := cons.Messages(jetstream.PullMaxBytes(pullBytes))
	if err != nil {
		return false, unavailable(err)
	}
	defer it.Stop()
	for {
		m, err := it.Next(jetstream.NextContext(ctx))
		if err != nil {
			return false, unavailable(err)
		}
		events, err := decode(m.Data())
		if err != nil {
			return false, err
		}
		for _, e := range events {
			if over = e.GetEnd() != nil; e.GetSequence() <= after && !over {
				continue
			}
			if err := send(e); err != nil {
				return false, err
			}
		}
		meta, err := m.Metadata()
		if err != nil {
			return false, err
		}
		if over || until != 0 && meta.Sequence.Stream >= until {
			return over, nil
		}
	}
}

// endEvent is the last event of a replay.
func endEvent(end catalog.ReplayEnd) *cloudv1.ReplayEvent {
	return &cloudv1.ReplayEvent{
		Sequence: end.LastEvent, Time: end.Ended, Source: sourceCloud,
		Event: &cloudv1.ReplayEvent_End{End: &cloudv1.ReplayEnd{
			Status: end.Status, Error: end.Error, Report: end.Reported, Dropped: end.Dropped,
		}},
	}
}
