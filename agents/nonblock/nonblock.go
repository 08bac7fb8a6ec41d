//go:build unix

// Package nonblock reads and writes TCP connections without telling Go's scheduler.
//
// A system call that may wait is announced to the scheduler, which wakes its
// monitor thread for it when everything else was idle. At a thousand requests a
// second that is a second thread's wake-up before almost every read and write, and
// costs a relayed request some 80 µs. A socket of Go's does not block, so these calls
// never wait and need not be announced; waiting until a socket is ready stays the
// runtime's. On systems other than Linux the calls are the usual ones, as they are with
// the race detector, which learns from them what happens before what.
package nonblock

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// Conn is a TCP connection that is read and written in this way. Its methods are
// those of a net.Conn, and as safe for concurrent use.
type Conn struct {
	*net.TCPConn
	reader half
	writer Writer
}

// Writer writes to a TCP connection. It is safe for concurrent use.
type Writer struct{ half }

// half is one direction. What a call works on is in fields, so that its callback is
// made once and no call allocates.
type half struct {
	mu    sync.Mutex
	conn  *net.TCPConn
	raw   syscall.RawConn
	call  func(fd uintptr) (done bool)
	b     []byte // read into, or still to be written
	n     int
	errno syscall.Errno
}

// Wrap returns a connection that takes c's place: c itself where it is not TCP.
func Wrap(c net.Conn) net.Conn {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return c
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return c
	}
	conn := &Conn{TCPConn: t}
	conn.reader.conn, conn.reader.raw, conn.reader.call = t, raw, conn.reader.read
	conn.writer.conn, conn.writer.raw, conn.writer.call = t, raw, conn.writer.write
	return conn
}

// NewWriter returns a Writer to c, whose other methods remain c's.
func NewWriter(c *net.TCPConn) (*Writer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	w := &Writer{half{conn: c, raw: raw}}
	w.call = w.write
	return w, nil
}

// Read implements net.Conn.
func (c *Conn) Read(b []byte) (int, error) {
	h := &c.reader
	h.mu.Lock()
	defer h.mu.Unlock()
	h.b, h.n, h.errno = b, 0, 0
	err := h.raw.Read(h.call)
	h.b = nil
	switch {
	case err != nil:
		return 0, err
	case h.errno != 0:
		return 0, h.failed("read")
	case h.n == 0 && len(b) > 0:
		return 0, io.EOF
	}
	return h.n, nil
}

// Write implements net.Conn.
func (c *Conn) Write(b []byte) (int, error) { return c.writer.Write(b) }

// Write implements io.Writer. It waits while the peer takes nothing, until the
// connection's deadline.
func (w *Writer) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.b, w.n, w.errno = b, 0, 0
	err := w.raw.Write(w.call)
	w.b = nil
	if err == nil && w.errno != 0 {
		err = w.failed("write")
	}
	return w.n, err
}

// failed is the error of a call as package net would return it.
func (h *half) failed(op string) error {
	return &net.OpError{Op: op, Net: "tcp", Source: h.conn.LocalAddr(), Addr: h.conn.RemoteAddr(), Err: os.NewSyscallError(op, h.errno)}
}

func (h *half) read(fd uintptr) (done bool) {
	for {
		switch h.n, h.errno = Read(fd, h.b); h.errno {
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			return true
		}
	}
}

func (h *half) write(fd uintptr) (done bool) {
	for len(h.b) > 0 {
		switch n, errno := Write(fd, h.b); errno {
		case 0:
			h.n += n
			h.b = h.b[n:]
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			h.errno = errno
			return true
		}
	}
	return true
}
