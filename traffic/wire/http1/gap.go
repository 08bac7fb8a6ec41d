package http1

import (
	"bytes"
	"time"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
)

// After a gap outside a body of known length nobody knows how many messages
// went with it. A client is in step again with the next chunk that starts with a
// request line. The server's bytes up to then answer what was lost, so they are
// skipped, until a chunk that was read after that request and starts with a
// status line. A client that sends a second request before it has the answer
// (pipelining) leaves it open which request an answer belongs to: rather than
// pair wrongly, decoding stops.

// gap takes n missing bytes into account.
func (d *Decoder) gap(s *stream, n int64, at time.Time) {
	if s.skip || s.state == stateDead {
		return
	}
	switch s.state {
	case stateFixed, stateChunk:
		m := min(n, s.left)
		s.tx.Missing(s.side, m)
		n -= m
		d.advance(s, m, at)
	case stateUntilClose:
		s.tx.Missing(s.side, n)
		s.lastAt = at
		return
	}
	if n > 0 && !d.done {
		d.outOfStep(s)
	}
}

func (d *Decoder) outOfStep(s *stream) {
	if s.side == wire.Client {
		if tx := s.tx; tx != nil {
			d.remove(tx)
			d.lose(tx, traffic.ReasonGap)
		} else {
			d.loseHead(s, traffic.ReasonGap)
		}
		d.skipFrom(s)
		if len(d.queue) == 0 {
			d.skipFrom(&d.server)
		}
		return
	}
	switch len(d.queue) {
	case 0:
		d.skipFrom(s)
	case 1:
		tx := d.queue[0]
		d.remove(tx)
		d.lose(tx, traffic.ReasonGap)
		d.skipFrom(s)
		d.afterAnswer()
	default:
		d.stop(traffic.ReasonGap)
	}
}

func (d *Decoder) skipFrom(s *stream) {
	if s.state != stateDead {
		d.reset(s)
		s.skip = true
	}
}

// resume says whether a stream that is out of step is in step again with b.
func (d *Decoder) resume(s *stream, b []byte, at time.Time) bool {
	if s.side == wire.Server {
		if len(d.queue) == 0 || at.Before(d.queue[0].began) || !bytes.HasPrefix(b, []byte("HTTP/1.")) {
			return false
		}
		s.skip = false
		return true
	}
	line, _, ok := bytes.Cut(b, []byte("\n"))
	if !ok {
		return false
	}
	if _, _, _, err := requestLine(string(bytes.TrimSuffix(line, []byte("\r")))); err != nil {
		return false
	}
	if len(d.queue) > 0 {
		d.stop(traffic.ReasonGap)
		return false
	}
	s.skip = false
	d.skipFrom(&d.server)
	return true
}
