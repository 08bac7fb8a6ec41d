package main

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// slow is a server that takes a time for each answer and knows how long that was.
// It has a thread for each connection, which the kernel wakes, so that there is as
// little as possible between the network and the server's own clock.
type slow struct {
	addr     string
	listener int
	delay    time.Duration
	answer   []byte
	serving  sync.WaitGroup

	mu  sync.Mutex
	own []time.Duration
}

func newSlow(delay time.Duration) (*slow, error) {
	data := body(500)
	s := &slow{delay: delay, answer: fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sun, 22 Nov 2026 18:00:00 GMT\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: keep-alive\r\n\r\n%s", len(data), data)}
	var err error
	if s.listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, err
	}
	if err := errors.Join(unix.Bind(s.listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(s.listener, 1024)); err != nil {
		unix.Close(s.listener)
		return nil, err
	}
	at, err := unix.Getsockname(s.listener)
	if err != nil {
		unix.Close(s.listener)
		return nil, err
	}
	s.addr = fmt.Sprintf("127.0.0.1:%d", at.(*unix.SockaddrInet4).Port)
	s.serving.Go(func() {
		for {
			fd, _, err := unix.Accept4(s.listener, unix.SOCK_CLOEXEC)
			if err != nil {
				return // close was called
			}
			s.serving.Go(func() { s.serve(fd) })
		}
	})
	return s, nil
}

// serve answers requests without a body, until the client goes away.
func (s *slow) serve(fd int) {
	defer unix.Close(fd)
	if ownThread() != nil || unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) != nil {
		return // the client sees it
	}
	buf := make([]byte, 4<<10)
	for n := 0; n < len(buf); {
		m, err := unix.Read(fd, buf[n:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil || m == 0:
			return
		}
		if n += m; !bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
			continue
		}
		n = 0
		began := time.Now()
		sleepUntil(began.Add(s.delay))
		if _, err := unix.Write(fd, s.answer); err != nil {
			return
		}
		own := time.Since(began)
		s.mu.Lock()
		s.own = append(s.own, own)
		s.mu.Unlock()
	}
}

// took returns how long each answer took since it was last asked, sorted.
func (s *slow) took() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.own
	s.own = nil
	slices.Sort(own)
	return own
}

// close ends the server, whose clients are gone.
func (s *slow) close() {
	unix.Shutdown(s.listener, unix.SHUT_RDWR) // wakes Accept
	s.serving.Wait()
	unix.Close(s.listener)
}
