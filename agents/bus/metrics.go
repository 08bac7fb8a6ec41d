package bus

import "github.com/prometheus/client_golang/prometheus"

// Collectors are a publisher's metrics, their names under prefix: what was put
// into batches, acknowledged, sent again, and lost on the way out.
func (p *Publisher) Collectors(prefix string) []prometheus.Collector {
	counter := func(name, help string, value func(PublisherStats) uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: prefix + name, Help: help},
			func() float64 { return float64(value(p.Stats())) })
	}
	return []prometheus.Collector{
		counter("published_pairs_total", "Pairs put into batches.", func(s PublisherStats) uint64 { return s.Pairs }),
		counter("acknowledged_pairs_total", "Pairs that the forwarder holds.", func(s PublisherStats) uint64 { return s.AckedPairs }),
		counter("acknowledged_batches_total", "Batches that the forwarder holds.", func(s PublisherStats) uint64 { return s.AckedBatches }),
		counter("resent_batches_total", "Batches sent again, unanswered or refused with a retry.", func(s PublisherStats) uint64 { return s.Resent }),
		counter("rejected_batches_total", "Batches refused for good, whose pairs are lost.", func(s PublisherStats) uint64 { return s.Rejected }),
		counter("unpublished_pairs_total", "Pairs lost since they found no room or were rejected; the reason travels with the batches.", func(s PublisherStats) uint64 { return s.LostPairs }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: prefix + "unacknowledged_bytes", Help: "Bytes of batches that are held until they are acknowledged."},
			func() float64 { return float64(p.Stats().HeldBytes) }),
	}
}
