package relay

import (
	"net"

	"github.com/speedscale/speedscale/traffic/wire"
)

// tapped relays a TCP connection until it ends.
func (s *Session) tapped(from wire.Side, src *net.TCPConn, dst net.Conn) (out outcome, more bool) {
	return s.stream(from, src, dst), false
}
