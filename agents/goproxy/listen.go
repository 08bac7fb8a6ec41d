package goproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/traffic"
)

// complete checks the settings and fills in defaults.
func complete(cfg *config.Proxy) error {
	if cfg.MaxBody < 0 || cfg.MaxBody > maxMaxBody {
		return fmt.Errorf("max body %d is not within 0 and %d bytes", cfg.MaxBody, maxMaxBody)
	}
	if cfg.MemoryBudget < 0 {
		return fmt.Errorf("memory budget %d is negative", cfg.MemoryBudget)
	}
	if cfg.MemoryBudget == 0 {
		cfg.MemoryBudget = DefaultMemoryBudget
	}
	if cfg.ConnectTimeout <= 0 {
		cfg.ConnectTimeout = DefaultConnectTimeout
	}
	if cfg.SilenceWarning <= 0 {
		cfg.SilenceWarning = DefaultSilenceWarning
	}
	modes := []string{config.ModeTransparent, config.ModeReverse, config.ModeForward, config.ModeDual}
	if !slices.Contains(modes, cfg.Mode) {
		return fmt.Errorf("mode %q is not one of %q", cfg.Mode, modes)
	}
	reverse := cfg.Mode == config.ModeReverse || cfg.Mode == config.ModeDual
	if reverse && cfg.InListen != "" {
		if _, err := parseTarget(cfg.Reverse); err != nil {
			return fmt.Errorf("reverse address: %w", err)
		}
	}
	return nil
}

// bind opens the listeners of the mode and of the mappings.
func (p *Proxy) bind() error {
	cfg := &p.cfg
	transparent := cfg.Mode == config.ModeTransparent
	if cfg.InListen != "" && cfg.Mode != config.ModeForward {
		handle := p.inboundTransparent
		if !transparent {
			to, err := parseTarget(cfg.Reverse)
			if err != nil {
				return fmt.Errorf("reverse address: %w", err)
			}
			handle = func(ctx context.Context, c *net.TCPConn) { p.inbound(ctx, c, to) }
		}
		if err := p.listen("in", cfg.InListen, traffic.Direction_DIRECTION_IN, handle); err != nil {
			return err
		}
	}
	if cfg.OutListen != "" && cfg.Mode != config.ModeReverse {
		handle := p.forward
		if transparent {
			handle = p.outboundTransparent
		}
		if err := p.listen("out", cfg.OutListen, traffic.Direction_DIRECTION_OUT, handle); err != nil {
			return err
		}
	}
	for _, m := range cfg.Mappings {
		to, err := parseTarget(m.Upstream)
		if err != nil {
			return fmt.Errorf("mapping of %q: %w", m.Listen, err)
		}
		to.fixed = true
		handle := func(ctx context.Context, c *net.TCPConn) {
			p.outbound(ctx, &dependency{client: c, to: to, start: time.Now()})
		}
		if err := p.listen(m.Listen, m.Listen, traffic.Direction_DIRECTION_OUT, handle); err != nil {
			return err
		}
	}
	if len(p.listeners) == 0 {
		return fmt.Errorf("mode %q has no address to listen on", cfg.Mode)
	}
	return nil
}

func (p *Proxy) listen(name, address string, d traffic.Direction, handle func(context.Context, *net.TCPConn)) error {
	l := p.opts.Listeners[address]
	if l == nil {
		var err error
		if l, err = net.Listen("tcp", address); err != nil {
			return fmt.Errorf("listening for %q: %w", name, err)
		}
	}
	p.listeners = append(p.listeners, &listener{Listener: l, name: name, direction: d, handle: handle})
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		p.own.add(a)
	}
	return nil
}

// Addresses of a proxy's settings that are bound, so that a supervisor can bind
// them first and hand them to New in Options.Listeners.
func Addresses(cfg config.Proxy) []string {
	var out []string
	if cfg.InListen != "" && cfg.Mode != config.ModeForward {
		out = append(out, cfg.InListen)
	}
	if cfg.OutListen != "" && cfg.Mode != config.ModeReverse {
		out = append(out, cfg.OutListen)
	}
	for _, m := range cfg.Mappings {
		out = append(out, m.Listen)
	}
	return out
}

// InAddr is the address of the inbound listener, nil where there is none.
func (p *Proxy) InAddr() net.Addr { return p.addr("in") }

// OutAddr is the address of the outbound listener, nil where there is none.
func (p *Proxy) OutAddr() net.Addr { return p.addr("out") }

// MappingAddr is the address of the listener of cfg.Mappings[i].
func (p *Proxy) MappingAddr(i int) net.Addr { return p.addr(p.cfg.Mappings[i].Listen) }

func (p *Proxy) addr(name string) net.Addr {
	for _, l := range p.listeners {
		if l.name == name {
			return l.Addr()
		}
	}
	return nil
}

// Close ends a proxy that was never run.
func (p *Proxy) Close() error {
	p.closeListeners()
	return p.tap.Close(context.Background())
}

var errOwnAddress = errors.New("the proxy's own address")
