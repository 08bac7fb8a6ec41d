// Package goproxy is the capturing proxy: a TCP relay with a tap. It stands in
// front of an app (reverse), between an app and its dependencies (forward), or
// both (dual, transparent), moves bytes at once and unchanged, and turns what it
// saw into pairs beside the data path.
package goproxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/agents/goproxy/relay"
	"github.com/speedscale/speedscale/agents/goproxy/tap"
	"github.com/speedscale/speedscale/agents/intercept"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
)

// Defaults of config.Proxy.
const (
	DefaultMemoryBudget   = 64 << 20
	DefaultConnectTimeout = 10 * time.Second
	DefaultSilenceWarning = config.QuietAfter
	maxMaxBody            = 8 << 20
)

// Options of a Proxy beside its settings.
type Options struct {
	// Recorder takes pairs and losses. It must not block. nil discards them.
	Recorder tap.Recorder
	// Logger is where the proxy talks; nil is silent.
	Logger *slog.Logger
	// Registry takes the proxy's metrics; nil keeps none.
	Registry prometheus.Registerer
	// CA signs the leaves that outbound TLS is answered with; nil means that of
	// cfg.TLS.
	CA *intercept.CA
	// HostOf names an address that a transparent connection goes to, where a
	// name was resolved to it; nil knows none.
	HostOf func(netip.Addr) string
	// Tolerant starts the proxy although TLS files other than the CA's are missing or
	// wrong, and relays what they are for unopened: an app waits for its sidecar.
	Tolerant bool
	// Budget bounds the memory of capture. It is shared with a recorder that
	// keeps pairs until they are acknowledged; nil means cfg.MemoryBudget.
	Budget *wire.Budget
	// Listeners are sockets that are bound already, by their address in cfg.
	Listeners map[string]net.Listener
	// CaptureDisabled relays without capture and counts each connection.
	CaptureDisabled bool
	// DrainQuiet is how long no connection must be open before a drain ends
	// early; 0 ends it as soon as none is.
	DrainQuiet time.Duration
	// Busy says whether an app that has no connection open may still make one, as long
	// as which a drain does not end early; nil is never.
	Busy func() bool
	// Grace is how long after the end of Run's context the process is killed, so that
	// what was captured has to be handed over by then; 0 is never.
	Grace time.Duration
}

// flushLimit is how long parsers may take with what they have at the end.
const flushLimit = 5 * time.Second

// Proxy relays and captures. Make one with New and start it with Run.
type Proxy struct {
	cfg    config.Proxy
	log    *slog.Logger
	opts   Options
	tap    *tap.Tap
	pool   *tap.Pool
	budget *wire.Budget
	dialer net.Dialer

	intercept *intercept.Interceptor // nil where no TLS is opened
	openIn    bool                   // inbound TLS is opened
	route     *routing               // nil outside a replay

	listeners []*listener
	own       ownAddresses

	mu      sync.Mutex
	open    map[net.Conn]int // how many hold it
	serving sync.WaitGroup
	started time.Time
	killed  time.Time    // when the process will be, by Options.Grace; set by Run
	lastEnd atomic.Int64 // when a connection last ended, in Unix nanoseconds
	drains  atomic.Bool
	refused [3]reasons // by traffic.Direction
}

// listener is a bound socket and what is done with its connections.
type listener struct {
	net.Listener
	name      string // in, out, or the mapping's address
	direction traffic.Direction
	handle    func(context.Context, *net.TCPConn)
}

// ErrUnsupported is returned on Windows, whose sockets cannot be looked into without
// taking what is there.
var ErrUnsupported = errors.New("capture and mocks need Linux or macOS: the proxy does not run on Windows")

// New checks the settings and binds the listeners, so that their addresses are
// known before Run.
func New(cfg config.Proxy, o Options) (*Proxy, error) {
	if !supported {
		return nil, ErrUnsupported
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Recorder == nil {
		o.Recorder = discard{}
	}
	if err := complete(&cfg); err != nil {
		return nil, err
	}
	if o.Budget == nil {
		o.Budget = wire.NewBudget(cfg.MemoryBudget)
	}
	p := &Proxy{
		cfg: cfg, opts: o, log: o.Logger, budget: o.Budget,
		pool: tap.NewPool(), open: map[net.Conn]int{},
		dialer: net.Dialer{Timeout: cfg.ConnectTimeout}, started: time.Now(),
	}
	keep, err := headFilter(cfg)
	if err != nil {
		return nil, err
	}
	p.openIn = cfg.TLS.InCert != ""
	if p.intercept, err = newInterceptor(cfg, o); err != nil {
		return nil, err
	}
	if p.route, err = newRouting(cfg.Route); err != nil {
		return nil, err
	}
	if err := p.bind(); err != nil {
		p.closeListeners()
		return nil, err
	}
	p.tap = tap.New(tap.Options{
		Recorder: o.Recorder, Logger: o.Logger, Budget: o.Budget,
		MaxBody: cfg.MaxBody, Keep: keep, Identity: identity(cfg), Full: full(o.Recorder),
	})
	p.register(o.Registry)
	return p, nil
}

// full returns the recorder's hint that it drops what it is given, nil where it has none.
func full(r tap.Recorder) func() bool {
	if f, ok := r.(interface{ Full() bool }); ok {
		return f.Full
	}
	return nil
}

func identity(cfg config.Proxy) tap.Identity {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return tap.Identity{
		Service: cfg.Service, Namespace: cfg.Namespace, Cluster: cfg.Cluster, Resource: cfg.Resource,
		ProxyID: host, ProxyType: cfg.Mode, Tags: cfg.Tags,
	}
}

// Run serves until the context ends, then drains: it goes on accepting while
// connections are open or Options.Busy says so, so that an app that is shutting down too still reaches
// its dependencies, and resets what is left after the drain time-out. All that
// was captured has been handed to the recorder when it returns.
func (p *Proxy) Run(ctx context.Context) error {
	// Connections outlive ctx until the drain is over.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var accepting sync.WaitGroup
	failed := make(chan error, len(p.listeners))
	for _, l := range p.listeners {
		p.log.Info("listening", "for", l.name, "address", l.Addr().String())
		accepting.Go(func() {
			if err := p.accept(work, l); err != nil {
				failed <- err
			}
		})
	}
	watched, stopWatching := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { p.watchSilence(watched) })

	var err error
	select {
	case <-ctx.Done():
		if p.opts.Grace > 0 {
			p.killed = time.Now().Add(p.opts.Grace)
		}
		p.drain()
	case err = <-failed:
	}
	p.closeListeners()
	accepting.Wait()
	stop()
	p.resetAll()
	p.serving.Wait()
	stopWatching()
	watching.Wait()
	// Half of what is left is for who sends it on.
	flush, cancel := context.WithTimeout(context.Background(), min(flushLimit, p.left()/2))
	defer cancel()
	return errors.Join(err, p.tap.Close(flush))
}

// left is how long it is until the process is killed.
func (p *Proxy) left() time.Duration {
	if p.killed.IsZero() {
		return math.MaxInt64
	}
	return time.Until(p.killed)
}

// accept hands out a listener's connections until it is closed.
func (p *Proxy) accept(ctx context.Context, l *listener) error {
	wait := time.Duration(0)
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
		case errors.Is(err, net.ErrClosed):
			return nil
		case ctx.Err() != nil:
			return nil
		default:
			// Mostly too many open files: what is open goes on, and the
			// kernel's queue holds the rest for a while.
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			p.log.Error("cannot accept a connection", "for", l.name, "error", err, "retry", wait.String())
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
			continue
		}
		wait = 0
		client, ok := c.(*net.TCPConn)
		if !ok {
			c.Close()
			return fmt.Errorf("listener %q is not TCP", l.name)
		}
		p.track(client)
		p.serving.Go(func() {
			defer p.untrack(client)
			defer p.survive(client, l)
			l.handle(ctx, client)
		})
	}
}

// survive keeps a defect in the handling of one connection from ending the rest.
func (p *Proxy) survive(client net.Conn, l *listener) {
	if r := recover(); r != nil {
		p.log.Error("connection handler panicked", "for", l.name, "panic", r)
		p.tap.Lose(l.direction, traffic.ReasonPanic, tap.Lost{Connections: 1})
		relay.Reset(client)
	}
}

func (p *Proxy) track(c net.Conn) {
	p.mu.Lock()
	p.open[c]++
	p.mu.Unlock()
}

func (p *Proxy) untrack(c net.Conn) {
	p.mu.Lock()
	if p.open[c]--; p.open[c] == 0 {
		delete(p.open, c)
	}
	p.mu.Unlock()
	p.lastEnd.Store(time.Now().UnixNano())
}

func (p *Proxy) openCount() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.open)
}

// resetAll resets what is open; the relays then end by themselves.
func (p *Proxy) resetAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		relay.Reset(c)
	}
}

// lookEvery is how often Options.Busy is asked.
const lookEvery = 200 * time.Millisecond

// drain waits until no connection is open and the app makes none any more, at most for
// the drain time-out.
func (p *Proxy) drain() {
	p.drains.Store(true)
	if p.cfg.DrainTimeout <= 0 {
		return
	}
	p.log.Info("draining", "open", p.openCount(), "timeout", p.cfg.DrainTimeout.String())
	p.lastEnd.Store(time.Now().UnixNano())
	deadline := time.NewTimer(p.cfg.DrainTimeout)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var looked time.Time
	for {
		quiet := time.Since(time.Unix(0, p.lastEnd.Load()))
		n := p.openCount()
		if n == 0 && quiet >= p.opts.DrainQuiet && time.Since(looked) >= lookEvery {
			if looked = time.Now(); p.opts.Busy == nil || !p.opts.Busy() {
				return
			}
		}
		select {
		case <-deadline.C:
			if n > 0 {
				p.log.Warn("drain time-out: resetting what is open", "open", n)
			}
			return
		case <-tick.C:
		}
	}
}

func (p *Proxy) closeListeners() {
	for _, l := range p.listeners {
		l.Close()
	}
}

type discard struct{}

func (discard) Pair(*traffic.RRPair) {}
func (discard) Lost(*traffic.Loss)   {}
