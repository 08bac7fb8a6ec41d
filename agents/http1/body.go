package http1

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
)

// framing gathers what the fields say about the body and the connection.
func (m *Message) framing() error {
	var closing, keepAlive, chunkedLast bool
	for i := range m.Fields {
		f := &m.Fields[i]
		name, value := f.Name.Of(m.Head), f.Value.Of(m.Head)
		switch len(name) {
		case 14:
			if !equalFold(name, "content-length") {
				continue
			}
			n, ok := decimal(value)
			if !ok || m.length >= 0 && m.length != n {
				return malformed("Content-Length is not one number")
			}
			m.length = n
		case 17:
			if !equalFold(name, "transfer-encoding") {
				continue
			}
			m.codings = true
			tokens(value, func(t []byte) {
				// chunked can only be the last coding, and only once.
				chunkedLast = !m.Chunked && equalFold(t, "chunked")
				m.Chunked = m.Chunked || chunkedLast
			})
		case 10:
			if equalFold(name, "connection") {
				tokens(value, func(t []byte) {
					closing = closing || equalFold(t, "close")
					keepAlive = keepAlive || equalFold(t, "keep-alive")
				})
			}
		case 4:
			if equalFold(name, "host") {
				m.hosts++
			}
		case 6:
			if equalFold(name, "expect") {
				m.Continue = equalFold(value, "100-continue")
			}
		}
	}
	if m.Chunked && !chunkedLast {
		return malformed("chunked is not the last transfer coding")
	}
	m.Close = closing || m.Minor == 0 && !keepAlive
	return nil
}

// requestFraming applies RFC 9112, section 6.3, to a request. What could be
// understood in two ways is refused (section 6.1).
func (m *Message) requestFraming() error {
	if err := m.framing(); err != nil {
		return err
	}
	switch {
	case m.hosts > 1: // RFC 9112, section 3.2
		return malformed("more than one Host")
	case m.codings && (m.length >= 0 || m.Minor == 0):
		return malformed("Transfer-Encoding together with Content-Length, or in HTTP/1.0")
	case m.codings && !m.Chunked:
		return &ProtocolError{Status: http.StatusNotImplemented, Reason: "a transfer coding other than chunked"}
	case !m.codings && m.length < 0:
		m.length = 0
	}
	m.Continue = m.Continue && m.Minor > 0 && (m.Chunked || m.length > 0)
	return nil
}

// responseFraming applies RFC 9112, section 6.3, to a response.
func (m *Message) responseFraming(method string) error {
	if err := m.framing(); err != nil {
		return err
	}
	switch {
	case m.Status == http.StatusSwitchingProtocols, method == http.MethodConnect && m.Status/100 == 2:
		m.Close = true // what follows is of another protocol
		m.Chunked, m.length = false, 0
	case method == http.MethodHead, m.Status == http.StatusNoContent, m.Status == http.StatusNotModified:
		m.Chunked, m.length = false, 0
	case m.codings:
		m.Close = m.Close || m.length >= 0 || m.Minor == 0 // section 6.1: faulty, but understood
		m.untilEnd = !m.Chunked
	case m.length < 0:
		m.untilEnd = true
	}
	m.Close = m.Close || m.untilEnd
	return nil
}

func decimal(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// ReadBody reads the body of a request whose head was read last, and its trailers.
func (r *Reader) ReadBody(m *Message) error {
	headEnd := len(m.Head)
	if !m.Chunked && !m.untilEnd && m.length <= int64(r.end-r.pos) { // it is here: no copy
		n := int(m.length)
		m.Body = r.buf[r.pos : r.pos+min(n, orDefault(r.MaxBody, DefaultMaxBody))]
		m.BodySize = m.length
		r.pos += n
		return nil
	}
	r.keep, r.body = r.pos, r.body[:0]
	var err error
	switch {
	case m.Chunked:
		err = r.chunked(m)
	case m.untilEnd:
		err = r.copyBody(m, -1)
	default:
		err = r.copyBody(m, m.length)
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	m.Head = r.buf[r.start : r.start+headEnd] // the buffer may have moved
	m.Body = r.body
	return err
}

// chunked reads a body in the chunked transfer coding (RFC 9112, section 7.1).
func (r *Reader) chunked(m *Message) error {
	for {
		line, err := r.line(maxChunkHead, errChunkTooLong)
		if err != nil {
			return err
		}
		size, err := chunkSize(line.Of(r.buf[r.start:]))
		if err != nil {
			return err
		}
		if size == 0 {
			return r.trailers(m)
		}
		if err := r.copyBody(m, size); err != nil {
			return err
		}
		if line, err = r.line(2, errChunkTooLong); err != nil {
			return err
		}
		if line.To != line.From {
			return malformed("a chunk is longer than its size")
		}
	}
}

func chunkSize(line []byte) (int64, error) {
	digits, _, _ := bytes.Cut(line, []byte{';'})
	digits = bytes.TrimRight(digits, " \t")
	if len(digits) == 0 || len(digits) > 15 {
		return 0, malformed("a chunk's size is not a number")
	}
	var n int64
	for _, c := range digits {
		switch c = lower(c); {
		case '0' <= c && c <= '9':
			n = n<<4 | int64(c-'0')
		case 'a' <= c && c <= 'f':
			n = n<<4 | int64(c-'a'+10)
		default:
			return 0, malformed("a chunk's size is not a number")
		}
	}
	return n, nil
}

// trailers reads the section after the last chunk, behind the head.
func (r *Reader) trailers(m *Message) error {
	r.end = r.keep + copy(r.buf[r.keep:], r.buf[r.pos:r.end])
	r.pos, r.keep = r.keep, -1
	var err error
	m.TrailerFields, err = r.section(m.TrailerFields, orDefault(r.MaxHead, DefaultMaxHead), errTrailerTooLong, true)
	m.Trailer = r.buf[r.start:r.pos]
	return err
}

// copyBody appends the next n bytes to the body, or all that come where n is
// negative. Long bodies are read straight into their place.
func (r *Reader) copyBody(m *Message, n int64) error {
	limit := orDefault(r.MaxBody, DefaultMaxBody)
	for n != 0 {
		took, room := 0, limit-len(r.body)
		switch {
		case r.pos < r.end:
			took = r.end - r.pos
			if n > 0 {
				took = int(min(n, int64(took)))
			}
			r.body = append(r.body, r.buf[r.pos:r.pos+min(took, room)]...)
			r.pos += took
		case room > 0 && (n < 0 || n >= firstBuffer):
			spare := min(room, max(firstBuffer, len(r.body)))
			if n > 0 {
				spare = int(min(n, int64(spare)))
			}
			r.body = slices.Grow(r.body, spare)
			var err error
			took, err = r.src.Read(r.body[len(r.body) : len(r.body)+spare])
			r.body = r.body[:len(r.body)+took]
			if took == 0 && err != nil {
				return endOfBody(err, n)
			}
		default:
			r.pos, r.end = r.keep, r.keep
			if err := r.fill(); err != nil {
				return endOfBody(err, n)
			}
		}
		m.BodySize += int64(took)
		if n > 0 {
			n -= int64(took)
		}
	}
	return nil
}

// endOfBody turns the end of the connection into the end of a body that has no
// length.
func endOfBody(err error, n int64) error {
	if errors.Is(err, io.EOF) && n < 0 {
		return nil
	}
	return err
}
