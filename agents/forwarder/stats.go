package forwarder

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Stats are counted from the forwarder's start, but for those that say "now".
type Stats struct {
	Pairs              uint64 // taken from proxies
	Filtered           uint64 // pairs that the filter excluded
	ReplayIn           uint64 // inbound pairs of replays, which were dropped
	ReplayOut          uint64 // outbound pairs of replays, which were dropped
	MaskFailed         uint64 // pairs that could not be masked, and were dropped
	DataOff            uint64 // pairs dropped since data is switched off
	Oversized          uint64 // pairs and batches that were too large for the next hop
	Spooled, Sent      uint64 // batches
	Resent             uint64 // batches that the cloud did not acknowledge at once
	RefusedNoRules     uint64 // batches to be sent again: no masking rules yet
	RefusedSpoolFull   uint64 // batches to be sent again: spool or disk full
	RefusedSpoolFailed uint64 // batches to be sent again: the spool gave an error
	Refused            uint64 // batches refused, for whatever reason
	Waiting            int64  // batches that wait to be masked, now
	WaitingBytes       int64  // now
	ConnectionsRefused uint64
	Connections        int // proxies and our own, now
}

// Stats returns the counts so far.
func (f *Forwarder) Stats() Stats {
	c := &f.counts
	s := Stats{
		Pairs: c.pairs.Load(), Filtered: c.filtered.Load(), MaskFailed: c.maskFailed.Load(), Oversized: c.oversized.Load(),
		DataOff: c.dataOff.Load(), ReplayIn: c.replayIn.Load(), ReplayOut: c.replayOut.Load(),
		Spooled: c.spooled.Load(), Sent: c.sent.Load(), Resent: c.retries.Load(),
		RefusedNoRules: c.noRules.Load(), RefusedSpoolFull: c.queueFull.Load(), RefusedSpoolFailed: c.storeErr.Load(),
		ConnectionsRefused: f.broker.Refused(), Connections: f.broker.Clients(),
	}
	if r := f.receive.Load(); r != nil {
		rs := r.Stats()
		s.Refused, s.Waiting, s.WaitingBytes = rs.Refused, rs.Waiting, rs.WaitingBytes
	}
	return s
}

// Collectors returns the metrics. Those that the product documents have the
// documented names; the others are prefixed.
func (f *Forwarder) Collectors() []prometheus.Collector {
	const prefix = "speedscale_forwarder_"
	labelled := func(name, help string, labels prometheus.Labels, value func(Stats) uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels},
			func() float64 { return float64(value(f.Stats())) })
	}
	counter := func(name, help string, value func(Stats) uint64) prometheus.Collector {
		return labelled(name, help, nil, value)
	}
	replay := func(direction string, value func(Stats) uint64) prometheus.Collector {
		return labelled(prefix+"replay_pairs_total", "Pairs of replays, which were dropped: they are not live traffic.", prometheus.Labels{"direction": direction}, value)
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	return []prometheus.Collector{
		gauge("messages_queued", "Batches in the spool.", f.queuedGauge),
		gauge("conn_active", "Connections of proxies.", func() float64 { return float64(max(0, f.Stats().Connections-1)) }),
		counter("err_queueFull_total", "Batches refused because the spool or the disk was full.", func(s Stats) uint64 { return s.RefusedSpoolFull }),
		counter("messages_filtered_total", "Pairs that the filter excluded.", func(s Stats) uint64 { return s.Filtered }),
		counter(prefix+"pairs_total", "Pairs taken from proxies.", func(s Stats) uint64 { return s.Pairs }),
		replay("in", func(s Stats) uint64 { return s.ReplayIn }),
		replay("out", func(s Stats) uint64 { return s.ReplayOut }),
		counter(prefix+"mask_failed_total", "Pairs dropped because they could not be masked.", func(s Stats) uint64 { return s.MaskFailed }),
		counter(prefix+"data_off_pairs_total", "Pairs dropped because data is switched off.", func(s Stats) uint64 { return s.DataOff }),
		counter(prefix+"oversized_total", "Pairs or batches too large for the next hop.", func(s Stats) uint64 { return s.Oversized }),
		counter(prefix+"batches_spooled_total", "Batches stored in the spool.", func(s Stats) uint64 { return s.Spooled }),
		counter(prefix+"batches_sent_total", "Batches that the cloud acknowledged.", func(s Stats) uint64 { return s.Sent }),
		counter(prefix+"batches_resent_total", "Attempts to send a batch again.", func(s Stats) uint64 { return s.Resent }),
		counter(prefix+"batches_refused_total", "Batches refused, for whatever reason.", func(s Stats) uint64 { return s.Refused }),
		counter(prefix+"no_masking_rules_total", "Batches refused because there were no masking rules.", func(s Stats) uint64 { return s.RefusedNoRules }),
		counter(prefix+"spool_errors_total", "Batches refused because the spool failed.", func(s Stats) uint64 { return s.RefusedSpoolFailed }),
		counter(prefix+"connections_refused_total", "Connections refused for their token.", func(s Stats) uint64 { return s.ConnectionsRefused }),
	}
}

func (f *Forwarder) queuedGauge() float64 {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	n, err := f.Queued(ctx)
	if err != nil {
		return -1 // the spool does not answer
	}
	return float64(n)
}
