package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Finish returns the report. The builder must not be used afterwards.
func (b *Builder) Finish() *Report {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, o := &b.part, &b.opts
	r := &Report{
		Version: Version, ID: o.ID, Name: cmp.Or(o.Name, b.meta.Info.Name), BuildTag: o.BuildTag, Tags: o.Tags, Target: o.Target,
		Status: p.Status, Error: p.Error, Started: p.Started.UTC(), Finished: time.Now().UTC(),
		Snapshot: SnapshotRef{ID: b.meta.ID, Name: b.meta.Info.Name},
		Losses:   b.meta.Losses, Gaps: b.meta.Gaps, Vanished: b.meta.Vanished,
		Requests: p.Requests, Noise: p.Noise, ClusterEvents: p.ClusterEvents,
		Latency: Latency{
			Planned: p.Planned.summary(), Sent: p.Sent.summary(), Recorded: p.Recorded.summary(), Distribution: p.Sent.distribution(),
		},
	}
	if p.Requests.Sent > 0 && p.Last.After(r.Started) {
		r.Finished = p.Last.UTC()
	}
	if r.Requests.Sent > 0 {
		r.SuccessRate = 100 * float64(r.Requests.Passed) / float64(r.Requests.Sent)
	}
	r.Throughput = p.Timeline.throughput(r.Requests.Passed+r.Requests.Failed, r.Started, r.Finished)
	for _, e := range p.Endpoints {
		r.Endpoints = append(r.Endpoints, Endpoint{
			Method: e.Method, Path: e.Path, Requests: e.Requests, Failed: e.Failed, Errors: e.Errors,
			Latency: e.Latency.summary(), Recorded: e.Recorded.summary(), First: e.First, Error: e.Error,
		})
	}
	slices.SortFunc(r.Endpoints, byUrgency)
	r.Failures = b.keptFailures()
	r.Mocks = p.Mocks.result()
	r.Others = p.others()
	r.Carried = slices.SortedFunc(slices.Values(p.Carried), byRoute)
	r.Skipped = slices.SortedFunc(slices.Values(p.Skipped), byCount)
	r.Warnings = slices.Concat(slices.Sorted(slices.Values(p.Warnings)), r.Others.warnings(), r.standingWarnings())
	for _, u := range p.Usage {
		r.Usage = append(r.Usage, *u)
	}
	slices.SortFunc(r.Usage, func(a, b Usage) int { return cmp.Or(cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Container, b.Container)) })
	slices.SortFunc(r.ClusterEvents, byEventTime)
	r.decide(o.Goals)
	return r
}

// keptFailures are those of each endpoint that were sent first.
func (b *Builder) keptFailures() []Failure {
	failures := b.part.Failures
	slices.SortStableFunc(failures, byTime)
	kept := map[endpointKey]int{}
	failures = slices.DeleteFunc(failures, func(f Failure) bool {
		key := endpointKey{f.Method, f.Path}
		kept[key]++
		return kept[key] > b.opts.MaxFailures
	})
	return failures[:min(len(failures), maxFailures)]
}

// standingWarnings are of what the numbers themselves show.
func (r *Report) standingWarnings() []string {
	var parts []string
	for _, l := range r.Losses {
		if !l.Intended() {
			parts = append(parts, fmt.Sprintf("%s (%s)", strings.ReplaceAll(l.Reason, "_", " "), l.Size()))
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
func (r *Report) decide(goals []Goal) {
	missed := false
	for _, g := range goals {
		result := g.judge(r)
		missed = missed || result.Status == Fail
		r.Goals = append(r.Goals, result)
	}
	if r.Status != "" {
		return
	}
	if len(goals) == 0 {
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

// byCount puts the reason first that was met most.
func byCount(a, b Skip) int {
	return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Reason, b.Reason))
}

// byUrgency puts what failed first, then what was requested most.
func byUrgency(a, b Endpoint) int {
	return cmp.Or(
		cmp.Compare(b.Failed+b.Errors, a.Failed+a.Errors), cmp.Compare(b.Requests, a.Requests),
		cmp.Compare(a.Path, b.Path), cmp.Compare(a.Method, b.Method))
}
