package rules

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/speedscale/speedscale/agents/bus"
)

const (
	// DefaultInterval is how often rules that are there are asked for again.
	DefaultInterval = time.Minute
	// timeout bounds one question.
	timeout = 5 * time.Second
)

// Options of a Follower.
type Options struct {
	// Conn is asked on Subject: bus.ControlMasking or bus.RulesMasking.
	Conn    *nats.Conn
	Subject string
	// Interval is DefaultInterval where it is 0.
	Interval time.Duration
	Own      Own
	Logger   *slog.Logger
}

// Follower asks for rules until there are some, and then now and again. Load is
// safe for concurrent use.
type Follower struct {
	o       Options
	current atomic.Pointer[Rules]
}

// NewFollower returns a follower, which asks while Run does.
func NewFollower(o Options) *Follower {
	if o.Interval <= 0 {
		o.Interval = DefaultInterval
	}
	return &Follower{o: o}
}

// Load returns the rules in force, nil where there are none yet. The last known
// ones stay in force while nobody answers.
func (f *Follower) Load() *Rules { return f.current.Load() }

// Run asks until ctx ends.
func (f *Follower) Run(ctx context.Context) {
	for attempt := 1; ; attempt++ {
		err := f.ask(ctx)
		if ctx.Err() != nil {
			return
		}
		wait := f.o.Interval
		if err != nil {
			if attempt == 1 || attempt%60 == 0 {
				f.o.Logger.Warn("no masking rules", "have_some", f.Load() != nil, "error", err)
			}
			wait = min(wait, time.Second)
		} else {
			attempt = 0
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func (f *Follower) ask(ctx context.Context) error {
	if !f.o.Conn.IsConnected() {
		return errors.New("there is no connection to who knows them")
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	m, err := f.o.Conn.RequestWithContext(ctx, f.o.Subject, nil)
	if err != nil {
		return err
	}
	if text := m.Header.Get(bus.HeaderError); text != "" {
		return fmt.Errorf("refused: %s", text)
	}
	if old := f.Load(); old != nil && bytes.Equal(old.source, m.Data) {
		return nil
	}
	r, err := compile(m.Data, f.o.Own, f.o.Logger)
	if err != nil {
		return err
	}
	f.current.Store(r)
	f.o.Logger.Info("masking rules in force", "masking_key", r.masker.KeyID())
	return nil
}
