// Package relay moves bytes between the two ends of a connection, and shows them
// to a tap on the way. An end that closes, half-closes, resets or times out does
// so to the other end too; a slow reader slows the other end's writer, since
// nothing is read before what came earlier is written.
package relay

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"

	"github.com/speedscale/speedscale/agents/goproxy/tap"
	"github.com/speedscale/speedscale/traffic/wire"
)

// Session is one connection being relayed.
type Session struct {
	// Client and Server are the two ends. TCP ends that are no longer tapped are
	// joined in the kernel (splice) where the system can.
	Client, Server net.Conn
	// Tap sees what is relayed; nil sees nothing.
	Tap *tap.Conn
	// Pool is where read buffers come from.
	Pool *tap.Pool
	// Sent are bytes that the client has sent before; they go first.
	Sent []byte

	broken atomic.Bool
	open   atomic.Int32 // directions
}

// outcome of one direction.
type outcome uint8

const (
	ended       outcome = iota // the source will send no more
	truncated                  // TLS ended without saying so
	readFailed                 // the source is gone
	writeFailed                // the destination is gone
)

// Start relays in the background until both directions have ended; then it closes
// both ends and calls ended. It takes two new goroutines, and not the caller's,
// because their stacks stay small: they are most of what an idle connection costs.
func (s *Session) Start(ended func()) {
	s.open.Store(2)
	for _, from := range []wire.Side{wire.Client, wire.Server} {
		go func() {
			s.direction(from)
			if s.open.Add(-1) == 0 {
				s.close()
				ended()
			}
		}()
	}
}

// Abort resets both ends.
func (s *Session) Abort() {
	s.broken.Store(true)
	Reset(s.Client)
	Reset(s.Server)
}

func (s *Session) close() {
	s.Tap.Close()
	if s.broken.Load() {
		s.Abort()
		return
	}
	s.Client.Close()
	s.Server.Close()
}

func (s *Session) ends(from wire.Side) (src, dst net.Conn) {
	if from == wire.Client {
		return s.Client, s.Server
	}
	return s.Server, s.Client
}

// direction relays what one side sends and passes on how it ended.
func (s *Session) direction(from wire.Side) {
	src, dst := s.ends(from)
	out := s.pump(from, src, dst)
	s.Tap.End(from)
	switch {
	case out == readFailed:
		s.Abort()
	case out == writeFailed:
		// What the dead end has sent before it died is still to be relayed;
		// then both ends are reset. A TLS end cannot be read after that.
		s.broken.Store(true)
		if tcpConn(dst) == nil {
			s.Abort()
		}
	case s.broken.Load():
		s.Abort()
	case out == truncated:
		closeWrite(underTLS(dst))
	default:
		closeWrite(dst)
	}
}

func (s *Session) pump(from wire.Side, src, dst net.Conn) outcome {
	if from == wire.Client && len(s.Sent) > 0 {
		if !s.replay(dst) {
			return writeFailed
		}
	}
	tsrc, tdst := tcpConn(src), tcpConn(dst)
	if tsrc == nil {
		return s.stream(from, src, dst)
	}
	if !s.Tap.Opaque() {
		out, more := s.tapped(from, tsrc, dst)
		if !more {
			return out
		}
	}
	if tdst == nil {
		return s.stream(from, src, dst)
	}
	n, err := io.Copy(tdst, tsrc)
	s.Tap.Moved(from, n)
	switch {
	case err == nil:
		return ended
	case errors.Is(err, syscall.EPIPE):
		return writeFailed
	default:
		return readFailed
	}
}

// replay writes what the client had sent before the relay began.
func (s *Session) replay(dst net.Conn) bool {
	for b := s.Sent; len(b) > 0; {
		buf := s.Pool.Get()
		n := copy(buf.B, b)
		b = b[n:]
		at := s.Tap.Now()
		_, err := dst.Write(buf.B[:n])
		s.Tap.Data(wire.Client, at, n, buf)
		buf.Release()
		if err != nil {
			return false
		}
	}
	s.Sent = nil
	return true
}

// stream relays an end that is not a plain TCP connection.
func (s *Session) stream(from wire.Side, src, dst net.Conn) outcome {
	buf := s.Pool.Get()
	defer func() { buf.Release() }()
	for {
		n, err := src.Read(buf.B)
		if n > 0 {
			at := s.Tap.Now()
			_, werr := dst.Write(buf.B[:n])
			s.Tap.Data(from, at, n, buf)
			if werr != nil {
				return writeFailed
			}
			buf = s.renew(buf)
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return ended
		case errors.Is(err, io.ErrUnexpectedEOF):
			return truncated
		default:
			return readFailed
		}
	}
}

// renew returns a buffer to read into: another one where a parser holds this one.
func (s *Session) renew(buf *tap.Buffer) *tap.Buffer {
	if !buf.Shared() {
		return buf
	}
	buf.Release()
	return s.Pool.Get()
}

// Reset closes a connection so that the peer sees a reset instead of an orderly end.
func Reset(c net.Conn) {
	if t, ok := underTLS(c).(*net.TCPConn); ok {
		t.SetLinger(0)
		t.Close()
		return
	}
	c.Close()
}

func tcpConn(c net.Conn) *net.TCPConn {
	t, _ := c.(*net.TCPConn)
	return t
}

// underTLS returns the connection that a TLS connection runs over, or c itself.
func underTLS(c net.Conn) net.Conn {
	for {
		t, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return c
		}
		c = t.NetConn()
	}
}

// closeWrite ends the sending half, or all of a connection that has no halves.
func closeWrite(c net.Conn) {
	if h, ok := c.(interface{ CloseWrite() error }); ok {
		h.CloseWrite()
		return
	}
	c.Close()
}
