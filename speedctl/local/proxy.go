// Package local runs the agents in this process: the proxy and its pipeline for
// capture, the proxy and a responder for mocks, and the generator for replays.
package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/agents/config/trust"
	"github.com/speedscale/speedscale/agents/goproxy"
	"github.com/speedscale/speedscale/agents/intercept"
	"github.com/speedscale/speedscale/speedctl/home"
	"github.com/speedscale/speedscale/speedctl/term"
	"github.com/speedscale/speedscale/traffic/filter"
)

// Proxy says how the proxy stands beside the app.
type Proxy struct {
	// Service is the name that pairs are recorded under.
	Service string
	// InListen is where clients come to, App where they are passed on to; both
	// are empty when nothing inbound is captured.
	InListen, App string
	// OutListen is the HTTP and SOCKS5 proxy for the app's own connections.
	OutListen string
	// Mappings are listeners for dependencies on localhost.
	Mappings []config.Mapping
	// Aliases and UpstreamCA are as in config.Proxy.
	Aliases    map[string]string
	UpstreamCA []string
	// TLSOut opens the app's own TLS connections.
	TLSOut bool
	// Exclude is not captured.
	Exclude *filter.Filter
}

// How long connections may live on when the proxy is told to end, and how long
// everything behind it may take to pass on what it holds.
const (
	drainTimeout = 5 * time.Second
	flushTimeout = 30 * time.Second
)

// settings are the proxy's, without what capture or mocks add.
func (p Proxy) settings(dir home.Dir) (config.Proxy, error) {
	cfg := config.Proxy{
		Mode: config.ModeForward, OutListen: p.OutListen, InListen: p.InListen, Reverse: p.App, Mappings: p.Mappings,
		Service: p.Service, HostAliases: p.Aliases, DrainTimeout: drainTimeout, SilenceWarning: 30 * time.Second,
	}
	if p.App != "" {
		cfg.Mode = config.ModeDual
	}
	if p.Exclude != nil {
		cfg.Filter = p.Exclude.JSON()
	}
	if p.TLSOut {
		cert, key, err := authority(dir)
		if err != nil {
			return cfg, err
		}
		cfg.TLS = config.TLS{Out: true, CACert: cert, CAKey: key, UpstreamCA: p.UpstreamCA}
	}
	return cfg, nil
}

// authority makes the CA of this home once, and the files by which apps trust it.
func authority(dir home.Dir) (cert, key string, err error) {
	cert, key = filepath.Join(dir.Trust(), "tls.crt"), filepath.Join(dir.Trust(), "tls.key")
	if err := os.MkdirAll(dir.Trust(), 0o755); err != nil {
		return "", "", err
	}
	ca, err := intercept.LoadCA(cert, key)
	if errors.Is(err, fs.ErrNotExist) {
		if ca, err = intercept.NewCA(); err == nil {
			err = ca.Save(cert, key)
		}
	}
	if err != nil {
		return "", "", fmt.Errorf("the CA in %s: %w", dir.Trust(), err)
	}
	return cert, key, intercept.WriteTrust(dir.Trust(), ca)
}

// running is a proxy that serves, and the app's environment that leads to it.
type running struct {
	*goproxy.Proxy
	cancel context.CancelFunc
	done   chan error
	env    []string
}

// start runs the proxy until stop is called.
func start(w *term.World, dir home.Dir, cfg config.Proxy, o goproxy.Options) (*running, error) {
	p, err := goproxy.New(cfg, o)
	if err != nil {
		return nil, term.WithCode(err, term.ExitUsage)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Proxy: p, cancel: cancel, done: make(chan error, 1)}
	go func() { r.done <- p.Run(ctx) }()
	r.env = proxyEnv(slices.Clone(w.Environ), p.OutAddr())
	if cfg.TLS.Out {
		for _, kv := range trust.Env(dir.Trust(), w.Environ) {
			r.env = addEnv(r.env, kv)
		}
	}
	return r, nil
}

// stop drains the proxy.
func (r *running) stop() error {
	r.cancel()
	return <-r.done
}

// instructions tell the user how an app that they start themselves gets here.
func (r *running) instructions(w *term.World, dir home.Dir) {
	out := proxyEnv(nil, r.OutAddr())
	out = append(out, trust.Env(dir.Trust(), w.Environ)...)
	w.Sayf("Start the app with these variables, so that its own requests are seen:")
	for _, kv := range out {
		w.Sayf("  export %s", kv)
	}
}

// ended waits for the end of ctx, of the child (when there is one) or of the time.
func ended(ctx context.Context, child *Child, limit time.Duration) error {
	var done <-chan struct{}
	if child != nil {
		done = child.Done()
	}
	var timeout <-chan time.Time
	if limit > 0 {
		t := time.NewTimer(limit)
		defer t.Stop()
		timeout = t.C
	}
	select {
	case <-ctx.Done():
		return nil
	case <-timeout:
		return nil
	case <-done:
		return child.Err()
	}
}

// freePort returns a loopback address that was free a moment ago.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
