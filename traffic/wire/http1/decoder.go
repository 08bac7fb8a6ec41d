// Package http1 decodes HTTP/1.0 and HTTP/1.1 connections into pairs (RFC 9112).
// It is an incremental push parser: it keeps an incomplete line or head and the
// bodies of open exchanges, nothing else, so an idle connection costs almost
// nothing.
//
// The two directions reach the decoder over one queue, but in no strict order:
// a response may come before the request that it answers. Each byte is
// therefore decoded as soon as what it depends on is there, and held until then.
package http1

import (
	"time"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
	"github.com/speedscale/speedscale/traffic/wire/exchange"
)

// Bounds on what one connection may make the decoder keep.
const (
	maxQueue = 1024      // requests waiting for their response
	maxHeld  = 256 << 10 // bytes that came before what they depend on
)

// Decoder decodes one connection. It implements wire.Decoder.
type Decoder struct {
	opt    wire.Options
	client stream
	server stream
	// queue has the requests whose response is not complete, oldest first.
	queue []*transaction
	// upgrade is the request whose answer decides whether what the client sends
	// next is HTTP.
	upgrade *transaction
	// spare is a finished transaction to use again.
	spare *transaction
	// ending is the reason for which decoding stops when the queue is empty.
	ending string
	done   bool
}

var _ wire.Decoder = (*Decoder)(nil)

// transaction is an exchange with what HTTP/1 needs to know of it.
type transaction struct {
	exchange.Exchange
	head     bool // the method is HEAD
	connect  bool // the method is CONNECT
	sent     bool // the request is complete
	answered bool // the response is complete
	counted  bool // it was counted as lost; its bytes are read for their end only
	// began is when the first byte of the request was read, end when the last
	// byte of the response was.
	began, end time.Time
}

// New returns a decoder for one connection.
func New(opt wire.Options) *Decoder {
	if opt.MaxHead <= 0 {
		opt.MaxHead = wire.DefaultMaxHead
	}
	d := &Decoder{opt: opt}
	d.client.side = wire.Client
	d.server.side = wire.Server
	return d
}

// Data takes the next bytes that a side sent.
func (d *Decoder) Data(from wire.Side, b []byte, at time.Time) {
	if d.done || len(b) == 0 {
		return
	}
	s := d.stream(from)
	switch {
	case len(s.held) > 0:
		d.hold(s, b, at)
	default:
		if rest := d.data(s, b, at); len(rest) > 0 {
			d.hold(s, rest, at)
		}
	}
	d.settle()
}

// Gap says that the next n bytes of a side are missing. The bytes of the gap
// itself are counted by who dropped them; the decoder counts what it costs.
func (d *Decoder) Gap(from wire.Side, n int64, at time.Time) {
	if d.done || n <= 0 {
		return
	}
	s := d.stream(from)
	if len(s.held) > 0 {
		s.held = append(s.held, segment{gap: n, at: at})
	} else {
		d.gap(s, n, at)
	}
	d.settle()
}

// End says that a side sends nothing more.
func (d *Decoder) End(from wire.Side, at time.Time) {
	if d.done {
		return
	}
	s := d.stream(from)
	s.ended, s.endAt = true, at
	d.settle()
}

// Close ends decoding. Exchanges that are not complete are counted as lost.
func (d *Decoder) Close() {
	if d.done {
		return
	}
	d.abandon(traffic.ReasonIncomplete)
}

func (d *Decoder) stream(side wire.Side) *stream {
	if side == wire.Client {
		return &d.client
	}
	return &d.server
}

// data decodes b as far as it can be by now and returns the rest.
func (d *Decoder) data(s *stream, b []byte, at time.Time) []byte {
	if s.skip && !d.resume(s, b, at) {
		if !d.done {
			d.opt.Sink.Lost(traffic.ReasonGap, 0, int64(len(b)))
		}
		return nil
	}
	for len(b) > 0 && !d.done && !d.blocked(s) {
		b = d.step(s, b, at)
	}
	if d.done {
		return nil
	}
	return b
}

// step takes at least one byte of b, or changes the state, and returns the rest.
func (d *Decoder) step(s *stream, b []byte, at time.Time) []byte {
	switch s.state {
	case stateHead:
		return d.readHead(s, b, at)
	case stateLean:
		return d.readLean(s, b, at)
	case stateFixed, stateChunk:
		return d.readCounted(s, b, at)
	case stateUntilClose:
		s.tx.Wire(len(b))
		s.tx.Body(s.side, b, -1)
		s.lastAt = at
		return nil
	case stateChunkSize, stateChunkEnd:
		return d.readChunkLine(s, b)
	case stateTrailer:
		return d.readTrailer(s, b, at)
	default: // stateDead
		if d.ending != "" {
			d.opt.Sink.Lost(d.ending, 0, int64(len(b)))
		}
		return nil
	}
}

// blocked says whether a stream must wait for the other: a server for the
// request that it answers, a client for the answer to an upgrade.
func (d *Decoder) blocked(s *stream) bool {
	if s.state != stateHead || len(s.buf) > 0 {
		return false
	}
	if s.side == wire.Client {
		return d.upgrade != nil
	}
	return len(d.queue) == 0
}

// settle goes on with held bytes and ends for as long as one stream's progress
// lets the other go on.
func (d *Decoder) settle() {
	for progress := true; progress && !d.done; {
		progress = d.drain(&d.client)
		if !d.done && d.drain(&d.server) {
			progress = true
		}
	}
}

func (d *Decoder) drain(s *stream) (progress bool) {
	for len(s.held) > 0 && !d.done {
		if s.held[0].gap == 0 && !s.skip && d.blocked(s) {
			break
		}
		progress = true
		seg := s.held[0]
		s.held = s.held[1:]
		if seg.gap > 0 {
			d.gap(s, seg.gap, seg.at)
			continue
		}
		n := int64(len(seg.data))
		rest := d.data(s, seg.data, seg.at)
		if d.done { // all that was held has been given back
			return true
		}
		if len(rest) > 0 {
			s.held = append([]segment{{data: rest, at: seg.at}}, s.held...)
		}
		s.heldSize -= n - int64(len(rest))
		d.opt.Budget.Give(n - int64(len(rest)))
	}
	if len(s.held) == 0 {
		s.held = nil
		if s.ended && !d.done && !s.endDone {
			d.end(s)
			return true
		}
	}
	return progress
}

// hold keeps bytes that cannot be decoded yet. Past the bound or the budget
// they become a gap.
func (d *Decoder) hold(s *stream, b []byte, at time.Time) {
	n := int64(len(b))
	if s.heldSize+n > maxHeld || !d.opt.Budget.Take(n) {
		d.opt.Sink.Lost(traffic.ReasonBudget, 0, n)
		s.held = append(s.held, segment{gap: n, at: at})
		return
	}
	s.heldSize += n
	s.held = append(s.held, segment{data: append([]byte(nil), b...), at: at})
}
