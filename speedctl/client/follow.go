package client

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/client"
	"github.com/speedscale/speedscale/speedctl/term"
	"github.com/speedscale/speedscale/traffic"
)

const (
	// stallAfter is how long a call that follows may say nothing; the cloud says something
	// every 10 s, but for the time in which it archives what was captured last.
	stallAfter = 45 * time.Second
	// A lost connection is taken up again after firstWait, later lastWait.
	firstWait, lastWait = 500 * time.Millisecond, 10 * time.Second
	// maxKnown bounds the pairs that are known again when they come twice.
	maxKnown = 1 << 16
)

// Arrival is what a Follow has to tell.
type Arrival struct {
	// Pairs are new, in the order that the cloud has them.
	Pairs []*traffic.RRPair
	// Skipped counts pairs, of any selection, that were left out since the arrival before
	// because they were not read fast enough.
	Skipped uint64
	// Live says that what comes is what arrives.
	Live bool
	// Waiting says why nothing arrives at the moment, "" where the cloud is connected.
	Waiting string
}

// Follow reads what a cloud has of a selection and then what arrives, over as many
// connections as it takes, and tells each pair once.
type Follow struct {
	// Connect reaches the cloud; running leaves a local one closed that nobody has open.
	Connect func(ctx context.Context, running bool) (*Client, error)
	// Selection is what is read, and Limit how many pairs, 0 for no limit.
	Selection *cloudv1.Selection
	Limit     int64

	told     func(Arrival) error
	sequence uint64
	count    int64
	live     bool // once all from before was told
	waiting  string
	known    map[[16]byte]struct{}
	order    [][16]byte // a ring
	next     int
}

// errDone says that the limit is reached.
var errDone = errors.New("done")

// Run follows until ctx ends, whose error it returns, the limit is reached, or the cloud
// or told refuses.
func (f *Follow) Run(ctx context.Context, told func(Arrival) error) error {
	f.told, f.known = told, make(map[[16]byte]struct{})
	for wait := firstWait; ; {
		before := f.count
		err := f.once(ctx)
		if errors.Is(err, errDone) {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		switch {
		case err == nil:
			wait = firstWait
			continue
		case errors.Is(err, ErrNotRunning):
			f.waiting, wait = "nothing is captured on this machine: speedctl capture does", firstWait
		case f.live && client.Retryable(err):
			f.waiting = "the cloud is away: " + client.Message(err).Error()
		default:
			return Explain(err)
		}
		if err := told(Arrival{Live: f.live, Waiting: f.waiting}); err != nil {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
		if wait = min(2*wait, lastWait); f.count > before {
			wait = firstWait
		}
	}
}

// once follows over one connection. It returns nil where the cloud has ended the call
// in good order.
func (f *Follow) once(ctx context.Context) error {
	c, err := f.Connect(ctx, f.live)
	if err != nil {
		if f.live && !errors.Is(err, ErrNotRunning) {
			return connect.NewError(connect.CodeUnavailable, err) // it was there before
		}
		return err
	}
	defer c.Close()
	if !c.Here() {
		return f.read(ctx, c, true)
	}
	// Nothing arrives here, and another speedctl that captures may want to open it.
	if err := f.read(ctx, c, false); err != nil {
		return err
	}
	f.live = true
	return ErrNotRunning
}

func (f *Follow) read(ctx context.Context, c *Client, follow bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := time.AfterFunc(stallAfter, func() {
		cancel(connect.NewError(connect.CodeUnavailable, errors.New("it says nothing any more")))
	})
	defer stalled.Stop()
	limit := f.Limit
	if limit > 0 {
		limit -= f.count
	}
	req := &cloudv1.SearchRequest{Selection: f.Selection, Follow: follow, After: f.sequence}
	if f.sequence == 0 { // what is known already counts for nothing
		req.Limit = limit
	}
	stream, err := c.Traffic.Search(ctx, req)
	if err != nil {
		return err
	}
	defer stream.Close()
	live := false
	for stream.Receive() {
		stalled.Reset(stallAfter)
		m := stream.Msg()
		live = live || m.GetLive()
		if err := f.take(m); err != nil {
			return err
		}
	}
	err = stream.Err()
	if cause, ok := errors.AsType[*connect.Error](context.Cause(ctx)); ok {
		err = cause
	}
	if err == nil && follow && !live {
		return term.WithHint(errors.New("the cloud is of a version that cannot be followed"), "speedctl get traffic shows what it has; speedctl upgrade brings it up to date")
	}
	return err
}

// take tells what is new of a message.
func (f *Follow) take(m *cloudv1.SearchResponse) error {
	var a Arrival
	for _, p := range m.GetPairs() {
		if f.isNew(p) {
			a.Pairs = append(a.Pairs, p)
			if f.count++; f.count == f.Limit {
				break
			}
		}
	}
	changed := m.GetLive() && !f.live || f.waiting != ""
	f.live = f.live || m.GetLive()
	f.waiting = ""
	f.sequence = max(f.sequence, m.GetSequence())
	a.Live, a.Skipped = f.live, m.GetSkipped()
	if len(a.Pairs) > 0 || a.Skipped > 0 || changed {
		if err := f.told(a); err != nil {
			return err
		}
	}
	if f.Limit > 0 && f.count == f.Limit {
		return errDone
	}
	return nil
}

// isNew says whether a pair was not told, of the last that were.
func (f *Follow) isNew(p *traffic.RRPair) bool {
	if len(p.GetUuid()) != 16 {
		return true
	}
	id := [16]byte(p.GetUuid())
	if _, known := f.known[id]; known {
		return false
	}
	if len(f.order) < maxKnown {
		f.order = append(f.order, id)
	} else {
		delete(f.known, f.order[f.next])
		f.order[f.next] = id
		f.next = (f.next + 1) % maxKnown
	}
	f.known[id] = struct{}{}
	return true
}
