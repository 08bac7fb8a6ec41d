package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// pace sends GETs at a constant rate over so many connections, and returns how
// long each took, sorted. A thread for each connection sleeps by the kernel's clock
// and reads and writes by system calls, so that Go's scheduler adds as little as it
// can; what is left is in the figures of a direct connection too.
func pace(ctx context.Context, addr string, connections int, perSecond float64, length time.Duration) ([]time.Duration, error) {
	each := int(perSecond * length.Seconds() / float64(connections))
	period := time.Duration(float64(time.Second) * float64(connections) / perSecond)
	begin := time.Now().Add(100 * time.Millisecond)
	var mu sync.Mutex
	var all []time.Duration
	g, ctx := errgroup.WithContext(ctx)
	for i := range connections {
		g.Go(func() error {
			took, err := pacedConn(ctx, addr, begin.Add(period*time.Duration(i)/time.Duration(connections)), period, each)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
			return err
		})
	}
	err := g.Wait()
	slices.Sort(all)
	return all, err
}

// pacedConn sends n requests on a connection, one in each period. A response that
// is not there when the next request is due delays it, and counts for both; that
// this thread woke up late counts for none.
func pacedConn(ctx context.Context, addr string, begin time.Time, period time.Duration, n int) ([]time.Duration, error) {
	if err := ownThread(); err != nil {
		return nil, err
	}
	fd, err := dialRaw(addr)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	request := []byte("GET /paced HTTP/1.1\r\nHost: " + addr + "\r\nUser-Agent: bench\r\n\r\n")
	buf := make([]byte, 16<<10)
	took := make([]time.Duration, 0, n)
	for i := range n {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		due := begin.Add(time.Duration(i) * period)
		if time.Now().Before(due) {
			sleepUntil(due)
			due = time.Now()
		}
		if _, err := unix.Write(fd, request); err != nil {
			return nil, fmt.Errorf("request: %w", err)
		}
		if err := readResponse(fd, buf); err != nil {
			return nil, err
		}
		took = append(took, time.Since(due))
	}
	return took, nil
}

// ownThread gives the goroutine a thread, which ends with it, whose sleeps are
// exact: the slack of timers is 50 µs otherwise (prctl(2)).
func ownThread() error {
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("timer slack: %w", err)
	}
	return nil
}

// sleepUntil blocks the thread until a time.
func sleepUntil(at time.Time) {
	for wait := time.Until(at); wait > 0; wait = time.Until(at) {
		t := unix.NsecToTimespec(int64(wait))
		unix.Nanosleep(&t, nil) // it may be interrupted
	}
}

func dialRaw(addr string) (int, error) {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return 0, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		// A proxy that loses a request must not hang the bench.
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}),
		unix.Connect(fd, &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}),
	)
	if err != nil {
		unix.Close(fd)
		return 0, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	return fd, nil
}

// readResponse reads one response 200 that says its length.
func readResponse(fd int, buf []byte) error {
	for n := 0; ; {
		m, err := unix.Read(fd, buf[n:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("response: %w", err)
		case m == 0:
			return fmt.Errorf("response: the connection ended after %q", buf[:n])
		}
		n += m
		head, body, whole := bytes.Cut(buf[:n], []byte("\r\n\r\n"))
		if !whole {
			continue
		}
		_, field, _ := bytes.Cut(bytes.ToLower(head), []byte("\r\ncontent-length: "))
		field, _, _ = bytes.Cut(field, []byte("\r"))
		length, err := strconv.Atoi(string(field))
		if err != nil || !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) {
			return fmt.Errorf("response: %q", head)
		}
		if len(body) == length {
			return nil
		}
	}
}

// quantile of sorted values, in milliseconds.
func quantile(sorted []time.Duration, q float64) float64 {
	return float64(sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]) / float64(time.Millisecond)
}
