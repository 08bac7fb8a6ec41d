package goproxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/speedscale/speedscale/agents/goproxy/relay"
	"github.com/speedscale/speedscale/agents/goproxy/tap"
	"github.com/speedscale/speedscale/traffic/wire"
)

// httpProxy serves one client that sends requests with absolute targets (RFC
// 9112, section 3.2.2), each of which may be for another host. It is the one
// place where bytes change: the head of each request is rewritten for its server.
type httpProxy struct {
	p      *Proxy
	client *net.TCPConn
	in     *bufio.Reader
	up     *origin // where the last request went, while it can be used again
}

// origin is a connection to a server.
type origin struct {
	conn net.Conn
	in   *bufio.Reader
	to   target
	tap  *tap.Conn
}

// verdict is how an exchange ended for the client's connection.
type verdict uint8

const (
	again    verdict = iota // the next request may follow
	upgraded                // what follows is another protocol
	bye                     // it ends in order
	dead                    // it is reset
	gone                    // it has ended
)

// proxyHTTP serves requests until the client or a server wants to end.
func (p *Proxy) proxyHTTP(ctx context.Context, client *net.TCPConn) {
	h := &httpProxy{p: p, client: client, in: bufio.NewReader(client)}
	v := again
	for v == again {
		v = h.next(ctx)
	}
	h.drop()
	switch v {
	case dead:
		relay.Reset(client)
	case bye:
		hangUp(client)
	}
}

// next serves one request.
func (h *httpProxy) next(ctx context.Context) verdict {
	head, err := h.head()
	if err != nil {
		if errors.Is(err, errHeadTooLong) {
			httpError(h.client, http.StatusRequestHeaderFieldsTooLarge, err.Error())
		}
		return bye
	}
	start := time.Now()
	req, err := parseRequest(head)
	if err != nil {
		h.p.refused[out].add(refusedRequest)
		httpError(h.client, http.StatusBadRequest, err.Error())
		return bye
	}
	if err := h.reach(ctx, req.to, start); err != nil {
		reason := refusedUpstream
		if errors.Is(err, errRefusedByRoute) {
			reason = refusedRoute
		}
		h.p.refused[out].add(reason)
		h.p.log.Debug("request refused", "to", req.to.String(), "error", err)
		httpError(h.client, statusOf(err), "the proxy cannot connect: "+why(err))
		return bye
	}
	return h.exchange(req)
}

// head waits for the head of the next request.
func (h *httpProxy) head() ([]byte, error) {
	h.client.SetReadDeadline(time.Now().Add(idleLimit))
	defer h.client.SetReadDeadline(time.Time{})
	if _, err := h.in.Peek(1); err != nil {
		return nil, err
	}
	h.client.SetReadDeadline(time.Now().Add(askLimit))
	return readHead(h.in)
}

// reach makes h.up a connection to the target: the one of the last request where
// it is still good.
func (h *httpProxy) reach(ctx context.Context, to target, start time.Time) error {
	if h.up != nil {
		if h.up.to.port == to.port && strings.EqualFold(h.up.to.host, to.host) && h.up.alive() {
			return nil
		}
		h.drop()
	}
	d := &dependency{client: h.client, to: to, start: start}
	conn, about, err := h.p.reachHTTP(ctx, d)
	if err != nil {
		return err
	}
	h.p.track(conn)
	h.up = &origin{conn: conn, in: bufio.NewReader(conn), to: to, tap: h.p.capture(about)}
	return nil
}

// reachHTTP connects to the target of a plain request, or to what stands in for it.
func (p *Proxy) reachHTTP(ctx context.Context, d *dependency) (net.Conn, tap.Info, error) {
	if p.route != nil {
		if m, ok := p.route.mock(d.to); ok {
			host := mockHost(m)
			conn, err := p.dialResponder(ctx, d, host, "", m.Key)
			return conn, p.mockInfo(d, host), err
		}
		if !p.route.pass {
			return nil, tap.Info{}, errRefusedByRoute
		}
	}
	conn, err := p.dial(ctx, d.to)
	if err != nil {
		return nil, tap.Info{}, err
	}
	return conn, info(out, d.client, conn, d.to, d.start), nil
}

// alive says whether an idle connection is still open, and the server silent.
func (o *origin) alive() bool {
	c, ok := o.conn.(*net.TCPConn)
	return ok && o.in.Buffered() == 0 && quiet(c)
}

// drop closes the connection to the server.
func (h *httpProxy) drop() {
	if o := h.up; o != nil {
		o.tap.End(wire.Client)
		o.tap.End(wire.Server)
		o.tap.Close()
		o.conn.Close()
		h.p.untrack(o.conn)
		h.up = nil
	}
}

// exchange moves one request and its responses. A body goes on while the response
// comes, since a server may answer before it has all of it.
func (h *httpProxy) exchange(req *requestHead) verdict {
	server := h.up.conn
	toServer := &tee{server, h.up.tap, wire.Client, h.p.pool}
	if err := toServer.write(req.bytes); err != nil {
		return dead
	}
	sent, watched := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(watched)
		err := toServer.body(h.in, req.body)
		if err != nil && !errors.As(err, new(errWrite)) && !isTimeout(err) {
			relay.Reset(server) // the client is gone, in mid-request
		}
		sent <- err
		if err == nil {
			h.watch(server)
		}
	}()
	v := h.respond(req)
	if v == dead || v == bye {
		h.client.SetReadDeadline(time.Unix(1, 0)) // what the client still sends is for nobody
	}
	err := <-sent
	h.client.SetReadDeadline(time.Unix(1, 0))
	<-watched
	h.client.SetReadDeadline(time.Time{})
	switch {
	case v == upgraded:
		return h.tunnel()
	case v != again:
		return v
	case err != nil:
		return dead
	case req.last:
		return bye
	}
	return again
}

// watch resets the server's connection if the client resets its own while it
// waits for an answer.
func (h *httpProxy) watch(server net.Conn) {
	if h.in.Buffered() > 0 {
		return
	}
	var b [1]byte
	if _, err := peek(h.client, b[:], anything); err != nil && !isTimeout(err) && !errors.Is(err, io.EOF) {
		relay.Reset(server)
	}
}

// tunnel relays what comes after a change of protocol (101).
func (h *httpProxy) tunnel() verdict {
	o := h.up
	h.up = nil
	defer h.p.untrack(o.conn)
	early, _ := o.in.Peek(o.in.Buffered())
	toClient := &tee{h.client, o.tap, wire.Server, h.p.pool}
	if toClient.write(early) != nil {
		relay.Reset(o.conn)
		o.tap.Close()
		return dead
	}
	late, _ := h.in.Peek(h.in.Buffered())
	h.p.relay(h.client, o.conn, o.tap, late)
	return gone
}

// respond moves the responses to a request: any number of interim ones and the
// final one.
func (h *httpProxy) respond(req *requestHead) verdict {
	toClient := &tee{h.client, h.up.tap, wire.Server, h.p.pool}
	for begun := false; ; begun = true {
		head, err := readHead(h.up.in)
		if err != nil {
			if !begun && errors.Is(err, io.EOF) {
				return bye // closed without an answer, as a server may
			}
			return dead
		}
		res, err := parseResponse(head, req.method)
		if err != nil {
			// What it says cannot be framed, so it goes to its end as it is.
			res = &responseHead{status: http.StatusOK, body: framing{toEnd: true}, last: true}
		}
		if toClient.write(head) != nil {
			relay.Reset(h.up.conn)
			return dead
		}
		switch {
		case res.status == http.StatusSwitchingProtocols:
			return upgraded
		case res.status < 200:
			continue
		}
		if err := toClient.body(h.up.in, res.body); err != nil {
			return dead
		}
		if res.last {
			return bye
		}
		return again
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
