// Package origdst tells where a connection was going before the kernel redirected
// it to this process (netfilter's REDIRECT, as set by initproxy).
package origdst

import (
	"errors"
	"net/netip"
	"syscall"
)

// ErrUnsupported is returned on systems other than Linux.
var ErrUnsupported = errors.New("original destinations are known on linux only")

// Of returns the address that the peer of an accepted TCP connection connected to
// (SO_ORIGINAL_DST). A connection that was not redirected gives the connection's
// own local address where the kernel tracks it, and an error where it does not:
// a proxy must not dial an address of its own listeners.
//
// It works for IPv4, IPv6, and IPv4 on a dual-stack listener; the address is
// never an IPv4-mapped one. The connection stays non-blocking, and usable by
// others at the same time.
func Of(c syscall.Conn) (netip.AddrPort, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, err
	}
	var dst netip.AddrPort
	var derr error
	if err := raw.Control(func(fd uintptr) { dst, derr = original(int(fd)) }); err != nil {
		return netip.AddrPort{}, err
	}
	return dst, derr
}
