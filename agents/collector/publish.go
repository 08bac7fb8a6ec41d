package collector

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/api/v1/cloudv1connect"
	"github.com/speedscale/speedscale/cloud/client"
)

const (
	// queueLimit is how many events wait, batchLimit how many are sent at a time.
	queueLimit = 2000
	batchLimit = 100
	// batchPause is how long a batch is gathered.
	batchPause = 500 * time.Millisecond
	// endLimit bounds what is sent after the end.
	endLimit = 5 * time.Second
)

// publisher sends events to the cloud, in order, and drops what comes when its queue
// is full.
type publisher struct {
	replays  cloudv1connect.ReplayServiceClient
	replayID string
	source   string
	log      *slog.Logger
	queue    chan *cloudv1.ReplayEvent
	dropped  atomic.Uint64
}

func newPublisher(replays cloudv1connect.ReplayServiceClient, replayID, source string, log *slog.Logger) *publisher {
	return &publisher{replays: replays, replayID: replayID, source: source, log: log, queue: make(chan *cloudv1.ReplayEvent, queueLimit)}
}

func (p *publisher) publish(e *cloudv1.ReplayEvent) {
	e.Source = p.source
	select {
	case p.queue <- e:
	default:
		p.dropped.Add(1)
	}
}

func (p *publisher) metrics() prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "speedscale_collector_dropped_total", Help: "Events that the cloud did not take in time."},
		func() float64 { return float64(p.dropped.Load()) })
}

// run sends until done is closed, and then for endLimit at most what is left.
func (p *publisher) run(done <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-done
		time.AfterFunc(endLimit, cancel)
	}()
	tick := time.NewTicker(batchPause)
	defer tick.Stop()
	for ended := false; !ended; {
		select {
		case <-tick.C:
		case <-done:
			ended = true
		}
		for len(p.queue) > 0 && ctx.Err() == nil {
			p.send(ctx, p.batch())
		}
	}
	if left := p.dropped.Load() + uint64(len(p.queue)); left > 0 {
		p.log.Warn("events were dropped, since the cloud did not take them in time", "events", left)
	}
}

func (p *publisher) batch() []*cloudv1.ReplayEvent {
	var list []*cloudv1.ReplayEvent
	for len(list) < batchLimit {
		select {
		case e := <-p.queue:
			list = append(list, e)
		default:
			return list
		}
	}
	return list
}

// send sends a batch until the cloud takes it, or says that it never will.
func (p *publisher) send(ctx context.Context, batch []*cloudv1.ReplayEvent) {
	for pause := 200 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		call, cancel := context.WithTimeout(ctx, callLimit)
		_, err := p.replays.Publish(call, &cloudv1.PublishRequest{ReplayId: p.replayID, Events: batch})
		cancel()
		if err == nil {
			return
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil || !client.Retryable(err) {
			p.dropped.Add(uint64(len(batch)))
			p.log.Warn("events dropped", "events", len(batch), "error", err)
			return
		}
	}
}
