package goproxy

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/speedscale/speedscale/agents/goproxy/relay"
	"github.com/speedscale/speedscale/traffic"
)

// target is where a connection is to go.
type target struct {
	// host is a name or an IP address without brackets, "" where only addr is known.
	host string
	port uint16
	// addr is where to connect, where that is fixed already.
	addr netip.AddrPort
	// fixed by the settings, whatever host the client's requests name.
	fixed bool
}

func (t target) String() string {
	if t.host == "" && t.addr.IsValid() {
		return t.addr.String()
	}
	return net.JoinHostPort(t.host, strconv.Itoa(int(t.port)))
}

// name is the host where that is a name, and not an address.
func (t target) name() string {
	if _, err := netip.ParseAddr(t.host); err == nil {
		return ""
	}
	return t.host
}

// ip is the address of the target where no name has to be resolved.
func (t target) ip() (netip.Addr, bool) {
	if t.addr.IsValid() {
		return t.addr.Addr(), true
	}
	a, err := netip.ParseAddr(t.host)
	return a.Unmap(), err == nil
}

// parseTarget reads host:port.
func parseTarget(s string) (target, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return target{}, fmt.Errorf("%q is not host:port", s)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return target{}, fmt.Errorf("%q: port %q is not within 1 and 65535", s, port)
	}
	if host == "" {
		return target{}, fmt.Errorf("%q has no host", s)
	}
	return target{host: host, port: uint16(n)}, nil
}

func targetOf(a netip.AddrPort) target {
	a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	return target{port: a.Port(), addr: a}
}

// dial connects to a target. Host aliases come first; the proxy's own listeners
// are refused, since that would never end.
func (p *Proxy) dial(ctx context.Context, to target) (*net.TCPConn, error) {
	address := p.resolve(to)
	if p.own.ports[portOf(address)] {
		if err := p.refuseOwn(ctx, address); err != nil {
			return nil, err
		}
	}
	c, err := p.dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// resolve applies the host aliases: host:port → IP:port, or host → IP.
func (p *Proxy) resolve(to target) string {
	if to.addr.IsValid() {
		return to.addr.String()
	}
	address := to.String()
	if a, ok := p.cfg.HostAliases[strings.ToLower(address)]; ok {
		return a
	}
	if a, ok := p.cfg.HostAliases[strings.ToLower(to.host)]; ok {
		return net.JoinHostPort(a, strconv.Itoa(int(to.port)))
	}
	return address
}

func portOf(address string) uint16 {
	_, port, _ := net.SplitHostPort(address)
	n, _ := strconv.ParseUint(port, 10, 16)
	return uint16(n)
}

// ownAddresses are where the proxy listens.
type ownAddresses struct {
	ports map[uint16]bool
	addrs []netip.AddrPort
}

func (o *ownAddresses) add(a *net.TCPAddr) {
	if o.ports == nil {
		o.ports = map[uint16]bool{}
	}
	ap := a.AddrPort()
	o.ports[ap.Port()] = true
	o.addrs = append(o.addrs, netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()))
}

// refuseOwn says whether an address whose port is one of ours is ours.
func (p *Proxy) refuseOwn(ctx context.Context, address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return err
	}
	local := localAddresses()
	for _, own := range p.own.addrs {
		if own.Port() != portOf(address) {
			continue
		}
		for _, ip := range ips {
			ip = ip.Unmap()
			if ip == own.Addr() || own.Addr().IsUnspecified() && (ip.IsLoopback() || ip.IsUnspecified() || local[ip]) {
				return fmt.Errorf("%s: %w", address, errOwnAddress)
			}
		}
	}
	return nil
}

func localAddresses() map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return out
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				out[ip.Unmap()] = true
			}
		}
	}
	return out
}

// addrPort of a TCP address, in its short form.
func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// refuse resets a client whose connection cannot be made, and counts it.
func (p *Proxy) refuse(d traffic.Direction, client net.Conn, to target, why string, err error) {
	p.refused[d].add(why)
	p.log.Debug("connection refused", "direction", direction(d), "to", to.String(), "why", why, "error", err)
	relay.Reset(client)
}
