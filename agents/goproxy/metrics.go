package goproxy

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/speedscale/speedscale/traffic"
)

// metrics reads a proxy's status when it is scraped.
type metrics struct {
	proxy *Proxy

	connections, pairs, refused           *prometheus.Desc
	lostPairs, lostConnections, lostBytes *prometheus.Desc
	open, budgetUsed, budgetLimit         *prometheus.Desc
	silent, disabled                      *prometheus.Desc
}

func (p *Proxy) register(r prometheus.Registerer) {
	if r == nil {
		return
	}
	if p.intercept != nil {
		r.MustRegister(p.intercept)
	}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("speedscale_goproxy_"+name, help, labels, nil)
	}
	r.MustRegister(&metrics{
		proxy:           p,
		connections:     desc("connections_total", "Connections accepted and relayed.", "direction"),
		pairs:           desc("pairs_total", "Pairs recorded.", "direction"),
		refused:         desc("connections_refused_total", "Connections reset at once.", "direction", "reason"),
		lostPairs:       desc("lost_pairs_total", "Pairs not captured.", "direction", "reason"),
		lostConnections: desc("lost_connections_total", "Connections of which the rest was not captured.", "direction", "reason"),
		lostBytes:       desc("lost_bytes_total", "Bytes not captured.", "direction", "reason"),
		open:            desc("connections_open", "Connections open."),
		budgetUsed:      desc("capture_memory_bytes", "Memory used by capture."),
		budgetLimit:     desc("capture_memory_limit_bytes", "Memory that capture may use."),
		silent:          desc("silent", "1 where a direction saw nothing for the warning time.", "direction"),
		disabled:        desc("capture_disabled", "1 where the proxy relays without capture."),
	})
}

// Describe is for prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		m.connections, m.pairs, m.refused, m.lostPairs, m.lostConnections, m.lostBytes,
		m.open, m.budgetUsed, m.budgetLimit, m.silent, m.disabled,
	} {
		ch <- d
	}
}

// Collect is for prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	s := m.proxy.Status()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(m.open, float64(s.Open))
	gauge(m.budgetUsed, float64(s.BudgetUsed))
	gauge(m.budgetLimit, float64(s.BudgetLimit))
	gauge(m.disabled, oneIf(s.CaptureDisabled))
	for d, st := range map[traffic.Direction]DirectionStatus{
		traffic.Direction_DIRECTION_IN:  s.Inbound,
		traffic.Direction_DIRECTION_OUT: s.Outbound,
	} {
		dir := direction(d)
		count(m.connections, st.Connections, dir)
		count(m.pairs, st.Pairs, dir)
		gauge(m.silent, oneIf(st.Silent), dir)
		for why, n := range st.Refused {
			count(m.refused, n, dir, why)
		}
		for why, n := range st.Lost {
			count(m.lostPairs, n.Pairs, dir, why)
			count(m.lostConnections, n.Connections, dir, why)
			count(m.lostBytes, n.Bytes, dir, why)
		}
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
