//go:build !unix

package relay

import (
	"net"

	"github.com/speedscale/speedscale/traffic/wire"
)

func (s *Session) tapped(from wire.Side, src *net.TCPConn, dst net.Conn) (outcome, bool) {
	return s.stream(from, src, dst), false
}
