package generator

import (
	"maps"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// lateStart is from which lag on a request counts as started late.
const lateStart = time.Millisecond

// Summary is what a replay did, in numbers. Summaries of generators that shared a
// replay add up exactly (Merge).
type Summary struct {
	Started, Finished time.Time
	// Sent = Passed + Failed + Errors.
	Sent, Passed, Failed, Errors int64
	// ErrorsBy counts errors by class: one of the Error constants.
	ErrorsBy map[string]int64
	// SkippedBy counts recorded requests that were not sent, by reason.
	SkippedBy map[string]int64
	// Unreadable counts lines of the snapshot that are not pairs.
	Unreadable int64
	// Retried counts requests that were sent a second time, on a new connection,
	// since the server had closed the old one while it was idle.
	Retried int64
	// Connections counts the HTTP/1.x connections that were opened.
	Connections int64
	// LateStarts counts requests that the generator itself sent more than a
	// millisecond late: not by waiting for a session's previous response, but
	// since it had no free connection or not enough CPU. MaxStartLag is the worst.
	LateStarts  int64
	MaxStartLag time.Duration
	// Latency is from the planned time to the end of the response, Service from
	// the send, in microseconds up to one hour, exact to three digits.
	Latency, Service *hdrhistogram.Histogram
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, time.Hour.Microseconds(), 3)
}

// Merge adds another summary to s.
func (s *Summary) Merge(o *Summary) {
	if o.Started.Before(s.Started) {
		s.Started = o.Started
	}
	if o.Finished.After(s.Finished) {
		s.Finished = o.Finished
	}
	s.Sent += o.Sent
	s.Passed += o.Passed
	s.Failed += o.Failed
	s.Errors += o.Errors
	s.Unreadable += o.Unreadable
	s.Retried += o.Retried
	s.Connections += o.Connections
	s.LateStarts += o.LateStarts
	s.MaxStartLag = max(s.MaxStartLag, o.MaxStartLag)
	add(s.ErrorsBy, o.ErrorsBy)
	add(s.SkippedBy, o.SkippedBy)
	s.Latency.Merge(o.Latency)
	s.Service.Merge(o.Service)
}

func add(to, from map[string]int64) {
	for k, n := range from {
		to[k] += n
	}
}

// stats gathers a Summary from many goroutines.
type stats struct {
	mu    sync.Mutex
	s     Summary
	total int64
	// told is what the last progress had, for the one goroutine that asks.
	told struct {
		counts    *hdrhistogram.Snapshot
		elapsed   time.Duration
		responses int64
	}
}

func newStats() *stats {
	return &stats{s: Summary{
		ErrorsBy: map[string]int64{}, SkippedBy: map[string]int64{},
		Latency: newHistogram(), Service: newHistogram(),
	}}
}

func (t *stats) begin(total int64) {
	t.total = total
	t.s.Started = time.Now()
}

func (t *stats) skip(reason string) { t.s.SkippedBy[reason]++ }

// exchange is one request and what came of it.
type exchange struct {
	req *request
	// wire is what goes out: req, or a copy with other bytes.
	wire *request
	// scope is what the pass shares; nil where the request is sent as it was recorded.
	scope *scope
	// planned is when it was due; ready is when it could be sent at the earliest:
	// then, or at the end of its session's previous exchange.
	planned, ready, sent, done time.Time
	err                        error
	class                      string
	failed                     bool
	retried                    bool
}

func (t *stats) record(x *exchange) {
	lag := x.sent.Sub(x.ready)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.s.Sent++
	switch {
	case x.err != nil:
		t.s.Errors++
		t.s.ErrorsBy[x.class]++
	case x.failed:
		t.s.Failed++
	default:
		t.s.Passed++
	}
	if x.retried {
		t.s.Retried++
	}
	if lag > lateStart {
		t.s.LateStarts++
	}
	t.s.MaxStartLag = max(t.s.MaxStartLag, lag)
	recordValue(t.s.Latency, x.done.Sub(x.planned))
	recordValue(t.s.Service, x.done.Sub(x.sent))
}

func recordValue(h *hdrhistogram.Histogram, d time.Duration) {
	// The value is within the histogram's range, so there is no error.
	h.RecordValue(min(max(d.Microseconds(), 0), time.Hour.Microseconds()))
}

func (t *stats) connected() {
	t.mu.Lock()
	t.s.Connections++
	t.mu.Unlock()
}

// progress says how far the replay is, and how it went since the progress before.
func (t *stats) progress() Progress {
	t.mu.Lock()
	now := time.Now()
	p := Progress{
		Total: t.total, Sent: t.s.Sent, Passed: t.s.Passed, Failed: t.s.Failed, Errors: t.s.Errors,
		Elapsed: now.Sub(t.s.Started),
	}
	counts := t.s.Latency.Export()
	t.mu.Unlock()

	interval := *counts
	if before := t.told.counts; before != nil {
		for i, n := range counts.Counts {
			before.Counts[i] = n - before.Counts[i]
		}
		interval.Counts = before.Counts
	}
	if h := hdrhistogram.Import(&interval); h.TotalCount() > 0 {
		at := h.ValueAtPercentiles([]float64{50, 95, 99})
		p.P50, p.P95, p.P99 = microseconds(at[50]), microseconds(at[95]), microseconds(at[99])
	}
	if seconds := (p.Elapsed - t.told.elapsed).Seconds(); seconds > 0 {
		p.Rate = float64(p.Passed+p.Failed-t.told.responses) / seconds
	}
	t.told.counts, t.told.elapsed, t.told.responses = counts, p.Elapsed, p.Passed+p.Failed
	return p
}

func microseconds(n int64) time.Duration { return time.Duration(n) * time.Microsecond }

func (t *stats) finish() *Summary {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.s.Finished = time.Now()
	s := t.s
	s.ErrorsBy, s.SkippedBy = maps.Clone(t.s.ErrorsBy), maps.Clone(t.s.SkippedBy)
	return &s
}
