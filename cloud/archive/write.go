package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
	"gocloud.dev/blob"

	"github.com/speedscale/speedscale/cloud/catalog"
)

const (
	// pageBytes is the size of a page before compression: what a reader has to
	// read to have one record.
	pageBytes = 256 << 10
	// groupRows bounds what a writer holds in memory, together with groupBytes.
	groupRows  = 32 << 10
	groupBytes = 64 << 20
	// maxServices is how many services a segment lists.
	maxServices = 256
	// contentType of Parquet, as registered with IANA.
	contentType = "application/vnd.apache.parquet"
)

// Write uploads one segment of the pairs, which it sorts by time. It holds the
// batches from stream sequence first to last, of which the first was stored at
// the given time; that time and first name the object. The segment is not in
// the archive until the catalog has it.
func (a *Archive) Write(ctx context.Context, first, last uint64, stored time.Time, pairs []Pair) (*catalog.Segment, error) {
	slices.SortStableFunc(pairs, func(a, b Pair) int { return cmp.Compare(a.row.TS, b.row.TS) })
	seg := &catalog.Segment{Object: objectName(stored, first, 0), FirstSeq: first, LastSeq: last}
	err := a.writeObject(ctx, seg, func(w *segmentWriter) error {
		for i := range pairs {
			if err := w.add(&pairs[i].row); err != nil {
				return err
			}
		}
		return nil
	})
	return seg, err
}

// writeObject uploads an object with the rows that fill adds, in order of time,
// and completes the segment's numbers.
func (a *Archive) writeObject(ctx context.Context, seg *catalog.Segment, fill func(*segmentWriter) error) error {
	// An upload is given up by cancelling its context (blob.Writer).
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out, err := a.bucket.NewWriter(ctx, seg.Object, &blob.WriterOptions{ContentType: contentType})
	if err != nil {
		return fmt.Errorf("archive: write segment %q: %w", seg.Object, err)
	}
	w := newSegmentWriter(out)
	err = fill(w)
	if err == nil {
		err = w.close(seg)
	}
	if err != nil {
		cancel()
		out.Close()
		return fmt.Errorf("archive: write segment %q: %w", seg.Object, err)
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("archive: write segment %q: %w", seg.Object, err)
	}
	if err := a.sync(seg.Object); err != nil {
		return fmt.Errorf("archive: write segment %q: %w", seg.Object, err)
	}
	return nil
}

// segmentWriter writes rows and keeps account of them.
type segmentWriter struct {
	out      countingWriter
	w        *parquet.GenericWriter[row]
	buf      []row
	rows     int64
	group    int64 // bytes in the row group that is being written
	services map[string]bool
	min, max int64
}

type countingWriter struct {
	io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.n += int64(n)
	return n, err
}

func newSegmentWriter(out io.Writer) *segmentWriter {
	w := &segmentWriter{out: countingWriter{Writer: out}, services: make(map[string]bool), buf: make([]row, 0, 64)}
	w.w = parquet.NewGenericWriter[row](&w.out,
		parquet.Compression(&zstd.Codec{Level: zstd.SpeedFastest}),
		parquet.PageBufferSize(pageBytes),
		parquet.MaxRowsPerRowGroup(groupRows),
		parquet.DictionaryMaxBytes(1<<20),
		parquet.SortingWriterConfig(parquet.SortingColumns(parquet.Ascending("ts"))),
		parquet.SkipPageBounds("record"),
		parquet.CreatedBy("speedscale", "1", ""),
	)
	return w
}

func (w *segmentWriter) add(r *row) error {
	if w.rows == 0 {
		w.min = r.TS
	}
	w.max = r.TS
	w.rows++
	if len(w.services) <= maxServices && !w.services[r.Service] {
		w.services[r.Service] = true
	}
	w.buf = append(w.buf, *r)
	w.group += int64(len(r.Record))
	if len(w.buf) < cap(w.buf) && w.group < groupBytes {
		return nil
	}
	return w.flush()
}

func (w *segmentWriter) flush() error {
	if _, err := w.w.Write(w.buf); err != nil {
		return err
	}
	w.buf = w.buf[:0]
	if w.group < groupBytes {
		return nil
	}
	w.group = 0
	return w.w.Flush()
}

func (w *segmentWriter) close(seg *catalog.Segment) error {
	if w.rows == 0 {
		return errors.New("it has no rows")
	}
	if err := w.flush(); err != nil {
		return err
	}
	if err := w.w.Close(); err != nil {
		return err
	}
	seg.Rows, seg.Bytes, seg.MinTS, seg.MaxTS, seg.Created = w.rows, w.out.n, w.min, w.max, time.Now().UnixNano()
	if len(w.services) <= maxServices {
		for s := range w.services {
			seg.Services = append(seg.Services, s)
		}
		slices.Sort(seg.Services)
	}
	return nil
}
