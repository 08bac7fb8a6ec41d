package http1

import (
	"bytes"
	"strings"
	"time"

	"github.com/speedscale/speedscale/traffic/wire"
)

// maxLeanLine is how much is kept of each line of a head that is not kept. The
// fields that decide on the length of a message are far shorter.
const maxLeanLine = 512

// lean reads a head that is too long to be kept, line by line, for the end of
// its message only, so that what follows can be decoded.
type lean struct {
	reason  string
	m       message
	line    [maxLeanLine]byte
	n       int  // bytes of the line so far, more than maxLeanLine where it is longer
	started bool // the start line has been read
	size    int
}

// startLean goes over to reading a head, or trailer section, without keeping it.
// What has been kept of it is read again.
func (d *Decoder) startLean(s *stream, b []byte, at time.Time, reason string) []byte {
	kept := append([]byte(nil), s.buf...)
	trailer := s.state == stateTrailer
	d.clear(s)
	s.lean = &lean{reason: reason, started: trailer}
	s.lean.m.trailer = trailer
	s.state = stateLean
	if len(kept) > 0 {
		d.readLean(s, kept, at)
	}
	return b
}

// readLean takes lines of a head that is not kept.
func (d *Decoder) readLean(s *stream, b []byte, at time.Time) []byte {
	for len(b) > 0 {
		l := s.lean
		i := bytes.IndexByte(b, '\n')
		part := b
		if i >= 0 {
			part = b[:i+1]
		}
		if l.n < maxLeanLine {
			copy(l.line[l.n:], part)
		}
		l.n += len(part)
		l.size += len(part)
		b = b[len(part):]
		if i < 0 {
			return nil
		}
		line, whole := l.next()
		if whole && len(line) == 0 {
			d.endLean(s, at)
			return b
		}
		if !l.take(line, whole, s.side) {
			d.malformed(s, l.size)
			return nil
		}
	}
	return b
}

// next returns the line that is complete, without its line end, and whether
// all of it was kept.
func (l *lean) next() (line string, whole bool) {
	n := min(l.n, maxLeanLine)
	whole = l.n <= maxLeanLine
	l.n = 0
	text := l.line[:n]
	if whole {
		text = bytes.TrimSuffix(text[:n-1], []byte("\r"))
	}
	return string(text), whole
}

// take notes what a line says about the message.
func (l *lean) take(line string, whole bool, side wire.Side) bool {
	if !l.started {
		l.started = true
		return l.start(line, whole, side)
	}
	name, value, ok := strings.Cut(line, ":")
	if !ok || !isToken(name) {
		// A fold, or a line that a strict reader would refuse: neither can
		// change the length of the message.
		return !isFraming(strings.TrimSpace(name))
	}
	if !whole {
		return !isFraming(name)
	}
	return l.m.field(name, trimSpace(value)) == nil
}

func (l *lean) start(line string, whole bool, side wire.Side) bool {
	if side == wire.Server {
		if !whole { // a long reason phrase
			line = strings.ToValidUTF8(line, "")
		}
		return l.m.statusLine(line) == nil
	}
	if !whole { // a long request target: its end is not needed
		l.m.method, _, _ = strings.Cut(line, " ")
		l.m.version = "1.1"
		return isToken(l.m.method)
	}
	return l.m.requestLine(line) == nil
}

// endLean goes on to the body of the message.
func (d *Decoder) endLean(s *stream, at time.Time) {
	l := s.lean
	s.lean = nil
	if l.m.trailer {
		s.tx.Wire(l.size)
		d.complete(s, at)
		return
	}
	if s.side == wire.Client {
		tx := d.begin(s.began)
		tx.Drop(l.reason)
		tx.Wire(l.size)
		if l.m.checkRequest() != nil {
			s.tx = tx
			d.malformed(s, l.size)
			return
		}
		d.startRequest(s, tx, &l.m, at)
		return
	}
	tx := d.queue[0]
	tx.Drop(l.reason)
	tx.Wire(l.size)
	if l.m.status < 200 && l.m.status != 101 {
		s.state = stateHead
		return
	}
	l.m.bodiless = bodiless(tx, l.m.status)
	if !l.m.bodiless && l.m.checkCoding() != nil {
		d.malformed(s, l.size)
		return
	}
	d.startResponse(s, tx, &l.m, at)
}
