package collector

import (
	"fmt"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Why a line of a log is not kept.
const (
	dropRate = iota
	dropLong
	dropKey
	dropStream // of a container that is not followed at all
	dropReasons
)

func dropReason(i int) (name, text string) {
	switch i {
	case dropRate:
		return "rate", "came faster than is kept"
	case dropLong:
		return "long", fmt.Sprintf("had more than %d bytes and no blank in them", maxLine)
	case dropKey:
		return "private-key", "were of a private key"
	}
	return "containers", fmt.Sprintf("were of more than %d containers", maxStreams)
}

// counts are for metrics.
type counts struct {
	lines, events, usage atomic.Uint64
	dropped              [dropReasons]atomic.Uint64
}

func (c *Collector) drop(s *stream, reason int) {
	s.dropped[reason].Add(1)
	c.counts.dropped[reason].Add(1)
}

// stateDrops publishes what was dropped since the last time.
func (c *Collector) stateDrops() {
	c.mu.Lock()
	streams := make([]*stream, 0, len(c.streams))
	for id, s := range c.streams {
		streams = append(streams, s)
		if s.gone.Load() && s.over() {
			delete(c.streams, id) // this is the last time
		}
	}
	c.mu.Unlock()
	for _, s := range streams {
		for reason := range dropReasons {
			if n := s.dropped[reason].Swap(0); n > 0 {
				_, why := dropReason(reason)
				c.note(warning, "LogLinesDropped", "Pod/"+s.pod.Name, fmt.Sprintf("%d lines of container %q are left out: they %s", n, s.container, why))
			}
		}
	}
}

// Metrics returns what is counted, from the collector's start.
func (c *Collector) Metrics() []prometheus.Collector {
	counter := func(name, help string, labels prometheus.Labels, n *atomic.Uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "speedscale_collector_" + name, Help: help, ConstLabels: labels},
			func() float64 { return float64(n.Load()) })
	}
	list := []prometheus.Collector{
		counter("log_lines_total", "Lines of logs that were read.", nil, &c.counts.lines),
		counter("events_total", "Events of the cluster that were passed on.", nil, &c.counts.events),
		counter("usage_total", "Measurements of a container that were passed on.", nil, &c.counts.usage),
	}
	for i := range dropReasons {
		name, _ := dropReason(i)
		list = append(list, counter("log_dropped_total", "Lines of logs, or with reason containers whole logs, that were left out.",
			prometheus.Labels{"reason": name}, &c.counts.dropped[i]))
	}
	return list
}
