package goproxy

import (
	"context"
	"net"
	"time"

	"github.com/speedscale/speedscale/agents/goproxy/relay"
	"github.com/speedscale/speedscale/agents/goproxy/tap"
	"github.com/speedscale/speedscale/agents/origdst"
	"github.com/speedscale/speedscale/traffic"
)

// inboundTransparent takes a connection that was redirected to us on its way to the app.
func (p *Proxy) inboundTransparent(ctx context.Context, client *net.TCPConn) {
	d := traffic.Direction_DIRECTION_IN
	to, err := origdst.Of(client)
	if err != nil {
		p.refuse(d, client, target{}, refusedNoDestination, err)
		return
	}
	p.inbound(ctx, client, targetOf(to))
}

// inbound relays a connection to the app.
func (p *Proxy) inbound(ctx context.Context, client *net.TCPConn, to target) {
	d := traffic.Direction_DIRECTION_IN
	start := time.Now()
	server, err := p.dial(ctx, to)
	if err != nil {
		p.refuse(d, client, to, refusedUpstream, err)
		return
	}
	if p.openIn {
		p.openTLS(ctx, client, server, to, start, d)
		return
	}
	p.relay(client, server, p.capture(info(d, client, server, to, start)), nil)
}

// relay moves bytes between client and server until both have ended. It returns
// at once; the client's connection counts as open until then.
func (p *Proxy) relay(client, server net.Conn, t *tap.Conn, sent []byte) {
	p.track(client)
	p.serving.Add(1)
	s := &relay.Session{Client: client, Server: server, Pool: p.pool, Sent: sent, Tap: t}
	s.Start(func() {
		p.untrack(client)
		p.serving.Done()
	})
}

// info describes a connection to a target that was reached at server.
func info(d traffic.Direction, client, server net.Conn, to target, start time.Time) tap.Info {
	return tap.Info{
		Direction: d, Scheme: "http", Established: start,
		Client: addrPort(client.RemoteAddr()), Server: addrPort(server.RemoteAddr()),
		Host: to.name(), Address: to.String(), Fixed: to.fixed,
	}
}

// capture returns the tap of a new connection; where capture is disabled, one
// that only counts.
func (p *Proxy) capture(info tap.Info) *tap.Conn {
	if p.opts.CaptureDisabled {
		return p.tap.Opaque(info, traffic.ReasonDisabled)
	}
	return p.tap.Conn(info)
}

// opaque returns a tap that only counts, for TLS that was not opened.
func (p *Proxy) opaque(info tap.Info) *tap.Conn {
	if p.opts.CaptureDisabled {
		return p.tap.Opaque(info, traffic.ReasonDisabled)
	}
	return p.tap.Opaque(info, traffic.ReasonOpaqueTLS)
}
