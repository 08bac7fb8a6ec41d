package server

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// registerHealth adds what those who run the cloud look at. None of it needs a
// key, and none of it says what was captured.
func (s *Server) registerHealth(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
		defer cancel()
		_, refused, err := s.ingest.Status(ctx)
		switch {
		case err != nil:
			http.Error(w, "ingest does not answer", http.StatusServiceUnavailable)
		case refused != "":
			// The API still answers, so agents are told, and users are served.
			fmt.Fprintln(w, "ok, but nothing is taken in; TrafficService.Ingest says why")
		default:
			fmt.Fprintln(w, "ok")
		}
	})
	reg := prometheus.NewRegistry()
	reg.MustRegister(metrics{s}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
}

// metrics reads the parts' own counts when it is asked.
type metrics struct{ s *Server }

// Describe implements prometheus.Collector; the metrics are known when collected.
func (metrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m metrics) Collect(out chan<- prometheus.Metric) {
	send := func(kind prometheus.ValueType, name, help string, v float64) {
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc("speedscale_cloud_"+name, help, nil, nil), kind, v)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	st := m.s.ingest.Stats()
	send(prometheus.CounterValue, "ingest_batches_total", "Batches archived.", float64(st.Batches))
	send(prometheus.CounterValue, "ingest_pairs_total", "Pairs archived.", float64(st.Pairs))
	send(prometheus.CounterValue, "ingest_repeated_batches_total", "Batches that came again and were left out.", float64(st.Repeated))
	send(prometheus.CounterValue, "ingest_malformed_total", "Batches and pairs that could not be read.", float64(st.Malformed))
	send(prometheus.CounterValue, "ingest_replay_pairs_total", "Pairs of replays, which are not archived.", float64(st.Replayed))
	send(prometheus.CounterValue, "ingest_segments_total", "Segments written.", float64(st.Segments))
	send(prometheus.CounterValue, "ingest_failures_total", "Attempts to write a segment that failed.", float64(st.Failures))
	send(prometheus.CounterValue, "follow_skipped_pairs_total", "Pairs that someone who follows what arrives missed for being slow.", float64(st.Skipped))
	events := m.s.replays.Stats()
	send(prometheus.CounterValue, "replay_events_total", "Events of replays that were kept.", float64(events.Events))
	send(prometheus.CounterValue, "replay_events_dropped_total", "Events of replays that were left out, for their number or for want of room.", float64(events.Dropped))
	send(prometheus.CounterValue, "bus_refused_clients_total", "Bus clients refused for their key.", float64(m.s.broker.Refused()))
	send(prometheus.GaugeValue, "bus_clients", "Bus clients connected.", float64(m.s.broker.Clients()))
	if waiting, refused, err := m.s.ingest.Status(ctx); err == nil {
		send(prometheus.GaugeValue, "ingest_waiting_batches", "Batches that no segment has yet.", float64(waiting))
		full := 0.0
		if refused != "" {
			full = 1
		}
		send(prometheus.GaugeValue, "ingest_refusing", "1 while ingest is hindered, by a full disk say.", full)
	}
	if t, err := m.s.catalog.Totals(ctx); err == nil {
		send(prometheus.GaugeValue, "archive_pairs", "Pairs in the archive.", float64(t.Pairs))
		send(prometheus.GaugeValue, "archive_segments", "Segments in the archive.", float64(t.Segments))
		send(prometheus.GaugeValue, "archive_bytes", "Bytes of the archive's segments.", float64(t.Bytes))
	}
}
