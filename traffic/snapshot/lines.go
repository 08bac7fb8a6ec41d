package snapshot

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/speedscale/speedscale/traffic"
)

// MaxLine is the longest line that is read: a pair with two bodies of 8 MiB in
// base64, and room for its head. A longer one is a LineError.
const MaxLine = 32 << 20

// LineError names a line that is not a pair. Reading goes on with the next.
type LineError struct {
	// File is the file's path.
	File string
	// Line counts from 1.
	Line int
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err) }

func (e *LineError) Unwrap() error { return e.Err }

var errLineTooLong = fmt.Errorf("line is longer than %d MiB", MaxLine>>20)

// line is one line of a file, without its end. text is valid until the next.
type line struct {
	text   []byte
	number int
	offset int64
	err    error // errLineTooLong, or what ended reading
}

// lines yields the lines of r that are not blank. A read error is the last.
func lines(r io.Reader) iter.Seq[line] {
	return func(yield func(line) bool) {
		in := bufio.NewReaderSize(r, 256<<10)
		var buf []byte
		at := int64(0)
		for number := 1; ; number++ {
			text, size, err := readLine(in, &buf)
			l := line{text: text, number: number, offset: at}
			at += size
			switch {
			case errors.Is(err, errLineTooLong):
				l.err = err
			case err != nil && !errors.Is(err, io.EOF):
				l.err = err
				yield(l)
				return
			}
			if (len(bytes.TrimSpace(text)) > 0 || l.err != nil) && !yield(l) {
				return
			}
			if errors.Is(err, io.EOF) {
				return
			}
		}
	}
}

// readLine returns a line and how many bytes it took. buf holds a line that is
// longer than the reader's buffer. A line past MaxLine is read to its end and
// thrown away.
func readLine(in *bufio.Reader, buf *[]byte) (text []byte, size int64, err error) {
	part, err := in.ReadSlice('\n')
	size = int64(len(part))
	if !errors.Is(err, bufio.ErrBufferFull) {
		return bytes.TrimRight(part, "\r\n"), size, err
	}
	*buf = append((*buf)[:0], part...)
	for errors.Is(err, bufio.ErrBufferFull) {
		part, err = in.ReadSlice('\n')
		if size += int64(len(part)); size <= MaxLine {
			*buf = append(*buf, part...)
		}
	}
	if size > MaxLine {
		*buf = nil
		if err == nil {
			err = errLineTooLong
		} else if errors.Is(err, io.EOF) {
			err = errors.Join(errLineTooLong, err)
		}
		return nil, size, err
	}
	return bytes.TrimRight(*buf, "\r\n"), size, err
}

// readPairs yields the pairs of a file's lines. An error that is not a
// LineError is the last.
func readPairs(file string, r io.Reader) iter.Seq2[*traffic.RRPair, error] {
	return func(yield func(*traffic.RRPair, error) bool) {
		for l := range lines(r) {
			p, err := l.pair(file)
			if !yield(p, err) {
				return
			}
		}
	}
}

func (l *line) pair(file string) (*traffic.RRPair, error) {
	if errors.Is(l.err, errLineTooLong) {
		return nil, &LineError{File: file, Line: l.number, Err: errLineTooLong}
	}
	if l.err != nil {
		return nil, fmt.Errorf("read %s at line %d: %w", file, l.number, l.err)
	}
	p := new(traffic.RRPair)
	if err := p.UnmarshalJSON(l.text); err != nil {
		return nil, &LineError{File: file, Line: l.number, Err: err}
	}
	return p, nil
}
