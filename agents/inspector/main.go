package inspector

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/traffic/mask"
)

// What the process needs, in bytes; the garbage collector's limit follows it.
const memory = 96 << 20

// Main is the binary: it takes commands until it is told to end.
func Main(ctx context.Context, env *agent.Env) error {
	s, err := ReadSettings(env.Vars)
	if err != nil {
		return err
	}
	agent.LimitMemory(env.Vars, memory, 0)
	klog.SetSlogLogger(env.Log)
	o := Options{Cluster: s.Cluster, KeyID: s.KeyID, Instance: s.Instance, Version: s.Version, Namespaces: s.Namespaces, Logger: env.Log}
	if err := o.connect(); err != nil {
		return fmt.Errorf("the cluster's API: %w", err)
	}
	// Text that leaves the cluster is masked with a key of its own: it is read by a
	// person, and compared with nothing.
	if o.Masker, err = mask.New(mask.Standard(), mask.NewKey()); err != nil {
		return err
	}
	s.Cloud.Logger = env.Log
	conn, err := bus.Connect(ctx, s.Cloud)
	if err != nil {
		return err
	}
	defer conn.Close()
	i := New(o)
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registry.MustRegister(i.Metrics()...)
	g, ctx := errgroup.WithContext(ctx)
	health := agent.Health(agent.Checks{Note: func() string {
		if conn.IsConnected() {
			return ""
		}
		return "the cloud is not connected, so no commands come"
	}})
	for address, handler := range map[string]http.Handler{s.HealthListen: health, s.MetricsListen: agent.Metrics(registry)} {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", address)
		if err != nil {
			return err
		}
		g.Go(func() error { return agent.Serve(ctx, l, handler) })
	}
	g.Go(func() error { return i.Run(ctx, conn) })
	env.Log.Info("inspector runs", "cluster", s.Cluster, "cloud", s.Cloud.URLs)
	return g.Wait()
}

// connect makes the clients of the cluster that the process is in.
func (o *Options) connect() error {
	config, err := rest.InClusterConfig()
	if err != nil {
		return err
	}
	config.UserAgent, config.Proxy = "speedscale-inspector", agent.NoProxy
	var errs [3]error
	o.Kube, errs[0] = kubernetes.NewForConfig(config)
	o.Metadata, errs[1] = metadata.NewForConfig(config)
	o.Dynamic, errs[2] = dynamic.NewForConfig(config)
	return errors.Join(errs[:]...)
}
