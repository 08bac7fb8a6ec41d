package http1

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
)

// Limits that apply where a Reader has none.
const (
	DefaultMaxHead = 1 << 20
	DefaultMaxBody = 8 << 20
)

const (
	firstBuffer  = 4 << 10  // what a connection starts with
	keepBuffer   = 64 << 10 // what a connection keeps between messages, at most
	maxChunkHead = 4 << 10  // a chunk's size and extensions
	maxInterim   = 16       // 1xx responses before the final one
	maxFields    = 10_000   // field lines in a section
)

// ProtocolError says what is wrong with the bytes of a message.
type ProtocolError struct {
	// Status is the answer that a server gives to such a request.
	Status int
	// Reason says what is wrong, without quoting values.
	Reason string
}

func (e *ProtocolError) Error() string { return "malformed HTTP/1.1 message: " + e.Reason }

func malformed(format string, args ...any) error {
	return &ProtocolError{Status: http.StatusBadRequest, Reason: fmt.Sprintf(format, args...)}
}

// Reader reads messages from one connection. It is not safe for concurrent use.
type Reader struct {
	// MaxHead bounds a head, and a trailer section, in bytes; a longer one is
	// an error. MaxBody bounds how much of a body is kept; the rest is read,
	// counted and dropped. Each has its default where it is 0.
	MaxHead, MaxBody int

	src   io.Reader
	buf   []byte
	start int // where the message begins in buf
	pos   int // what is parsed
	end   int // what is read
	keep  int // while a body is read: end of the head, which must stay
	body  []byte
}

// NewReader returns a Reader of src.
func NewReader(src io.Reader) *Reader { return &Reader{src: src} }

// Buffered returns how many bytes are read and not yet part of a message.
func (r *Reader) Buffered() int { return r.end - r.pos }

// Started says whether any byte of the message being read has come.
func (r *Reader) Started() bool { return r.end > r.start }

// begin readies the Reader for the next message.
func (r *Reader) begin() {
	if r.pos == r.end {
		r.pos, r.end = 0, 0
		if len(r.buf) > keepBuffer {
			r.buf = nil
		}
	}
	if cap(r.body) > keepBuffer {
		r.body = nil
	}
	r.start, r.keep = r.pos, -1
}

// fill reads more bytes. It moves what the buffer holds, and grows it only
// where there is no other room.
func (r *Reader) fill() error {
	if r.end == len(r.buf) {
		switch {
		case r.start > 0:
			copy(r.buf, r.buf[r.start:r.end])
			r.pos -= r.start
			r.end -= r.start
			if r.keep >= 0 {
				r.keep -= r.start
			}
			r.start = 0
		case r.keep >= 0 && r.pos > r.keep:
			copy(r.buf[r.keep:], r.buf[r.pos:r.end])
			r.end -= r.pos - r.keep
			r.pos = r.keep
		default:
			grown := make([]byte, max(firstBuffer, 2*len(r.buf)))
			copy(grown, r.buf[:r.end])
			r.buf = grown
		}
	}
	for range 100 { // as bufio: a source that gives nothing is broken
		n, err := r.src.Read(r.buf[r.end:])
		if r.end += n; n > 0 {
			return nil // an error beside bytes comes again with the next read
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// line consumes the next line. It returns the line without its ending (CRLF, or
// LF alone, RFC 9112 section 2.2) as offsets from the start of the message.
func (r *Reader) line(limit int, tooLong *ProtocolError) (Span, error) {
	from := r.pos - r.start
	for scan := r.pos; ; {
		if i := bytes.IndexByte(r.buf[scan:r.end], '\n'); i >= 0 {
			to := scan + i - r.start
			r.pos = scan + i + 1
			if to-from > limit {
				return Span{}, tooLong
			}
			if to > from && r.buf[r.start+to-1] == '\r' {
				to--
			}
			return Span{from, to}, nil
		}
		if r.end-r.start-from > limit {
			return Span{}, tooLong
		}
		seen := r.end - r.pos
		if err := r.fill(); err != nil {
			return Span{}, err
		}
		from = r.pos - r.start
		scan = r.pos + seen
	}
}

func orDefault(n, def int) int {
	if n == 0 {
		return def
	}
	return n
}
