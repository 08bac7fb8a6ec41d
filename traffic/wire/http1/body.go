package http1

import (
	"bytes"
	"time"

	"github.com/speedscale/speedscale/traffic/wire"
)

// maxChunkLine bounds a chunk-size line with its extensions, which are not kept.
const maxChunkLine = 4096

// body goes on from a head to what RFC 9112, section 6.3, says its body is.
func (d *Decoder) body(s *stream, m *message, at time.Time) {
	s.length = -1
	switch {
	case m.bodiless:
		d.complete(s, at)
	case m.chunked: // overrides a Content-Length
		s.state = stateChunkSize
	case m.hasLength && !m.hasCoding:
		s.length, s.left = m.length, m.length
		s.state = stateFixed
		if s.left == 0 {
			d.complete(s, at)
		}
	case s.side == wire.Client:
		d.complete(s, at)
	default:
		s.state, s.lastAt = stateUntilClose, at
	}
}

// readCounted takes bytes of a body or chunk whose length is known.
func (d *Decoder) readCounted(s *stream, b []byte, at time.Time) []byte {
	n := int(min(int64(len(b)), s.left))
	rest := int64(-1)
	if s.state == stateFixed {
		rest = s.left - int64(n)
	}
	s.tx.Body(s.side, b[:n], rest)
	d.advance(s, int64(n), at)
	return b[n:]
}

// advance moves on by n bytes of a body or chunk whose length is known.
func (d *Decoder) advance(s *stream, n int64, at time.Time) {
	s.tx.Wire(int(n))
	s.left -= n
	if s.left > 0 {
		return
	}
	if s.state == stateChunk {
		s.state = stateChunkEnd
	} else {
		d.complete(s, at)
	}
}

// readChunkLine takes a chunk-size line, or the line end after a chunk. Both
// must end with CRLF: a bare LF here is a way to smuggle requests.
func (d *Decoder) readChunkLine(s *stream, b []byte) []byte {
	line := b
	i := bytes.IndexByte(b, '\n')
	if i >= 0 {
		line = b[:i+1]
	}
	if len(s.buf)+len(line) > maxChunkLine {
		d.malformed(s, len(line))
		return nil
	}
	s.tx.Wire(len(line))
	if i < 0 || len(s.buf) > 0 {
		if !d.grow(s, line) {
			d.outOfStep(s)
			return nil
		}
		line = s.buf
	}
	if i < 0 {
		return nil
	}
	ok := d.chunkLine(s, line)
	if !ok {
		d.malformed(s, len(line))
		return nil
	}
	d.clear(s)
	return b[i+1:]
}

func (d *Decoder) chunkLine(s *stream, line []byte) bool {
	line, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok {
		return false
	}
	if s.state == stateChunkEnd {
		s.state = stateChunkSize
		return len(line) == 0
	}
	size, extension, _ := bytes.Cut(line, []byte(";"))
	n, ok := parseHex(bytes.TrimRight(size, " \t"))
	if !ok || bytes.IndexByte(extension, '\r') >= 0 {
		return false
	}
	s.left = n
	s.state = stateChunk
	if n == 0 {
		s.state = stateTrailer
	}
	return true
}

// parseHex parses 1 to 15 hexadecimal digits, which cannot overflow.
func parseHex(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 15 {
		return 0, false
	}
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		n = n<<4 | int64(c)
	}
	return n, true
}

// readTrailer takes the trailer section, which ends with an empty line.
func (d *Decoder) readTrailer(s *stream, b []byte, at time.Time) []byte {
	before := len(s.buf)
	rest, done, reason := d.collect(s, b)
	s.tx.Wire(len(s.buf) - before)
	if reason != "" {
		s.tx.Drop(reason)
		return d.startLean(s, rest, at, reason)
	}
	if !done {
		return rest
	}
	if len(s.buf) > 2 && !d.trailer(s) {
		d.malformed(s, len(s.buf))
		return nil
	}
	d.complete(s, at)
	return rest
}

func (d *Decoder) trailer(s *stream) bool {
	text := string(s.buf)
	fields := s.tx.Fields(fieldCount(text), len(text))
	m := message{trailer: true}
	if m.fields(text, &fields) != nil {
		return false
	}
	if s.side == wire.Server {
		s.tx.ResponseTrailers(fields.List())
	} else if r := s.tx.Request(); r != nil {
		r.Trailers = fields.List()
	}
	return true
}
