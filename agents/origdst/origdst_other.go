//go:build !linux

package origdst

import "net/netip"

func original(int) (netip.AddrPort, error) { return netip.AddrPort{}, ErrUnsupported }
