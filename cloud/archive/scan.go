package archive

import (
	"container/heap"
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/speedscale/speedscale/cloud/catalog"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/filter"
)

// Query selects pairs.
type Query struct {
	// Bounds and Columns leave out segments and rows without decoding a record.
	Bounds  filter.Bounds
	Columns []filter.Column
	// Match decides on each pair within the bounds; nil takes them all.
	Match func(*traffic.RRPair) bool
	// After leaves out segments that end at this stream sequence or before.
	After uint64
}

// readAhead is how many segments are read before their turn.
const readAhead = 2

// Scan yields the pairs that a query selects, oldest first. It sees the archive
// as it was when it began, and holds a page or two of each segment that overlaps
// in time. It ends at the first error, which names the segment. The pairs are
// the caller's.
func (a *Archive) Scan(ctx context.Context, q Query) iter.Seq2[*traffic.RRPair, error] {
	return func(yield func(*traffic.RRPair, error) bool) {
		s, err := a.begin(ctx, q)
		if err != nil {
			yield(nil, err)
			return
		}
		defer s.end()
		for {
			p, err := s.next()
			if err != nil {
				yield(nil, err)
				return
			}
			if p == nil || !yield(p, nil) {
				return
			}
		}
	}
}

// scan merges the segments' pairs by time.
type scan struct {
	a       *Archive
	ctx     context.Context
	cancel  context.CancelFunc
	q       Query
	rest    []catalog.Segment // not begun, by MinTS
	ahead   []*cursor         // begun, not yet needed
	open    cursors
	running sync.WaitGroup
}

func (a *Archive) begin(ctx context.Context, q Query) (*scan, error) {
	s := &scan{a: a, q: q}
	s.ctx, s.cancel = context.WithCancel(ctx)
	// The catalog's range includes its end.
	to := q.Bounds.To
	if to != 0 {
		to--
	}
	a.mu.Lock()
	a.scans[s] = time.Now()
	all, err := a.cat.Segments(ctx, q.Bounds.From, to)
	a.mu.Unlock()
	if err != nil {
		s.end()
		return nil, err
	}
	for _, seg := range all {
		if seg.LastSeq > q.After && overlaps(seg.Services, q.Bounds.Services) {
			s.rest = append(s.rest, seg)
		}
	}
	return s, nil
}

// overlaps says whether a segment may hold one of the services. A segment that
// lists none may hold any; nil wants all.
func overlaps(segment, wanted []string) bool {
	return len(segment) == 0 || wanted == nil ||
		slices.ContainsFunc(wanted, func(s string) bool { return slices.Contains(segment, s) })
}

func (s *scan) end() {
	s.cancel()
	s.running.Wait()
	s.a.mu.Lock()
	delete(s.a.scans, s)
	s.a.mu.Unlock()
}

// oldestScan returns when the oldest running scan began, or where there is none
// the time.
func (a *Archive) oldestScan() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	oldest := time.Now()
	for _, began := range a.scans {
		if began.Before(oldest) {
			oldest = began
		}
	}
	return oldest
}

// next returns the next pair, nil at the end.
func (s *scan) next() (*traffic.RRPair, error) {
	if err := s.ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.openDue(); err != nil {
		return nil, err
	}
	if len(s.open) == 0 {
		return nil, nil
	}
	c := s.open[0]
	p := c.take()
	more, err := c.fill(s.ctx)
	if err != nil {
		return nil, err
	}
	if more {
		heap.Fix(&s.open, 0)
	} else {
		heap.Pop(&s.open)
	}
	return p, nil
}

// openDue opens every segment that may hold a pair older than the oldest at hand.
func (s *scan) openDue() error {
	for {
		for len(s.rest) > 0 && len(s.ahead) < readAhead {
			c := &cursor{seg: s.rest[0], out: make(chan []*traffic.RRPair, 1)}
			s.rest = s.rest[1:]
			s.ahead = append(s.ahead, c)
			s.running.Go(func() {
				defer close(c.out)
				c.err = s.a.read(s.ctx, c.seg, s.q, c.out)
			})
		}
		if len(s.ahead) == 0 || len(s.open) > 0 && s.open[0].batch[0].Ts < s.ahead[0].seg.MinTS {
			return nil
		}
		c := s.ahead[0]
		s.ahead = s.ahead[1:]
		more, err := c.fill(s.ctx)
		if err != nil {
			return err
		}
		if more {
			heap.Push(&s.open, c)
		}
	}
}

// cursor is the reading of one segment, in a goroutine of its own.
type cursor struct {
	seg   catalog.Segment
	out   chan []*traffic.RRPair
	err   error // valid once out is closed
	batch []*traffic.RRPair
}

func (c *cursor) take() *traffic.RRPair {
	p := c.batch[0]
	c.batch = c.batch[1:]
	return p
}

// fill has a pair at hand, or reports that there are no more.
func (c *cursor) fill(ctx context.Context) (bool, error) {
	if len(c.batch) > 0 {
		return true, nil
	}
	select {
	case batch, ok := <-c.out:
		if !ok && c.err != nil {
			return false, fmt.Errorf("archive: segment %q: %w", c.seg.Object, c.err)
		}
		c.batch = batch
		return ok, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// cursors is a heap by the time of the next pair.
type cursors []*cursor

func (h cursors) Len() int           { return len(h) }
func (h cursors) Less(i, j int) bool { return h[i].batch[0].Ts < h[j].batch[0].Ts }
func (h cursors) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *cursors) Push(x any)        { *h = append(*h, x.(*cursor)) }

func (h *cursors) Pop() any {
	old := *h
	c := old[len(old)-1]
	*h = old[:len(old)-1]
	return c
}
