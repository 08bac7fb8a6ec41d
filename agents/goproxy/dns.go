package goproxy

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/speedscale/speedscale/agents/dnsrelay"
)

// resolvConf has the nameservers that the app's queries go on to.
const resolvConf = "/etc/resolv.conf"

// newDNS binds the relay of the app's DNS queries, which names the addresses that
// the app then connects to; in a replay it also gives addresses to recorded names
// that no longer resolve.
func newDNS(s Settings, log *slog.Logger, r prometheus.Registerer) (*dnsrelay.Relay, error) {
	servers, err := dnsrelay.Nameservers(resolvConf)
	if err != nil {
		return nil, fmt.Errorf("nameservers: %w", err)
	}
	o := dnsrelay.Options{Nameservers: servers, Log: log}
	if s.Route != nil {
		o.Search, o.Ignored = s.Route.Search, s.Route.Ignored
	}
	for _, ip := range []string{"127.0.0.1", "::1"} {
		// Not every pod has IPv6. A probe tells it from a port that is taken.
		probe, err := net.ListenPacket("udp", net.JoinHostPort(ip, "0"))
		if err != nil {
			continue
		}
		probe.Close()
		o.Listen = append(o.Listen, net.JoinHostPort(ip, strconv.Itoa(s.DNSPort)))
	}
	if s.Route != nil {
		for _, m := range s.Route.Mocks {
			host := mockHost(m)
			if _, err := netip.ParseAddr(host); err != nil {
				o.Synthesize = append(o.Synthesize, host)
			}
		}
	}
	relay, err := dnsrelay.New(o)
	if err != nil {
		return nil, err
	}
	counter := func(name, help string, n func(dnsrelay.Stats) int64) {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "speedscale_goproxy_dns_" + name + "_total", Help: help,
		}, func() float64 { return float64(n(relay.Stats())) }))
	}
	counter("queries", "DNS queries of the app.", func(s dnsrelay.Stats) int64 { return s.Queries })
	counter("synthesized", "Answers for mocked hosts that do not resolve.", func(s dnsrelay.Stats) int64 { return s.Synthesized })
	counter("unanswered", "DNS queries that no nameserver answered.", func(s dnsrelay.Stats) int64 { return s.TimedOut })
	counter("dropped", "DNS queries over the bound.", func(s dnsrelay.Stats) int64 { return s.Dropped })
	return relay, nil
}

// naming is how the addresses of transparent connections get names: by one of its
// parts, or not at all.
type naming struct {
	relay   *dnsrelay.Relay
	ptr     *reverseDNS
	aliases map[netip.Addr]string
}

func newNaming(s Settings, log *slog.Logger, r prometheus.Registerer) (n naming, err error) {
	switch {
	case s.DNSPort != 0:
		n.relay, err = newDNS(s, log, r)
	case s.ReverseDNS:
		n.ptr = newReverseDNS()
	default:
		n.aliases = make(map[netip.Addr]string)
		for name, text := range s.HostAliases {
			if addr, err := netip.ParseAddr(text); err == nil && dnsrelay.Synthesized(addr) {
				n.aliases[addr] = name
			}
		}
	}
	return n, err
}

// hostOf is for Options.HostOf.
func (n naming) hostOf() func(netip.Addr) string {
	switch {
	case n.relay != nil:
		return func(a netip.Addr) string { name, _ := n.relay.Name(a); return name }
	case n.ptr != nil:
		return n.ptr.name
	case len(n.aliases) > 0:
		return func(a netip.Addr) string { return n.aliases[a] }
	}
	return nil
}

// run works until ctx ends. A relay that fails says so; the app's connections go on
// without names.
func (n naming) run(ctx context.Context, log *slog.Logger) error {
	if n.relay != nil {
		if err := n.relay.Run(ctx); err != nil {
			log.Error("DNS relay ended", "error", err)
			return err
		}
	}
	<-ctx.Done()
	if n.ptr != nil {
		n.ptr.close()
	}
	return nil
}
