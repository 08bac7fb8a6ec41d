package bus

import (
	"slices"
	"time"

	"github.com/speedscale/speedscale/traffic"
)

// This file keeps the publisher's books: what is held and what is lost. All its
// methods are called with p.mu locked.

func pairLoss(pair *traffic.RRPair, reason string, bytes uint64) *traffic.Loss {
	return &traffic.Loss{
		Reason: reason, Service: pair.Service, Namespace: pair.Namespace, Direction: pair.Direction,
		From: pair.Ts, To: pair.Ts, Pairs: 1, Bytes: bytes,
	}
}

// take reserves n bytes within MaxHeld and the budget.
func (p *Publisher) take(n int64) bool {
	if p.held+n > p.o.MaxHeld || !p.o.Budget.Take(n) {
		return false
	}
	p.held += n
	return true
}

func (p *Publisher) give(n int64) {
	p.held -= n
	p.o.Budget.Give(n)
}

// maxFree bounds the buffers that are kept for the next batches; they count as held.
const maxFree = 4

func (p *Publisher) recycle(buf []byte, held int64) {
	if held == int64(cap(buf)) && cap(buf) <= 2*p.o.MaxBatchBytes && len(p.free) < maxFree && !p.full.Load() {
		p.free = append(p.free, buf[:0])
		return
	}
	p.give(held)
}

// grow makes room for n more bytes in the open batch, and for the batch's own
// fields after them, or reports that there are none to be had.
func (p *Publisher) grow(n int) bool {
	need := len(p.open.buf) + n + headerSize(p.o.Producer)
	if need <= cap(p.open.buf) {
		return true
	}
	if f := len(p.free); f > 0 && cap(p.free[f-1]) >= need {
		buf := append(p.free[f-1], p.open.buf...)
		p.free = p.free[:f-1]
		p.give(int64(cap(p.open.buf)))
		p.open.buf = buf
		return true
	}
	for _, size := range []int{max(need, 2*cap(p.open.buf), 4<<10), need} {
		// The old buffer is held as well until its bytes are moved.
		if !p.take(int64(size)) {
			continue
		}
		buf := append(make([]byte, 0, size), p.open.buf...)
		p.give(int64(cap(p.open.buf)))
		p.open.buf = buf
		return true
	}
	for _, buf := range p.free {
		p.give(int64(cap(buf)))
	}
	p.free = nil
	return false
}

// begin notes that something waits for the next batch.
func (p *Publisher) begin() {
	if p.since.IsZero() {
		p.since = time.Now()
		p.signal()
	}
}

func (p *Publisher) wait(l *traffic.Loss) {
	p.waiting.add(l)
	p.begin()
}

// drop loses a pair that finds no room.
func (p *Publisher) drop(pair *traffic.RRPair) {
	reason := traffic.ReasonBudget
	if len(p.batches) > 0 {
		switch {
		case p.refusal != "":
			reason = p.refusal
		case p.o.AckTimeout < time.Since(p.batches[0].sealed) || !p.o.Conn.IsConnected():
			reason = traffic.ReasonUnacked
		}
		// Until the next acknowledgement, which gives room again.
		p.full.Store(true)
	}
	p.lose(pair, reason)
}

func (p *Publisher) lose(pair *traffic.RRPair, reason string) {
	p.countLost(reason, 1)
	p.wait(pairLoss(pair, reason, uint64(max(0, pair.WireformatSize))))
}

func (p *Publisher) countLost(reason string, pairs uint64) {
	if pairs == 0 {
		return
	}
	if p.lost == nil {
		p.lost = map[string]uint64{}
	}
	if _, known := p.lost[reason]; !known && len(p.lost) >= maxReasons {
		reason = "other" // the receiver names them, and it is another program
	}
	p.lost[reason] += pairs
	p.stats.LostPairs += pairs
}

// maxReasons bounds the reasons that are told apart.
const maxReasons = 64

// why a batch is sealed.
type why uint8

const (
	whyDue       why = iota // it has something in it
	whyHeartbeat            // it says that the producer lives, and may be empty
	whyGoodbye              // it is the last one, and may be empty
)

// seal closes the open batch and gives it its identity. It reports false where
// there is nothing to seal, or no room for it now.
func (p *Publisher) seal(w why) bool {
	if p.open.pairs == 0 && p.waiting.empty() && w == whyDue {
		return false
	}
	b := &batch{firstPair: p.nextPair, pairs: p.open.pairs, kinds: p.open.kinds, goodbye: w == whyGoodbye, sealed: time.Now()}
	size := headerSize(p.o.Producer) + p.waiting.size()
	if p.grow(size) || w == whyGoodbye {
		b.losses, p.waiting = p.waiting, losses{}
	} else if b.pairs == 0 {
		return false
	}
	p.lastSealed = b.sealed
	p.sequence++
	b.sequence = p.sequence
	p.nextPair += uint64(b.pairs)
	before := cap(p.open.buf)
	b.buf = b.appendHeader(p.open.buf, p.o.Producer)
	b.held = int64(before)
	// A small batch must not hold on to a large buffer.
	if n := len(b.buf); n < before/2 && p.take(int64(n)) {
		old := b.buf
		b.buf = append(make([]byte, 0, n), old...)
		p.recycle(old[:0], b.held)
		b.held = int64(n)
	}
	p.open, p.since = openBatch{}, time.Time{}
	if !p.waiting.empty() {
		p.since = b.sealed
	}
	p.batches = append(p.batches, b)
	p.stats.Batches++
	return true
}

func (p *Publisher) find(sequence uint64) *batch {
	i, ok := slices.BinarySearchFunc(p.batches, sequence, func(b *batch, s uint64) int {
		return int(int64(b.sequence) - int64(s))
	})
	if !ok {
		return nil
	}
	return p.batches[i]
}

// acknowledged ends a batch.
func (p *Publisher) acknowledged(b *batch) {
	p.batches = slices.DeleteFunc(p.batches, func(c *batch) bool { return c == b })
	if b.sent {
		p.inFlight--
	}
	p.stats.AckedBatches++
	if !b.emptied {
		p.stats.AckedPairs += uint64(b.pairs)
	}
	p.full.Store(false)
	p.recycle(b.buf, b.held)
	p.refusal, p.failures, p.pausedUntil = "", 0, time.Time{}
}

// refused notes that a batch was not taken. It is sent again after a while, in which
// everything is held back. Refused for good, the same batch goes on without its
// pairs, so that the sequence has no gap and the loss is stated.
func (p *Publisher) refused(b *batch, r *Refusal) {
	if b.sent {
		b.sent = false
		p.inFlight--
	}
	if r.Final && !b.emptied {
		p.stats.Rejected++
		p.countLost(r.Reason, uint64(b.pairs))
		p.o.Logger.Error("batch refused for good, its pairs are lost", "producer", p.o.Producer,
			"sequence", b.sequence, "pairs", b.pairs, "reason", r.Reason, "text", r.Text)
		p.empty(b, r.Reason)
		return
	}
	p.stats.Refused++
	p.refusal = r.Reason
	if r.Reason == RefusedBusy || r.Reason == RefusedStopping || r.Reason == RefusedFailed {
		p.refusal = traffic.ReasonUnacked
	}
	if time.Now().Before(p.pausedUntil) {
		return // one answer of several that were in flight
	}
	p.failures++
	p.pausedUntil = time.Now().Add(backoff(maxPause)(p.failures))
	if p.failures == 1 || p.failures%60 == 0 {
		p.o.Logger.Warn("batch refused, sending again later", "producer", p.o.Producer,
			"sequence", b.sequence, "reason", r.Reason, "text", r.Text, "attempts", p.failures)
	}
}

// maxPause bounds the wait after refusals.
const maxPause = 5 * time.Second

func (p *Publisher) empty(b *batch, reason string) {
	b.emptied = true
	b.losses.addAs(reason, &b.kinds)
	buf := b.appendHeader(make([]byte, 0, headerSize(p.o.Producer)+b.losses.size()), p.o.Producer)
	if p.take(int64(cap(buf))) {
		p.give(b.held)
		b.buf, b.held = buf, int64(cap(buf))
		return
	}
	// It fits into what the batch holds already, or is a few bytes over it.
	b.buf = buf
}
