package http2

import (
	"slices"
	"strconv"
	"time"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
	"github.com/speedscale/speedscale/traffic/wire/exchange"
)

// stream is one request and its response.
type stream struct {
	exchange.Exchange
	id       uint32
	began    bool  // the head of the response is there
	sent     bool  // the request is complete
	answered bool  // the response is complete
	connect  bool  // the method is CONNECT
	tunnel   bool  // and the server agreed: what follows is not HTTP
	length   int64 // the request's Content-Length, -1 where it has none
	end      time.Time
	canceled time.Time // when the client reset it
}

// open starts a stream. A stream beyond the bound is counted and not followed.
func (d *Decoder) open(id uint32, at time.Time) *stream {
	if len(d.streams) >= maxStreams {
		d.opt.Sink.Lost(traffic.ReasonBudget, 1, 0)
		return nil
	}
	if d.streams == nil {
		d.streams = make(map[uint32]*stream)
	}
	s := &stream{id: id, length: -1}
	s.Begin(&d.opt, at)
	d.streams[id] = s
	return s
}

// headers takes a header list: a request or response head, or trailers.
func (d *Decoder) headers(dir *direction, id uint32, h *headers, at time.Time) {
	bl := dir.block
	endStream := bl.first.has(flagEndStream)
	s := d.streams[id]
	if dir.side == wire.Client && s == nil {
		if id%2 == 0 || id <= d.lastClient {
			return // an ended or reset stream
		}
		d.lastClient = id
		if s = d.open(id, bl.began); s == nil {
			return
		}
		s.Wire(bl.size)
		d.requestHead(s, h)
	} else if s == nil {
		return
	} else {
		s.Wire(bl.size)
		switch {
		case dir.side == wire.Client:
			s.requestTrailers(h)
		case !s.began:
			if !d.responseHead(s, h, at) {
				return
			}
		default:
			s.responseTrailers(h)
		}
	}
	if endStream {
		d.endStream(dir.side, id, at)
	}
}

// promise opens the stream of a pushed response (RFC 9113, section 8.4). Its
// request has no body.
func (d *Decoder) promise(id uint32, h *headers, at time.Time) {
	if id%2 != 0 || d.streams[id] != nil {
		d.malformed()
		return
	}
	if s := d.open(id, d.server.block.began); s != nil {
		s.Wire(d.server.block.size)
		d.requestHead(s, h)
		s.sent = true
	}
}

func (d *Decoder) requestHead(s *stream, h *headers) {
	if reason := h.drop(); reason != "" {
		s.Drop(reason)
		return
	}
	r := s.Request()
	if r == nil {
		return
	}
	if h.method == "" || h.path == "" && h.method != "CONNECT" {
		s.Drop(traffic.ReasonMalformed) // RFC 9113, section 8.3.1
		return
	}
	fields := s.fields(h)
	if r = s.Request(); r == nil {
		return
	}
	r.Method, r.Uri, r.Version = exchange.Text(h.method), exchange.Target(h.path), "2.0"
	r.Host = exchange.Text(h.authority)
	r.Headers = fields
	if host, ok := traffic.HeaderValue(fields, "host"); ok && r.Host == "" {
		r.Host = host
	}
	if r.Method == "CONNECT" && r.Uri == "" {
		r.Uri = r.Host
	}
	if v, ok := traffic.HeaderValue(fields, "content-length"); ok {
		if n, err := strconv.ParseInt(v, 10, 64); err == nil && n >= 0 {
			s.length = n
		}
	}
	scheme := d.opt.Scheme
	if scheme == "" {
		scheme = exchange.Text(h.scheme)
	}
	s.connect = r.Method == "CONNECT"
	s.RequestHead(scheme)
}

// responseHead takes the head of a response. It reports false where the stream
// goes on with another head (1xx) or is done.
func (d *Decoder) responseHead(s *stream, h *headers, at time.Time) bool {
	code, err := strconv.ParseUint(h.status, 10, 16)
	if (err != nil || code < 100 || code > 999) && !h.oversized() {
		s.Drop(traffic.ReasonMalformed) // RFC 9113, section 8.3.2
	}
	if err == nil && code < 200 {
		return false
	}
	s.began = true
	if reason := h.drop(); reason != "" {
		s.Drop(reason)
	}
	fields := s.fields(h)
	if r := s.Response(); r != nil {
		r.StatusCode, r.Version = int32(code), "2.0"
		r.Headers = fields
		s.ResponseHead(h.status)
	}
	if s.connect && code/100 == 2 {
		s.Finish(at)
		s.tunnel = true
	}
	return true
}

func (s *stream) requestTrailers(h *headers) {
	if reason := h.drop(); reason != "" {
		s.Drop(reason)
	}
	fields := s.fields(h)
	if r := s.Request(); r != nil {
		r.Trailers = fields
	}
}

func (s *stream) responseTrailers(h *headers) {
	if reason := h.drop(); reason != "" {
		s.Drop(reason)
	}
	s.ResponseTrailers(s.fields(h))
}

// fields makes record fields of a header list.
func (s *stream) fields(h *headers) []*traffic.Header {
	fields := s.Fields(len(h.list), h.text)
	for _, f := range h.list {
		fields.Add(exchange.Text(f.Name), f.Value)
	}
	return fields.List()
}

// data takes bytes of a DATA frame's payload: the padding's length, data, padding.
func (d *Decoder) data(dir *direction, b []byte, at time.Time) {
	s := d.streams[dir.f.stream]
	if s != nil {
		s.Wire(len(b))
	}
	if dir.pad < 0 {
		dir.pad = int(b[0])
		dir.left--
		if dir.pad > dir.left {
			d.malformed()
			return
		}
		b = b[1:]
	}
	if n := min(len(b), dir.left-dir.pad); s != nil && n > 0 {
		s.Body(dir.side, b[:n], -1)
	}
	if dir.left -= len(b); dir.left == 0 {
		d.endFrame(dir, nil, at)
	}
}

// missing takes n bytes of a DATA frame's data that were dropped before.
func (d *Decoder) missing(dir *direction, n int, at time.Time) {
	if s := d.streams[dir.f.stream]; s != nil {
		s.Wire(n)
		s.Missing(dir.side, int64(n))
	}
	if dir.left -= n; dir.left == 0 {
		d.endFrame(dir, nil, at)
	}
	if dir.side == wire.Client && !d.done {
		d.drain(&d.server)
	}
}

func (d *Decoder) wire(id uint32, n int) {
	if s := d.streams[id]; s != nil {
		s.Wire(n)
	}
}

// endStream notes that a side has ended a stream.
func (d *Decoder) endStream(side wire.Side, id uint32, at time.Time) {
	s := d.streams[id]
	if s == nil {
		return
	}
	if side == wire.Client {
		s.sent = true
	} else {
		s.answered, s.end = true, at
		if !s.began {
			s.Drop(traffic.ReasonMalformed)
		}
	}
	switch {
	case !s.sent || !s.answered:
	case s.canceled.IsZero():
		d.finish(s)
	default:
		d.finishEarly(s)
	}
}

// finish ends a stream that is complete.
func (d *Decoder) finish(s *stream) {
	delete(d.streams, s.id)
	if s.tunnel {
		d.opt.Sink.Lost(traffic.ReasonUpgraded, 0, s.Size())
		return
	}
	s.Finish(s.end)
}

// lose ends a stream that will not be complete.
func (d *Decoder) lose(s *stream, reason string) {
	if s.tunnel {
		d.finish(s)
		return
	}
	delete(d.streams, s.id)
	s.Abandon(reason)
}

// reset takes a RST_STREAM. A server resets a stream that it has answered in
// full when it does not want the rest of the request (RFC 9113, section 8.1);
// any other is incomplete. Of a client's, that is known once the server's bytes
// up to then are here.
func (d *Decoder) reset(side wire.Side, id uint32, at time.Time) {
	s := d.streams[id]
	switch {
	case s == nil:
	case s.answered:
		d.finishEarly(s)
	case side == wire.Client:
		s.sent, s.canceled = true, at
		d.canceled = append(d.canceled, id)
	default:
		d.lose(s, traffic.ReasonIncomplete)
	}
}

// finishEarly ends a stream that was answered before its request was complete.
func (d *Decoder) finishEarly(s *stream) {
	if s.length >= 0 {
		s.Announced(wire.Client, s.length)
	}
	d.finish(s)
}

// sweep ends streams that the client gave up before the server's bytes that
// were read at the given time.
func (d *Decoder) sweep(at time.Time) {
	d.canceled = slices.DeleteFunc(d.canceled, func(id uint32) bool {
		s := d.streams[id]
		if s != nil && !at.After(s.canceled) {
			return false
		}
		if s != nil {
			d.lose(s, traffic.ReasonIncomplete)
		}
		return true
	})
	if len(d.canceled) == 0 {
		d.canceled = nil
	}
}

// goAway takes a GOAWAY: streams that the sender has not begun to work on will
// have no answer (RFC 9113, section 6.8).
func (d *Decoder) goAway(dir *direction, last uint32) {
	if dir.side == wire.Client {
		return
	}
	for id, s := range d.streams {
		if id%2 == 1 && id > last {
			d.lose(s, traffic.ReasonIncomplete)
		}
	}
}

// abandonStreams counts all open streams as lost.
func (d *Decoder) abandonStreams(reason string) {
	for _, s := range d.streams {
		d.lose(s, reason)
	}
}
