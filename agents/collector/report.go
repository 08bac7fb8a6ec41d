package collector

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/traffic/report"
)

// Reporter keeps what the report is to have of the events that are published. It is
// safe for concurrent use.
type Reporter struct {
	// part is the name of what this process puts: one that starts again after it takes
	// nothing of it away.
	part    string
	builder *report.Builder
	next    func(*cloudv1.ReplayEvent)
	changed atomic.Bool
}

// NewReporter returns a reporter that passes events on.
func NewReporter(since time.Time, next func(*cloudv1.ReplayEvent)) *Reporter {
	return &Reporter{
		part:    fmt.Sprintf("collector-%d", since.Unix()),
		builder: report.NewBuilder(nil, report.Options{Started: since}), next: next,
	}
}

// Publish is Options.Publish.
func (r *Reporter) Publish(e *cloudv1.ReplayEvent) {
	at := time.Unix(0, e.GetTime())
	switch {
	case e.GetUsage() != nil:
		u := e.GetUsage()
		r.builder.AddUsage(u.GetPod(), u.GetContainer(), report.UsageSample{Time: at, CPU: u.GetCpuMillicores(), Memory: u.GetMemoryBytes()})
		r.changed.Store(true)
	case e.GetClusterEvent() != nil:
		c := e.GetClusterEvent()
		r.builder.AddClusterEvent(report.ClusterEvent{
			Type: c.GetType(), Reason: c.GetReason(), Object: c.GetObject(), Message: c.GetMessage(), Count: c.GetCount(), Time: at,
		})
		r.changed.Store(true)
	}
	r.next(e)
}

// Run puts the part each interval in which it has changed, and a last time when ctx
// has ended. What cannot be put is logged, and tried again with the next one.
func (r *Reporter) Run(ctx context.Context, interval time.Duration, put func(context.Context, report.Part) error, log *slog.Logger) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for ended := false; !ended; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			ended = true
		}
		if !r.changed.Swap(false) {
			continue
		}
		part := r.builder.Part()
		part.Name = r.part
		if err := put(ctx, part); err != nil {
			r.changed.Store(true)
			log.Warn("part of the report not put", "error", err)
		}
	}
}
