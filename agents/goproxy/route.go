package goproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/agents/config/hosts"
	"github.com/speedscale/speedscale/agents/dnsrelay"
	"github.com/speedscale/speedscale/agents/goproxy/relay"
	"github.com/speedscale/speedscale/agents/goproxy/tap"
	"github.com/speedscale/speedscale/agents/proxyproto"
)

var (
	errRefusedByRoute = errors.New("the replay's routing refuses this host")
	errNoHost         = errors.New("only some of its ports are mocked, and its name leads to no other host")
	errNoName         = errors.New("the client did not name a host, and another one on this port is mocked")
)

// routing is what a replay does with outbound connections.
type routing struct {
	responder string
	mocks     map[string]config.Mock // by host:port, in lower case
	ports     map[uint16]bool        // on which any host is mocked
	pass      bool                   // what is not mocked goes to the real host
}

func newRouting(r *config.Route) (*routing, error) {
	if r == nil {
		return nil, nil
	}
	out := &routing{responder: r.Responder, mocks: map[string]config.Mock{}, ports: map[uint16]bool{}}
	switch r.Default {
	case config.RoutePassthrough:
		out.pass = true
	case config.RouteRefuse:
	default:
		return nil, fmt.Errorf("route default %q is not %q or %q", r.Default, config.RoutePassthrough, config.RouteRefuse)
	}
	var forms []form
	for _, m := range r.Mocks {
		_, place, ok := strings.Cut(m.Key, ":")
		if !ok {
			return nil, fmt.Errorf("mock %q is not service:host:port", m.Key)
		}
		host, port, ok := cutLast(place, ":")
		n, err := strconv.ParseUint(port, 10, 16)
		if !ok || err != nil || n == 0 || host == "" {
			return nil, fmt.Errorf("mock %q is not service:host:port", m.Key)
		}
		host = strings.Trim(host, "[]")
		out.mocks[mockKey(host, uint16(n))] = m
		out.ports[uint16(n)] = true
		if _, err := netip.ParseAddr(host); err != nil {
			for _, name := range hosts.Forms(host, r.Search) {
				forms = append(forms, form{mockKey(name, uint16(n)), m})
			}
		}
	}
	// A name that was recorded itself comes before another form of one.
	for _, f := range forms {
		if _, taken := out.mocks[f.key]; !taken {
			out.mocks[f.key] = f.mock
		}
	}
	if len(out.mocks) > 0 {
		if _, err := parseTarget(r.Responder); err != nil {
			return nil, fmt.Errorf("responder: %w", err)
		}
	}
	return out, nil
}

// form is one of the names of a mocked host.
type form struct {
	key  string
	mock config.Mock
}

// mockHost is the host in a mock's key, as it was recorded.
func mockHost(m config.Mock) string {
	_, place, _ := strings.Cut(m.Key, ":")
	host, _, _ := cutLast(place, ":")
	return strings.Trim(host, "[]")
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func mockKey(host string, port uint16) string {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// mock is what stands for a target.
func (r *routing) mock(to target) (config.Mock, bool) {
	if to.host != "" {
		if m, ok := r.mocks[mockKey(to.host, to.port)]; ok {
			return m, true
		}
	}
	if ip, ok := to.ip(); ok {
		m, ok := r.mocks[mockKey(ip.String(), to.port)]
		return m, ok
	}
	return config.Mock{}, false
}

// unsure says that a target has no name yet, and that by its port it may be mocked.
func (r *routing) unsure(to target) bool { return to.name() == "" && r.ports[to.port] }

// routed takes a connection where the replay says. A mocked host is never
// dialled: while it is not known which host is meant, nothing is.
func (p *Proxy) routed(ctx context.Context, d *dependency) {
	m, mocked := p.route.mock(d.to)
	if !mocked && p.route.unsure(d.to) {
		if err := d.tell(nil); err != nil {
			p.refuse(out, d.client, d.to, refusedRequest, err)
			return
		}
		name, err := nameAsked(d.client)
		if err != nil {
			p.refuse(out, d.client, d.to, refusedRoute, errors.Join(errNoName, err))
			return
		}
		if ip, ok := d.to.ip(); ok {
			d.to.addr = netip.AddrPortFrom(ip, d.to.port)
		}
		d.to.host = name
		m, mocked = p.route.mock(d.to)
	}
	switch {
	case mocked:
		p.mock(ctx, d, m)
	case p.route.pass:
		if ip, ok := d.to.ip(); ok && dnsrelay.Synthesized(ip) {
			p.decline(d, refusedRoute, errNoHost)
			return
		}
		p.through(ctx, d)
	default:
		p.decline(d, refusedRoute, errRefusedByRoute)
	}
}

// mock relays a connection to the responder, which stands in for its target.
func (p *Proxy) mock(ctx context.Context, d *dependency, m config.Mock) {
	if err := d.tell(nil); err != nil {
		p.refuse(out, d.client, d.to, refusedRequest, err)
		return
	}
	head, err := peek(d.client, make([]byte, 8), anything)
	if err != nil {
		d.client.Close()
		return
	}
	host := mockHost(m)
	var client net.Conn = d.client
	alpn, scheme := "", "http"
	if isTLS(head) {
		var recorded []string
		if m.ALPN != "" {
			recorded = []string{m.ALPN}
		}
		if client, _, alpn, err = p.intercept.Mock(ctx, d.client, nil, host, recorded); err != nil {
			p.log.Debug("TLS of a mocked host was not opened", "host", host, "error", err)
			p.refuse(out, d.client, d.to, refusedTLS, err)
			return
		}
		scheme = "https"
	}
	server, err := p.dialResponder(ctx, d, host, alpn, m.Key)
	if err != nil {
		p.refuse(out, d.client, d.to, refusedResponder, err)
		return
	}
	about := p.mockInfo(d, host)
	about.Scheme = scheme
	p.relay(client, server, p.capture(about), nil)
}

func (p *Proxy) mockInfo(d *dependency, host string) tap.Info {
	about := info(out, d.client, d.client, d.to, d.start)
	ip, _ := d.to.ip()
	about.Server = netip.AddrPortFrom(ip, d.to.port)
	about.Host = host
	about.Address = target{host: host, port: d.to.port}.String()
	return about
}

// dialResponder opens a connection that begins with a PROXY header.
func (p *Proxy) dialResponder(ctx context.Context, d *dependency, host, alpn, key string) (net.Conn, error) {
	server, err := p.dialer.DialContext(ctx, "tcp", p.route.responder)
	if err != nil {
		return nil, fmt.Errorf("responder: %w", err)
	}
	h := proxyproto.Header{Authority: host, ALPN: alpn, SliceKey: key}
	if ip, ok := d.to.ip(); ok {
		h.Source = addrPort(d.client.RemoteAddr())
		h.Destination = netip.AddrPortFrom(ip, d.to.port)
	}
	server.SetWriteDeadline(time.Now().Add(p.cfg.ConnectTimeout))
	if _, err := server.Write(h.AppendTo(nil)); err != nil {
		relay.Reset(server)
		return nil, fmt.Errorf("responder: %w", err)
	}
	server.SetWriteDeadline(time.Time{})
	return server, nil
}
