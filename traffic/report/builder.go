package report

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/google/uuid"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/compare"
	"github.com/speedscale/speedscale/traffic/signature"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

// Bounds of what a builder keeps.
const (
	// maxEndpoints is how many endpoints are told apart; the rest are summed up
	// under otherPath.
	maxEndpoints = 200
	maxFailures  = 500
	maxMisses    = 200
	maxWarnings  = 50
	maxSkips     = 50
	otherPath    = "(other endpoints)"
)

// Options describe a replay to its report.
type Options struct {
	// ID is a UUID; made where it is empty.
	ID string
	// Name is what a person calls the replay; the snapshot's name where empty.
	Name     string
	BuildTag string
	Tags     map[string]string
	// Goals decide whether the replay passed. Without any, it passes where no
	// request failed or got an error.
	Goals []Goal
	// MaxFailures is how many failures are kept for each endpoint; 0 means 5.
	MaxFailures int
	// Started is when the replay began; now where it is zero.
	Started time.Time
}

// Result is one request that the generator sent.
type Result struct {
	Recorded *traffic.RRPair
	// Observed is nil where there was no response.
	Observed *traffic.RRPair
	// At is when the request was sent.
	At time.Time
	// Planned is the latency from the planned time, Sent that from the send.
	Planned, Sent time.Duration
	// Err says why there was no response.
	Err error
	// Differences make the request a failure.
	Differences []compare.Difference
}

// Builder folds results into a report. It is safe for concurrent use, and its
// memory does not grow with the number of results.
type Builder struct {
	opts Options

	mu        sync.Mutex
	report    Report
	planned   *hdrhistogram.Histogram
	sent      *hdrhistogram.Histogram
	recorded  *hdrhistogram.Histogram
	endpoints map[endpointKey]*endpoint
	order     []*endpoint
	timeline  timeline
	mocks     mocks
	skips     counter
	warnings  counter
	last      time.Time // of the last response
}

type endpointKey struct{ method, path string }

// endpoint gathers one endpoint. Its histograms have two digits, to be small.
type endpoint struct {
	Endpoint
	sent, recorded *hdrhistogram.Histogram
	failures       int
}

// NewBuilder begins a report on a replay of a snapshot against target. meta is
// nil where there is no snapshot.
func NewBuilder(meta *snapshot.Meta, target string, opts Options) *Builder {
	if opts.MaxFailures <= 0 {
		opts.MaxFailures = 5
	}
	if opts.Started.IsZero() {
		opts.Started = time.Now()
	}
	if opts.ID == "" {
		opts.ID = uuid.NewString()
	}
	b := &Builder{
		opts: opts, planned: newHistogram(3), sent: newHistogram(3), recorded: newHistogram(3),
		endpoints: map[endpointKey]*endpoint{}, timeline: timeline{start: opts.Started, interval: time.Second},
		skips: newCounter(maxSkips), warnings: newCounter(maxWarnings), mocks: newMocks(),
	}
	b.report = Report{
		Version: Version, ID: opts.ID, Name: opts.Name, BuildTag: opts.BuildTag, Tags: opts.Tags,
		Target: target, Started: opts.Started.UTC(),
	}
	if meta != nil {
		b.report.Snapshot = SnapshotRef{ID: meta.ID, Name: meta.Info.Name}
		b.report.Losses, b.report.Gaps, b.report.Vanished = meta.Losses, meta.Gaps, meta.Vanished
		if b.report.Name == "" {
			b.report.Name = meta.Info.Name
		}
	}
	return b
}

// AddResult folds in what the generator saw. It keeps no reference to the pairs.
func (b *Builder) AddResult(r Result) {
	key := keyOf(r.Recorded)
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.endpoint(key)
	b.report.Requests.Sent++
	e.Requests++
	record(b.recorded, time.Duration(r.Recorded.GetDuration()))
	record(e.recorded, time.Duration(r.Recorded.GetDuration()))
	if end := r.At.Add(r.Sent); end.After(b.last) {
		b.last = end
	}
	if r.Err != nil || r.Observed == nil {
		b.report.Requests.Errors++
		e.Errors++
		b.timeline.add(r.At.Add(r.Sent), true)
		b.fail(e, &r)
		return
	}
	record(b.planned, r.Planned)
	record(b.sent, r.Sent)
	record(e.sent, r.Sent)
	failed := len(r.Differences) > 0
	b.timeline.add(r.At.Add(r.Sent), failed)
	if !failed {
		b.report.Requests.Passed++
		return
	}
	b.report.Requests.Failed++
	e.Failed++
	b.fail(e, &r)
}

func keyOf(p *traffic.RRPair) endpointKey {
	path := p.GetLocation()
	req := p.GetHttp().GetReq()
	if path == "" {
		path = req.GetUri()
	}
	method := req.GetMethod()
	if method == "" {
		method = p.GetCommand()
	}
	return endpointKey{method, signature.Endpoint(path)}
}

func (b *Builder) endpoint(key endpointKey) *endpoint {
	if e := b.endpoints[key]; e != nil {
		return e
	}
	if len(b.endpoints) >= maxEndpoints {
		key = endpointKey{"", otherPath}
		if e := b.endpoints[key]; e != nil {
			return e
		}
	}
	e := &endpoint{Endpoint: Endpoint{Method: key.method, Path: key.path}, sent: newHistogram(2), recorded: newHistogram(2)}
	b.endpoints[key] = e
	b.order = append(b.order, e)
	return e
}

// fail keeps a failure, if there is room.
func (b *Builder) fail(e *endpoint, r *Result) {
	text := ""
	if len(r.Differences) == 0 {
		if text = "no response"; r.Err != nil {
			text = signature.Printable(r.Err.Error())
		}
		if e.Error == "" {
			e.Error = text
		}
	} else if e.First == nil {
		first := r.Differences[0]
		e.First = &first
	}
	if e.failures++; e.failures > b.opts.MaxFailures || len(b.report.Failures) >= maxFailures {
		return
	}
	req := r.Recorded.GetHttp().GetReq()
	url := req.GetUri()
	if url == "" {
		url = req.GetUrl()
	}
	b.report.Failures = append(b.report.Failures, Failure{
		Method: e.Method, Path: e.Path, URL: signature.Printable(url), At: r.At.UTC(),
		RefUUID: base64.StdEncoding.EncodeToString(r.Recorded.GetUuid()),
		Error:   text, Differences: slices.Clone(r.Differences),
		Recorded: messageOf(r.Recorded), Observed: messageOf(r.Observed),
	})
}

// Skip counts a recorded request that was not sent.
func (b *Builder) Skip(reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.report.Requests.Skipped++
	b.skips.add(reason)
}

// Warn adds a warning, once for each text, up to a bound.
func (b *Builder) Warn(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.warnings.add(text)
}

// SetNoise states the places that were left out of the verdict.
func (b *Builder) SetNoise(noise []compare.Noise) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.report.Noise = slices.Clone(noise)
}

// Fail makes the status Error; the first error is kept.
func (b *Builder) Fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.report.Status != Error {
		b.report.Status, b.report.Error = Error, err.Error()
	}
}

// Cancel makes the status Canceled, unless it is decided already.
func (b *Builder) Cancel(reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.report.Status == "" {
		b.report.Status, b.report.Error = Canceled, reason
	}
}

// Finish returns the report. The builder must not be used afterwards.
func (b *Builder) Finish() *Report {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := &b.report
	r.Finished = time.Now().UTC()
	if b.last.After(r.Started) && b.last.Before(r.Finished) && r.Requests.Sent > 0 {
		r.Finished = b.last.UTC()
	}
	if r.Requests.Sent > 0 {
		r.SuccessRate = 100 * float64(r.Requests.Passed) / float64(r.Requests.Sent)
	}
	r.Latency = Latency{
		Planned: summary(b.planned), Sent: summary(b.sent), Recorded: summary(b.recorded), Distribution: distribution(b.sent),
	}
	r.Throughput = b.timeline.throughput(r.Requests.Passed+r.Requests.Failed, r.Finished.Sub(r.Started))
	for _, e := range b.order {
		e.Latency, e.Recorded = summary(e.sent), summary(e.recorded)
		r.Endpoints = append(r.Endpoints, e.Endpoint)
	}
	slices.SortStableFunc(r.Endpoints, byUrgency)
	r.Mocks = b.mocks.result()
	for i, reason := range b.skips.keys {
		r.Skipped = append(r.Skipped, Skip{Reason: reason, Count: b.skips.counts[i]})
	}
	r.Warnings = append(b.warnings.keys, b.standingWarnings()...)
	b.decide()
	return r
}

// standingWarnings are of what the numbers themselves show.
func (b *Builder) standingWarnings() []string {
	r := &b.report
	var parts []string
	for _, l := range r.Losses {
		if !l.Intended() {
			parts = append(parts, fmt.Sprintf("%s (%d pairs, %d connections, %d bytes)", strings.ReplaceAll(l.Reason, "_", " "), l.Pairs, l.Connections, l.Bytes))
		}
	}
	if n := len(r.Gaps); n > 0 {
		parts = append(parts, fmt.Sprintf("%d gaps that nothing explains", n))
	}
	if n := len(r.Vanished); n > 0 {
		parts = append(parts, fmt.Sprintf("%d proxies that ended without a goodbye", n))
	}
	if len(parts) == 0 {
		return nil
	}
	return []string{"the snapshot is incomplete: " + strings.Join(parts, ", ")}
}

// decide finds the verdict, unless the replay failed or was canceled.
func (b *Builder) decide() {
	r := &b.report
	missed := false
	for _, g := range b.opts.Goals {
		result := g.judge(r)
		missed = missed || result.Status == Fail
		r.Goals = append(r.Goals, result)
	}
	if r.Status != "" {
		return
	}
	if len(b.opts.Goals) == 0 {
		missed = r.Requests.Failed > 0 || r.Requests.Errors > 0
	}
	switch {
	case r.Requests.Sent == 0 && r.Mocks == nil:
		r.Status, r.Error = Error, "no request was sent"
	case missed:
		r.Status = MissedGoals
	default:
		r.Status = Passed
	}
}
