package generator

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/speedscale/speedscale/agents/http1"
	"github.com/speedscale/speedscale/agents/nonblock"
)

const (
	// coalesce is up to which length a body is copied behind its head, so that
	// both go out in one packet.
	coalesce = 16 << 10
	// aside is from which length on a body is written by a goroutine of its own,
	// since a server that answers while it reads could wait for us to read.
	aside = 64 << 10
	// maxIdleConns is how many connections a worker keeps, to as many places.
	maxIdleConns = 8
	// probeAfter is how long a connection is idle before it is looked at for an
	// end that came meanwhile.
	probeAfter = 500 * time.Millisecond
)

// client sends requests of HTTP/1.x, one at a time, over persistent connections.
// Its goroutine writes and reads itself: no exchange costs a change of goroutine.
type client struct {
	run   *run
	conns map[endpoint]*conn
	out   []byte // head and body of the request under way
}

// conn is a connection to one endpoint.
type conn struct {
	net    net.Conn
	reader *http1.Reader
	msg    http1.Message
	used   time.Time // when the last exchange ended, zero before the first
}

func newClient(r *run) *client { return &client{run: r, conns: map[endpoint]*conn{}} }

func (c *client) close() {
	for e, conn := range c.conns {
		c.drop(e, conn)
	}
}

// exchange sends a request and reads the response, which is valid until the next
// exchange. A request that may be repeated (RFC 9110, section 9.2.2) is sent again,
// once, where a connection that had been used before ended without a response.
func (c *client) exchange(ctx context.Context, x *exchange) (*http1.Message, error) {
	deadline := x.sent.Add(c.run.opts.Timeout)
	conn, reused := c.idle(x.req.endpoint, x.sent)
	for {
		if conn == nil {
			var err error
			if conn, err = c.dial(ctx, x.req.endpoint, deadline); err != nil {
				return nil, err
			}
		}
		err := c.roundTrip(ctx, conn, x.wire, deadline)
		if err == nil {
			if conn.msg.Close {
				c.drop(x.req.endpoint, conn)
			} else {
				c.conns[x.req.endpoint] = conn
				conn.used = time.Now()
			}
			return &conn.msg, nil
		}
		started := conn.reader.Started()
		c.drop(x.req.endpoint, conn)
		if !reused || started || !idempotent(x.req.method) || errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil {
			return nil, err
		}
		conn, reused, x.retried = nil, false, true
	}
}

func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// idle returns the connection to an endpoint, nil where there is none that lives.
func (c *client) idle(e endpoint, now time.Time) (*conn, bool) {
	conn := c.conns[e]
	if conn == nil {
		return nil, false
	}
	if conn.reader.Buffered() > 0 || now.Sub(conn.used) > probeAfter && ended(conn.net) {
		c.drop(e, conn) // bytes that answer no request, or the end
		return nil, false
	}
	return conn, true
}

func (c *client) drop(e endpoint, conn *conn) {
	c.run.live.close(conn.net)
	if c.conns[e] == conn {
		delete(c.conns, e)
	}
}

func (c *client) dial(ctx context.Context, e endpoint, deadline time.Time) (*conn, error) {
	if len(c.conns) >= maxIdleConns {
		for other, conn := range c.conns {
			c.drop(other, conn)
			break
		}
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	nc, err := c.run.opts.Dial(ctx, "tcp", e.addr)
	if err != nil {
		return nil, err
	}
	nc = nonblock.Wrap(nc)
	c.run.stats.connected()
	if e.scheme == "https" {
		cfg := c.run.opts.TLS.Clone()
		cfg.NextProtos = []string{"http/1.1"}
		if cfg.ServerName == "" {
			cfg.ServerName, _, _ = net.SplitHostPort(e.addr)
		}
		secured := tls.Client(nc, cfg)
		if err := secured.HandshakeContext(ctx); err != nil {
			nc.Close()
			return nil, fmt.Errorf("TLS with %s: %w", e.addr, err)
		}
		nc = secured
	}
	c.run.live.add(nc)
	reader := http1.NewReader(nc)
	reader.MaxBody = c.run.opts.MaxBody
	return &conn{net: nc, reader: reader}, nil
}

// roundTrip sends the request's bytes and reads the response's.
func (c *client) roundTrip(ctx context.Context, conn *conn, req *request, deadline time.Time) error {
	if err := conn.net.SetDeadline(deadline); err != nil {
		return err
	}
	if ctx.Err() != nil { // after the deadline is set: see live
		return context.Cause(ctx)
	}
	var writeErr, readErr error
	if len(req.body) < aside {
		writeErr = c.write(conn.net, req)
		readErr = conn.reader.ReadResponse(req.method, &conn.msg)
	} else {
		var writing sync.WaitGroup
		writing.Go(func() { writeErr = c.write(conn.net, req) })
		readErr = conn.reader.ReadResponse(req.method, &conn.msg)
		conn.net.SetWriteDeadline(time.Now().Add(time.Second)) // the answer is there: what of the body is not sent is not wanted
		writing.Wait()
	}
	switch {
	case readErr != nil && writeErr != nil && !conn.reader.Started():
		return writeErr
	case readErr != nil:
		return readErr
	case writeErr != nil:
		conn.msg.Close = true // answered before all of the body was sent
	}
	return nil
}

func (c *client) write(nc io.Writer, req *request) error {
	switch {
	case len(req.body) == 0:
		_, err := nc.Write(req.head)
		return err
	case len(req.body) <= coalesce:
		c.out = append(append(c.out[:0], req.head...), req.body...)
		_, err := nc.Write(c.out)
		return err
	}
	buffers := net.Buffers{req.head, req.body}
	_, err := buffers.WriteTo(nc)
	return err
}

// live has the open connections, so that the end of the context can interrupt
// what waits on them. A connection's deadline is set before the context is
// looked at, so that no exchange can miss the interruption.
type live struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

func (l *live) add(nc net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns == nil {
		l.conns = map[net.Conn]struct{}{}
	}
	l.conns[nc] = struct{}{}
}

func (l *live) close(nc net.Conn) {
	l.mu.Lock()
	delete(l.conns, nc)
	l.mu.Unlock()
	nc.Close()
}

func (l *live) interrupt() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for nc := range l.conns {
		nc.SetDeadline(time.Unix(1, 0))
	}
}
