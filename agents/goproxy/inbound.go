package goproxy

import (
	"context"
	"net"
	"net/netip"
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
	p.relay(client, server, tap.Info{Direction: d, Scheme: "http", Host: to.host, Established: start}, nil)
}

// relay moves bytes between client and server until both have ended.
func (p *Proxy) relay(client, server net.Conn, info tap.Info, sent []byte) {
	info.Client, info.Server = addrPort(client.RemoteAddr()), addrPort(server.RemoteAddr())
	if _, err := netip.ParseAddr(info.Host); err == nil {
		info.Host = "" // an address is no name
	}
	s := relay.Session{Client: client, Server: server, Pool: p.pool, Sent: sent, Tap: p.capture(info)}
	s.Run()
}

// capture returns the tap of a new connection: none, counted, where capture is disabled.
func (p *Proxy) capture(info tap.Info) *tap.Conn {
	if p.opts.CaptureDisabled {
		p.tap.Pass(info, traffic.ReasonDisabled)
		return nil
	}
	return p.tap.Conn(info)
}

func reset(c net.Conn) { relay.Reset(c) }
