package http1

import (
	"bytes"
	"strings"
	"time"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
	"github.com/speedscale/speedscale/traffic/wire/exchange"
)

// readHead collects the head of a message. A head that is in b as a whole, as
// nearly all are, is parsed where it is.
func (d *Decoder) readHead(s *stream, b []byte, at time.Time) []byte {
	if len(s.buf) == 0 {
		if s.side == wire.Client {
			// A request may come after empty lines (RFC 9112, section 2.2).
			if b = bytes.TrimLeft(b, "\r\n"); len(b) == 0 {
				return nil
			}
		}
		if !plausible(s.side, b) {
			d.malformed(s, len(b))
			return nil
		}
		s.began = at
		if n := headLength(b[:min(len(b), d.opt.MaxHead)]); n > 0 {
			d.head(s, b[:n], at)
			return b[n:]
		}
		if len(b) >= d.opt.MaxHead {
			return d.startLean(s, b, at, traffic.ReasonOversized)
		}
	}
	rest, done, reason := d.collect(s, b)
	switch {
	case reason != "":
		return d.startLean(s, rest, at, reason)
	case done:
		d.head(s, s.buf, at)
	case !plausible(s.side, s.buf):
		d.malformed(s, len(s.buf))
	}
	return rest
}

// plausible says whether the beginning of a head may be one, so that another
// protocol is not collected up to the limit.
func plausible(side wire.Side, b []byte) bool {
	if side == wire.Client {
		return tokenByte[b[0]]
	}
	const version = "HTTP/1."
	n := min(len(b), len(version))
	return string(b[:n]) == version[:n]
}

// headLength is the length of the head that b starts with, up to and with its
// empty line; 0 where that has not come yet. A line may end with a bare LF
// (RFC 9112, section 2.2).
func headLength(b []byte) int {
	for line := 0; ; {
		i := bytes.IndexByte(b[line:], '\n')
		if i < 0 {
			return 0
		}
		if i == 0 || i == 1 && b[line] == '\r' {
			return line + i + 1
		}
		line += i + 1
	}
}

// collect appends lines to the buffer up to an empty one. A reason says that
// the buffer may not grow further.
func (d *Decoder) collect(s *stream, b []byte) (rest []byte, done bool, reason string) {
	for len(b) > 0 {
		part := b
		i := bytes.IndexByte(b, '\n')
		if i >= 0 {
			part = b[:i+1]
		}
		if len(s.buf)+len(part) > d.opt.MaxHead {
			return b, false, traffic.ReasonOversized
		}
		if !d.grow(s, part) {
			return b, false, traffic.ReasonBudget
		}
		b = b[len(part):]
		if i < 0 {
			break
		}
		if headLength(s.buf[s.line:]) > 0 {
			return b, true, ""
		}
		s.line = len(s.buf)
	}
	return b, false, ""
}

// head takes a complete head.
func (d *Decoder) head(s *stream, raw []byte, at time.Time) {
	if s.side == wire.Client {
		d.requestHead(s, raw, at)
	} else {
		d.responseHead(s, raw, at)
	}
}

func (d *Decoder) requestHead(s *stream, raw []byte, at time.Time) {
	text := string(raw) // the one allocation that all fields share
	d.clear(s)
	first, rest, _ := strings.Cut(text, "\n")
	var m message
	if err := m.requestLine(strings.TrimSuffix(first, "\r")); err != nil {
		d.malformed(s, len(raw))
		return
	}
	tx := d.begin(s.began)
	fields := tx.Fields(fieldCount(rest), len(text))
	tx.Wire(len(raw))
	err := m.fields(rest, &fields)
	if err == nil {
		err = m.checkRequest()
	}
	if err != nil {
		s.tx = tx
		d.malformed(s, len(raw))
		return
	}
	if r := tx.Request(); r != nil {
		r.Method, r.Uri, r.Version = m.method, exchange.Target(m.uri), m.version
		r.Host = exchange.Text(m.host)
		r.Headers = fields.List()
		tx.RequestHead(d.opt.Scheme)
	}
	d.startRequest(s, tx, &m, at)
}

// startRequest queues a request whose head is complete and goes on to its body.
func (d *Decoder) startRequest(s *stream, tx *transaction, m *message, at time.Time) {
	tx.head, tx.connect = m.method == "HEAD", m.method == "CONNECT"
	s.tx = tx
	if d.server.skip && len(d.queue) > 0 {
		d.stop(traffic.ReasonGap)
		return
	}
	if len(d.queue) >= maxQueue {
		d.stop(traffic.ReasonBudget)
		return
	}
	d.queue = append(d.queue, tx)
	if tx.connect || m.upgrade {
		d.upgrade = tx
	}
	d.body(s, m, at)
}

func (d *Decoder) responseHead(s *stream, raw []byte, at time.Time) {
	tx := d.queue[0]
	text := string(raw)
	d.clear(s)
	first, rest, _ := strings.Cut(text, "\n")
	var m message
	if err := m.statusLine(strings.TrimSuffix(first, "\r")); err != nil {
		d.malformed(s, len(raw))
		return
	}
	interim := m.status < 200 && m.status != 101
	var fields exchange.Fields
	if !interim {
		fields = tx.Fields(fieldCount(rest), len(text))
	}
	if err := m.fields(rest, &fields); err != nil {
		d.malformed(s, len(raw))
		return
	}
	m.bodiless = bodiless(tx, m.status)
	if !m.bodiless && m.checkCoding() != nil {
		d.malformed(s, len(raw))
		return
	}
	tx.Wire(len(raw))
	if interim { // 100 Continue, 103 Early Hints: the answer is still to come
		s.state = stateHead
		return
	}
	if r := tx.Response(); r != nil {
		r.StatusCode, r.StatusMessage, r.Version = int32(m.status), exchange.Text(m.reason), m.version
		r.Headers = fields.List()
		tx.ResponseHead(m.code)
	}
	d.startResponse(s, tx, &m, at)
}

// bodiless says whether the answer to a request has no body, whatever its
// fields say (RFC 9112, section 6.3, rules 1 and 2).
func bodiless(tx *transaction, status int) bool {
	return tx.head || status < 200 || status == 204 || status == 304 || tx.connect && status/100 == 2
}

// startResponse goes on to the body of a response, or to the other protocol
// that the response agrees to.
func (d *Decoder) startResponse(s *stream, tx *transaction, m *message, at time.Time) {
	if d.upgrade == tx {
		d.upgrade = nil
	}
	s.tx = tx
	if m.status == 101 || tx.connect && m.status/100 == 2 {
		if d.client.tx == tx {
			d.client.tx = nil
		}
		tx.answered, tx.sent, tx.end = true, true, at
		d.remove(tx)
		s.tx = nil
		d.finish(tx)
		d.stop(traffic.ReasonUpgraded)
		return
	}
	d.body(s, m, at)
}

// malformed counts the message that makes no sense. Requests before it may
// still be answered; nothing after it is decoded.
func (d *Decoder) malformed(s *stream, n int) {
	if s.side == wire.Server {
		d.stop(traffic.ReasonMalformed)
		return
	}
	if tx := s.tx; tx != nil {
		d.remove(tx)
		d.lose(tx, traffic.ReasonMalformed)
	} else {
		d.opt.Sink.Lost(traffic.ReasonMalformed, 1, int64(n))
	}
	d.endClientWith(s, traffic.ReasonMalformed)
}

// endClientWith decodes no further request, and stops once those that came
// before are answered.
func (d *Decoder) endClientWith(s *stream, reason string) {
	d.reset(s)
	s.state = stateDead
	d.ending = reason
	d.afterAnswer()
}
