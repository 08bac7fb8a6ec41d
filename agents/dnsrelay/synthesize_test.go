package dnsrelay_test

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/speedscale/speedscale/agents/dnsrelay"
)

// replayAddress is the IPv4 address that a name has by the relay, as the only one.
func replayAddress(t *testing.T, r *net.Resolver, name string) string {
	t.Helper()
	got := lookup(t, r, name)
	if len(got) != 1 || !dnsrelay.Synthesized(netip.MustParseAddr(got[0])) {
		t.Fatalf("%s has %v, want one address of a replay", name, got)
	}
	return got[0]
}

func TestSynthesize(t *testing.T) {
	ns := startNameserver(t, testZone())
	names := []string{"Shop.example.com", "payments.internal", "ledger.internal.", "payments.internal", "dangling.example.com"}
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			r := startRelay(t, dnsrelay.Options{Nameservers: []netip.AddrPort{ns.addr}, Synthesize: names})
			res := resolver(r, network)
			addresses := map[string]string{}
			for _, name := range []string{"payments.internal", "ledger.internal", "dangling.example.com"} {
				got := replayAddress(t, res, name+".")
				for range 2 {
					if again := replayAddress(t, res, name+"."); again != got {
						t.Errorf("%s: %v after %v", name, again, got)
					}
				}
				if other, ok := addresses[got]; ok {
					t.Errorf("%s and %s share %s", name, other, got)
				}
				addresses[got] = name
				if n, _ := r.Name(netip.MustParseAddr(got)); n != name {
					t.Errorf("%s is named %q, want %s", got, n, name)
				}
				if n, err := res.LookupAddr(t.Context(), got); err != nil || !slices.Equal(n, []string{name + "."}) {
					t.Errorf("reverse: %v, %v", n, err)
				}
			}
			if got := lookup(t, res, "shop.example.com."); !slices.Equal(got, []string{"198.18.0.1", "198.18.0.2", "fd00::1"}) {
				t.Errorf("a name that resolves: %v", got)
			}
			if _, err := res.LookupHost(t.Context(), "other.internal."); err == nil {
				t.Error("a name that was not given has an address")
			}
			// In another relay, with other names, it is the same.
			other := startRelay(t, dnsrelay.Options{Nameservers: []netip.AddrPort{ns.addr}, Synthesize: []string{"a.internal", "payments.internal"}})
			if got := replayAddress(t, resolver(other, network), "payments.internal."); addresses[got] != "payments.internal" {
				t.Errorf("another relay gives payments.internal %s, want one of %v", got, addresses)
			}
		})
	}
}

// TestSynthesizeAllForms: a Service that is gone has its address however it was recorded,
// and however it is asked for.
func TestSynthesizeAllForms(t *testing.T) {
	ns := startNameserver(t, zone{
		"live.shop.svc.cluster.local.": {a("198.18.0.5")},
		"api.example.com.":             {a("198.18.0.6")},
	})
	search := []string{"shop.svc.cluster.local", "svc.cluster.local", "cluster.local"}
	forms := []string{"db", "db.shop", "db.shop.svc", "db.shop.svc.cluster.local"}
	// asked does what a resolver does with ndots:5.
	asked := func(t *testing.T, r *net.Resolver, name string) string {
		t.Helper()
		for _, domain := range append(slices.Clone(search), "") {
			addrs, err := r.LookupNetIP(t.Context(), "ip4", strings.TrimSuffix(name+"."+domain, ".")+".")
			if err == nil {
				return addrs[0].String()
			}
		}
		return ""
	}
	for _, recorded := range forms {
		t.Run(recorded, func(t *testing.T) {
			r := startRelay(t, dnsrelay.Options{Nameservers: []netip.AddrPort{ns.addr}, Search: search, Synthesize: []string{recorded, "live", "api.example.com"}})
			res := resolver(r, "")
			for _, name := range forms {
				got := asked(t, res, name)
				if got == "" || !dnsrelay.Synthesized(netip.MustParseAddr(got)) {
					t.Errorf("%s has %q, want an address of the replay", name, got)
					continue
				}
				if n, _ := r.Name(netip.MustParseAddr(got)); n != recorded {
					t.Errorf("asked for %s, the address is named %q", name, n)
				}
			}
			// What resolves keeps its address, and other names stay unknown.
			for name, want := range map[string]string{"live.shop": "198.18.0.5", "api.example.com": "198.18.0.6", "db.other": "", "other": ""} {
				if got := asked(t, res, name); got != want {
					t.Errorf("%s has %q, want %q", name, got, want)
				}
			}
		})
	}
}

// TestIgnoredAddress: a mocked host has no address at which connections pass by.
func TestIgnoredAddress(t *testing.T) {
	ns := startNameserver(t, zone{
		"api.example.com.": {a("198.18.0.7"), aaaa("fd00::7")}, "ads.example.com.": {a("198.18.0.7")}, "six.example.com.": {a("198.18.9.9"), aaaa("fd00::7")},
	})
	r := startRelay(t, dnsrelay.Options{
		Nameservers: []netip.AddrPort{ns.addr}, Synthesize: []string{"api.example.com", "six.example.com"},
		Ignored: []netip.Prefix{netip.MustParsePrefix("198.18.0.0/24"), netip.MustParsePrefix("fd00::/64")},
	})
	res := resolver(r, "")
	replayAddress(t, res, "api.example.com.")
	for name, want := range map[string][]string{"ads.example.com.": {"198.18.0.7"}, "six.example.com.": {"198.18.9.9"}} {
		if got := lookup(t, res, name); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

// TestSharedAddress: an address of a mocked host and another one names neither.
func TestSharedAddress(t *testing.T) {
	ns := startNameserver(t, zone{
		"api.example.com.": {a("198.18.0.7")}, "cdn.example.com.": {a("198.18.0.7")},
		"one.example.com.": {a("198.18.0.8")}, "two.example.com.": {a("198.18.0.8")},
	})
	r := startRelay(t, dnsrelay.Options{Nameservers: []netip.AddrPort{ns.addr}, Synthesize: []string{"api.example.com"}})
	res := resolver(r, "")
	for _, step := range [][3]string{
		{"api.example.com.", "198.18.0.7", "api.example.com"},
		{"cdn.example.com.", "198.18.0.7", ""},
		{"api.example.com.", "198.18.0.7", ""},
		{"one.example.com.", "198.18.0.8", "one.example.com"},
		{"two.example.com.", "198.18.0.8", "two.example.com"},
	} {
		lookup(t, res, step[0])
		if got, _ := r.Name(netip.MustParseAddr(step[1])); got != step[2] {
			t.Errorf("after a question for %s, %s is named %q, want %q", step[0], step[1], got, step[2])
		}
	}
}

// TestSynthesizeWithoutNameservers: a replay works with no network at all.
func TestSynthesizeWithoutNameservers(t *testing.T) {
	dead := startNameserver(t, nil)
	dead.silent.Store(true)
	for name, servers := range map[string][]netip.AddrPort{
		"none": nil, "silent": {dead.addr}, "refusing": {netip.MustParseAddrPort("127.0.0.1:1")},
	} {
		for _, network := range []string{"udp", "tcp"} {
			if name == "silent" && network == "tcp" {
				continue // it takes the connection, and the client times out
			}
			r := startRelay(t, dnsrelay.Options{Nameservers: servers, Synthesize: []string{"payments.internal"}, Timeout: 50 * time.Millisecond})
			replayAddress(t, resolver(r, network), "payments.internal.")
		}
	}
}
