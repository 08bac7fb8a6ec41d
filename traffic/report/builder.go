package report

import (
	"encoding/base64"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/carry"
	"github.com/speedscale/speedscale/traffic/compare"
	"github.com/speedscale/speedscale/traffic/signature"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

// DefaultMaxFailures is how many failures are kept for each endpoint where nobody says.
const DefaultMaxFailures = 5

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
	// Target is where requests were sent.
	Target string
	// MaxFailures is how many failures are kept for each endpoint; 0 means
	// DefaultMaxFailures.
	MaxFailures int
	// Started is when the replay began; now where it is zero.
	Started time.Time
	// OnFailure is called with each failure that is kept, from the goroutines that
	// add results; nil means not.
	OnFailure func(Failure)
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
	// Carried is what became of the values that are carried over.
	Carried []carry.Outcome
}

// Builder folds results into a report. It is safe for concurrent use, and its
// memory does not grow with the number of results.
type Builder struct {
	opts Options
	meta *snapshot.Meta

	mu        sync.Mutex
	part      Part
	endpoints map[endpointKey]*PartEndpoint // those of part
	misses    map[string]int                // where a miss is in part.Mocks.Misses
	routes    map[carry.Route]int           // where a route is in part.Carried
}

type endpointKey struct{ method, path string }

// NewBuilder begins a report on a replay of a snapshot. meta is nil where there
// is no snapshot.
func NewBuilder(meta *snapshot.Meta, opts Options) *Builder {
	if opts.MaxFailures <= 0 {
		opts.MaxFailures = DefaultMaxFailures
	}
	if opts.Started.IsZero() {
		opts.Started = time.Now()
	}
	if opts.ID == "" {
		opts.ID = uuid.NewString()
	}
	if meta == nil {
		meta = &snapshot.Meta{}
	}
	return &Builder{
		opts: opts, meta: meta, endpoints: map[endpointKey]*PartEndpoint{}, misses: map[string]int{}, routes: map[carry.Route]int{},
		part: Part{
			Version: PartVersion, Started: opts.Started,
			Planned: newHistogram(3), Sent: newHistogram(3), Recorded: newHistogram(3), Timeline: Timeline{Interval: 1},
		},
	}
}

// Begin says when the first request was due, where that is later than
// Options.Started: loading what is sent takes time too.
func (b *Builder) Begin(at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.part.Started = at
}

// AddResult folds in what the generator saw. It keeps no reference to the pairs.
func (b *Builder) AddResult(r Result) {
	if failure := b.addResult(&r); failure != nil && b.opts.OnFailure != nil {
		b.opts.OnFailure(*failure)
	}
}

// addResult returns the failure, where it is one that is kept.
func (b *Builder) addResult(r *Result) *Failure {
	key := keyOf(r.Recorded)
	b.mu.Lock()
	defer b.mu.Unlock()
	p, e := &b.part, b.endpoint(key)
	p.Requests.Sent++
	e.Requests++
	p.Recorded.record(time.Duration(r.Recorded.GetDuration()))
	e.Recorded.record(time.Duration(r.Recorded.GetDuration()))
	end := r.At.Add(r.Sent)
	if end.After(p.Last) {
		p.Last = end
	}
	for _, c := range r.Carried {
		b.carried(c)
	}
	failed := len(r.Differences) > 0
	if r.Err != nil || r.Observed == nil {
		p.Requests.Errors++
		e.Errors++
		p.Timeline.add(max(end.Unix(), p.Started.Unix()), true)
		return b.fail(e, r)
	}
	p.Planned.record(r.Planned)
	p.Sent.record(r.Sent)
	e.Latency.record(r.Sent)
	p.Timeline.add(max(end.Unix(), p.Started.Unix()), failed)
	if !failed {
		p.Requests.Passed++
		return nil
	}
	p.Requests.Failed++
	e.Failed++
	return b.fail(e, r)
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

func (b *Builder) endpoint(key endpointKey) *PartEndpoint {
	if e := b.endpoints[key]; e != nil {
		return e
	}
	if len(b.endpoints) >= maxEndpoints {
		key = endpointKey{"", otherPath}
		if e := b.endpoints[key]; e != nil {
			return e
		}
	}
	e := &PartEndpoint{Method: key.method, Path: key.path, Latency: newHistogram(2), Recorded: newHistogram(2)}
	b.endpoints[key] = e
	b.part.Endpoints = append(b.part.Endpoints, e)
	return e
}

// first and firstError keep what was sent first.
func (e *PartEndpoint) first(d compare.Difference, at time.Time) {
	if e.First == nil || at.Before(e.FirstAt) {
		e.First, e.FirstAt = &d, at.UTC()
	}
}

func (e *PartEndpoint) firstError(text string, at time.Time) {
	if e.Error == "" || at.Before(e.ErrorAt) {
		e.Error, e.ErrorAt = text, at.UTC()
	}
}

// fail keeps a failure, and returns it, if there is room.
func (b *Builder) fail(e *PartEndpoint, r *Result) *Failure {
	text := ""
	if len(r.Differences) == 0 {
		if text = "no response"; r.Err != nil {
			text = signature.Printable(r.Err.Error())
		}
		e.firstError(text, r.At)
	} else {
		e.first(r.Differences[0], r.At)
	}
	if e.Failed+e.Errors > int64(b.opts.MaxFailures) || len(b.part.Failures) >= maxFailures {
		return nil
	}
	req := r.Recorded.GetHttp().GetReq()
	url := req.GetUri()
	if url == "" {
		url = req.GetUrl()
	}
	f := Failure{
		Method: e.Method, Path: e.Path, URL: signature.Printable(url), At: r.At.UTC(),
		RefUUID: base64.StdEncoding.EncodeToString(r.Recorded.GetUuid()),
		Error:   text, Differences: slices.Clone(r.Differences),
		Recorded: messageOf(r.Recorded), Observed: messageOf(r.Observed),
	}
	b.part.Failures = append(b.part.Failures, f)
	return &f
}

// Skip counts a recorded request that was not sent.
func (b *Builder) Skip(reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.part.Requests.Skipped++
	b.skip(reason, 1)
}

// skip counts a reason; those that come when there are too many are one.
func (b *Builder) skip(reason string, n int64) {
	list := b.part.Skipped
	find := func() int { return slices.IndexFunc(list, func(s Skip) bool { return s.Reason == reason }) }
	i := find()
	if i < 0 && len(list) >= maxSkips {
		reason = "other"
		i = find()
	}
	if i < 0 {
		b.part.Skipped = append(list, Skip{Reason: reason, Count: n})
		return
	}
	list[i].Count += n
}

// Warn adds a warning, once for each text, up to a bound.
func (b *Builder) Warn(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.warn(text)
}

func (b *Builder) warn(text string) {
	if len(b.part.Warnings) >= maxWarnings {
		text = "there are more warnings than are shown"
	}
	if !slices.Contains(b.part.Warnings, text) {
		b.part.Warnings = append(b.part.Warnings, text)
	}
}

// SetNoise states the places that were left out of the verdict.
func (b *Builder) SetNoise(noise []compare.Noise) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.part.Noise = slices.Clone(noise)
}

// Fail makes the status Error; the first error is kept.
func (b *Builder) Fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.part.Status != Error {
		b.part.Status, b.part.Error = Error, err.Error()
	}
}

// Cancel makes the status Canceled, unless it is decided already.
func (b *Builder) Cancel(reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.part.Status == "" {
		b.part.Status, b.part.Error = Canceled, reason
	}
}
