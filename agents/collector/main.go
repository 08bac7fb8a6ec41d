package collector

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	metrics "k8s.io/metrics/pkg/client/clientset/versioned"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/replay"
	"github.com/speedscale/speedscale/cloud/client"
)

// What the process needs, in bytes; the garbage collector's limit follows it.
const memory = 96 << 20

// Main is the binary: it collects until it is told to end.
func Main(ctx context.Context, env *agent.Env) error {
	since := time.Now()
	s, err := ReadSettings(env.Vars)
	if err != nil {
		return err
	}
	agent.LimitMemory(env.Vars, memory, 0)
	klog.SetSlogLogger(env.Log)
	config, err := rest.InClusterConfig()
	if err != nil {
		return fmt.Errorf("the cluster's API: %w", err)
	}
	config.UserAgent, config.Proxy = "speedscale-collector", agent.NoProxy
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("the cluster's API: %w", err)
	}
	usage, err := metrics.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("the cluster's API: %w", err)
	}
	cloud, err := client.New(client.Options{URL: s.AppURL, Key: s.Token, Roots: s.Roots})
	if err != nil {
		return err
	}
	defer cloud.Close()

	registry := replay.NewRegistry()
	g, ctx := errgroup.WithContext(ctx)
	if err := serve(ctx, g, s, registry); err != nil {
		return err
	}
	member, err := (&replay.Cloud{
		URL: s.AppURL, Token: s.Token, Roots: s.Roots, ReplayID: s.ReplayID, Snapshot: s.SnapshotID, Component: s.Component,
	}).Join(registry, env.Log)
	if err != nil {
		return err
	}
	defer member.Close()
	g.Go(func() error {
		masker, err := awaitMasker(ctx, cloud, s.SnapshotID, env.Log)
		if err != nil {
			return err
		}
		reporter := NewReporter(since, member.Events.Publish)
		c := New(Options{
			Kube: kube, Metrics: usage, Namespaces: s.Namespaces, Selector: s.Selector, Sidecar: s.Sidecar,
			Masker: masker, Publish: reporter.Publish, Since: since, Logger: env.Log,
		})
		registry.MustRegister(c.Metrics()...)
		env.Log.Info("collector runs", "replay", s.ReplayID, "namespaces", s.Namespaces, "selector", s.Selector)
		// The reporter ends after the collector, whose last word is for the report too.
		ended, end := context.WithCancel(context.WithoutCancel(ctx))
		g.Go(func() error {
			reporter.Run(ended, DefaultInterval, member.PutPart, env.Log)
			return nil
		})
		c.Run(ctx)
		end()
		return nil
	})
	return g.Wait()
}

// serve answers for health and metrics, in goroutines of g, until ctx ends.
func serve(ctx context.Context, g *errgroup.Group, s Settings, registry *prometheus.Registry) error {
	var lc net.ListenConfig
	health, err := lc.Listen(ctx, "tcp", s.HealthListen)
	if err != nil {
		return err
	}
	numbers, err := lc.Listen(ctx, "tcp", s.MetricsListen)
	if err != nil {
		return errors.Join(err, health.Close())
	}
	for l, handler := range map[net.Listener]http.Handler{health: agent.Health(agent.Checks{}), numbers: agent.Metrics(registry)} {
		g.Go(func() error { return agent.Serve(ctx, l, handler) })
	}
	return nil
}
