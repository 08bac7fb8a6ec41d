package goproxy

import (
	"context"
	"net"
	"time"

	"github.com/speedscale/speedscale/agents/goproxy/tap"
	"github.com/speedscale/speedscale/agents/origdst"
	"github.com/speedscale/speedscale/traffic"
)

// outboundTransparent takes a connection of the app that was redirected to us.
func (p *Proxy) outboundTransparent(ctx context.Context, client *net.TCPConn) {
	to, err := origdst.Of(client)
	if err != nil {
		p.refuse(traffic.Direction_DIRECTION_OUT, client, target{}, refusedNoDestination, err)
		return
	}
	p.outbound(ctx, client, targetOf(to), nil)
}

// outbound relays a connection of the app to a dependency. The client has sent
// the given bytes already.
func (p *Proxy) outbound(ctx context.Context, client *net.TCPConn, to target, sent []byte) {
	start := time.Now()
	server, err := p.dial(ctx, to)
	if err != nil {
		p.refuse(traffic.Direction_DIRECTION_OUT, client, to, refusedUpstream, err)
		return
	}
	p.relay(client, server, tap.Info{
		Direction: traffic.Direction_DIRECTION_OUT, Scheme: "http", Host: to.host, Established: start,
	}, sent)
}

func (p *Proxy) forward(ctx context.Context, client *net.TCPConn) { reset(client) }
