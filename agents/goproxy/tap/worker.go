package tap

import (
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
)

// worker feeds the decoders of its connections, from one goroutine.
type worker struct {
	tap    *Tap
	queue  queue
	random *rand.ChaCha8 // for ids: no secrets depend on it

	losses  map[lossKey]*traffic.Loss
	flushed time.Time
	// at is the time of the record that is being handled.
	at time.Time
}

type lossKey struct {
	reason    string
	direction traffic.Direction
}

// run drains the queue in turns while there is traffic, and sleeps when there is none.
func (w *worker) run() {
	timer := time.NewTimer(turn)
	defer timer.Stop()
	var slabs []*slab
	var urgent []record
	for {
		slabs, urgent = w.queue.drain(slabs, true)
		w.handle(slabs, urgent)
		idle := len(slabs) == 0 && len(urgent) == 0
		w.flush(idle)
		if idle {
			select {
			case <-w.queue.wake:
			case <-w.tap.stop:
				w.finish()
				return
			}
		}
		timer.Reset(turn)
		select {
		case <-timer.C:
		case <-w.queue.wake: // much has come in
		case <-w.tap.stop:
			w.finish()
			return
		}
	}
}

// finish handles what was queued before the tap was closed.
func (w *worker) finish() {
	slabs, urgent := w.queue.drain(nil, false)
	w.handle(slabs, urgent)
	w.flush(true)
}

func (w *worker) handle(slabs []*slab, urgent []record) {
	if len(slabs) == 0 && len(urgent) == 0 {
		return
	}
	// The records' times are on the tap's clock. They are set against the wall
	// clock here, so that a clock that was set since the start is followed.
	base := time.Now().Add(-time.Duration(w.tap.now()))
	for i, s := range slabs {
		for j := range s.records {
			w.record(&s.records[j], s.bytes, base)
		}
		w.queue.recycle(s)
		slabs[i] = nil
	}
	for i := range urgent {
		w.record(&urgent[i], nil, base)
	}
}

// record hands one record to its connection's parser. A parser that panics is
// given up; the relay does not notice.
func (w *worker) record(r *record, slab []byte, base time.Time) {
	c := r.conn
	w.at = base.Add(time.Duration(r.at))
	defer func() {
		if p := recover(); p != nil {
			w.tap.opts.Logger.Error("parser panicked; the connection is relayed without capture",
				"connection", c.id, "panic", p, "stack", string(debug.Stack()))
			c.parse.giveUp(c, traffic.ReasonPanic)
		}
	}()
	var b []byte
	if r.buf != nil {
		b = r.buf.B[:r.n]
	} else if r.n > 0 {
		b = slab[r.off : r.off+r.n]
	}
	for side, n := range r.gap {
		if n > 0 {
			c.parse.event(c, chunk{from: wire.Side(side), gap: n, at: w.at})
		}
	}
	switch r.kind {
	case kindData:
		c.parse.event(c, chunk{from: r.from, b: b, at: w.at})
	case kindEnd:
		c.parse.event(c, chunk{from: r.from, end: true, at: w.at})
	case kindClose:
		c.parse.close(c)
	}
}

// lost counts a loss until the next flush.
func (w *worker) lost(d traffic.Direction, reason string, n Lost) {
	k := lossKey{reason, d}
	l := w.losses[k]
	if l == nil {
		l = &traffic.Loss{Reason: reason, Direction: d, From: w.at.UnixNano()}
		w.losses[k] = l
	}
	l.To = w.at.UnixNano()
	l.Pairs += n.Pairs
	l.Connections += n.Connections
	l.Bytes += n.Bytes
}

// flush hands the counted losses to the recorder: at most once a second, or at
// once where the worker is about to sleep.
func (w *worker) flush(now bool) {
	if !now && time.Since(w.flushed) < flushEvery {
		return
	}
	w.flushed = time.Now()
	w.at = w.flushed
	w.queue.takeRefused(func(d traffic.Direction, reason string, n int64) {
		w.lost(d, reason, Lost{Bytes: uint64(n)})
	})
	for k, l := range w.losses {
		w.tap.report(l)
		delete(w.losses, k)
	}
}

func (w *worker) uuid() []byte {
	u := make([]byte, 16)
	w.random.Read(u) // ChaCha8.Read never fails
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return u
}

var _ wire.Sink = (*sink)(nil)
