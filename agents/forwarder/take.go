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
	"github.com/speedscale/speedscale/traffic"
)

// storeTimeout bounds the storing of one batch.
const storeTimeout = 5 * time.Second

// take filters, masks and stores a batch. nil means that the spool's file has it.
func (f *Forwarder) take(ctx context.Context, b *traffic.Batch) error {
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
		keep, lost := f.clean(r, p)
		if lost != nil {
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

// clean filters and masks a pair. It says whether the pair is kept, and what of
// it, if anything, is lost: the whole pair, or the bodies that masking could not
// read.
func (f *Forwarder) clean(r *rules, p *traffic.RRPair) (keep bool, lost *traffic.Loss) {
	defer func() {
		if v := recover(); v != nil {
			// The value may hold a part of the pair, so only its type is logged.
			f.log.Error("masking panicked, the pair is dropped", "panic", fmt.Sprintf("%T", v))
			f.counts.maskFailed.Add(1)
			keep, lost = false, wholePair(p, traffic.ReasonMaskFailed)
		}
	}()
	if r.filter.Excludes(p) {
		f.counts.filtered.Add(1)
		return false, wholePair(p, traffic.ReasonFiltered)
	}
	before := bodyBytes(p)
	if _, err := r.masker.Mask(p); err != nil {
		f.counts.maskFailed.Add(1)
		return true, loss(p, traffic.ReasonMaskFailed, 0, before-bodyBytes(p))
	}
	return true, nil
}

func bodyBytes(p *traffic.RRPair) int64 {
	return int64(len(p.GetHttp().GetReq().GetBody()) + len(p.GetHttp().GetRes().GetBody()))
}

func wholePair(p *traffic.RRPair, reason string) *traffic.Loss {
	return loss(p, reason, 1, p.WireformatSize)
}

func loss(p *traffic.RRPair, reason string, pairs uint64, bytes int64) *traffic.Loss {
	return &traffic.Loss{
		Reason: reason, Service: p.Service, Namespace: p.Namespace, Direction: p.Direction,
		From: p.Ts, To: p.Ts, Pairs: pairs, Bytes: uint64(max(0, bytes)),
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
