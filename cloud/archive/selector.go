package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/parquet-go/parquet-go"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/cloud/catalog"
	"github.com/speedscale/speedscale/traffic"
)

const (
	// batchPairs and batchBytes bound what a reader hands on at a time.
	batchPairs = 64
	batchBytes = 256 << 10
	// scanBuffer is the size of each column's read buffer.
	scanBuffer = 64 << 10
)

// selector reads the pairs of a segment that a query selects. It goes by columns:
// those that the query names say which rows to take, and only the pages
// of records that have such rows are read.
type selector struct {
	ctx   context.Context
	q     Query
	texts []textColumn // besides ts
	batch []*traffic.RRPair
	bytes int
	out   chan<- []*traffic.RRPair
}

// textColumn is a column of strings and which of its values are wanted.
type textColumn struct {
	name   string
	wanted func(string) bool
}

// read hands the pairs of a segment that a query selects to out, in batches.
func (a *Archive) read(ctx context.Context, seg catalog.Segment, q Query, out chan<- []*traffic.RRPair) (err error) {
	defer guard(&err)
	f, err := a.openSegment(ctx, seg, scanBuffer)
	if err != nil {
		return err
	}
	defer f.close()
	s := &selector{ctx: ctx, q: q, out: out}
	b := &q.Bounds
	var directions []string
	if b.Directions != nil {
		directions = []string{}
	}
	for _, d := range b.Directions {
		directions = append(directions, directionName(d))
	}
	for _, c := range []struct {
		name   string
		values []string
	}{{"cluster", b.Clusters}, {"namespace", b.Namespaces}, {"service", b.Services}, {"direction", directions}} {
		if c.values != nil {
			s.texts = append(s.texts, textColumn{c.name, func(v string) bool { return slices.Contains(c.values, v) }})
		}
	}
	for _, c := range q.Columns {
		s.texts = append(s.texts, textColumn{c.Name, c.Match})
	}
	for _, g := range f.RowGroups() {
		if err := s.group(f, g); err != nil {
			return err
		}
	}
	return s.send()
}

// group reads one row group.
func (s *selector) group(f object, g parquet.RowGroup) error {
	keep := make([]bool, g.NumRows())
	left := 0 // rows that are still wanted
	err := eachPage(f, g, "ts", nil, func(at int, p parquet.Page) error {
		data := p.Data()
		for i, ts := range data.Int64() {
			if ts >= s.q.Bounds.From && (s.q.Bounds.To == 0 || ts < s.q.Bounds.To) {
				keep[at+i] = true
				left++
			}
		}
		return nil
	})
	for _, c := range s.texts {
		if err != nil || left == 0 {
			return err
		}
		left = 0
		err = eachPage(f, g, c.name, keep, func(at int, p parquet.Page) error {
			left += c.narrow(p, keep[at:])
			return nil
		})
	}
	if err != nil || left == 0 {
		return err
	}
	return eachPage(f, g, "record", keep, func(at int, p parquet.Page) error {
		data := p.Data()
		records, offsets := data.ByteArray()
		for i := range int(p.NumRows()) {
			if !keep[at+i] {
				continue
			}
			if err := s.decode(records[offsets[i]:offsets[i+1]]); err != nil {
				return fmt.Errorf("row %d of its row group: %w", at+i, err)
			}
		}
		return nil
	})
}

// eachPage calls f with the pages of a column that have a row to keep (nil: all)
// and with the row, within the group, that each starts at.
func eachPage(file object, g parquet.RowGroup, column string, keep []bool, f func(at int, p parquet.Page) error) (err error) {
	leaf, ok := file.Schema().Lookup(column)
	if !ok {
		return fmt.Errorf("object has no column %q", column)
	}
	chunk := g.ColumnChunks()[leaf.ColumnIndex]
	index, err := chunk.OffsetIndex()
	if err != nil {
		return fmt.Errorf("column %q: %w", column, err)
	}
	pages := chunk.Pages()
	defer func() { err = errors.Join(err, pages.Close()) }()
	sought := true // the first page is the next one read
	for i := range index.NumPages() {
		at, end := int(index.FirstRowIndex(i)), int(g.NumRows())
		if i+1 < index.NumPages() {
			end = int(index.FirstRowIndex(i + 1))
		}
		if keep != nil && !slices.Contains(keep[at:end], true) {
			sought = false
			continue
		}
		if !sought {
			if err := pages.SeekToRow(int64(at)); err != nil {
				return fmt.Errorf("column %q: %w", column, err)
			}
			sought = true
		}
		p, err := pages.ReadPage()
		if err == nil && int(p.NumRows()) != end-at {
			parquet.Release(p)
			err = fmt.Errorf("page has %d rows, its index says %d", p.NumRows(), end-at)
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("column %q: %w", column, err)
		}
		err = f(at, p)
		parquet.Release(p)
		if err != nil {
			return err
		}
	}
	return nil
}

// narrow clears keep for each row of a page whose value is not wanted, and returns
// how many rows are left.
func (c *textColumn) narrow(p parquet.Page, keep []bool) (left int) {
	data := p.Data()
	var wanted func(i int) bool
	if dict := p.Dictionary(); dict != nil {
		known := make([]bool, dict.Len())
		for i := range known {
			known[i] = c.wanted(string(dict.Index(int32(i)).ByteArray()))
		}
		indexes := data.Int32()
		wanted = func(i int) bool { return known[indexes[i]] }
	} else {
		texts, offsets := data.ByteArray()
		wanted = func(i int) bool { return c.wanted(string(texts[offsets[i]:offsets[i+1]])) }
	}
	for i := range int(p.NumRows()) {
		if keep[i] = keep[i] && wanted(i); keep[i] {
			left++
		}
	}
	return left
}

// decode takes a record, if the query does.
func (s *selector) decode(b []byte) error {
	p := &traffic.RRPair{}
	if err := proto.Unmarshal(b, p); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	if s.q.Match != nil && !s.q.Match(p) {
		return nil
	}
	s.batch = append(s.batch, p)
	s.bytes += len(b)
	if len(s.batch) < batchPairs && s.bytes < batchBytes {
		return nil
	}
	return s.send()
}

func (s *selector) send() error {
	if len(s.batch) == 0 {
		return nil
	}
	select {
	case s.out <- s.batch:
		s.batch, s.bytes = nil, 0
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}
