package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/parquet-go/parquet-go"
	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/cloud/catalog"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/filter"
)

const (
	// keyRows is how many rows are selected from at a time.
	keyRows = 512
	// skipRows is how many rows nobody wants are skipped by seeking, since
	// they fill a page; fewer are read and dropped.
	skipRows = 128
	// batchRows and batchBytes bound what a reader hands on at a time.
	batchRows  = 64
	batchBytes = 256 << 10
	// scanBuffer is the size of each column's read buffer.
	scanBuffer = 64 << 10
)

// record is the column that holds the whole pair.
type record struct {
	Record []byte `parquet:"record"`
}

// openSegment opens a segment's object, to be read with a buffer of some bytes for
// each column.
func (a *Archive) openSegment(ctx context.Context, seg catalog.Segment, buffer int) (*parquet.File, error) {
	r := &objectReader{ctx: ctx, bucket: a.bucket, object: seg.Object}
	attrs, err := a.bucket.Attributes(ctx, seg.Object)
	if err != nil {
		return nil, gone(err)
	}
	if attrs.Size != seg.Bytes {
		return nil, fmt.Errorf("object has %d bytes, the catalog says %d: it was changed or cut short", attrs.Size, seg.Bytes)
	}
	f, err := parquet.OpenFile(r, seg.Bytes, parquet.SkipBloomFilters(true), parquet.ReadBufferSize(buffer))
	if err != nil {
		return nil, err
	}
	if f.NumRows() != seg.Rows {
		return nil, fmt.Errorf("object has %d rows, the catalog says %d", f.NumRows(), seg.Rows)
	}
	return f, nil
}

func gone(err error) error {
	if gcerrors.Code(err) == gcerrors.NotFound {
		return errors.New("object is not in the bucket any more: it was deleted by something other than this cloud; restore it, or narrow the time range")
	}
	return err
}

// objectReader reads parts of an object.
type objectReader struct {
	ctx    context.Context
	bucket *blob.Bucket
	object string
}

func (r *objectReader) ReadAt(p []byte, off int64) (int, error) {
	in, err := r.bucket.NewRangeReader(r.ctx, r.object, off, int64(len(p)), nil)
	if err != nil {
		return 0, gone(err)
	}
	defer in.Close()
	n, err := io.ReadFull(in, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

// guard turns a panic of the Parquet reader, which malformed bytes can cause, into
// an error.
func guard(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("object is corrupt: %v", r)
	}
}

// read hands the pairs of a segment that a query selects to out, in batches.
func (a *Archive) read(ctx context.Context, seg catalog.Segment, q Query, out chan<- []*traffic.RRPair) (err error) {
	defer guard(&err)
	f, err := a.openSegment(ctx, seg, scanBuffer)
	if err != nil {
		return err
	}
	keys := parquet.NewGenericReader[key](f)
	defer keys.Close()
	records := parquet.NewGenericReader[record](f)
	defer records.Close()
	s := &selector{q: q, columns: columnsOf(q.Bounds), records: records, ctx: ctx, out: out}
	buf := make([]key, keyRows)
	for {
		n, err := keys.Read(buf)
		if done, serr := s.rows(buf[:n]); done || serr != nil {
			return serr
		}
		if errors.Is(err, io.EOF) {
			return s.send()
		}
		if err != nil {
			return err
		}
	}
}

// selector picks rows by their keys and decodes their records.
type selector struct {
	ctx     context.Context
	q       Query
	columns columns
	records *parquet.GenericReader[record]
	at      int64 // row of the first key at hand
	next    int64 // row that records is at
	buf     [skipRows]record
	batch   []*traffic.RRPair
	bytes   int
	out     chan<- []*traffic.RRPair
}

// rows looks at the next keys. It is done at the first that is too late, since
// rows are sorted by time.
func (s *selector) rows(keys []key) (done bool, err error) {
	defer func() { s.at += int64(len(keys)) }()
	for i := range keys {
		if s.columns.To != 0 && keys[i].TS >= s.columns.To {
			return true, s.send()
		}
		if !s.columns.have(&keys[i]) {
			continue
		}
		if err := s.row(s.at + int64(i)); err != nil {
			return false, fmt.Errorf("row %d: %w", s.at+int64(i), err)
		}
	}
	return false, nil
}

func (s *selector) row(i int64) error {
	if i-s.next >= skipRows {
		if err := s.records.SeekToRow(i); err != nil {
			return err
		}
		s.next = i
	}
	for s.next <= i {
		n, err := s.records.Read(s.buf[:i+1-s.next])
		s.next += int64(n)
		if n == 0 {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if s.next > i {
			return s.decode(s.buf[n-1].Record)
		}
	}
	return nil
}

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
	if len(s.batch) < batchRows && s.bytes < batchBytes {
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

// columns are filter.Bounds in the terms of the columns.
type columns struct {
	filter.Bounds
	directions []string
}

func columnsOf(b filter.Bounds) columns {
	c := columns{Bounds: b}
	if b.Directions != nil {
		c.directions = []string{}
	}
	for _, d := range b.Directions {
		c.directions = append(c.directions, directionName(d))
	}
	return c
}

func (c *columns) have(k *key) bool {
	return k.TS >= c.From && in(c.Clusters, k.Cluster) && in(c.Namespaces, k.Namespace) &&
		in(c.Services, k.Service) && in(c.directions, k.Direction)
}

// in says whether a set has a value; nil has all.
func in(set []string, v string) bool { return set == nil || slices.Contains(set, v) }
