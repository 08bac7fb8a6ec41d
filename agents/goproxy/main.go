package goproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/agents/dnsrelay"
	"github.com/speedscale/speedscale/agents/goproxy/supervise"
	"github.com/speedscale/speedscale/agents/goproxy/tap"
	"github.com/speedscale/speedscale/agents/rules"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
)

const (
	// baseMemory is what the process needs beside capture, and connMemory what
	// an open connection does, in bytes; the garbage collector's limit follows them.
	baseMemory = 40 << 20
	connMemory = 16 << 10
	// gcPercent trades memory that is there for fewer collections: little of
	// what capture allocates lives long.
	gcPercent = 200
	// drainQuiet: an app that is shutting down may connect once more.
	drainQuiet = time.Second
	// goodbyeLimit is how long the last batches may take to be acknowledged, where the
	// process is not killed before, and exitTime is left for its end after that.
	goodbyeLimit = 5 * time.Second
	exitTime     = 250 * time.Millisecond
)

// Main is the binary. Started by hand or as pid 1 it binds all listeners and
// supervises a second process of itself, which relays. With arguments it does what
// command says.
func Main(ctx context.Context, env *agent.Env) error {
	if len(env.Args) > 0 {
		return command(ctx, env)
	}
	s, err := ReadSettings(env.Vars)
	if err != nil {
		return err
	}
	child, err := supervise.Inherited()
	if err != nil {
		return err
	}
	if child != nil {
		return serve(child.Context(ctx), env, s, child)
	}
	listeners, err := bindAll(s)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return supervise.Run(ctx, supervise.Options{
		Command: append([]string{self}, env.Args...), Env: os.Environ(), Listeners: listeners,
		StopTimeout: s.DrainTimeout + config.ProxyFlushTime, Logger: env.Log,
	})
}

// bindAll opens every listener of the process.
func bindAll(s Settings) (map[string]net.Listener, error) {
	listeners := map[string]net.Listener{}
	addresses := append(Addresses(s.Proxy), s.HealthListen, s.MetricsListen)
	for _, a := range addresses {
		if a == "" {
			continue
		}
		l, err := net.Listen("tcp", a)
		if err != nil {
			return nil, errors.Join(err, closeListeners(listeners))
		}
		listeners[a] = l
	}
	return listeners, nil
}

func closeListeners(listeners map[string]net.Listener) error {
	var errs []error
	for _, l := range listeners {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// serve relays until the context ends and what was captured is acknowledged.
func serve(ctx context.Context, env *agent.Env, s Settings, child *supervise.Child) error {
	agent.LimitMemory(env.Vars, s.MemoryBudget, baseMemory)
	if env.Vars.String("GOGC", "") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if child.Degraded {
		env.Log.Warn("relaying without capture, since the relay died repeatedly", "deaths", child.Deaths)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "speedscale_goproxy_restarts_total", Help: "Relay processes that died and were replaced.",
	}, func() float64 { return float64(child.Deaths) }))
	budget := wire.NewBudget(s.MemoryBudget)
	link, err := connect(ctx, env.Log, s, budget)
	if err != nil {
		return err
	}
	publisher := link.publisher
	defer link.conn.Close()
	registry.MustRegister(publisher.Collectors("speedscale_goproxy_")...)
	if s.Route != nil {
		if s.Route.Search, err = dnsrelay.Search(resolvConf); err != nil {
			return fmt.Errorf("search list: %w", err)
		}
	}
	names, err := newNaming(s, env.Log, registry)
	if err != nil {
		return err
	}
	var recorder tap.Recorder = publisher
	var masked reasons
	var follower *rules.Follower // nil where the forwarder masks
	switch id := s.Tags[traffic.TagReplay]; {
	case id != "":
		recorder = inReplay{publisher, id}
	case s.MaskHere:
		follower = rules.NewFollower(rules.Options{Conn: link.conn, Subject: bus.RulesMasking, Logger: env.Log})
		recorder = masking{publisher, follower, &masked}
	}
	for _, d := range child.Died {
		recorder.Lost(&traffic.Loss{Reason: traffic.ReasonNoGoodbye, Service: s.Service, Namespace: s.Namespace, From: d.From.UnixNano(), To: d.To.UnixNano()})
	}
	var busy func() bool
	switch {
	case s.DrainWhole:
		busy = func() bool { return true }
	case s.PodNetwork:
		busy = socketsOfOthers
	}
	p, err := New(s.Proxy, Options{
		HostOf: names.hostOf(), Recorder: recorder, Logger: env.Log, Registry: registry, Budget: budget,
		Listeners: child.Listeners, CaptureDisabled: child.Degraded, DrainQuiet: drainQuiet, Busy: busy,
		Grace: s.DrainTimeout + config.ProxyFlushTime - exitTime, Tolerant: true,
	})
	if err != nil {
		return err
	}
	// The side listeners answer until the drain is over.
	side, stopSide := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSide()
	var g errgroup.Group
	g.Go(func() error {
		return agent.Serve(side, child.Listeners[s.HealthListen], agent.Health(agent.Checks{Ready: p.Ready, Note: p.note}))
	})
	if l := child.Listeners[s.MetricsListen]; l != nil {
		g.Go(func() error { return agent.Serve(side, l, agent.Metrics(registry)) })
	}
	g.Go(func() error { followConnections(side, p, env); return nil })
	if follower != nil {
		g.Go(func() error { follower.Run(side); return nil })
	}
	g.Go(func() error { return names.run(side, env.Log) })
	if s.TelemetryInterval > 0 {
		t := telemetry{proxy: p, link: link, settings: s, restarts: child.Deaths, masked: &masked}
		g.Go(func() error { t.run(side, env.Log); return nil })
	}
	child.Ready()
	err = p.Run(ctx)
	goodbye, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(goodbyeLimit, p.left()))
	defer cancel()
	if cerr := publisher.Close(goodbye); cerr != nil {
		env.Log.Warn("not all pairs were acknowledged", "error", cerr)
	}
	stopSide()
	return errors.Join(err, g.Wait())
}

// followConnections raises the garbage collector's limit with the number of open
// connections, which need memory that is not capture's.
func followConnections(ctx context.Context, p *Proxy, env *agent.Env) {
	if env.Vars.String("GOMEMLIMIT", "") != "" {
		return
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last := int64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			limit := p.budget.Limit() + baseMemory + connMemory*int64(p.openCount())
			if limit != last { // setting it stops the world for a moment
				debug.SetMemoryLimit(limit)
				last = limit
			}
		}
	}
}

// note is for whoever looks at the health of the proxy.
func (p *Proxy) note() string {
	if p.opts.CaptureDisabled {
		return "relaying without capture, since the relay died repeatedly"
	}
	return ""
}

// Ready is nil while the proxy takes connections that it will keep.
func (p *Proxy) Ready() error {
	if p.drains.Load() {
		return errors.New("draining")
	}
	return nil
}
