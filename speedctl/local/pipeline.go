package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/speedscale/speedscale/agents/broker"
	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/agents/disk"
	"github.com/speedscale/speedscale/agents/forwarder"
	"github.com/speedscale/speedscale/agents/goproxy"
	"github.com/speedscale/speedscale/speedctl/home"
	"github.com/speedscale/speedscale/traffic/wire"
)

// rulesLimit is how long the masking rules may take to come from the cloud.
const rulesLimit = 10 * time.Second

// maxCaptures bounds how many captures of one home run at the same time.
const maxCaptures = 64

// pipeline carries pairs from the proxy to the cloud: a publisher and a forwarder
// with its spool, as in a cluster.
type pipeline struct {
	publisher *bus.Publisher
	budget    *wire.Budget

	spool     *os.File // its lock
	cloud     *nats.Conn
	forwarder *forwarder.Forwarder
	proxy     *nats.Conn
	cancel    context.CancelFunc
	ended     chan error
}

// startPipeline starts it, and waits until the forwarder has its masking rules,
// without which it takes nothing.
func startPipeline(ctx context.Context, o CaptureOptions) (p *pipeline, err error) {
	p = &pipeline{budget: wire.NewBudget(goproxy.DefaultMemoryBudget), ended: make(chan error, 1)}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.spool, err = lockSpool(o.Home); err != nil {
		return nil, err
	}
	if p.cloud, err = o.Cloud.Bus(ctx, "forwarder", o.Logger); err != nil {
		return nil, err
	}
	p.forwarder, err = forwarder.New(ctx, forwarder.Options{
		CloudConn: p.cloud, Spool: broker.StoreOptions{Dir: filepath.Dir(p.spool.Name())}, Logger: o.Logger,
	})
	if err != nil {
		return nil, err
	}
	// The forwarder ends after the publisher, not with ctx.
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p.cancel = cancel
	go func() { p.ended <- p.forwarder.Run(run) }()
	if p.proxy, err = p.forwarder.Connect(ctx, "goproxy"); err != nil {
		return nil, err
	}
	// A publisher says hello at once, which a forwarder without rules refuses.
	if err = p.ready(ctx); err != nil {
		return nil, err
	}
	p.publisher, err = bus.NewPublisher(bus.PublisherOptions{
		Conn: p.proxy, Producer: uuid.NewString(), Budget: p.budget, Logger: o.Logger,
	})
	return p, err
}

func (p *pipeline) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, rulesLimit)
	defer cancel()
	for {
		err := p.forwarder.Ready()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the cloud's masking rules: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// stop passes on what was captured, to the cloud or, where that is away, to the
// spool, which the next capture sends on.
func (p *pipeline) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	err := p.publisher.Close(ctx)
	if err == nil {
		err = p.forwarder.Drain(ctx)
	}
	return errors.Join(err, p.close())
}

func (p *pipeline) close() (err error) {
	if p.proxy != nil {
		p.proxy.Close()
	}
	if p.cancel != nil {
		p.cancel()
		err = <-p.ended
	}
	if p.forwarder != nil {
		err = errors.Join(err, p.forwarder.Close())
	}
	if p.cloud != nil {
		p.cloud.Close()
	}
	if p.spool != nil {
		p.spool.Close() // and with it the lock
	}
	return err
}

// lockSpool takes the first spool that no other capture uses. What an earlier
// capture could not send is sent by the next one that gets its spool.
func lockSpool(dir home.Dir) (*os.File, error) {
	for n := range maxCaptures {
		spool := filepath.Join(dir.Spools(), strconv.Itoa(n))
		if err := os.MkdirAll(spool, 0o700); err != nil {
			return nil, err
		}
		f, err := os.OpenFile(filepath.Join(spool, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		locked, err := disk.TryLock(f, false)
		if locked {
			return f, nil
		}
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("lock %q: %w", f.Name(), err)
		}
	}
	return nil, fmt.Errorf("%d captures of %q run already", maxCaptures, dir)
}
