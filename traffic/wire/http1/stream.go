package http1

import (
	"time"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
)

// state says what the next byte of a stream is part of.
type state uint8

const (
	stateHead       state = iota // between messages, or in a head
	stateLean                    // in a head that is too long to be kept
	stateFixed                   // in a body of known length
	stateUntilClose              // in a body that ends with the stream
	stateChunkSize               // in a chunk-size line
	stateChunk                   // in the data of a chunk
	stateChunkEnd                // in the line end after a chunk
	stateTrailer                 // in the trailer section
	stateDead                    // after the last message that will be decoded
)

// stream is one direction of the connection.
type stream struct {
	side    wire.Side
	state   state
	skip    bool // out of step after a gap: wait for a chunk that starts a message
	ended   bool // nothing more will come
	endDone bool // and that has been acted on
	// tx is the exchange of the message that is being read, nil between messages.
	tx *transaction
	// left is what is left of a body or a chunk; length what was announced.
	left, length int64
	// buf has an incomplete head, chunk line or trailer section; line is where
	// its last line starts.
	buf  []byte
	line int
	lean *lean
	// began is when the first byte of the head came, lastAt when the last byte
	// of a body without length did.
	began, lastAt, endAt time.Time

	held     []segment
	heldSize int64
}

// segment is data, or a gap, that came before it could be decoded.
type segment struct {
	data []byte
	gap  int64
	at   time.Time
}

// grow appends to the stream's buffer, if the budget allows.
func (d *Decoder) grow(s *stream, b []byte) bool {
	if need := len(s.buf) + len(b); need > cap(s.buf) {
		size := max(need, min(2*need, d.opt.MaxHead))
		if !d.opt.Budget.Take(int64(size - cap(s.buf))) {
			return false
		}
		buf := make([]byte, len(s.buf), size)
		copy(buf, s.buf)
		s.buf = buf
	}
	s.buf = append(s.buf, b...)
	return true
}

// clear gives the stream's buffer back.
func (d *Decoder) clear(s *stream) {
	if cap(s.buf) > 0 {
		d.opt.Budget.Give(int64(cap(s.buf)))
	}
	s.buf, s.line, s.lean = nil, 0, nil
}

// reset puts a stream between two messages.
func (d *Decoder) reset(s *stream) {
	d.clear(s)
	s.state, s.tx, s.left = stateHead, nil, 0
}

// begin returns a transaction whose first byte was read at the given time.
func (d *Decoder) begin(at time.Time) *transaction {
	tx := d.spare
	d.spare = nil
	if tx == nil {
		tx = new(transaction)
	}
	*tx = transaction{began: at}
	tx.Begin(&d.opt, at)
	return tx
}

// complete ends the message that a stream is reading.
func (d *Decoder) complete(s *stream, at time.Time) {
	tx := s.tx
	d.reset(s)
	if s.side == wire.Client {
		tx.sent = true
		if tx.answered {
			d.finish(tx)
		}
		return
	}
	tx.answered, tx.end = true, at
	d.remove(tx)
	if tx.sent {
		d.finish(tx)
	}
	d.afterAnswer()
}

// afterAnswer ends decoding if nothing more is to be answered and more is not
// to be expected.
func (d *Decoder) afterAnswer() {
	if d.done || len(d.queue) > 0 {
		return
	}
	if d.ending != "" {
		d.stop(d.ending)
	} else if d.client.skip {
		d.skipFrom(&d.server)
	}
}

func (d *Decoder) finish(tx *transaction) {
	if !tx.counted {
		tx.Finish(tx.end)
		d.spare = tx
	}
}

// remove takes a transaction out of the queue.
func (d *Decoder) remove(tx *transaction) {
	for i, q := range d.queue {
		if q == tx {
			copy(d.queue[i:], d.queue[i+1:])
			d.queue[len(d.queue)-1] = nil
			d.queue = d.queue[:len(d.queue)-1]
			return
		}
	}
}

// end acts on the end of a stream.
func (d *Decoder) end(s *stream) {
	if s.endDone {
		return
	}
	s.endDone = true
	if s.side == wire.Client {
		d.endClient(s)
	} else {
		d.endServer(s)
	}
}

func (d *Decoder) endClient(s *stream) {
	tx, st, length := s.tx, s.state, s.length
	d.loseHead(s, traffic.ReasonIncomplete)
	d.reset(s)
	s.state = stateDead
	if tx == nil {
		return
	}
	// The client gave up its body, usually since the answer came early. With a
	// known length that is a cut body; otherwise nobody can say what is missing.
	if st == stateFixed {
		tx.Announced(wire.Client, length)
	} else {
		tx.Drop(traffic.ReasonIncomplete)
	}
	tx.sent = true
	if tx.answered {
		d.finish(tx)
	}
}

func (d *Decoder) endServer(s *stream) {
	if s.state == stateUntilClose {
		d.complete(s, s.lastAt)
	} else if tx := s.tx; tx != nil {
		d.remove(tx)
		d.lose(tx, traffic.ReasonIncomplete)
	}
	if d.done {
		return
	}
	d.reset(s)
	s.state = stateDead
	d.afterAnswer()
}

// lose counts a transaction as lost. The client may still be sending its body,
// which is then read for its end only.
func (d *Decoder) lose(tx *transaction, reason string) {
	if d.upgrade == tx {
		d.upgrade = nil
	}
	if !tx.counted {
		tx.counted = true
		tx.Abandon(reason)
	}
}

// loseHead counts a request of which only a part of the head is there.
func (d *Decoder) loseHead(s *stream, reason string) {
	if s.tx == nil && (len(s.buf) > 0 || s.lean != nil) {
		d.opt.Sink.Lost(reason, 1, int64(len(s.buf)))
	}
}

// stop ends decoding and tells the sink so.
func (d *Decoder) stop(reason string) {
	d.abandon(reason)
	d.opt.Sink.Opaque(reason)
}

// abandon counts all that is open as lost and gives all memory back.
func (d *Decoder) abandon(reason string) {
	d.done = true
	if tx := d.client.tx; tx != nil {
		d.lose(tx, reason)
	} else {
		d.loseHead(&d.client, reason)
	}
	for _, tx := range d.queue {
		d.lose(tx, reason)
	}
	d.queue, d.upgrade, d.spare = nil, nil, nil
	for _, s := range []*stream{&d.client, &d.server} {
		if n := s.heldSize; n > 0 {
			d.opt.Budget.Give(n)
			d.opt.Sink.Lost(reason, 0, n)
		}
		s.held, s.heldSize = nil, 0
		d.reset(s)
		s.state = stateDead
	}
}
