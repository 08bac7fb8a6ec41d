package responder

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/speedscale/speedscale/agents/nonblock"
	"github.com/speedscale/speedscale/agents/proxyproto"
)

const (
	// headTimeout bounds what comes before the first request, once its first
	// byte is there: a PROXY header, a TLS handshake.
	headTimeout = 10 * time.Second
	// bodyTimeout bounds how long a body takes that is not there with its head,
	// and how long a client may take to read a long answer.
	bodyTimeout = 5 * time.Minute
	// drainTimeout is how long requests under way may take when Serve ends.
	drainTimeout = 5 * time.Second
	// handshakeRecord is the first byte of TLS (RFC 8446, section 5.1).
	handshakeRecord = 22
)

// Serve answers on a listener until the context ends, closes the listener, and
// returns when each connection has ended: idle ones at once, others when they
// have their answer, for which they have five seconds. It returns nil when the
// context ends. It may be called for several listeners.
func (r *Responder) Serve(ctx context.Context, l net.Listener) error {
	return r.serve(ctx, l, nil)
}

// ServeSlice is Serve for a listener on which all requests belong to one slice,
// whatever their Host says.
func (r *Responder) ServeSlice(ctx context.Context, l net.Listener, key string) error {
	s := r.byKey[key]
	if s == nil {
		l.Close()
		return fmt.Errorf("responder: no slice %q; there are %q", key, r.Keys())
	}
	return r.serve(ctx, l, s)
}

// server is a Responder on one listener.
type server struct {
	*Responder
	slice *slice // nil where connections say what they are for
	http2 *http2Server
	conns connSet
}

func (r *Responder) serve(ctx context.Context, l net.Listener, s *slice) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	srv := &server{Responder: r, slice: s, http2: newHTTP2Server(r)}
	context.AfterFunc(ctx, func() {
		l.Close()
		srv.conns.interrupt()
	})
	var conns sync.WaitGroup
	err := srv.accept(ctx, l, &conns)
	cancel()
	drained := make(chan struct{})
	go func() { conns.Wait(); close(drained) }()
	srv.http2.shutdown()
	select {
	case <-drained:
	case <-time.After(drainTimeout):
		srv.conns.closeAll()
		<-drained
	}
	return err
}

// accept takes connections until the context ends or the listener is of no use.
func (s *server) accept(ctx context.Context, l net.Listener, conns *sync.WaitGroup) error {
	slots := make(chan struct{}, s.opts.MaxConns)
	for failures := 0; ; {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		nc, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				nc.Close()
			}
			return nil
		case err != nil && (failures == 10 || errors.Is(err, net.ErrClosed)):
			return fmt.Errorf("responder: accept: %w", err)
		case err != nil: // such as too many open files: others will close
			failures++
			<-slots
			pause(ctx, time.Duration(failures)*50*time.Millisecond)
			continue
		}
		failures = 0
		conns.Go(func() {
			defer func() { <-slots }()
			s.conn(ctx, nonblock.Wrap(nc))
		})
	}
}

// pause sleeps, or less where the context ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// conn serves one connection until it ends.
func (s *server) conn(ctx context.Context, nc net.Conn) {
	s.open.Add(1)
	defer s.open.Add(-1)
	s.conns.set(nc, true)
	defer s.conns.close(nc)
	o := &origin{slice: s.slice}
	in, isHTTP2, err := s.begin(ctx, nc, o)
	switch {
	case err != nil:
		if ctx.Err() == nil && !errors.Is(err, io.EOF) {
			s.refused.Add(1)
			s.opts.Logger.Debug("connection refused", "remote", nc.RemoteAddr().String(), "error", err)
		}
	case isHTTP2:
		s.conns.set(nc, false)
		s.http2.serve(in, o)
	default:
		c := newHTTP1Conn(s, in, o)
		c.serve(ctx)
	}
}

// bufferedConn is a connection whose first bytes were looked at.
type bufferedConn struct {
	net.Conn
	buf *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.buf.Read(p) }

// buffered wraps a connection in a buffer that is just long enough to look at its
// first bytes: longer reads go past it.
func buffered(nc net.Conn) *bufferedConn {
	return &bufferedConn{nc, bufio.NewReaderSize(nc, 16)}
}

// begin reads what comes before the first request, and finds out what the
// connection is for and which protocol it speaks.
func (s *server) begin(ctx context.Context, nc net.Conn, o *origin) (in *bufferedConn, isHTTP2 bool, err error) {
	in = buffered(nc)
	first, err := s.first(ctx, in)
	if err != nil {
		return nil, false, err
	}
	if s.opts.Proxy != ProxyNone {
		switch h, err := proxyproto.Read(in.buf); {
		case err == nil:
			s.proxied(o, h)
			if first, err = s.first(ctx, in); err != nil {
				return nil, false, err
			}
		case !errors.Is(err, proxyproto.ErrNoHeader) || s.opts.Proxy == ProxyRequired:
			return nil, false, err
		}
	}
	if first == handshakeRecord {
		if in, err = s.openTLS(ctx, in, o); err != nil {
			return nil, false, err
		}
		if first, err = s.first(ctx, in); err != nil {
			return nil, false, err
		}
	}
	if first != 'P' {
		return in, false, nil
	}
	// The preface of HTTP/2 (RFC 9113, section 3.4), or a method such as POST.
	start, err := in.buf.Peek(2)
	if err == nil && string(start) == "PR" {
		start, err = in.buf.Peek(3)
	}
	return in, string(start) == "PRI", err
}

// first waits for the next byte, without consuming it.
func (s *server) first(ctx context.Context, in *bufferedConn) (byte, error) {
	in.SetDeadline(time.Now().Add(s.opts.IdleTimeout))
	if ctx.Err() != nil { // after the deadline is set: see connSet
		return 0, context.Cause(ctx)
	}
	b, err := in.buf.Peek(1)
	if err != nil {
		return 0, err
	}
	in.SetDeadline(time.Now().Add(headTimeout))
	return b[0], nil
}

// proxied notes what a PROXY header says.
func (s *server) proxied(o *origin, h *proxyproto.Header) {
	if s.slice == nil {
		o.sliceKey = h.SliceKey
		o.slice = s.byKey[h.SliceKey]
	}
	o.authority = h.Authority
	o.tls = h.ALPN != "" || h.Destination.Port() == 443
	if h.Destination.IsValid() {
		o.destination = h.Destination.String()
	}
}

func (s *server) openTLS(ctx context.Context, in *bufferedConn, o *origin) (*bufferedConn, error) {
	if s.opts.TLS == nil {
		return nil, errors.New("a TLS connection, and no certificate to open it with (Options.TLS)")
	}
	cfg := s.opts.TLS.Clone()
	cfg.NextProtos = []string{"h2", "http/1.1"}
	secured := tls.Server(in, cfg)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	o.tls = true
	if o.authority == "" {
		o.authority = secured.ConnectionState().ServerName
	}
	return buffered(secured), nil
}

// connSet has the open connections, so that the end of the context can interrupt
// those that wait for a request. Their deadlines are set before the context is
// looked at, so that none can miss the interruption.
type connSet struct {
	mu    sync.Mutex
	conns map[net.Conn]bool // whether it is to be interrupted
}

func (c *connSet) set(nc net.Conn, interruptible bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns == nil {
		c.conns = map[net.Conn]bool{}
	}
	c.conns[nc] = interruptible
}

func (c *connSet) close(nc net.Conn) {
	c.mu.Lock()
	delete(c.conns, nc)
	c.mu.Unlock()
	nc.Close()
}

func (c *connSet) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for nc, interruptible := range c.conns {
		if interruptible {
			nc.SetReadDeadline(time.Unix(1, 0))
		}
	}
}

func (c *connSet) closeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for nc := range c.conns {
		nc.Close()
	}
}
