// Package forwarder takes batches of pairs from proxies, filters and masks them in
// memory, keeps them in a spool on disk, and sends them on to the cloud over an
// outbound connection. A proxy gets its answer when the masked batch is in the
// spool; the spool lets go of a batch when the cloud has acknowledged it.
package forwarder

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/speedscale/speedscale/agents/broker"
	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/agents/rules"
	"github.com/speedscale/speedscale/traffic/filter"
	"github.com/speedscale/speedscale/traffic/mask"
)

// Limits that apply where Options has none.
const (
	DefaultSpoolBytes = 1 << 30
	DefaultQueueBytes = 16 << 20
)

// Options are what a Forwarder is made with.
type Options struct {
	// Cluster is set in pairs that name none.
	Cluster string
	// Listen is the host:port for proxies; empty: only Connect.
	Listen string
	// TLS, where set, is required of proxies that come to Listen.
	TLS *tls.Config
	// Authenticate says who may publish (see ProxyPermissions). It is required
	// with Listen.
	Authenticate func(token string) (broker.Permissions, error)
	// Cloud says how the cloud's bus is reached. CloudConn is used instead
	// where it is set, and stays the caller's.
	Cloud     bus.ConnectOptions
	CloudConn *nats.Conn
	// DataOff keeps all pairs from the cloud: they are taken, counted and dropped, and
	// what the spool holds stays in it. No rules are asked for, since nothing is masked.
	DataOff bool
	// Telemetry goes its own way to the cloud.
	Telemetry Telemetry
	// Spool is where masked batches are kept until the cloud has them.
	Spool broker.StoreOptions
	// MaxBody is the limit of a body in bytes, each way, as the proxies have it.
	MaxBody int
	// Filter excludes pairs; nil takes the cloud's filter.
	Filter *filter.Filter
	// Masking are the rules; nil takes the cloud's. The key is always the cloud's.
	Masking *mask.Config
	// RulesInterval is how often the cloud is asked for rules and key; 0:
	// rules.DefaultInterval.
	RulesInterval time.Duration
	// Workers is how many batches are masked at the same time; 0: GOMAXPROCS.
	Workers int
	// QueueBytes bounds what waits to be masked, in bytes.
	QueueBytes int64
	Logger     *slog.Logger
}

// Forwarder is made by New and works while Run does. Its methods are safe for
// concurrent use.
type Forwarder struct {
	o      Options
	log    *slog.Logger
	broker *broker.Server
	local  *nats.Conn // to the broker
	spool  jetstream.JetStream
	stream jetstream.Stream
	cloud  *nats.Conn // nil where data is off

	rules        *rules.Follower
	counts       counts
	receive      atomic.Pointer[bus.Receiver]
	started      time.Time
	acknowledged atomic.Int64 // when the cloud last took a batch, in Unix nanoseconds
	sidecars     sidecars

	repair   sync.Mutex
	repaired time.Time // guarded by repair
}

// counts are for metrics; see metrics.go for what they mean.
type counts struct {
	pairs, filtered, maskFailed  atomic.Uint64
	replayIn, replayOut          atomic.Uint64
	spooled, sent                atomic.Uint64
	noRules, queueFull, storeErr atomic.Uint64
	retries, oversized, dataOff  atomic.Uint64
}

// New opens the spool and the listener. Nothing is taken from proxies before Run.
func New(ctx context.Context, o Options) (*Forwarder, error) {
	if o.Listen != "" && o.Authenticate == nil {
		return nil, fmt.Errorf("forwarder listens on %q but has no authentication", o.Listen)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Spool.MaxBytes = cmp.Or(o.Spool.MaxBytes, DefaultSpoolBytes)
	o.QueueBytes = cmp.Or(o.QueueBytes, DefaultQueueBytes)
	o.Workers = cmp.Or(o.Workers, runtime.GOMAXPROCS(0))
	f := &Forwarder{o: o, log: o.Logger, started: time.Now()}
	if err := f.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("forwarder: %w", err), f.Close())
	}
	return f, nil
}

func (f *Forwarder) open(ctx context.Context) error {
	store := f.o.Spool
	// The stream's bound has to fit into the store's, beside what files need.
	store.MaxBytes += store.MaxBytes/8 + 64<<20
	var err error
	f.broker, err = broker.Start(broker.Options{
		Name: "forwarder", Listen: f.o.Listen, TLS: f.o.TLS, Store: &store,
		MaxBody: f.o.MaxBody, Authenticate: f.o.Authenticate, Logger: f.log,
	})
	if err != nil {
		return err
	}
	if f.local, err = f.Connect(ctx, "forwarder"); err != nil {
		return err
	}
	if f.spool, err = jetstream.New(f.local); err != nil {
		return err
	}
	if err := f.openSpool(ctx); err != nil {
		return err
	}
	if f.cloud = f.o.CloudConn; f.cloud == nil && !f.o.DataOff {
		f.cloud, err = bus.Connect(ctx, f.o.Cloud)
	}
	f.rules = rules.NewFollower(rules.Options{
		Conn: f.cloud, Subject: bus.ControlMasking, Interval: f.o.RulesInterval, Logger: f.log,
		Own: rules.Own{Filter: f.o.Filter, Masking: f.o.Masking},
	})
	return err
}

// openSpool makes the stream, or takes the one that is there.
func (f *Forwarder) openSpool(ctx context.Context) error {
	stream, err := f.spool.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:        bus.SpoolStream,
		Description: "masked batches that the cloud does not have yet",
		Subjects:    []string{bus.SpoolPairs + ">"},
		Retention:   jetstream.WorkQueuePolicy,
		Discard:     jetstream.DiscardNew,
		Storage:     jetstream.FileStorage,
		MaxBytes:    f.o.Spool.MaxBytes,
		Duplicates:  2 * time.Minute,
	})
	if err != nil {
		return fmt.Errorf("spool %q: %w", f.o.Spool.Dir, err)
	}
	f.stream = stream
	return nil
}

// ProxyPermissions are what a proxy may do: publish pairs and telemetry, and ask for rules.
func ProxyPermissions(name string) broker.Permissions {
	return broker.Permissions{Name: name, Publish: []string{bus.RawPairs + ">", bus.RawTelemetry + ">", bus.RulesMasking}}
}

// Connect connects a proxy in this process.
func (f *Forwarder) Connect(ctx context.Context, name string) (*nats.Conn, error) {
	return f.broker.Connect(ctx, bus.ConnectOptions{Name: name, MaxReconnectWait: time.Second, Logger: f.log})
}

// URL is where proxies connect, "" without Listen.
func (f *Forwarder) URL() string { return f.broker.ClientURL() }

// Run works until ctx ends, and then returns after what was taken is stored. The
// caller closes the forwarder after it.
func (f *Forwarder) Run(ctx context.Context) error {
	answers, err := f.local.Subscribe(bus.RulesMasking, f.answerRules)
	if err != nil {
		return fmt.Errorf("forwarder: %w", err)
	}
	defer answers.Unsubscribe() // fails only where the connection is closed
	r, err := bus.Receive(bus.ReceiverOptions{
		Conn: f.local, Handle: f.take, Workers: f.o.Workers, MaxBytes: f.o.QueueBytes, Logger: f.log,
	})
	if err != nil {
		return fmt.Errorf("forwarder: %w", err)
	}
	f.receive.Store(r)
	var g errgroup.Group
	if !f.o.DataOff {
		g.Go(func() error { f.rules.Run(ctx); return nil })
		g.Go(func() error { f.send(ctx); return nil })
	}
	if f.o.Telemetry.Interval > 0 {
		if err := f.hearSidecars(ctx); err != nil {
			f.log.Warn("sidecars are not heard", "error", err)
		}
		if !f.o.Telemetry.Local {
			g.Go(func() error { f.tellCloud(ctx); return nil })
		}
	}
	<-ctx.Done()
	r.Close()
	return g.Wait()
}

// Drain waits until the cloud has all that the spool holds.
func (f *Forwarder) Drain(ctx context.Context) error {
	for {
		n, err := f.Queued(ctx)
		if err == nil && n == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d batches are not with the cloud yet, they stay in spool %q: %w", n, f.o.Spool.Dir, context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Queued returns how many batches the spool holds.
func (f *Forwarder) Queued(ctx context.Context) (uint64, error) {
	info, err := f.stream.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("spool %q: %w", f.o.Spool.Dir, err)
	}
	return info.State.Msgs, nil
}

// Ready says why proxies are refused at the moment; nil: they are not.
func (f *Forwarder) Ready() error {
	switch {
	case f.receive.Load() == nil:
		return errors.New("not running")
	case f.o.DataOff:
		return nil
	case f.rules.Load() == nil:
		return errors.New("no masking rules from the cloud yet")
	}
	return f.broker.StoreError()
}

// Close closes connections and listener. What the spool holds stays on disk.
func (f *Forwarder) Close() error {
	if f.cloud != nil && f.cloud != f.o.CloudConn {
		f.cloud.Close()
	}
	if f.local != nil {
		f.local.Close()
	}
	if f.broker == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return f.broker.Shutdown(ctx)
}
