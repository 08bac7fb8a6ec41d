package tap

import (
	"sync"
	"sync/atomic"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
)

// Sizes of the queue of one worker.
const (
	slabBytes   = 64 << 10
	slabRecords = 512
	// slabCost is what a slab takes from the budget: its bytes and its records.
	slabCost = slabBytes + slabRecords*64
	// shareFrom is the size in bytes from which a chunk is not copied: the
	// parser then holds the relay's own buffer.
	shareFrom = 8 << 10
	// wakeAt is how many queued bytes wake the worker before its next turn. What
	// it parses at a time stays short, so that it keeps no CPU from the relays for long.
	wakeAt = slabBytes
)

type kind uint8

const (
	kindData kind = iota
	kindEnd
	kindClose
)

// record is one event of a connection. Its bytes are in the slab at off, or in
// buf where that is set. Before it, gap bytes of each side were dropped.
type record struct {
	conn *Conn
	buf  *Buffer
	at   Time
	gap  [2]int64
	off  int32
	n    int32
	kind kind
	from wire.Side
}

// slab holds the copied bytes of many small chunks, so that a chunk costs no
// allocation and a short request does not hold a whole read buffer.
type slab struct {
	bytes   []byte
	records []record
}

// queue is what the relays of some connections put in and one worker takes out,
// all at once. It never blocks: what does not fit is refused.
type queue struct {
	budget *wire.Budget
	limit  int64         // bytes, of this queue alone
	slabs  *sync.Pool    // of *slab
	wake   chan struct{} // capacity 1
	// refused counts the bytes that found no room, by direction.
	refused [directions]refused

	mu     sync.Mutex
	full   []*slab
	cur    *slab
	urgent []record // ends that found no room: they must not be lost
	held   int64    // bytes taken from the budget
	queued int64    // bytes since the last take
	asleep bool     // the worker waits for wake
}

// refused counts bytes by the bound that they would have passed.
type refused struct{ budget, queue, full atomic.Int64 }

// refuse counts n bytes that put did not take.
func (q *queue) refuse(d traffic.Direction, reason string, n int) {
	if reason == traffic.ReasonBudget {
		q.refused[d].budget.Add(int64(n))
	} else {
		q.refused[d].queue.Add(int64(n))
	}
}

// skip counts n bytes that are not even offered, since no pair of them would be kept.
func (q *queue) skip(c *Conn, from wire.Side, n int) {
	q.mu.Lock()
	c.side[from].gap += int64(n)
	q.mu.Unlock()
	q.refused[c.info.Direction].full.Add(int64(n))
}

// takeRefused passes on and resets what was counted as refused.
func (q *queue) takeRefused(count func(d traffic.Direction, reason string, bytes int64)) {
	for d := range q.refused {
		if n := q.refused[d].budget.Swap(0); n > 0 {
			count(traffic.Direction(d), traffic.ReasonBudget, n)
		}
		if n := q.refused[d].full.Swap(0); n > 0 {
			count(traffic.Direction(d), traffic.ReasonUnacked, n)
		}
		if n := q.refused[d].queue.Swap(0); n > 0 {
			count(traffic.Direction(d), traffic.ReasonQueue, n)
		}
	}
}

// put queues a record with its bytes. An empty reason says that it was taken.
func (q *queue) put(r record, b []byte, buf *Buffer) (reason string) {
	q.mu.Lock()
	// Both sides' gaps come first: what was dropped of an answer belongs before
	// the next question.
	for side := range r.gap {
		r.gap[side] = r.conn.side[side].gap
	}
	if len(b) >= shareFrom && buf != nil {
		reason = q.putShared(r, len(b), buf)
	} else {
		reason = q.putCopied(r, b)
	}
	if reason == "" {
		r.conn.side[wire.Client].gap, r.conn.side[wire.Server].gap = 0, 0
	} else {
		r.conn.side[r.from].gap += int64(len(b))
	}
	wake := q.asleep || q.queued >= wakeAt
	if wake {
		q.asleep, q.queued = false, 0
	}
	q.mu.Unlock()
	if wake {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
	return reason
}

func (q *queue) putShared(r record, n int, buf *Buffer) string {
	s, reason := q.room(0)
	if s == nil {
		return reason
	}
	if reason := q.take(BufferSize); reason != "" {
		return reason
	}
	buf.retain()
	r.buf, r.n = buf, int32(n)
	s.records = append(s.records, r)
	q.queued += int64(n)
	return ""
}

func (q *queue) putCopied(r record, b []byte) string {
	s, reason := q.room(len(b))
	if s == nil {
		if r.kind != kindData {
			q.urgent = append(q.urgent, r)
			return ""
		}
		return reason
	}
	r.off, r.n = int32(len(s.bytes)), int32(len(b))
	s.bytes = append(s.bytes, b...)
	s.records = append(s.records, r)
	q.queued += int64(len(b))
	return ""
}

// room returns the slab to append n bytes and a record to.
func (q *queue) room(n int) (*slab, string) {
	if s := q.cur; s != nil {
		if len(s.bytes)+n <= slabBytes && len(s.records) < slabRecords {
			return s, ""
		}
		q.full = append(q.full, s)
		q.cur = nil
	}
	if reason := q.take(slabCost); reason != "" {
		return nil, reason
	}
	q.cur = q.slabs.Get().(*slab)
	return q.cur, ""
}

func (q *queue) take(n int64) string {
	if q.held+n > q.limit {
		return traffic.ReasonQueue
	}
	if !q.budget.Take(n) {
		return traffic.ReasonBudget
	}
	q.held += n
	return ""
}

// drain takes everything out. Where there is nothing and sleep is set, the
// worker is noted as asleep: the next put wakes it.
func (q *queue) drain(into []*slab, sleep bool) (slabs []*slab, urgent []record) {
	q.mu.Lock()
	defer q.mu.Unlock()
	slabs = append(into[:0], q.full...)
	clear(q.full)
	q.full = q.full[:0]
	if q.cur != nil {
		slabs = append(slabs, q.cur)
		q.cur = nil
	}
	urgent, q.urgent = q.urgent, nil
	q.queued = 0
	q.asleep = sleep && len(slabs) == 0 && len(urgent) == 0
	return slabs, urgent
}

// recycle gives a drained slab and its share of the budget back.
func (q *queue) recycle(s *slab) {
	n := int64(slabCost)
	for i := range s.records {
		if b := s.records[i].buf; b != nil {
			b.Release()
			n += BufferSize
		}
	}
	clear(s.records)
	s.records, s.bytes = s.records[:0], s.bytes[:0]
	q.slabs.Put(s)
	q.budget.Give(n)
	q.mu.Lock()
	q.held -= n
	q.mu.Unlock()
}
