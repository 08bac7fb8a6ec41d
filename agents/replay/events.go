package replay

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/client"
)

const (
	// maxQueuedEvents bounds the events that wait while the cloud is away.
	maxQueuedEvents = 1000
	// maxBatch and maxBatchBytes bound those that are sent at a time. One that is
	// longer is sent alone.
	maxBatch      = 100
	maxBatchBytes = 512 << 10
)

// EventsOptions say where events go.
type EventsOptions struct {
	// Publish sends events, in order. Where the error is one that may pass
	// (client.Retryable), the same events are sent again.
	Publish func(ctx context.Context, events []*cloudv1.ReplayEvent) error
	// Source is the component that they are of.
	Source string
	// Registry takes the counter of dropped events; nil means none does.
	Registry prometheus.Registerer
	// Logger says what was dropped.
	Logger *slog.Logger
}

// Events sends the events of one component, from a goroutine of its own. While the
// cloud is away it keeps a bounded number, drops the oldest of those that are no
// phase and no end, and counts them. It is safe for concurrent use.
type Events struct {
	o      EventsOptions
	ctx    context.Context
	cancel context.CancelFunc
	ended  chan struct{}

	mu     sync.Mutex
	queue  []*cloudv1.ReplayEvent
	closed bool
	wake   chan struct{} // capacity 1

	dropped, refused atomic.Int64
}

// NewEvents starts the goroutine, which Close ends.
func NewEvents(o EventsOptions) *Events {
	e := &Events{o: o, ended: make(chan struct{}), wake: make(chan struct{}, 1)}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	if o.Registry != nil {
		for reason, n := range map[string]*atomic.Int64{"away": &e.dropped, "refused": &e.refused} {
			o.Registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "speedscale_replay_events_dropped_total", Help: "Events that the cloud did not get, since it was away or refused them.",
				ConstLabels: prometheus.Labels{"reason": reason},
			}, func() float64 { return float64(n.Load()) }))
		}
	}
	go e.run()
	return e
}

// Publish takes over an event, and sets its source, and its time where that is 0. It
// does not wait.
func (e *Events) Publish(event *cloudv1.ReplayEvent) {
	event.Source = e.o.Source
	if event.Time == 0 {
		event.Time = time.Now().UnixNano()
	}
	e.mu.Lock()
	if e.closed {
		e.dropped.Add(1)
	} else {
		e.queue = append(e.queue, event)
		e.bound()
	}
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// bound makes room in the queue.
func (e *Events) bound() {
	for len(e.queue) > maxQueuedEvents {
		i := max(0, slices.IndexFunc(e.queue, droppable))
		e.queue = slices.Delete(e.queue, i, i+1)
		e.dropped.Add(1)
	}
}

func droppable(event *cloudv1.ReplayEvent) bool {
	return event.GetPhase() == nil && event.GetEnd() == nil
}

// Dropped counts the events that the cloud did not get.
func (e *Events) Dropped() int64 { return e.dropped.Load() + e.refused.Load() }

// Close sends what is queued until ctx ends, and drops the rest.
func (e *Events) Close(ctx context.Context) {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
	stop := context.AfterFunc(ctx, e.cancel)
	defer stop()
	<-e.ended
	e.cancel()
	if n := e.Dropped(); n > 0 {
		e.o.Logger.Warn("events were dropped: the cloud was away, or refused them", "away", e.dropped.Load(), "refused", e.refused.Load())
	}
}

// take returns the events that are sent next; none and true at the end.
func (e *Events) take() (batch []*cloudv1.ReplayEvent, ended bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n, size := 0, 0
	for n < min(len(e.queue), maxBatch) {
		if size += proto.Size(e.queue[n]); n > 0 && size > maxBatchBytes {
			break
		}
		n++
	}
	batch = slices.Clone(e.queue[:n])
	e.queue = slices.Delete(e.queue, 0, n)
	return batch, n == 0 && e.closed
}

func (e *Events) run() {
	defer close(e.ended)
	for {
		batch, ended := e.take()
		switch {
		case ended:
			return
		case len(batch) > 0:
			e.send(batch)
		default:
			<-e.wake
		}
	}
}

// send sends a batch until the cloud has it or refuses it, or the end.
func (e *Events) send(batch []*cloudv1.ReplayEvent) {
	for pause := 250 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		ctx, cancel := context.WithTimeout(e.ctx, callLimit)
		err := e.o.Publish(ctx, batch)
		cancel()
		switch {
		case err == nil:
			return
		case e.ctx.Err() != nil:
			e.dropped.Add(int64(len(batch)))
			return
		case !client.Retryable(err):
			if n := int64(len(batch)); e.refused.Add(n) == n { // Close says how many there were
				e.o.Logger.Warn("events refused", "error", err)
			}
			return
		}
		e.o.Logger.Debug("events not sent yet", "events", len(batch), "error", err)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-e.ctx.Done():
			timer.Stop()
		}
	}
}
