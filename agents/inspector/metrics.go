package inspector

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// counts are of commands, by name and by outcome.
type counts map[string]*[2]atomic.Uint64

const (
	done = iota
	failed
)

func newCounts() counts {
	c := counts{}
	for _, name := range commands() {
		c[name] = new([2]atomic.Uint64)
	}
	return c
}

func (c counts) add(name string, hasFailed bool) {
	outcome := done
	if hasFailed {
		outcome = failed
	}
	c[name][outcome].Add(1)
}

// Metrics returns the counts of commands, from the inspector's start.
func (i *Inspector) Metrics() (list []prometheus.Collector) {
	for name, n := range i.counts {
		for outcome, text := range []string{done: "done", failed: "failed"} {
			list = append(list, prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "speedscale_inspector_commands_total", Help: "Commands of the cloud, by what became of them.",
				ConstLabels: prometheus.Labels{"command": name, "outcome": text},
			}, func() float64 { return float64(n[outcome].Load()) }))
		}
	}
	return list
}
