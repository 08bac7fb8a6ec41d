package origdst

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// soOriginalDst is SO_ORIGINAL_DST of linux/netfilter_ipv4.h, and
// IP6T_SO_ORIGINAL_DST of linux/netfilter_ipv6/ip6_tables.h.
const soOriginalDst = 80

// original asks for the destination in the family of the connection, which is not
// that of the socket when a dual-stack listener took an IPv4 connection.
func original(fd int) (netip.AddrPort, error) {
	local, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("getsockname: %w", err)
	}
	switch local := local.(type) {
	case *unix.SockaddrInet4:
		return original4(fd)
	case *unix.SockaddrInet6:
		if netip.AddrFrom16(local.Addr).Is4In6() {
			return original4(fd)
		}
		return original6(fd)
	}
	return netip.AddrPort{}, fmt.Errorf("no original destination: not an IP connection (%T)", local)
}

// The kernel writes a sockaddr_in (16 bytes). An ipv6_mreq is the one structure
// of x/sys/unix that is long enough and comes as bytes.
func original4(fd int) (netip.AddrPort, error) {
	m, err := unix.GetsockoptIPv6Mreq(fd, unix.SOL_IP, soOriginalDst)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("SO_ORIGINAL_DST: %w", err)
	}
	b := m.Multiaddr // family, port, address, padding
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:4])), nil
}

// An ip6_mtuinfo starts with the sockaddr_in6 that the kernel writes.
func original6(fd int) (netip.AddrPort, error) {
	m, err := unix.GetsockoptIPv6MTUInfo(fd, unix.SOL_IPV6, soOriginalDst)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("IP6T_SO_ORIGINAL_DST: %w", err)
	}
	addr := netip.AddrFrom16(m.Addr.Addr)
	if m.Addr.Scope_id != 0 && addr.IsLinkLocalUnicast() {
		addr = addr.WithZone(strconv.FormatUint(uint64(m.Addr.Scope_id), 10))
	}
	// Sin6_port is in network byte order whatever the machine's own is.
	var port [2]byte
	binary.NativeEndian.PutUint16(port[:], m.Addr.Port)
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(port[:])), nil
}
