package goproxy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/agents/goproxy"
	"github.com/speedscale/speedscale/traffic"
)

// ends are the two ends of a proxied connection.
type ends struct {
	client, server *net.TCPConn
	proxy          *goproxy.Proxy
	rec            *recorder
}

// through connects a client to a server by way of a proxy. Each relaying rule
// must hold while a tap looks on and, once it has given up, in the kernel's
// splice; hello is what the client sends first to bring about either.
func through(t *testing.T, hello string) *ends {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	e := &ends{rec: &recorder{}}
	e.proxy = start(t, reverse(l.Addr().String()), goproxy.Options{Recorder: e.rec})
	e.client = dialTo(t, e.proxy.InAddr())
	s, err := l.Accept() // before the client has sent anything
	if err != nil {
		t.Fatal(err)
	}
	e.server = s.(*net.TCPConn)
	e.server.SetDeadline(time.Now().Add(10 * time.Second))
	t.Cleanup(func() { s.Close() })
	if hello == "" {
		return e
	}
	e.client.Write([]byte(hello))
	expect(t, e.server, hello)
	if hello == unknownHello {
		e.rec.waitLoss(t, traffic.ReasonUnknown)
		// One more chunk each way, after which both directions are spliced.
		e.client.Write([]byte("c"))
		expect(t, e.server, "c")
		e.server.Write([]byte("s"))
		expect(t, e.client, "s")
	}
	return e
}

const (
	httpHello    = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
	unknownHello = "\x00\x01\x02 no protocol"
)

// both runs a rule with a tap and with splice.
func both(t *testing.T, rule func(*testing.T, *ends)) {
	t.Run("tapped", func(t *testing.T) { rule(t, through(t, httpHello)) })
	t.Run("spliced", func(t *testing.T) { rule(t, through(t, unknownHello)) })
}

func expect(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v, want %q", got, err, want)
	}
}

// wantErr reads until an error and wants it to be of a kind.
func wantErr(t *testing.T, c net.Conn, want error) {
	t.Helper()
	_, err := c.Read(make([]byte, 1))
	if !errors.Is(err, want) {
		t.Fatalf("read gives %v, want %v", err, want)
	}
}

// wantReset wants a new connection to be reset, which may be as soon as it is open.
func wantReset(t *testing.T, addr net.Addr) {
	t.Helper()
	c, err := net.Dial("tcp", addr.String())
	if err == nil {
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("connection gives %v, want a reset", err)
	}
}

func TestDialOnAcceptAndServerFirst(t *testing.T) {
	e := through(t, "")
	e.server.Write([]byte("220 ready\r\n"))
	expect(t, e.client, "220 ready\r\n")
	e.client.Write([]byte("QUIT\r\n"))
	expect(t, e.server, "QUIT\r\n")
	e.client.Close()
	wantErr(t, e.server, io.EOF)
}

func TestHalfClose(t *testing.T) {
	both(t, func(t *testing.T, e *ends) {
		e.client.CloseWrite()
		wantErr(t, e.server, io.EOF)
		e.server.Write([]byte("still here"))
		expect(t, e.client, "still here")
		e.server.Close()
		wantErr(t, e.client, io.EOF)
	})
	both(t, func(t *testing.T, e *ends) {
		e.server.CloseWrite()
		wantErr(t, e.client, io.EOF)
		e.client.Write([]byte("and here"))
		expect(t, e.server, "and here")
		e.client.Close()
		wantErr(t, e.server, io.EOF)
	})
}

func TestReset(t *testing.T) {
	reset := func(from, to *net.TCPConn) func(*testing.T) {
		return func(t *testing.T) {
			from.SetLinger(0)
			from.Close()
			wantErr(t, to, syscall.ECONNRESET)
		}
	}
	both(t, func(t *testing.T, e *ends) { reset(e.client, e.server)(t) })
	both(t, func(t *testing.T, e *ends) { reset(e.server, e.client)(t) })
	// A reset after a half-close is still one.
	both(t, func(t *testing.T, e *ends) {
		e.client.CloseWrite()
		wantErr(t, e.server, io.EOF)
		reset(e.server, e.client)(t)
	})
}

// A connection that nobody uses is left alone: only its ends decide.
func TestIdleTimeoutIsThePeers(t *testing.T) {
	both(t, func(t *testing.T, e *ends) {
		e.client.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		wantErr(t, e.client, os.ErrDeadlineExceeded)
		e.client.SetReadDeadline(time.Now().Add(5 * time.Second))
		e.server.Close() // its idle time-out
		wantErr(t, e.client, io.EOF)
	})
}

func TestRefusedUpstreamIsAReset(t *testing.T) {
	var rec recorder
	p := start(t, reverse(deadAddr(t)), goproxy.Options{Recorder: &rec})
	wantReset(t, p.InAddr())
	if n := p.Status().Inbound.Refused["upstream"]; n != 1 {
		t.Errorf("%d connections were counted as refused, want 1", n)
	}
}

func TestUnreachableUpstreamIsAReset(t *testing.T) {
	// The queue of a listener that nobody serves, once full, answers no more.
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, _ := syscall.Getsockname(fd)
	addr := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	var filler []net.Conn
	for range 4 {
		d := net.Dialer{Timeout: 50 * time.Millisecond}
		if c, err := d.Dial("tcp", addr); err == nil {
			filler = append(filler, c)
		}
	}
	defer func() {
		for _, c := range filler {
			c.Close()
		}
	}()
	cfg := reverse(addr)
	cfg.ConnectTimeout = 100 * time.Millisecond
	p := start(t, cfg, goproxy.Options{})
	wantReset(t, p.InAddr())
}

// A server may answer and close before it has read all of a request; the answer
// must arrive all the same.
func TestAnswerBeforeDeathArrives(t *testing.T) {
	both(t, func(t *testing.T, e *ends) {
		e.server.Write([]byte("413"))
		e.client.Write(make([]byte, 64<<10)) // which the server does not read
		time.Sleep(20 * time.Millisecond)
		e.server.Close() // unread data makes this a reset
		expect(t, e.client, "413")
		for {
			if _, err := e.client.Write(make([]byte, 1<<10)); err != nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
	})
}

func TestLargeBodiesBothWays(t *testing.T) {
	const size = 100 << 20
	both(t, func(t *testing.T, e *ends) {
		for _, d := range []struct{ src, dst *net.TCPConn }{{e.client, e.server}, {e.server, e.client}} {
			d.src.SetDeadline(time.Now().Add(20 * time.Second))
			d.dst.SetDeadline(time.Now().Add(20 * time.Second))
			go func() {
				io.CopyN(d.src, rand.NewChaCha8([32]byte{1}), size)
				d.src.CloseWrite()
			}()
			want, buf, have := rand.NewChaCha8([32]byte{1}), make([]byte, 64<<10), make([]byte, 64<<10)
			total := 0
			for {
				n, err := d.dst.Read(buf)
				want.Read(have[:n])
				if !bytes.Equal(buf[:n], have[:n]) {
					t.Fatalf("bytes differ after %d", total)
				}
				total += n
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if total != size {
				t.Fatalf("%d bytes arrived, want %d", total, size)
			}
		}
	})
}

func TestSlowReaderHoldsTheWriterBack(t *testing.T) {
	both(t, func(t *testing.T, e *ends) {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		e.client.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		n, err := io.Copy(e.client, io.LimitReader(rand.NewChaCha8([32]byte{}), 200<<20))
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("the client wrote %d bytes that nobody read: %v", n, err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
			t.Errorf("the heap grew by %d bytes", grown)
		}
	})
}

func TestDrainFinishesOpenConnections(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := reverse(l.Addr().String())
	cfg.DrainTimeout = 5 * time.Second
	p, err := goproxy.New(cfg, goproxy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	c := dialTo(t, p.InAddr())
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	cancel()
	eventually(t, func() bool { return p.Status().Draining }, "it does not drain")
	if p.Ready() == nil {
		t.Error("it is ready while it drains")
	}
	// While a connection is open, another one is still served.
	late := dialTo(t, p.InAddr())
	if s2, err := l.Accept(); err != nil {
		t.Fatal(err)
	} else {
		s2.Write([]byte("late"))
		s2.Close()
	}
	expect(t, late, "late")
	late.Close()
	c.Write([]byte("last words"))
	expect(t, s, "last words")
	c.Close()
	s.Close()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(3 * time.Second):
		t.Error("it did not end with its last connection")
	}
}

// TestDrainLastsWhileBusy: an app that has no connection open may need one yet.
func TestDrainLastsWhileBusy(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := reverse(l.Addr().String())
	cfg.DrainTimeout = time.Minute
	var asked atomic.Int64
	var left atomic.Bool
	p, err := goproxy.New(cfg, goproxy.Options{Busy: func() bool { asked.Add(1); return !left.Load() }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	cancel()
	eventually(t, func() bool { return asked.Load() > 1 }, "it does not ask whether the app is busy")
	late := dialTo(t, p.InAddr())
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s.Write([]byte("late"))
	s.Close()
	expect(t, late, "late")
	late.Close()
	left.Store(true)
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Error("it did not end with the app")
	}
}

func TestDrainTimeoutResets(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := reverse(l.Addr().String())
	cfg.DrainTimeout = 50 * time.Millisecond
	p, err := goproxy.New(cfg, goproxy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	c := dialTo(t, p.InAddr())
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	cancel()
	wantErr(t, c, syscall.ECONNRESET)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestSilenceIsSaid(t *testing.T) {
	cfg := config.Proxy{Mode: config.ModeDual, InListen: "127.0.0.1:0", OutListen: "127.0.0.1:0", Reverse: echo(t).Listener.Addr().String(), SilenceWarning: 100 * time.Millisecond}
	p := start(t, cfg, goproxy.Options{})
	if s := p.Status(); s.Inbound.Silent || s.Outbound.Silent {
		t.Errorf("silent at once: %+v", s)
	}
	eventually(t, func() bool { s := p.Status(); return s.Inbound.Silent && s.Outbound.Silent }, "silence is not noticed")
	dialTo(t, p.InAddr())
	eventually(t, func() bool { s := p.Status(); return !s.Inbound.Silent && s.Outbound.Silent }, "a connection does not end the silence")
}
