package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/speedscale/speedscale/cloud/server"
	"github.com/speedscale/speedscale/speedctl/home"
	"github.com/speedscale/speedscale/speedctl/term"
)

// openLimit is how long another process may take to open the local cloud.
const openLimit = 15 * time.Second

// localCloud is a cloud that runs in this process.
type localCloud struct {
	*server.Server
	cancel context.CancelFunc
	done   chan error
}

// InitLocal makes the local cloud and its context, and returns its first key. The
// key is empty where there is a local context already.
func InitLocal(ctx context.Context, dir home.Dir, log *slog.Logger) (key string, err error) {
	cfg, err := dir.Load()
	if errors.Is(err, home.ErrNotInitialized) {
		cfg, err = &home.Config{}, nil
	}
	if err != nil {
		return "", err
	}
	if c, err := cfg.Context(home.Local); err == nil {
		cfg.CurrentContext = c.Name
		return "", dir.Save(cfg)
	}
	l, err := open(ctx, dir, log)
	if err != nil {
		return "", err
	}
	key = l.InitialKey()
	if err := l.close(); err != nil {
		return "", err
	}
	if key == "" {
		return "", term.WithHint(fmt.Errorf("the cloud in %s exists, but its key is not in %s", dir.LocalCloud(), dir),
			"restore config.json, or remove the folder with all it has captured")
	}
	cfg.Put(home.Context{Name: home.Local, APIKey: key})
	return key, dir.Save(cfg)
}

// InitRemote adds a context for a cloud elsewhere, once that cloud has answered.
func InitRemote(ctx context.Context, dir home.Dir, target home.Context) error {
	c, err := remote(target, false)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Check(ctx); err != nil {
		return err
	}
	cfg, err := dir.Load()
	if errors.Is(err, home.ErrNotInitialized) {
		cfg, err = &home.Config{}, nil
	}
	if err != nil {
		return err
	}
	cfg.Put(target)
	return dir.Save(cfg)
}

// ErrNotRunning says that nobody has the local cloud open.
var ErrNotRunning = errors.New("the local cloud is not running")

// openLocal reaches the local cloud where it runs, or runs it here.
func openLocal(ctx context.Context, o Options, target home.Context) (*Client, error) {
	ctx, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	for {
		if r, ok, err := server.Find(o.Home.LocalCloud()); err != nil {
			return nil, err
		} else if ok {
			return newClient("the local cloud", r.URL, r.BusURL, target.APIKey, nil)
		}
		if o.Running {
			return nil, ErrNotRunning
		}
		l, err := open(context.WithoutCancel(ctx), o.Home, o.Logger)
		if err == nil {
			c, err := newClient("the local cloud", l.URL(), l.BusURL(), target.APIKey, nil)
			if err != nil {
				return nil, errors.Join(err, l.close())
			}
			c.local = l
			return c, nil
		}
		if !errors.Is(err, server.ErrLocked) {
			return nil, err
		}
		// Its holder is starting or ending.
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func open(ctx context.Context, dir home.Dir, log *slog.Logger) (*localCloud, error) {
	s, err := server.Open(ctx, server.Options{DataDir: dir.LocalCloud(), Logger: log})
	if err != nil {
		return nil, err
	}
	run, cancel := context.WithCancel(ctx)
	l := &localCloud{Server: s, cancel: cancel, done: make(chan error, 1)}
	go func() { l.done <- s.Run(run) }()
	return l, nil
}

func (l *localCloud) close() error {
	l.cancel()
	return <-l.done
}
