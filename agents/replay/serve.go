package replay

import (
	"context"
	"net"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/speedscale/speedscale/agents/agent"
)

// NewRegistry returns a registry with what every process measures of itself.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Serve answers for health and metrics, in goroutines of g, until ctx ends.
func (s Settings) Serve(ctx context.Context, g *errgroup.Group, metrics prometheus.Gatherer, checks agent.Checks) error {
	for address, handler := range map[string]http.Handler{
		s.HealthListen:  agent.Health(checks),
		s.MetricsListen: agent.Metrics(metrics),
	} {
		if address == "" {
			continue
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		g.Go(func() error { return agent.Serve(ctx, l, handler) })
	}
	return nil
}
