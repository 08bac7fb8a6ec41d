package replay

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/speedctl/tui/style"
	"github.com/speedscale/speedscale/traffic/report"
)

// Bounds of what a screen remembers. The newest stays; of failures, phases and sources
// the first stay, which is what their publishers keep too.
const (
	maxPhases   = 16
	maxSources  = 64
	maxPoints   = 600 // a point a second
	maxFailures = 500
	maxUsage    = 100
	maxLines    = 2000
)

// state is what is known of a replay: its events, folded.
type state struct {
	phases []phase
	// status is the condition Ready, until a phase is told of.
	status   string
	lost     string
	progress map[string]*cloudv1.ReplayProgress // of each generator
	mocks    map[string]*cloudv1.MockCounts     // of each responder
	points   []point
	failures []failure
	usage    []usage
	lines    []line
	gone     int // lines that there was no room for
	end      *cloudv1.ReplayEnd
}

type phase struct {
	name, state, text string
	pods              []string
	started, ended    time.Time
}

// point is one second of the charts.
type point struct {
	second              int64
	rate, p50, p95, p99 float64
}

type failure struct {
	source string
	report.Failure
}

type usage struct {
	pod, container     string
	millicores, memory int64
}

// line is one of the log: of a container, of the cluster, or of speedctl itself.
type line struct {
	at     time.Time
	kind   kind
	source string
	text   string
}

type kind int

const (
	anything kind = iota
	logs
	events
	warnings
)

func newState(phases []string) *state {
	s := &state{progress: map[string]*cloudv1.ReplayProgress{}, mocks: map[string]*cloudv1.MockCounts{}}
	for _, name := range phases {
		s.phases = append(s.phases, phase{name: name})
	}
	return s
}

// clone is what a paused view shows: what is folded in later does not change it.
func (s *state) clone() *state {
	c := *s
	c.phases, c.points, c.failures = slices.Clone(s.phases), slices.Clone(s.points), slices.Clone(s.failures)
	c.usage, c.lines = slices.Clone(s.usage), slices.Clone(s.lines)
	c.progress, c.mocks = maps.Clone(s.progress), maps.Clone(s.mocks)
	return &c
}

// apply folds in an event.
func (s *state) apply(e *cloudv1.ReplayEvent) {
	at := time.Unix(0, e.GetTime())
	switch {
	case e.GetPhase() != nil:
		s.phase(at, e.GetPhase())
	case e.GetProgress() != nil:
		s.progressed(at, e.GetSource(), e.GetProgress())
	case e.GetMocks() != nil:
		if _, known := s.mocks[e.GetSource()]; known || len(s.mocks) < maxSources {
			s.mocks[e.GetSource()] = e.GetMocks()
		}
	case e.GetLog() != nil:
		s.add(line{at, logs, e.GetLog().GetPod(), e.GetLog().GetLine()})
	case e.GetClusterEvent() != nil:
		s.clusterEvent(at, e.GetClusterEvent())
	case e.GetUsage() != nil:
		s.used(e.GetUsage())
	case e.GetFailed() != nil:
		s.failed(e.GetSource(), e.GetFailed())
	case e.GetEnd() != nil:
		s.end = e.GetEnd()
	}
}

func (s *state) phase(at time.Time, p *cloudv1.ReplayPhase) {
	i := slices.IndexFunc(s.phases, func(old phase) bool { return old.name == p.GetName() })
	if i < 0 {
		if len(s.phases) >= maxPhases {
			return
		}
		i = len(s.phases)
		s.phases = append(s.phases, phase{name: p.GetName()})
	}
	now := &s.phases[i]
	if now.started.IsZero() {
		now.started = at
	}
	now.state = p.GetState()
	if p.GetState() != "started" {
		now.ended = at
	}
	if p.GetText() != "" {
		now.text = style.Clean(p.GetText())
	}
	if len(p.GetPods()) > 0 {
		now.pods = p.GetPods()
	}
}

func (s *state) progressed(at time.Time, source string, p *cloudv1.ReplayProgress) {
	before, known := s.progress[source]
	if !known && len(s.progress) >= maxSources {
		return
	}
	s.progress[source] = p
	if known && before.GetSent() == p.GetSent() && p.GetRate() == 0 && p.GetSent() == p.GetTotal() {
		return // the last word of a generator, after its last response
	}
	// Percentiles of several generators do not add up: the worst is shown.
	now := point{second: at.Unix()}
	for _, p := range s.progress {
		now.rate += p.GetRate()
		now.p50, now.p95, now.p99 = max(now.p50, p.GetP50()), max(now.p95, p.GetP95()), max(now.p99, p.GetP99())
	}
	if n := len(s.points); n > 0 && s.points[n-1].second >= now.second {
		now.second = s.points[n-1].second
		s.points[n-1] = now
		return
	}
	s.points = append(s.points, now)
	s.points = s.points[max(0, len(s.points)-maxPoints):]
}

func (s *state) clusterEvent(at time.Time, e *cloudv1.ClusterEvent) {
	k := events
	if e.GetType() == "Warning" {
		k = warnings
	}
	text := e.GetReason() + ": " + e.GetMessage()
	if e.GetCount() > 1 {
		text += fmt.Sprintf(" (%d times)", e.GetCount())
	}
	s.add(line{at, k, e.GetObject(), text})
}

func (s *state) add(l line) {
	l.source, l.text = style.Clean(l.source), style.Clean(l.text)
	s.lines = append(s.lines, l)
	if n := len(s.lines) - maxLines; n > 0 {
		s.gone += n
		s.lines = slices.Delete(s.lines, 0, n)
	}
}

func (s *state) used(u *cloudv1.PodUsage) {
	now := usage{style.Clean(u.GetPod()), style.Clean(u.GetContainer()), u.GetCpuMillicores(), u.GetMemoryBytes()}
	i := slices.IndexFunc(s.usage, func(old usage) bool { return old.pod == now.pod && old.container == now.container })
	switch {
	case i >= 0:
		s.usage[i] = now
	case len(s.usage) < maxUsage:
		s.usage = append(s.usage, now)
		slices.SortFunc(s.usage, func(a, b usage) int { return cmp.Or(cmp.Compare(a.pod, b.pod), cmp.Compare(a.container, b.container)) })
	}
}

func (s *state) failed(source string, f *cloudv1.FailedPair) {
	if len(s.failures) >= maxFailures {
		return
	}
	now := failure{source: source}
	if json.Unmarshal(f.GetFailure(), &now.Failure) != nil {
		now.Failure = report.Failure{Error: "speedctl cannot read what this generator says of it"}
	}
	now.Method, now.Path = f.GetMethod(), f.GetPath()
	s.failures = append(s.failures, now)
}

// totals are the counts of all generators; total is -1 where it depends on time.
func (s *state) totals() *cloudv1.ReplayProgress {
	sum := &cloudv1.ReplayProgress{}
	for _, p := range s.progress {
		sum.Sent += p.GetSent()
		sum.Passed += p.GetPassed()
		sum.Failed += p.GetFailed()
		sum.Errors += p.GetErrors()
		if sum.Total >= 0 {
			sum.Total += p.GetTotal()
		}
		if p.GetTotal() < 0 {
			sum.Total = -1
		}
	}
	return sum
}

func (s *state) mocked() *cloudv1.MockCounts {
	sum := &cloudv1.MockCounts{}
	for _, m := range s.mocks {
		sum.Requests += m.GetRequests()
		sum.Matched += m.GetMatched()
		sum.Missed += m.GetMissed()
		sum.Passthrough += m.GetPassthrough()
	}
	return sum
}

// endpoint is a failing one.
type endpoint struct {
	method, path string
	failed       int64
	// more says that only the first failures are known of.
	more  bool
	first int // of its failures in state.failures, -1 where none is kept
	text  string
}

// endpoints are the failing ones, those that fail most first: by the report where there
// is one, else by the failures that were told of, of which each generator tells the
// first ones of each endpoint.
func (s *state) endpoints(r *report.Report) []endpoint {
	type key struct{ method, path string }
	told := map[key]*endpoint{}
	perSource := map[string]int{}
	var list []*endpoint
	for i, f := range s.failures {
		k := key{f.Method, f.Path}
		e := told[k]
		if e == nil {
			e = &endpoint{method: f.Method, path: f.Path, first: i, text: firstDifference(f.Failure)}
			told[k] = e
			list = append(list, e)
		}
		e.failed++
		source := f.source + " " + f.Method + " " + f.Path
		perSource[source]++
		e.more = e.more || perSource[source] >= report.DefaultMaxFailures
	}
	if r != nil {
		list = list[:0]
		for _, re := range r.Endpoints {
			if re.Failed+re.Errors == 0 {
				continue
			}
			e := &endpoint{method: re.Method, path: re.Path, first: -1, text: style.Clean(re.Error)}
			if known := told[key{re.Method, re.Path}]; known != nil {
				e.first = known.first
			}
			if re.First != nil {
				e.text = difference(*re.First)
			}
			e.failed = re.Failed + re.Errors
			list = append(list, e)
		}
	}
	slices.SortStableFunc(list, func(a, b *endpoint) int { return cmp.Compare(b.failed, a.failed) })
	found := make([]endpoint, len(list))
	for i, e := range list {
		found[i] = *e
	}
	return found
}
