package goproxy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"strconv"

	"github.com/speedscale/speedscale/agents/goproxy/tap"
	"github.com/speedscale/speedscale/traffic/wire"
)

// tee writes to a connection and shows the tap what was written.
type tee struct {
	dst  net.Conn
	tap  *tap.Conn
	from wire.Side
	pool *tap.Pool
}

// errWrite wraps an error of the destination, as opposed to one of the source.
type errWrite struct{ error }

func (e errWrite) Unwrap() error { return e.error }

func (t *tee) write(b []byte) error {
	_, err := t.copy(bytes.NewReader(b), int64(len(b)))
	return err
}

// copy moves up to n bytes as they come. It reports io.ErrUnexpectedEOF where the
// source ends before.
func (t *tee) copy(r io.Reader, n int64) (int64, error) {
	buf := t.pool.Get()
	defer func() { buf.Release() }()
	var moved int64
	for moved < n {
		k, err := r.Read(buf.B[:min(n-moved, tap.BufferSize)])
		if k > 0 {
			at := t.tap.Now()
			_, werr := t.dst.Write(buf.B[:k])
			t.tap.Data(t.from, at, k, buf)
			if werr != nil {
				return moved, errWrite{werr}
			}
			moved += int64(k)
			if buf.Shared() {
				buf.Release()
				buf = t.pool.Get()
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF) && moved < n:
			return moved, io.ErrUnexpectedEOF
		case moved < n:
			return moved, err
		}
	}
	return moved, nil
}

// body moves the body of a message, unchanged.
func (t *tee) body(r *bufio.Reader, f framing) error {
	switch {
	case f.chunked:
		return t.chunks(r)
	case f.toEnd:
		if _, err := t.copy(r, 1<<62); !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		return nil
	default:
		_, err := t.copy(r, f.length)
		return err
	}
}

var errChunk = errors.New("malformed chunk")

// chunks moves a chunked body with its trailers (RFC 9112, section 7.1).
func (t *tee) chunks(r *bufio.Reader) error {
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return eofInside(err)
		}
		digits, _, _ := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(";"))
		size, perr := strconv.ParseUint(string(bytes.TrimSpace(digits)), 16, 62)
		if perr != nil {
			return errChunk
		}
		if err := t.write(line); err != nil {
			return err
		}
		if size == 0 {
			return t.trailers(r)
		}
		if _, err := t.copy(r, int64(size)); err != nil {
			return err
		}
		end, err := r.ReadSlice('\n')
		if err != nil {
			return eofInside(err)
		}
		if len(bytes.TrimRight(end, "\r\n")) > 0 {
			return errChunk
		}
		if err := t.write(end); err != nil {
			return err
		}
	}
}

func (t *tee) trailers(r *bufio.Reader) error {
	for total := 0; total < maxHTTPHead; {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return eofInside(err)
		}
		total += len(line)
		if err := t.write(line); err != nil {
			return err
		}
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			return nil
		}
	}
	return errHeadTooLong
}

func eofInside(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	case errors.Is(err, bufio.ErrBufferFull):
		return errChunk
	}
	return err
}
