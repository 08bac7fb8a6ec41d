package responder

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/speedscale/speedscale/agents/replay"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/traffic/report"
)

// partInterval is how often the cloud gets the responder's part of the report while
// that changes.
const partInterval = 5 * time.Second

// member answers for a replay that the cloud follows. Why it could not is in its
// part of the report too.
func (s *Settings) member(ctx context.Context, m *replay.Member, registry prometheus.Registerer, started func(*Responder)) error {
	s.Report = report.NewBuilder(nil, report.Options{})
	f := &follower{member: m, report: s.Report, inCloud: -1}
	var following sync.WaitGroup
	err := m.Load(ctx, &s.Settings)
	if err == nil {
		if s.KeyMissing {
			s.Report.Warn("the snapshot is masked and its key is not at hand: masked values in requests match any value")
		}
		err = s.answer(ctx, registry, func(r *Responder) {
			f.counts = r.counts
			following.Go(func() { f.follow(ctx) })
			started(r)
		})
	}
	if ctx.Err() != nil {
		err = nil // it was told to end
	}
	if err != nil {
		s.Report.Fail(err)
		if putErr := m.PutPart(ctx, s.Report.Part()); putErr != nil {
			s.Logger.Warn("the cloud does not know that the responder failed", "error", putErr)
		}
		return err
	}
	following.Wait()
	return f.finish(ctx)
}

// counts are of answers.
type counts struct{ matched, missed, passed int64 }

func (c counts) requests() int64 { return c.matched + c.missed + c.passed }

func (r *Responder) counts() counts {
	return counts{r.matched.Load(), r.missed.Load(), r.passed.Load()}
}

// follower tells the cloud what a responder does while that changes.
type follower struct {
	member *replay.Member
	report *report.Builder
	counts func() counts // nil where the responder did not begin

	told    counts
	inCloud int64     // requests in the part that the cloud has; -1 where it has none
	offered time.Time // when it was sent last
	failed  bool      // and was not taken
}

// follow ends with its context.
func (f *follower) follow(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		changed := f.tell()
		// A part is due after the interval, or when it seems to be the last one: the
		// replay may end at any time.
		if f.inCloud == f.told.requests() || (changed || f.failed) && time.Since(f.offered) < partInterval {
			continue
		}
		f.offered = time.Now()
		part := f.report.Part()
		if f.failed = f.member.OfferPart(ctx, part) != nil; !f.failed {
			f.inCloud = part.Mocks.Requests
		}
	}
}

// tell publishes the counts, where they have changed.
func (f *follower) tell() (changed bool) {
	now := f.counts()
	if now == f.told {
		return false
	}
	f.told = now
	f.member.Events.Publish(&cloudv1.ReplayEvent{Event: &cloudv1.ReplayEvent_Mocks{Mocks: &cloudv1.MockCounts{
		Requests: now.requests(), Matched: now.matched, Missed: now.missed, Passthrough: now.passed,
	}}})
	return true
}

// finish sends what the cloud does not have yet.
func (f *follower) finish(ctx context.Context) error {
	if f.counts == nil {
		return nil
	}
	f.tell()
	if part := f.report.Part(); part.Mocks.Requests != f.inCloud {
		return f.member.PutPart(ctx, part)
	}
	return nil
}
