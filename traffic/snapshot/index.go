package snapshot

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/speedscale/speedscale/traffic"
)

// index says where the lines of a raw.jsonl are, so that they can be read by
// time. It takes 24 bytes for each pair.
type index struct {
	entries []entry
}

type entry struct {
	ts     int64
	offset int64
	size   int32
	in     bool
}

// add notes a pair's line of size bytes, without its end.
func (x *index) add(p *traffic.RRPair, offset int64, size int) {
	d := p.GetDirection()
	if d == traffic.Direction_DIRECTION_UNSPECIFIED {
		return // neither sent nor answered in a replay
	}
	x.entries = append(x.entries, entry{
		ts: p.GetTs(), offset: offset, size: int32(size), in: d == traffic.Direction_DIRECTION_IN,
	})
}

// byTime sorts the index; pairs of the same time keep their order.
func (x *index) byTime() {
	order := func(a, b entry) int { return cmp.Compare(a.ts, b.ts) }
	if !slices.IsSortedFunc(x.entries, order) {
		slices.SortStableFunc(x.entries, order)
	}
}

// lines calls visit with each line of one direction, without its end.
func (x *index) lines(raw io.ReaderAt, in bool, visit func(e entry, text []byte) error) error {
	src := &window{src: raw}
	for _, e := range x.entries {
		if e.in != in {
			continue
		}
		text, err := src.at(e.offset, int(e.size))
		if err != nil {
			return fmt.Errorf("read raw.jsonl at byte %d: %w", e.offset, err)
		}
		if err := visit(e, text); err != nil {
			return err
		}
	}
	return nil
}

// copyTo writes the lines of one direction.
func (x *index) copyTo(w *bufio.Writer, raw io.ReaderAt, in bool) error {
	return x.lines(raw, in, func(_ entry, text []byte) error {
		w.Write(text) // a bufio.Writer keeps its first error
		return w.WriteByte('\n')
	})
}

// window reads mostly ascending places of a file with few reads.
type window struct {
	src   io.ReaderAt
	start int64
	buf   []byte
}

func (w *window) at(offset int64, size int) ([]byte, error) {
	if from := offset - w.start; from >= 0 && from+int64(size) <= int64(len(w.buf)) {
		return w.buf[from : from+int64(size)], nil
	}
	w.buf = slices.Grow(w.buf[:0], max(size, 256<<10))
	n, err := w.src.ReadAt(w.buf[:cap(w.buf)], offset)
	w.start, w.buf = offset, w.buf[:n]
	if n < size {
		return nil, cmp.Or(err, io.ErrUnexpectedEOF)
	}
	return w.buf[:size], nil
}

// lineNumber counts the lines before an offset, for an error.
func lineNumber(raw io.ReaderAt, offset int64) int {
	buf := make([]byte, 64<<10)
	number := 1
	for at := int64(0); at < offset; {
		n, err := raw.ReadAt(buf[:min(int64(len(buf)), offset-at)], at)
		number += bytes.Count(buf[:n], []byte{'\n'})
		at += int64(n)
		if err != nil {
			break
		}
	}
	return number
}
