package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"gocloud.dev/gcerrors"

	"github.com/speedscale/speedscale/agents/disk"
	"github.com/speedscale/speedscale/cloud/catalog"
)

// Retention says how long pairs are kept. Snapshots, reports and settings are
// never retired.
type Retention struct {
	// Age is how long after they came pairs are kept; 0 means 7 days, a negative
	// one for ever.
	Age time.Duration
	// MaxBytes is how much the archive may hold; 0 means 80 % of what the volume
	// has for it, free or in use by it (of a bucket that is a folder; others
	// have no bound), a negative one has no bound.
	MaxBytes int64
}

const (
	defaultAge = 7 * 24 * time.Hour
	// producersFor is how long after it was last heard of a producer's batches
	// may still come again, from the spool of a forwarder that was cut off.
	producersFor     = 30 * 24 * time.Hour
	maintainInterval = 10 * time.Second
	// endLimit bounds what is still done after the end was asked for.
	endLimit = 5 * time.Second
)

// Maintain merges, retires and removes until ctx ends, and then removes once more: what
// was merged shortly before must not stand twice in a folder that others read while no
// cloud runs. What fails is logged, and tried again.
func (a *Archive) Maintain(ctx context.Context, r Retention) {
	tick := time.NewTicker(maintainInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), endLimit)
			defer cancel()
			if err := a.Sweep(last); err != nil {
				a.log.Error("removing objects failed", "error", err)
			}
			return
		case <-tick.C:
		}
		if _, err := a.Merge(ctx); err != nil && ctx.Err() == nil {
			a.log.Error("merging segments failed", "error", err)
		}
		if err := a.Retire(ctx, r, time.Now()); err != nil && ctx.Err() == nil {
			a.log.Error("retention failed", "error", err)
		}
		if err := a.Sweep(ctx); err != nil && ctx.Err() == nil {
			a.log.Error("removing objects failed", "error", err)
		}
	}
}

// Retire takes the segments out of the archive that are older, or more, than
// retention allows, the oldest first.
func (a *Archive) Retire(ctx context.Context, r Retention, now time.Time) error {
	r.Age = cmp.Or(r.Age, defaultAge)
	all, err := a.cat.Segments(ctx, 0, 0)
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b catalog.Segment) int { return cmp.Compare(a.Created, b.Created) })
	var total int64
	for _, seg := range all {
		total += seg.Bytes
	}
	limit, err := a.limit(r, total)
	if err != nil {
		return err
	}
	for _, seg := range all {
		old := r.Age > 0 && seg.Created < now.Add(-r.Age).UnixNano()
		if !old && total <= limit {
			break
		}
		if err := a.replace(ctx, []string{seg.Object}, nil); err != nil {
			return err
		}
		total -= seg.Bytes
		a.log.Info("segment retired", "segment", seg.Object, "pairs", seg.Rows, "age", now.Sub(time.Unix(0, seg.Created)).Round(time.Second))
	}
	if r.Age < 0 {
		return nil
	}
	return a.cat.Forget(ctx, now.Add(-r.Age), now.Add(-max(r.Age, producersFor)))
}

// limit returns how many bytes the archive may hold, of which it holds total.
func (a *Archive) limit(r Retention, total int64) (int64, error) {
	const none = 1<<63 - 1
	switch {
	case r.MaxBytes > 0:
		return r.MaxBytes, nil
	case r.MaxBytes < 0 || a.dir == "":
		return none, nil
	}
	space, err := disk.SpaceOf(a.dir)
	if err != nil {
		return 0, fmt.Errorf("archive: volume of %q: %w", a.dir, err)
	}
	return (total + space.Free) / 5 * 4, nil
}

// replace puts a segment, or none, in the place of others.
func (a *Archive) replace(ctx context.Context, objects []string, with *catalog.Segment) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cat.Replace(ctx, objects, with, time.Now())
}

// Sweep deletes the objects that no segment has any more, unless a scan that may
// read them is running. It does not wait: a reader of the folder that does not
// ask the catalog would count their pairs twice.
func (a *Archive) Sweep(ctx context.Context) error {
	objects, err := a.cat.Tombstones(ctx, a.oldestScan())
	if err != nil {
		return err
	}
	for _, o := range objects {
		if err := a.bucket.Delete(ctx, o); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
			return fmt.Errorf("archive: delete object %q: %w", o, err)
		}
		if err := a.cat.Bury(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// Recover sweeps, and deletes the objects that an interrupted writer left, where nothing is
// lost with them: their batches are in the stream still (its sequences first to
// last), or the segments they were to replace are all in place. It is called
// before anything is written. Objects that the archive does not know otherwise
// are left alone.
func (a *Archive) Recover(ctx context.Context, first, last uint64) error {
	if err := a.Sweep(ctx); err != nil {
		return err
	}
	all, err := a.cat.Segments(ctx, 0, 0)
	if err != nil {
		return err
	}
	list := a.bucket.List(nil)
	for {
		o, err := list.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("archive: list objects: %w", err)
		}
		n, ok := parseName(o.Key)
		if !ok {
			continue
		}
		known, err := a.cat.Knows(ctx, o.Key)
		if err != nil {
			return err
		}
		if known {
			continue
		}
		spare := !n.merged && n.first >= first && n.first <= last
		if n.merged {
			if spare, err = a.inPlace(ctx, all, n.first, n.last); err != nil {
				return err
			}
		}
		if !spare {
			a.log.Warn("an object is not in the catalog, and is left alone", "object", o.Key)
			continue
		}
		if err := a.bucket.Delete(ctx, o.Key); err != nil {
			return fmt.Errorf("archive: delete object %q: %w", o.Key, err)
		}
		a.log.Info("an object that was never committed is deleted", "object", o.Key)
	}
}

// inPlace says whether segments hold the stream sequences first and last, and
// those between, and their objects exist.
func (a *Archive) inPlace(ctx context.Context, all []catalog.Segment, first, last uint64) (bool, error) {
	var low, high bool
	for _, seg := range all {
		if seg.FirstSeq < first || seg.LastSeq > last {
			continue
		}
		low = low || seg.FirstSeq == first
		high = high || seg.LastSeq == last
		if ok, err := a.bucket.Exists(ctx, seg.Object); !ok || err != nil {
			return false, err
		}
	}
	return low && high, nil
}
