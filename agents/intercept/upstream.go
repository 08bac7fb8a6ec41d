package intercept

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// upstream is a host whose handshake is done.
type upstream struct {
	tls *tls.Conn
	// first is application data that came while the host's verdict on our
	// client certificate was awaited.
	first []byte
}

// connect dials the host and shakes hands with it. Without an upstream there is a
// reason to relay opaque, or the error of the dial.
func (a *attempt) connect(ctx context.Context, name string, protos []string) (up *upstream, reason string, err error) {
	raw, err := a.dial(ctx)
	if err != nil {
		return nil, "", err
	}
	requested, shown := false, false
	cfg := a.upstream(name)
	cfg.NextProtos = protos
	cfg.DynamicRecordSizingDisabled = true
	cfg.GetClientCertificate = func(cri *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		requested = true
		if cert := a.clientCert; cert != nil && cri.SupportsCertificate(cert) == nil {
			shown = true
			return cert, nil
		}
		if a.optional != nil && a.optional(name) {
			return &tls.Certificate{}, nil
		}
		// Many servers ask without insisting, and then refuse by an answer of
		// their own: only the app can know whether it has a certificate.
		return nil, errors.New("no client certificate")
	}
	buffered := &bufferedConn{Conn: raw}
	tc := tls.Client(buffered, cfg)
	ctx, cancel := context.WithTimeout(ctx, a.i.timeout)
	defer cancel()
	start := time.Now()
	if err := tc.HandshakeContext(ctx); err != nil {
		raw.Close()
		switch {
		case shown:
			reason = ReasonRejectedCert
		case requested:
			reason = ReasonClientCert
		default:
			return nil, a.failed(err), nil
		}
		a.remember(reason, remember)
		return nil, reason, nil
	}
	up = &upstream{tls: tc}
	if shown && tc.ConnectionState().Version >= tls.VersionTLS13 {
		if up.first, err = buffered.verdict(tc, time.Since(start)); err != nil {
			raw.Close()
			a.remember(ReasonRejectedCert, remember)
			return nil, ReasonRejectedCert, nil
		}
	}
	return up, "", nil
}

// failed finds the reason for which a host's handshake failed, and remembers it.
func (a *attempt) failed(err error) string {
	reason, lasts := ReasonHandshake, rememberShort // the network may be the cause
	if errors.Is(err, errOtherCertificate) {
		reason, lasts = ReasonOtherCert, remember
	} else if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		reason, lasts = ReasonUnverified, remember
	}
	a.remember(reason, lasts)
	a.i.logOnce(a.serverName, reason, err)
	return reason
}

func (u *upstream) conn() net.Conn {
	if len(u.first) == 0 {
		return u.tls
	}
	return &prefixedConn{Conn: u.tls, first: u.first}
}

// bufferedConn can be read ahead without waiting for more.
type bufferedConn struct {
	net.Conn
	ahead []byte
	dry   bool // nothing but ahead is to be read
}

func (c *bufferedConn) Read(b []byte) (int, error) {
	if len(c.ahead) > 0 {
		n := copy(b, c.ahead)
		c.ahead = c.ahead[n:]
		return n, nil
	}
	if c.dry {
		return 0, os.ErrDeadlineExceeded // which crypto/tls lets be tried again
	}
	return c.Conn.Read(b)
}

// NetConn returns the connection below.
func (c *bufferedConn) NetConn() net.Conn { return c.Conn }

// verdict waits for what a host says after a handshake in which it was shown a
// client certificate. In TLS 1.3 it refuses one only then, by an alert; if it
// takes it, session tickets usually follow at once. A host that says nothing in
// the time that the handshake took, and a little more, is taken to agree.
// What it returns is application data that came first.
func (c *bufferedConn) verdict(tc *tls.Conn, handshake time.Duration) (first []byte, err error) {
	buf := make([]byte, 4096)
	c.Conn.SetReadDeadline(time.Now().Add(2*handshake + 20*time.Millisecond))
	n, err := c.Conn.Read(buf)
	c.Conn.SetReadDeadline(time.Time{})
	var ne net.Error
	if err != nil && !(errors.As(err, &ne) && ne.Timeout()) {
		return nil, err
	}
	c.ahead, c.dry = buf[:n], true
	defer func() { c.dry = false }()
	data := make([]byte, 4096)
	n, err = tc.Read(data)
	if err != nil && !(errors.As(err, &ne) && ne.Timeout()) {
		return nil, err
	}
	return data[:n], nil
}

// prefixedConn starts with bytes that were read before.
type prefixedConn struct {
	*tls.Conn
	first []byte
}

func (c *prefixedConn) Read(b []byte) (int, error) {
	if len(c.first) > 0 {
		n := copy(b, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

// clientConn is the opened connection to a client. It watches for the one sign of
// a pin that is checked after the handshake: the client closes without a byte.
type clientConn struct {
	*tls.Conn
	opened time.Time
	watch  *watch
	used   atomic.Bool
	closed sync.Once
}

// atOnce is how soon after the handshake a close counts as a refusal. Connections
// opened in advance and never used live longer.
const atOnce = time.Second

func (c *clientConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if !c.used.Load() && (n > 0 || err != nil) && !c.used.Swap(true) {
		switch {
		case n > 0:
			c.watch.accepted()
		case isClose(err) && time.Since(c.opened) < atOnce:
			c.watch.closedAtOnce()
		}
	}
	return n, err
}

func (c *clientConn) Write(b []byte) (int, error) {
	if !c.used.Load() {
		c.used.Store(true)
	}
	return c.Conn.Write(b)
}

func (c *clientConn) Close() error {
	c.closed.Do(c.watch.ended)
	return c.Conn.Close()
}

// isClose tells what a client did from what was done here.
func isClose(err error) bool {
	var ne net.Error
	return !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.ErrClosedPipe) && !(errors.As(err, &ne) && ne.Timeout())
}

var (
	_ interface{ CloseWrite() error } = (*clientConn)(nil)
	_ interface{ CloseWrite() error } = (*prefixedConn)(nil)
)
