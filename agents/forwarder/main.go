package forwarder

import (
	"context"
	"errors"
	"net"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/speedscale/speedscale/agents/agent"
)

// What the process needs beside its queues, in bytes; the garbage collector's
// limit follows them.
const baseMemory = 150 << 20

// Main is the binary.
func Main(ctx context.Context, env *agent.Env) error {
	s, err := ReadSettings(env.Vars)
	if err != nil {
		return err
	}
	s.Logger = env.Log
	s.Cloud.Logger = env.Log
	agent.LimitMemory(env.Vars, DefaultQueueBytes+windowBytes, baseMemory)
	f, err := New(ctx, s.Options)
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registry.MustRegister(f.Collectors()...)
	g, ctx := errgroup.WithContext(ctx)
	for address, handler := range map[string]http.Handler{
		s.HealthListen:  f.health(agent.Health(agent.Checks{Ready: f.Ready})),
		s.MetricsListen: agent.Metrics(registry),
	} {
		if address == "" {
			continue
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			return errors.Join(err, f.Close())
		}
		g.Go(func() error { return agent.Serve(ctx, l, handler) })
	}
	g.Go(func() error { return f.Run(ctx) })
	env.Log.Info("forwarder runs", "listen", f.URL(), "cloud", s.Cloud.URLs, "spool", s.Spool.Dir)
	return errors.Join(g.Wait(), f.Close())
}
