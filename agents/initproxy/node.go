package initproxy

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// The kernel's routing tables (proc_net_route(5), and net/ipv6/route.c for the second).
const (
	routes4 = "/proc/net/route"
	routes6 = "/proc/net/ipv6_route"
)

// checkNetwork refuses a pod that has the node's network: the rules would redirect
// the node's own connections.
func (s *Settings) checkNetwork(own []net.Addr) error {
	for _, a := range own {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || p.Addr().IsLoopback() {
			continue
		}
		if slices.Contains(s.HostIPs, prefixOf(p.Addr())) {
			return fmt.Errorf("this pod has the node's own address %s (hostNetwork): rules would redirect the connections of all of the node; use proxy-type reverse, forward or dual", p.Addr())
		}
	}
	return nil
}

// leaveNodeAlone has connections of the node pass: from its addresses, and from the
// pod's default gateway, which is the node too.
func (s *Settings) leaveNodeAlone() error {
	if s.CaptureNode {
		return nil
	}
	s.NodeIPs = slices.Clone(s.HostIPs)
	for _, table := range []struct {
		file  string
		parse func(line string) (netip.Addr, bool)
	}{{routes4, gateway4}, {routes6, gateway6}} {
		f, err := os.Open(table.file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without that family
		}
		if err != nil {
			return fmt.Errorf("default gateway: %w", err)
		}
		found, err := gateways(f, table.parse)
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("default gateway: %q: %w", table.file, err)
		}
		s.NodeIPs = append(s.NodeIPs, found...)
	}
	return nil
}

// gateways reads the next hops of default routes.
func gateways(table io.Reader, parse func(line string) (netip.Addr, bool)) (found []netip.Prefix, err error) {
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		if a, ok := parse(lines.Text()); ok && !slices.Contains(found, prefixOf(a)) {
			found = append(found, prefixOf(a))
		}
	}
	return found, lines.Err()
}

// gateway4 reads a line of routes4: interface, destination, gateway, flags, RefCnt,
// Use, metric and mask, with addresses as numbers of the machine's byte order.
func gateway4(line string) (netip.Addr, bool) {
	f := strings.Fields(line)
	if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" {
		return netip.Addr{}, false
	}
	n, err := strconv.ParseUint(f[2], 16, 32)
	if err != nil || n == 0 {
		return netip.Addr{}, false
	}
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], uint32(n))
	return netip.AddrFrom4(b), true
}

// gateway6 reads a line of routes6: destination and its length, source and its
// length, next hop, and what does not matter here.
func gateway6(line string) (netip.Addr, bool) {
	f := strings.Fields(line)
	if len(f) < 10 || f[1] != "00" {
		return netip.Addr{}, false
	}
	b, err := hex.DecodeString(f[4])
	if err != nil || len(b) != 16 {
		return netip.Addr{}, false
	}
	a := netip.AddrFrom16([16]byte(b))
	return a, !a.IsUnspecified()
}
