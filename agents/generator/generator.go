// Package generator sends the recorded requests of a snapshot to a workload under
// test, at their planned times, and compares every response with the recorded one.
package generator

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/url"
	"runtime"
	"sync"
	"time"

	"github.com/speedscale/speedscale/agents/replay"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/carry"
	"github.com/speedscale/speedscale/traffic/compare"
	"github.com/speedscale/speedscale/traffic/mask"
	"github.com/speedscale/speedscale/traffic/report"
	"github.com/speedscale/speedscale/traffic/snapshot"
	"github.com/speedscale/speedscale/traffic/transform"
)

// Limits and what applies where Options says nothing.
const (
	MaxConcurrency     = 10_000
	DefaultConcurrency = 256
	DefaultTimeout     = 10 * time.Second
	DefaultMaxBody     = 8 << 20
)

// maxQueued bounds the requests whose planned time has come and that wait for
// their session or for a connection; past it the plan itself falls behind.
const maxQueued = 100_000

// Options say what is sent, where, when, and what becomes of the responses.
type Options struct {
	// Actions yields the recorded requests, by time (Snapshot.Actions). An error
	// beside a pair is counted and logged, and the rest is used.
	Actions iter.Seq2[*traffic.RRPair, error]
	// Keys choose slices (service:host:port, or as snapshot.Match has it); none
	// means all.
	Keys []string
	// Target is where requests go (ParseTarget); nil means as recorded.
	Target *url.URL
	// Targets are targets by slice, as in Keys. Where there are any, each slice that
	// is chosen needs one.
	Targets map[string]*url.URL
	// RewriteHost names the target in Host and :authority, in place of the
	// recorded host.
	RewriteHost bool
	// Plan says when.
	Plan Plan
	// Share is what this generator sends, where several do.
	Share Share
	// Unordered sends each request at its planned time, without waiting for the
	// response before it in its session; those that it takes values from are waited
	// for all the same.
	Unordered bool
	// Concurrency bounds the connections of the open model, and with them the
	// requests under way; 0 means DefaultConcurrency.
	Concurrency int
	// Timeout bounds an exchange, dialling included; 0 means DefaultTimeout.
	Timeout time.Duration
	// MaxBody bounds how many bytes of a response are compared; 0 means DefaultMaxBody.
	MaxBody int
	// TLS is the client's configuration; nil means the system's roots.
	TLS *tls.Config
	// Dial opens connections; nil means net.Dialer.DialContext.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Wait sleeps until a time; nil means as precisely as the system can.
	Wait func(ctx context.Context, until time.Time) error

	// AsRecorded sends each request as it was recorded. Without it, values that a
	// response gives and a later request uses are carried over (package carry).
	AsRecorded bool
	// Transforms rewrite requests before they are sent and responses before they are
	// compared; nil means none.
	Transforms *transform.Set

	// Comparer says which responses differ; nil means compare.New's defaults.
	Comparer *compare.Comparer
	// Masker masks responses as the recorded ones were masked, before they are
	// compared; nil where the snapshot is not masked.
	Masker *mask.Masker

	// Report takes each result; nil means none does.
	Report *report.Builder
	// Observe is called with each result, from many goroutines at once; nil means
	// not. Where a response is byte for byte the recorded one, Observed can be the
	// recorded pair itself.
	Observe func(report.Result)
	// Progress is called once a second and at the end; nil means not.
	Progress func(Progress)
	// Logger is for what is not a result; nil means none.
	Logger *slog.Logger
}

// Progress says how far a replay has come.
type Progress struct {
	// Total is how many requests there will be, -1 where that depends on time.
	Total int64
	// Sent have ended: Sent = Passed + Failed + Errors.
	Sent, Passed, Failed, Errors int64
	Elapsed                      time.Duration
	// Rate is responses a second since the progress before, and the percentiles are
	// their latencies from the planned time, those of requests without a response
	// included.
	Rate          float64
	P50, P95, P99 time.Duration
}

// Run sends the requests. It returns when the plan has ended and every response
// is there or timed out. Where ctx ends first it returns the context's cause,
// with the summary of what was done until then.
func Run(ctx context.Context, opts Options) (*Summary, error) {
	if err := opts.validate(); err != nil {
		return nil, err
	}
	r := &run{opts: opts, stats: newStats()}
	if err := r.load(); err != nil {
		return nil, err
	}
	offsets := make([]time.Duration, len(r.requests))
	for i, req := range r.requests {
		offsets[i] = req.offset
	}
	plan := newSchedule(opts.Plan, offsets)
	runtime.GC() // what loading left behind, before time is measured

	r.http2 = newTransport(&r.opts)
	defer r.http2.close()
	r.stats.begin(r.total())
	if opts.Report != nil {
		opts.Report.Begin(r.stats.s.Started)
	}
	stop := r.progress()
	defer context.AfterFunc(ctx, r.live.interrupt)()
	if opts.Plan.VUs > 0 {
		r.closed(ctx)
	} else {
		r.open(ctx, plan)
	}
	summary := r.stats.finish()
	stop()
	return summary, context.Cause(ctx)
}

func (o *Options) validate() error {
	if o.Actions == nil {
		return errors.New("generator: no recorded requests are given (Options.Actions)")
	}
	if o.Concurrency < 0 || o.Concurrency > MaxConcurrency {
		return fmt.Errorf("generator: concurrency %d: want 1 to %d", o.Concurrency, MaxConcurrency)
	}
	if o.Timeout < 0 || o.MaxBody < 0 {
		return errors.New("generator: timeout and body limit must not be negative")
	}
	if err := errors.Join(o.Plan.validate(), o.Share.validate()); err != nil {
		return fmt.Errorf("generator: %w", err)
	}
	if o.Target != nil && len(o.Targets) > 0 {
		return errors.New("generator: a target for all and targets by slice are given")
	}
	if o.Concurrency == 0 {
		o.Concurrency = DefaultConcurrency
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.MaxBody == 0 {
		o.MaxBody = DefaultMaxBody
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	if o.TLS == nil {
		o.TLS = &tls.Config{}
	}
	if o.Comparer == nil {
		o.Comparer = compare.New(compare.Config{})
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// run is one replay.
type run struct {
	opts     Options
	requests []*request
	links    *carry.Plan // nil where nothing is carried over
	stats    *stats
	http2    *transport
	live     live
}

// load prepares the requests that the keys choose.
func (r *run) load() error {
	pairs, err := replay.Choose(r.opts.Actions, r.opts.Keys, func(err error) {
		if r.opts.Share.has(0, 0) { // is counted once in a replay
			r.stats.s.Unreadable++
		}
		r.opts.Logger.Warn("recorded request skipped", "error", err)
	})
	if err != nil {
		return fmt.Errorf("generator: %w", err)
	}
	targets, err := newTargets(&r.opts, pairs)
	if err != nil {
		return fmt.Errorf("generator: %w", err)
	}
	sessions := map[string]int{}
	fields := newUncompared(r.opts.Comparer)
	skipped := 0
	sent := make([]*request, len(pairs)) // nil where a pair is skipped
	for i, p := range pairs {
		req, skip := prepare(p, targets.of(p), r.opts.RewriteHost)
		if skip != "" {
			skipped++
			if r.opts.Share.has(r.opts.Share.owner(i), 0) {
				r.skip(skip)
			}
			continue
		}
		req.owner = r.opts.Share.owner(len(r.requests))
		if name := snapshot.SessionOf(p); name != "" {
			if _, ok := sessions[name]; !ok {
				sessions[name] = len(sessions) + 1
			}
			req.session = sessions[name]
			req.owner = r.opts.Share.owner(req.session)
		}
		r.transform(req)
		req.uncompared = fields.of(req.pair.GetHttp().GetRes().GetHeaders())
		if len(r.requests) > 0 {
			req.offset = time.Duration(p.Ts - r.requests[0].pair.Ts)
		}
		r.requests = append(r.requests, req)
		sent[i] = req
	}
	if !r.opts.AsRecorded {
		r.link(pairs, sent)
	}
	if len(r.requests) == 0 {
		return fmt.Errorf("generator: nothing to send: %d recorded requests are unreadable, %d cannot be sent, and no other is in the chosen slices",
			r.stats.s.Unreadable, skipped)
	}
	return nil
}

// total is how many requests there will be, -1 where it depends on time.
func (r *run) total() int64 {
	passes := r.opts.Plan.passes()
	if passes < 0 {
		return -1
	}
	if users := r.opts.Plan.VUs; users > 0 {
		return int64(users) * passes * int64(len(r.requests))
	}
	owners := make([]int, len(r.requests))
	for i, req := range r.requests {
		owners[i] = req.owner
	}
	return r.opts.Share.size(owners, passes)
}

func (r *run) skip(reason string) {
	r.stats.skip(reason)
	if r.opts.Report != nil {
		r.opts.Report.Skip(reason)
	}
}

// progress reports once a second until stopped, and then once more.
func (r *run) progress() (stop func()) {
	if r.opts.Progress == nil {
		return func() {}
	}
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				r.opts.Progress(r.stats.progress())
			case <-done:
				r.opts.Progress(r.stats.progress())
				return
			}
		}
	})
	return func() { close(done); wg.Wait() }
}
