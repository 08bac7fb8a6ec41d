package goproxy

import (
	"context"
	"net"
	"time"

	"github.com/speedscale/speedscale/agents/goproxy/relay"
	"github.com/speedscale/speedscale/agents/origdst"
	"github.com/speedscale/speedscale/traffic"
)

const out = traffic.Direction_DIRECTION_OUT

// dependency is a connection of the app before it is relayed.
type dependency struct {
	client *net.TCPConn
	to     target
	start  time.Time
	// answer tells a client that waits for it (CONNECT, SOCKS) whether the
	// connection can be made; nil where none waits.
	answer func(error) error
}

// tell answers the client, once.
func (d *dependency) tell(err error) error {
	answer := d.answer
	d.answer = nil
	if answer == nil {
		return nil
	}
	return answer(err)
}

// outboundTransparent takes a connection of the app that was redirected to us.
func (p *Proxy) outboundTransparent(ctx context.Context, client *net.TCPConn) {
	addr, err := origdst.Of(client)
	if err != nil {
		p.refuse(out, client, target{}, refusedNoDestination, err)
		return
	}
	to := targetOf(addr)
	if p.opts.HostOf != nil {
		to.host = p.opts.HostOf(to.addr.Addr())
	}
	p.outbound(ctx, &dependency{client: client, to: to, start: time.Now()})
}

// outbound takes a connection of the app to where it is to go: in a replay where
// the replay says, else to its target.
func (p *Proxy) outbound(ctx context.Context, d *dependency) {
	if p.route != nil {
		p.routed(ctx, d)
		return
	}
	p.through(ctx, d)
}

// through relays a connection to the real dependency.
func (p *Proxy) through(ctx context.Context, d *dependency) {
	server, err := p.dial(ctx, d.to)
	if err != nil {
		p.decline(d, refusedUpstream, err)
		return
	}
	if err := d.tell(nil); err != nil {
		relay.Reset(server)
		p.refuse(out, d.client, d.to, refusedRequest, err)
		return
	}
	if p.cfg.TLS.Out {
		p.openTLS(ctx, d.client, server, d.to, d.start, out)
		return
	}
	p.relay(d.client, server, p.capture(info(out, d.client, server, d.to, d.start)), nil)
}

// decline ends a connection that cannot be made: a client that waits for an
// answer gets one, any other is reset, as it would have been by the target.
func (p *Proxy) decline(d *dependency, reason string, err error) {
	if d.answer == nil {
		p.refuse(out, d.client, d.to, reason, err)
		return
	}
	p.refused[out].add(reason)
	p.log.Debug("connection refused", "direction", "out", "to", d.to.String(), "why", reason, "error", err)
	if d.tell(err) != nil {
		relay.Reset(d.client)
		return
	}
	hangUp(d.client)
}
