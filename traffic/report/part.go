package report

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/speedscale/speedscale/traffic/compare"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

// PartVersion is the schema of a Part's JSON that this package writes.
const PartVersion = 1

// Part is what one agent knows of a replay. Parts merge exactly: Merge makes the
// report of them that one Builder would have made of all their results, as long
// as none has reached a bound of what is kept.
type Part struct {
	Version int `json:"version"`
	// Name is the agent's, such as generator-0.
	Name string `json:"name,omitempty"`
	// Status is empty, Error or Canceled; Error says why.
	Status Status `json:"status,omitempty"`
	Error  string `json:"error,omitempty"`
	// Started is when the agent began, Last when its last response was there.
	Started  time.Time `json:"started"`
	Last     time.Time `json:"last,omitzero"`
	Requests Requests  `json:"requests"`
	// Planned, Sent and Recorded are as in Latency.
	Planned   Histogram       `json:"planned,omitzero"`
	Sent      Histogram       `json:"sent,omitzero"`
	Recorded  Histogram       `json:"recorded,omitzero"`
	Endpoints []*PartEndpoint `json:"endpoints,omitempty"`
	Timeline  Timeline        `json:"timeline"`
	Mocks     PartMocks       `json:"mocks"`
	// Addresses are those that the agent's requests come from, where sidecars see
	// them, and Received is what the sidecars saw.
	Addresses []string   `json:"addresses,omitempty"`
	Received  []Received `json:"received,omitempty"`
	// The rest is as in Report.
	Failures      []Failure       `json:"failures,omitempty"`
	Noise         []compare.Noise `json:"noise,omitempty"`
	Carried       []Carried       `json:"carried,omitempty"`
	Skipped       []Skip          `json:"skipped,omitempty"`
	Warnings      []string        `json:"warnings,omitempty"`
	Usage         []*Usage        `json:"usage,omitempty"`
	ClusterEvents []ClusterEvent  `json:"clusterEvents,omitempty"`
}

// PartEndpoint is an endpoint's share in a part.
type PartEndpoint struct {
	Method   string    `json:"method"`
	Path     string    `json:"path"`
	Requests int64     `json:"requests"`
	Failed   int64     `json:"failed"`
	Errors   int64     `json:"errors"`
	Latency  Histogram `json:"latency,omitzero"`
	Recorded Histogram `json:"recorded,omitzero"`
	// First and Error are of the requests that were sent first, at FirstAt and
	// ErrorAt.
	First   *compare.Difference `json:"firstDifference,omitempty"`
	FirstAt time.Time           `json:"firstAt,omitzero"`
	Error   string              `json:"firstError,omitempty"`
	ErrorAt time.Time           `json:"errorAt,omitzero"`
}

// ParsePart reads a part; name is whose it is, for errors too.
func ParsePart(name string, data []byte) (Part, error) {
	var p Part
	if err := json.Unmarshal(data, &p); err != nil {
		return Part{}, fmt.Errorf("part %q: %w", name, err)
	}
	p.Name = name
	return p, p.check()
}

// check names what is wrong with a part that comes from elsewhere.
func (p *Part) check() error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("part %q: "+format, append([]any{p.Name}, args...)...)
	}
	q := p.Requests
	switch {
	case p.Version < 1 || p.Version > PartVersion:
		return fail("version %d is not known, this program knows up to %d", p.Version, PartVersion)
	case p.Status != "" && p.Status != Error && p.Status != Canceled:
		return fail("status %q: want none, %q or %q", p.Status, Error, Canceled)
	case q.Sent != q.Passed+q.Failed+q.Errors || min(q.Passed, q.Failed, q.Errors, q.Skipped) < 0:
		return fail("requests do not add up: %+v", q)
	}
	if err := p.Timeline.check(); err != nil {
		return fail("timeline: %w", err)
	}
	for _, r := range p.Received {
		if min(r.Requests, r.Connections) < 0 {
			return fail("what came in from %q is below 0", r.Address)
		}
	}
	if slices.Contains(p.Endpoints, nil) || slices.Contains(p.Usage, nil) {
		return fail("an endpoint or a usage is null")
	}
	return nil
}

// Part returns what was gathered so far. It shares nothing with the builder.
func (b *Builder) Part() Part {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.part
	p.Started, p.Last = p.Started.UTC(), p.Last.UTC()
	p.Planned, p.Sent, p.Recorded = p.Planned.clone(), p.Sent.clone(), p.Recorded.clone()
	p.Endpoints = make([]*PartEndpoint, len(b.part.Endpoints))
	for i, e := range b.part.Endpoints {
		c := *e
		c.Latency, c.Recorded = e.Latency.clone(), e.Recorded.clone()
		p.Endpoints[i] = &c
	}
	p.Timeline.Ticks = slices.Clone(p.Timeline.Ticks)
	p.Mocks.Misses = slices.Clone(p.Mocks.Misses)
	p.Failures, p.Noise = slices.Clone(p.Failures), slices.Clone(p.Noise)
	p.Carried = make([]Carried, len(b.part.Carried))
	for i, c := range b.part.Carried {
		c.Missing = maps.Clone(c.Missing)
		p.Carried[i] = c
	}
	p.Skipped, p.Warnings = slices.Clone(p.Skipped), slices.Clone(p.Warnings)
	p.Usage = make([]*Usage, len(b.part.Usage))
	for i, u := range b.part.Usage {
		p.Usage[i] = u.clone()
	}
	p.ClusterEvents = slices.Clone(p.ClusterEvents)
	p.Addresses, p.Received = slices.Clone(p.Addresses), slices.Clone(p.Received)
	return p
}

// Merge makes the report of a replay from what its agents had to contribute. meta
// is nil where there is no snapshot. Where o.Started is zero, the replay began
// when the first of those did that sent requests, or the first of all.
func Merge(meta *snapshot.Meta, parts []Part, o Options) (*Report, error) {
	if o.Started.IsZero() {
		o.Started = earliest(parts)
	}
	b := NewBuilder(meta, o)
	for i := range parts {
		if err := parts[i].check(); err != nil {
			return nil, err
		}
		if err := b.merge(&parts[i]); err != nil {
			return nil, fmt.Errorf("part %q: %w", parts[i].Name, err)
		}
	}
	return b.Finish(), nil
}

func earliest(parts []Part) time.Time {
	var first, sent time.Time
	for _, p := range parts {
		if first.IsZero() || p.Started.Before(first) {
			first = p.Started
		}
		if p.Requests.Sent > 0 && (sent.IsZero() || p.Started.Before(sent)) {
			sent = p.Started
		}
	}
	if sent.IsZero() {
		return first
	}
	return sent
}

// merge folds a part in. Failures are not bounded yet.
func (b *Builder) merge(p *Part) error {
	to := &b.part
	if p.Status == Error && to.Status != Error || to.Status == "" {
		to.Status, to.Error = p.Status, p.Error
	}
	if p.Last.After(to.Last) {
		to.Last = p.Last
	}
	to.Requests.add(p.Requests)
	err := errors.Join(to.Planned.merge(p.Planned), to.Sent.merge(p.Sent), to.Recorded.merge(p.Recorded))
	for _, e := range p.Endpoints {
		err = errors.Join(err, b.endpoint(endpointKey{e.Method, e.Path}).merge(e))
	}
	for _, f := range p.Failures {
		e := b.endpoint(endpointKey{f.Method, f.Path})
		f.Method, f.Path = e.Method, e.Path // of those past the bound, the one that sums them up
		to.Failures = append(to.Failures, f)
	}
	to.Timeline.merge(p.Timeline)
	b.mergeMocks(&p.Mocks)
	for _, n := range p.Noise {
		b.addNoise(n)
	}
	b.mergeCarried(p.Carried)
	for _, s := range p.Skipped {
		b.skip(s.Reason, s.Count)
	}
	for _, text := range p.Warnings {
		b.warn(text)
	}
	for _, u := range p.Usage {
		b.mergeUsage(u)
	}
	for _, e := range p.ClusterEvents {
		b.addClusterEvent(e)
	}
	to.Addresses = append(to.Addresses, p.Addresses...)
	for _, r := range p.Received {
		b.addReceived(r)
	}
	return err
}

// addNoise adds a place, once: all generators leave out the same ones.
func (b *Builder) addNoise(n compare.Noise) {
	for i := range b.part.Noise {
		if old := &b.part.Noise[i]; old.Method == n.Method && old.Path == n.Path && old.Location == n.Location {
			old.Pairs = max(old.Pairs, n.Pairs)
			return
		}
	}
	b.part.Noise = append(b.part.Noise, n)
}

func (e *PartEndpoint) merge(p *PartEndpoint) error {
	e.Requests += p.Requests
	e.Failed += p.Failed
	e.Errors += p.Errors
	if p.First != nil {
		e.first(*p.First, p.FirstAt)
	}
	if p.Error != "" {
		e.firstError(p.Error, p.ErrorAt)
	}
	return errors.Join(e.Latency.merge(p.Latency), e.Recorded.merge(p.Recorded))
}

func (q *Requests) add(p Requests) {
	q.Sent += p.Sent
	q.Passed += p.Passed
	q.Failed += p.Failed
	q.Errors += p.Errors
	q.Skipped += p.Skipped
}

func byTime(a, b Failure) int {
	return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.RefUUID, b.RefUUID))
}
