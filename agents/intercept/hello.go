package intercept

import (
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// helloConn is a client's connection of which it is not yet decided whether it is
// opened. Until then what is read is kept, to be sent on as it is, and what
// crypto/tls writes (alerts) is held back.
type helloConn struct {
	net.Conn
	replay    []byte // read before, still to be handed to crypto/tls
	read      []byte // all that crypto/tls has read, while undecided
	undecided bool
	// cut is set when reading failed (EOF, time-out, reset) while undecided.
	cut bool
	// choose decides, from within crypto/tls's handshake.
	choose func(*tls.ClientHelloInfo) (*tls.Config, error)
}

func (c *helloConn) Read(b []byte) (n int, err error) {
	if len(c.replay) > 0 {
		n = copy(b, c.replay)
		c.replay = c.replay[n:]
	} else {
		n, err = c.Conn.Read(b)
	}
	if c.undecided {
		c.read = append(c.read, b[:n]...)
		c.cut = err != nil
	}
	return n, err
}

func (c *helloConn) Write(b []byte) (int, error) {
	if c.undecided {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// NetConn returns the connection below.
func (c *helloConn) NetConn() net.Conn { return c.Conn }

// unsent is what the client has sent so far. It is right while undecided.
func (c *helloConn) unsent() []byte { return append(c.read, c.replay...) }

func (c *helloConn) extend(d time.Duration) { c.Conn.SetDeadline(time.Now().Add(d)) }

// nameOf returns the host that a client means: its SNI, else the given host
// without its port. It is empty where that is no name that a certificate can have.
func nameOf(chi *tls.ClientHelloInfo, host string) string {
	name := chi.ServerName
	if name == "" {
		name = withoutPort(host)
	}
	if len(name) > 253 || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == ',' }) {
		return ""
	}
	return strings.ToLower(name)
}

func withoutPort(host string) string {
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return a.WithZone("").Unmap().String()
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		return withoutPort(h)
	}
	return strings.TrimSuffix(host, ".")
}

// httpProtocols are those of a client's protocols that can be decoded, in the
// client's order.
func httpProtocols(offered []string) []string {
	return common(offered, []string{"h2", "http/1.1"})
}

// common are those of a that are in b.
func common(a, b []string) []string {
	var c []string
	for _, p := range a {
		if slices.Contains(b, p) {
			c = append(c, p)
		}
	}
	return c
}
