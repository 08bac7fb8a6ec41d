package forward

import (
	"context"
	"io"
	"net"
)

// Listen opens a port on the loopback interface, for those who cannot be given a
// dialer, and returns its address. Calling it again returns the same one.
func (f *Forward) Listen() (address string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return "", net.ErrClosed
	}
	if f.listener == nil {
		if f.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return "", err
		}
		f.wg.Go(f.accept)
	}
	return f.listener.Addr().String(), nil
}

func (f *Forward) accept() {
	for {
		local, err := f.listener.Accept()
		if err != nil {
			return // closed
		}
		f.wg.Go(func() { f.relay(local) })
	}
}

// relay carries one connection. Where the Service is not reached it is closed, as a
// server does that cannot serve.
func (f *Forward) relay(local net.Conn) {
	defer local.Close()
	remote, err := f.DialContext(context.Background(), "", "")
	if err != nil {
		return
	}
	defer remote.Close()
	f.wg.Go(func() {
		io.Copy(remote, local)
		remote.Close()
	})
	io.Copy(local, remote)
}
