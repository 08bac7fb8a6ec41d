package goproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/agents/goproxy/relay"
	"github.com/speedscale/speedscale/agents/intercept"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
)

// newInterceptor returns what opens TLS connections, nil where none are to be opened.
func newInterceptor(cfg config.Proxy, o Options) (*intercept.Interceptor, error) {
	t := cfg.TLS
	in := t.InCert != "" || t.InKey != ""
	if !t.Out && !in && cfg.Route == nil {
		return nil, nil
	}
	opts := intercept.Options{
		UpstreamCA: t.UpstreamCA, ClientCert: t.ClientCert, ClientKey: t.ClientKey,
		InCert: t.InCert, InKey: t.InKey, Log: o.Logger, KubeCA: t.KubeCA, KubeHost: t.KubeHost,
		Tolerant: o.Tolerant,
	}
	if opts.CA = o.CA; opts.CA == nil && (t.CACert != "" || t.MakeCA) {
		ca, err := authority(t)
		if err != nil {
			return nil, err
		}
		opts.CA = ca
	}
	if t.Out && opts.CA == nil {
		return nil, errors.New("TLS out needs a CA: set the CA certificate and key, or let one be made")
	}
	return intercept.New(opts)
}

// authority loads the CA, or makes one whose key is never written.
func authority(t config.TLS) (*intercept.CA, error) {
	_, err := os.Stat(t.CAKey)
	if t.CAKey != "" && (err == nil || !t.MakeCA) {
		return intercept.LoadCA(t.CACert, t.CAKey)
	}
	if !t.MakeCA {
		return nil, fmt.Errorf("CA certificate %q has no key", t.CACert)
	}
	ca, err := intercept.NewCA()
	if err != nil {
		return nil, err
	}
	if t.CACert != "" {
		err = ca.Save(t.CACert, "")
	}
	return ca, err
}

// openTLS relays a connection that may turn out to be TLS: if the client speaks
// first, and a ClientHello, it is opened. Whatever is not opened is relayed as it is.
func (p *Proxy) openTLS(ctx context.Context, client, server *net.TCPConn, to target, start time.Time, d traffic.Direction) {
	about := info(d, client, server, to, start)
	side, head := first(client, server)
	if side == wire.Server || !isTLS(head) {
		p.relay(client, server, p.capture(about), nil)
		return
	}
	dial := p.redial(server, to)
	var res intercept.Result
	var err error
	if d == traffic.Direction_DIRECTION_IN {
		res, err = p.intercept.Inbound(ctx, client, nil, dial)
	} else {
		res, err = p.intercept.Outbound(ctx, client, nil, dial, to.String())
	}
	if err != nil {
		p.log.Debug("TLS connection was not relayed", "to", to.String(), "error", err)
		p.opaque(about).Close()
		relay.Reset(server) // which may not have been asked for
		relay.Reset(client)
		return
	}
	if res.Opaque {
		p.relay(res.ClientConn, res.ServerConn, p.opaque(about), nil)
		return
	}
	about.Scheme = "https"
	if about.Host == "" && res.ServerName != "" {
		about.Host = res.ServerName
	}
	p.relay(res.ClientConn, res.ServerConn, p.capture(about), nil)
}

// redial gives out a connection that is open already, and new ones after that.
func (p *Proxy) redial(server *net.TCPConn, to target) intercept.Dial {
	var once sync.Once
	return func(ctx context.Context) (c net.Conn, err error) {
		once.Do(func() { c = server })
		if c != nil {
			return c, nil
		}
		again, err := p.dial(ctx, to)
		if err != nil {
			return nil, err
		}
		return again, nil
	}
}
