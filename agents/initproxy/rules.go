package initproxy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/speedscale/speedscale/agents/config"
)

// Chains, each named after what it redirects.
const (
	inbound  = "inbound"  // at the prerouting hook: what arrives
	outbound = "outbound" // at the output hook: what processes here send
)

// Table is the name of the one table (family inet) that all rules are in.
const Table = "speedscale"

// protocol is an IP protocol number.
type protocol uint8

const (
	tcp protocol = 6
	udp protocol = 17
)

// rule is one line of a chain: what it matches, all of it together, and what then
// happens. It holds one value of each kind at most, since only the first packet of
// a connection is looked at.
type rule struct {
	chain string

	loopback bool         // over the loopback interface
	uid      *uint32      // sent by a process of that user
	from, to netip.Prefix // valid where they matter
	local    bool         // to an address of this machine
	proto    protocol     // 0 for any
	opening  bool         // the packet that opens a TCP connection
	port     uint16       // destination port, 0 for any

	// redirect is the local port that the connection goes to; 0 leaves it alone.
	redirect uint16
}

// rules returns what the settings mean, in order: the first that matches decides.
func rules(s Settings) []rule {
	return append(inboundRules(s), outboundRules(s)...)
}

func inboundRules(s Settings) (list []rule) {
	add := func(r rule) { r.chain = inbound; list = append(list, r) }
	// What comes over loopback was sent from here, and was dealt with then.
	add(rule{loopback: true})
	for _, port := range slices.Concat(s.ownPorts(), s.IgnoreInPorts) {
		add(rule{proto: tcp, port: port})
	}
	for _, p := range slices.Concat(s.NodeIPs, s.IgnoreSources) {
		add(rule{from: p})
	}
	add(rule{proto: tcp, opening: true, local: true, redirect: s.InPort})
	return list
}

func outboundRules(s Settings) (list []rule) {
	add := func(r rule) { r.chain = outbound; list = append(list, r) }
	// goproxy's own connections first: they would never end otherwise.
	for _, uid := range append([]uint32{s.ProxyUID}, s.IgnoreUIDs...) {
		add(rule{uid: &uid})
	}
	// No exclusion is about hosts that do not exist: only goproxy knows them.
	add(rule{to: netip.MustParsePrefix(config.ReplayAddresses), proto: tcp, opening: true, redirect: s.OutPort})
	for _, port := range s.ownPorts() {
		add(rule{proto: tcp, port: port, local: true})
	}
	for _, port := range s.IgnoreOutPorts {
		add(rule{proto: tcp, port: port})
		if port == dns {
			add(rule{proto: udp, port: port})
		}
	}
	for _, p := range s.IgnoreDestinations {
		add(rule{to: p})
	}
	// Nameservers may be on loopback, so DNS comes before it.
	if s.DNSPort != 0 {
		add(rule{proto: udp, port: dns, redirect: s.DNSPort})
		add(rule{proto: tcp, port: dns, opening: true, redirect: s.DNSPort})
	}
	switch {
	case s.IgnoreLoopback:
		add(rule{loopback: true})
	case s.TrackLoopback:
		for _, port := range s.IgnoreInPorts {
			add(rule{loopback: true, proto: tcp, port: port})
		}
		add(rule{loopback: true, proto: tcp, opening: true, redirect: s.InPort})
	}
	add(rule{proto: tcp, opening: true, redirect: s.OutPort})
	return list
}

const dns = 53

// ownPorts are the TCP ports that goproxy itself serves on.
func (s Settings) ownPorts() []uint16 {
	ports := append([]uint16{s.InPort, s.OutPort}, s.OwnPorts...)
	if s.DNSPort != 0 {
		ports = append(ports, s.DNSPort)
	}
	return ports
}

// String returns the rule in the syntax of nft(8).
func (r rule) String() string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if r.loopback {
		add("%s \"lo\"", map[string]string{inbound: "iifname", outbound: "oifname"}[r.chain])
	}
	if r.uid != nil {
		add("meta skuid %d", *r.uid)
	}
	if r.from.IsValid() {
		add("%s", matchAddress("saddr", r.from))
	}
	if r.to.IsValid() {
		add("%s", matchAddress("daddr", r.to))
	}
	if r.local {
		add("fib daddr type local")
	}
	name := map[protocol]string{tcp: "tcp", udp: "udp"}[r.proto]
	if r.opening {
		add("tcp flags & (fin | syn | rst | ack) == syn")
	}
	if r.port != 0 {
		add("%s dport %d", name, r.port)
	}
	if r.redirect != 0 {
		add("redirect to :%d", r.redirect)
	} else {
		add("accept")
	}
	return strings.Join(parts, " ")
}

func matchAddress(field string, p netip.Prefix) string {
	family, version := "ip", "ipv4"
	if p.Addr().Is6() {
		family, version = "ip6", "ipv6"
	}
	switch p.Bits() {
	case 0:
		return "meta nfproto " + version
	case p.Addr().BitLen():
		return family + " " + field + " " + p.Addr().String()
	}
	return family + " " + field + " " + p.Addr().String() + "/" + strconv.Itoa(p.Bits())
}

// Print returns the rules as a file that nft(8) loads: the same table, replaced as
// a whole.
func Print(s Settings) string {
	var b strings.Builder
	// The first line makes the second one valid where there is no table yet.
	fmt.Fprintf(&b, "table inet %s\ndelete table inet %s\ntable inet %s {\n", Table, Table, Table)
	list := rules(s)
	for _, chain := range []struct{ name, hook string }{{inbound, "prerouting"}, {outbound, "output"}} {
		fmt.Fprintf(&b, "\tchain %s {\n\t\ttype nat hook %s priority -100; policy accept;\n", chain.name, chain.hook)
		for _, r := range list {
			if r.chain == chain.name {
				fmt.Fprintf(&b, "\t\t%s\n", r)
			}
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}
