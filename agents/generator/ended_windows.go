package generator

import "net"

// ended says that the peer may have sent its end: a socket of Windows cannot be looked
// at without waiting, so a connection that was idle for long is not used again.
func ended(net.Conn) bool { return true }
