package archive

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/speedscale/speedscale/cloud/catalog"
)

const (
	// A merge takes so many segments at least, so that each row is rewritten
	// only a few times on its way into a large segment, and at most, which
	// bounds its memory.
	mergeLeast = 8
	mergeMost  = 32
	// mergeRows is how many rows of a segment are in memory in a merge, and
	// mergeBuffer the size of each of its columns' read buffers.
	mergeRows   = 64
	mergeBuffer = 16 << 10
)

// Merge makes larger segments of small neighbours, until there is nothing left
// to gain, and returns how many segments it took.
func (a *Archive) Merge(ctx context.Context) (merged int, err error) {
	for {
		all, err := a.cat.Segments(ctx, 0, 0)
		if err != nil {
			return merged, err
		}
		run := a.mergeable(all)
		if run == nil {
			return merged, nil
		}
		if err := a.mergeRun(ctx, run); err != nil {
			return merged, err
		}
		merged += len(run)
	}
}

// mergeable returns a run of neighbours (by stream sequence) that should become
// one segment. No one of them may be larger than all others together: rows are
// rewritten a number of times that is logarithmic in the size they reach.
func (a *Archive) mergeable(all []catalog.Segment) []catalog.Segment {
	slices.SortFunc(all, func(a, b catalog.Segment) int { return cmp.Compare(a.FirstSeq, b.FirstSeq) })
	for i := range all {
		var total, largest int64
		n := 0
		for _, seg := range all[i:min(i+mergeMost, len(all))] {
			if seg.Bytes >= a.opts.MergeBelow || total+seg.Bytes > 4*a.opts.MergeBelow {
				break
			}
			total += seg.Bytes
			largest = max(largest, seg.Bytes)
			n++
		}
		if n >= mergeLeast && 2*largest <= total {
			return all[i : i+n]
		}
	}
	return nil
}

func (a *Archive) mergeRun(ctx context.Context, run []catalog.Segment) (err error) {
	defer guard(&err)
	var in mergeCursors
	defer func() {
		for _, c := range in {
			err = errors.Join(err, c.rows.Close(), c.file.close())
		}
	}()
	seg := &catalog.Segment{FirstSeq: run[0].FirstSeq}
	var created, rows int64
	var names []string
	for _, old := range run {
		f, err := a.openSegment(ctx, old, mergeBuffer)
		if err != nil {
			return fmt.Errorf("archive: merge: segment %q: %w", old.Object, err)
		}
		in = append(in, &mergeCursor{object: old.Object, file: f, rows: parquet.NewGenericReader[row](f), buf: make([]row, mergeRows)})
		seg.LastSeq = max(seg.LastSeq, old.LastSeq)
		created = max(created, old.Created)
		rows += old.Rows
		names = append(names, old.Object)
	}
	seg.Object = objectName(time.Unix(0, created), seg.FirstSeq, seg.LastSeq)
	if err := a.writeObject(ctx, seg, in.copyTo); err != nil {
		return err
	}
	if seg.Rows != rows {
		return fmt.Errorf("archive: merge into %q: %d rows of %d", seg.Object, seg.Rows, rows)
	}
	seg.Created = created // retention goes by when the pairs came
	// The object is there: it takes the others' place even if the end was asked for.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endLimit)
	defer cancel()
	if err := a.replace(ctx, names, seg); err != nil {
		return err
	}
	a.log.Debug("segments merged", "segments", len(run), "into", seg.Object, "pairs", seg.Rows, "bytes", seg.Bytes)
	return nil
}

// mergeCursor reads a segment's rows, a few at a time.
type mergeCursor struct {
	object string
	file   object
	rows   *parquet.GenericReader[row]
	buf    []row
	n, i   int
}

// next has a row at hand, or reports that there are no more.
func (c *mergeCursor) next() (bool, error) {
	if c.i++; c.i < c.n {
		return true, nil
	}
	n, err := c.rows.Read(c.buf)
	c.n, c.i = n, 0
	if n > 0 || errors.Is(err, io.EOF) {
		return n > 0, nil
	}
	return false, fmt.Errorf("merge: segment %q: %w", c.object, cmp.Or(err, io.ErrNoProgress))
}

// mergeCursors is a heap by the time of the row at hand.
type mergeCursors []*mergeCursor

func (h mergeCursors) Len() int           { return len(h) }
func (h mergeCursors) Less(i, j int) bool { return h[i].buf[h[i].i].TS < h[j].buf[h[j].i].TS }
func (h mergeCursors) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *mergeCursors) Push(x any)        { *h = append(*h, x.(*mergeCursor)) }

func (h *mergeCursors) Pop() any {
	old := *h
	c := old[len(old)-1]
	*h = old[:len(old)-1]
	return c
}

// copyTo writes all rows in order of time.
func (h mergeCursors) copyTo(w *segmentWriter) error {
	var open mergeCursors
	for _, c := range h {
		more, err := c.next()
		if err != nil {
			return err
		}
		if more {
			open = append(open, c)
		}
	}
	heap.Init(&open)
	for len(open) > 0 {
		c := open[0]
		if err := w.add(&c.buf[c.i]); err != nil {
			return err
		}
		// The row refers to the cursor's memory, which its next read reuses.
		if c.i+1 == c.n {
			if err := w.flush(); err != nil {
				return err
			}
		}
		more, err := c.next()
		if err != nil {
			return err
		}
		if more {
			heap.Fix(&open, 0)
		} else {
			heap.Pop(&open)
		}
	}
	return nil
}
