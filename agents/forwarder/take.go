package forwarder

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/agents/rules"
	"github.com/speedscale/speedscale/traffic"
)

// storeTimeout bounds the storing of one batch.
const storeTimeout = 5 * time.Second

// take filters, masks and stores a batch. nil means that the spool's file has it.
func (f *Forwarder) take(ctx context.Context, b *traffic.Batch) error {
	if f.o.DataOff {
		// Refused, it would wait in the sidecar, and go to the cloud when data is on again.
		f.counts.dataOff.Add(uint64(len(b.Pairs)))
		return nil
	}
	r := f.rules.Load()
	if r == nil {
		f.counts.noRules.Add(1)
		return &bus.Refusal{Reason: traffic.ReasonNoRules, Text: "the forwarder has no masking rules yet"}
	}
	if err := f.broker.StoreError(); err != nil {
		f.counts.queueFull.Add(1)
		return &bus.Refusal{Reason: traffic.ReasonSpoolFull, Text: err.Error()}
	}
	f.counts.pairs.Add(uint64(len(b.Pairs)))
	kept := b.Pairs[:0]
	for _, p := range b.Pairs {
		if p.Cluster == "" {
			p.Cluster = f.o.Cluster
		}
		if p.Tags[traffic.TagReplay] != "" { // of a sidecar before it counted them itself
			f.countReplay(p.Direction)
			b.Losses = append(b.Losses, rules.OfReplay(p))
			continue
		}
		keep, lost := r.Clean(p)
		if lost != nil {
			f.countLoss(lost.Reason)
			b.Losses = append(b.Losses, lost)
		}
		if keep {
			kept = append(kept, p)
		}
	}
	clear(b.Pairs[len(kept):])
	b.Pairs = kept
	if len(b.Losses) > 1 {
		b.Losses = bus.MergeLosses(b.Losses)
	}
	data, err := proto.Marshal(b)
	if err != nil {
		// The text of the error may quote what it cannot encode.
		return &bus.Refusal{Reason: traffic.ReasonMalformed, Final: true, Text: "the masked batch cannot be encoded"}
	}
	return f.store(ctx, b, data)
}

// countReplay counts a pair of a replay, which the archive of live traffic must not
// have. That it was left out goes on with the batch, so that no gap is left in the
// numbers of its producer.
func (f *Forwarder) countReplay(d traffic.Direction) {
	if d == traffic.Direction_DIRECTION_IN {
		f.counts.replayIn.Add(1)
	} else {
		f.counts.replayOut.Add(1)
	}
}

func (f *Forwarder) countLoss(reason string) {
	if reason == traffic.ReasonFiltered {
		f.counts.filtered.Add(1)
	} else {
		f.counts.maskFailed.Add(1)
	}
}

func (f *Forwarder) store(parent context.Context, b *traffic.Batch, data []byte) error {
	ctx, cancel := context.WithTimeout(parent, storeTimeout)
	defer cancel()
	m := &nats.Msg{Subject: bus.SpoolPairs + b.Producer, Data: data, Header: batchID(b)}
	_, err := f.spool.PublishMsg(ctx, m)
	if err == nil {
		f.counts.spooled.Add(1)
		return nil
	}
	switch api, ok := errors.AsType[*jetstream.APIError](err); {
	case parent.Err() != nil:
		return &bus.Refusal{Reason: bus.RefusedStopping}
	case errors.Is(err, nats.ErrMaxPayload):
		f.counts.oversized.Add(1)
		return &bus.Refusal{Reason: traffic.ReasonOversized, Final: true, Text: "masked, the batch is larger than the largest message"}
	case ok && (api.ErrorCode == errStoreFailed || api.ErrorCode == errStorageExceeded):
		f.counts.queueFull.Add(1)
		return &bus.Refusal{Reason: traffic.ReasonSpoolFull, Text: api.Description}
	default:
		f.counts.storeErr.Add(1)
		f.repairSpool(err)
		return &bus.Refusal{Reason: traffic.ReasonSpoolFull, Text: "the spool cannot be written: " + err.Error()}
	}
}

// Codes of nats-server's errors for which nats.go has no names.
const (
	errStoreFailed     jetstream.ErrorCode = 10077 // the stream's bounds are reached
	errStorageExceeded jetstream.ErrorCode = 10047 // the store's bounds are reached
)

// batchID is how a batch that comes again is known, on every hop.
func batchID(b *traffic.Batch) nats.Header {
	return nats.Header{jetstream.MsgIDHeader: []string{fmt.Sprintf("%s-%d", b.Producer, b.Sequence)}}
}

// repairInterval is the least time between two attempts to open the spool anew.
const repairInterval = 5 * time.Second

// repairSpool opens the spool anew where it does not answer: nats-server takes
// nothing more after a failed write.
func (f *Forwarder) repairSpool(cause error) {
	if !f.repair.TryLock() {
		return
	}
	defer f.repair.Unlock()
	if time.Since(f.repaired) < repairInterval {
		return
	}
	f.repaired = time.Now()
	f.log.Error("spool does not answer, opening it anew", "dir", f.o.Spool.Dir, "error", cause)
	if err := f.broker.RestartStore(); err != nil {
		f.log.Error("spool not opened", "dir", f.o.Spool.Dir, "error", err)
	}
}
