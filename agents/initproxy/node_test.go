package initproxy

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// Tables of a pod with both families, as Linux prints them (little-endian).
const (
	table4 = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	010012C6	0003	0	0	0	00000000	0	0	0
eth0	000012C6	00000000	0001	0	0	0	0080FFFF	0	0	0
`
	table6 = `fd0000120000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000012000000000000000000000001 00000400 00000001 00000000 00000003     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
`
)

func TestGateways(t *testing.T) {
	got4, err4 := gateways(strings.NewReader(table4), gateway4)
	got6, err6 := gateways(strings.NewReader(table6), gateway6)
	want := []netip.Prefix{netip.MustParsePrefix("198.18.0.1/32"), netip.MustParsePrefix("fd00:12::1/128")}
	if got := slices.Concat(got4, got6); err4 != nil || err6 != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, %v; want %v", got, err4, err6, want)
	}
}

func FuzzGateways(f *testing.F) {
	f.Add(table4)
	f.Add(table6)
	f.Fuzz(func(t *testing.T, table string) {
		for _, parse := range []func(string) (netip.Addr, bool){gateway4, gateway6} {
			found, _ := gateways(strings.NewReader(table), parse)
			for _, p := range found {
				if !p.IsValid() || p.Addr().IsUnspecified() {
					t.Errorf("%q has the gateway %v", table, p)
				}
			}
		}
	})
}

// TestNodesNetworkIsRefused: in a pod with hostNetwork the rules would redirect the
// connections of every process of the node.
func TestNodesNetworkIsRefused(t *testing.T) {
	s := Settings{HostIPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("fd00::1/128")}}
	addr := func(text string) net.Addr {
		ip, n, err := net.ParseCIDR(text)
		if err != nil {
			t.Fatal(err)
		}
		return &net.IPNet{IP: ip, Mask: n.Mask}
	}
	if err := s.checkNetwork([]net.Addr{addr("127.0.0.1/8"), addr("10.0.1.7/24"), addr("fd00::7/64")}); err != nil {
		t.Errorf("a pod's own network: %v", err)
	}
	for _, node := range []string{"10.0.0.1/24", "fd00::1/64"} {
		if err := s.checkNetwork([]net.Addr{addr("10.0.1.7/24"), addr(node)}); err == nil || !strings.Contains(err.Error(), "hostNetwork") {
			t.Errorf("%s: got %v", node, err)
		}
	}
}
