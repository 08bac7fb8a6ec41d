package intercept

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// maxCounted bounds how many pairs of host and reason are told apart; the
// connections of further hosts are counted under OtherHosts.
const maxCounted = 512

// OtherHosts stands for the hosts that are not counted one by one.
const OtherHosts = "(other hosts)"

// Count says how many connections to a host ended up with a reason.
type Count struct {
	Host        string
	Reason      string
	Connections int64
}

type counted struct{ host, reason string }

type counts struct {
	mu sync.Mutex
	n  map[counted]int64
	// logged are the hosts and reasons that have been written to the log.
	logged map[counted]bool
}

func (c *counts) bounded(host, reason string) counted {
	k := counted{host, reason}
	if _, ok := c.n[k]; !ok && len(c.n) >= maxCounted {
		k.host = OtherHosts
	}
	return k
}

func (i *Interceptor) count(host, reason string) {
	c := &i.counts
	c.mu.Lock()
	if c.n == nil {
		c.n = make(map[counted]int64)
	}
	c.n[c.bounded(host, reason)]++
	c.mu.Unlock()
	switch reason {
	case ReasonIntercepted, ReasonStaleFile, ReasonMocked, ReasonClientRefused:
	default:
		i.logOnce(host, reason, nil)
	}
}

// logOnce says once for each host and reason that a host is relayed opaque.
func (i *Interceptor) logOnce(host, reason string, err error) {
	c := &i.counts
	c.mu.Lock()
	k := c.bounded(host, reason)
	if c.logged == nil {
		c.logged = make(map[counted]bool)
	}
	done := c.logged[k]
	c.logged[k] = true
	c.mu.Unlock()
	if done {
		return
	}
	attrs := []any{"host", k.host, "reason", reason}
	if err != nil {
		attrs = append(attrs, "error", err)
	}
	i.log.Info("TLS relayed without capture", attrs...)
}

// Counts returns what became of the connections so far, in no order.
func (i *Interceptor) Counts() []Count {
	c := &i.counts
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]Count, 0, len(c.n))
	for k, n := range c.n {
		list = append(list, Count{k.host, k.reason, n})
	}
	return list
}

func connectionsDesc() *prometheus.Desc {
	return prometheus.NewDesc("speedscale_goproxy_tls_connections_total",
		"TLS connections by host and by what became of them; all but intercepted, stale_file and mocked ones were relayed without capture or refused.",
		[]string{"host", "reason"}, nil)
}

// Describe implements prometheus.Collector.
func (i *Interceptor) Describe(ch chan<- *prometheus.Desc) { ch <- connectionsDesc() }

// Collect implements prometheus.Collector.
func (i *Interceptor) Collect(ch chan<- prometheus.Metric) {
	desc := connectionsDesc()
	for _, c := range i.Counts() {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(c.Connections), c.Host, c.Reason)
	}
}
