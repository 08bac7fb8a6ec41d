//go:build unix

package relay

import (
	"io"
	"net"
	"syscall"

	"github.com/speedscale/speedscale/agents/nonblock"
	"github.com/speedscale/speedscale/traffic/wire"
)

// tapped relays a TCP connection until it ends or nothing looks at its bytes any
// more (more). It holds a buffer only while there is something to read, so that
// an idle connection holds none.
func (s *Session) tapped(from wire.Side, src *net.TCPConn, dst net.Conn) (out outcome, more bool) {
	raw, err := src.SyscallConn()
	if err != nil {
		return readFailed, false
	}
	to := io.Writer(dst)
	if t := tcpConn(dst); t != nil {
		if w, err := nonblock.NewWriter(t); err == nil {
			to = w
		}
	}
	err = raw.Read(func(fd uintptr) (done bool) {
		buf := s.Pool.Get()
		defer func() { buf.Release() }()
		for {
			n, errno := nonblock.Read(fd, buf.B)
			switch {
			case errno == syscall.EAGAIN:
				return false
			case errno == syscall.EINTR:
				continue
			case errno != 0:
				out = readFailed
				return true
			case n == 0:
				out = ended
				return true
			}
			at := s.Tap.Now()
			_, err := to.Write(buf.B[:n])
			s.Tap.Data(from, at, n, buf)
			if err != nil {
				out = writeFailed
				return true
			}
			if s.Tap.Opaque() {
				more = true
				return true
			}
			buf = s.renew(buf)
		}
	})
	if err != nil {
		return readFailed, false
	}
	return out, more
}
