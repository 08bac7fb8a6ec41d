//go:build unix

package goproxy

import (
	"io"
	"net"

	"golang.org/x/sys/unix"
)

// supported says that the proxy runs on this system.
const supported = true

// peek waits until the bytes that a connection will give next are enough, and
// returns them without consuming them. Where buf is full it returns what there
// is. The connection's read deadline bounds the wait.
func peek(c *net.TCPConn, buf []byte, enough func([]byte) bool) ([]byte, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var n int
	var perr error
	err = raw.Read(func(fd uintptr) bool {
		for {
			n, _, perr = unix.Recvfrom(int(fd), buf, unix.MSG_PEEK)
			if perr != unix.EINTR {
				break
			}
		}
		switch {
		case perr == unix.EAGAIN:
			return false
		case perr != nil:
			return true
		case n == 0:
			perr = io.EOF
			return true
		}
		return n == len(buf) || enough(buf[:n])
	})
	if err == nil {
		err = perr
	}
	return buf[:max(n, 0)], err
}

func anything([]byte) bool { return true }

// quiet says that a connection is open and has nothing to read.
func quiet(c *net.TCPConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	var b [1]byte
	var perr error
	err = raw.Control(func(fd uintptr) {
		_, _, perr = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	})
	return err == nil && perr == unix.EAGAIN
}
