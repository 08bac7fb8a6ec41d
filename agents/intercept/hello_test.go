package intercept_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/speedscale/speedscale/agents/intercept"
)

// serveRaw sends back what it gets as it is.
func serveRaw(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { defer c.Close(); io.Copy(c, c) })
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

func TestWhatIsNotTLSPassesUnchanged(t *testing.T) {
	ca, _ := newCA(t)
	i := newInterceptor(t, intercept.Options{CA: ca, HandshakeTimeout: 100 * time.Millisecond})
	hello := clientHello(t)
	for name, c := range map[string]struct {
		sent   []byte
		close  bool
		reason string
	}{
		"other bytes":     {[]byte("\x16\x03\x01\x00\x05hello, this is no handshake"), false, intercept.ReasonMalformed},
		"text":            {[]byte("GET / HTTP/1.1\r\n\r\n"), false, intercept.ReasonMalformed},
		"stalled hello":   {hello[:len(hello)/2], false, intercept.ReasonIncomplete},
		"cut hello":       {hello[:len(hello)/2], true, intercept.ReasonIncomplete},
		"nothing at all":  {nil, true, intercept.ReasonIncomplete},
		"and then more":   {append(bytes.Clone(hello[:11]), bytes.Repeat([]byte("x"), 3000)...), false, ""},
		"host is not TLS": {hello, false, intercept.ReasonHandshake},
	} {
		t.Run(name, func(t *testing.T) {
			p := startProxy(t, serveRaw(t), outbound(i, name))
			conn, err := net.Dial("tcp", p.addr)
			must(t, err)
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(5 * time.Second))
			conn.Write(c.sent)
			if c.close {
				conn.(*net.TCPConn).CloseWrite()
			}
			got := make([]byte, len(c.sent))
			if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, c.sent) {
				t.Errorf("got %q, %v", got, err)
			}
			if res := p.result(t); !res.Opaque || c.reason != "" && res.Reason != c.reason {
				t.Errorf("%+v, want %s", res, c.reason)
			}
		})
	}
}

// clientHello returns what a client sends first.
func clientHello(t testing.TB) []byte {
	a, b := net.Pipe()
	defer b.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		tls.Client(a, &tls.Config{ServerName: "localhost", RootCAs: x509.NewCertPool()}).Handshake()
		a.Close()
	}()
	buf := make([]byte, 8192)
	n, err := b.Read(buf)
	must(t, err)
	b.Close()
	<-done
	return buf[:n]
}

func TestHelloInPieces(t *testing.T) {
	world := newAuthority(t, "World CA")
	server := serveEcho(t, &tls.Config{Certificates: []tls.Certificate{world.issue("localhost")}})
	ca, trust := newCA(t)
	i := newInterceptor(t, intercept.Options{CA: ca, UpstreamCA: []string{world.file}})
	// The proxy has peeked at some bytes already; the rest comes one by one.
	p := startProxy(t, server, func(ctx context.Context, c net.Conn, dial intercept.Dial) (intercept.Result, error) {
		peeked := make([]byte, 7)
		if _, err := io.ReadFull(c, peeked); err != nil {
			return intercept.Result{}, err
		}
		return i.Outbound(ctx, c, peeked, dial, "")
	})
	raw, err := net.Dial("tcp", p.addr)
	must(t, err)
	conn := tls.Client(&dribble{raw}, &tls.Config{RootCAs: trust, ServerName: "localhost"})
	defer conn.Close()
	must(t, conn.Handshake())
	if res := p.result(t); res.Opaque {
		t.Errorf("%+v", res)
	}
}

// dribble writes one byte at a time.
type dribble struct{ net.Conn }

func (d *dribble) Write(b []byte) (int, error) {
	for n := range b {
		if _, err := d.Conn.Write(b[n : n+1]); err != nil {
			return n, err
		}
	}
	return len(b), nil
}

func TestRefusedDial(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	closed := l.Addr().String()
	l.Close()
	ca, trust := newCA(t)
	i := newInterceptor(t, intercept.Options{CA: ca})
	p := startProxy(t, closed, outbound(i, ""))
	if _, err := get(p, &tls.Config{RootCAs: trust}, false); err == nil {
		t.Error("a host that cannot be dialled was answered for")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.errs) != 1 || !errors.Is(p.errs[0], syscall.ECONNREFUSED) {
		t.Errorf("errors %v, want connection refused", p.errs)
	}
}

func TestCancelledContext(t *testing.T) {
	ca, _ := newCA(t)
	i := newInterceptor(t, intercept.Options{CA: ca})
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	start := time.Now()
	_, err := i.Outbound(ctx, b, nil, func(context.Context) (net.Conn, error) { return nil, errors.New("dialled") }, "")
	if !errors.Is(err, context.Canceled) || time.Since(start) > 5*time.Second {
		t.Errorf("%v after %s", err, time.Since(start))
	}
}

// TestServerFirstAfterClientCertificate: what a host says before the client does
// is not lost while its verdict on our certificate is awaited.
func TestServerFirstAfterClientCertificate(t *testing.T) {
	world, clients := newAuthority(t, "World CA"), newAuthority(t, "Clients CA")
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{world.issue("localhost")}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients.pool,
	})
	must(t, err)
	defer l.Close()
	banner := strings.Repeat("220 ready\r\n", 1000)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { c.Write([]byte(banner)); c.Close() }()
		}
	}()
	ca, trust := newCA(t)
	cert, key := writePair(t, clients.issue("proxy"))
	i := newInterceptor(t, intercept.Options{CA: ca, UpstreamCA: []string{world.file}, ClientCert: cert, ClientKey: key})
	p := startProxy(t, l.Addr().String(), outbound(i, ""))
	conn, err := tls.Dial("tcp", p.addr, &tls.Config{RootCAs: trust, ServerName: "localhost"})
	must(t, err)
	defer conn.Close()
	if got, err := io.ReadAll(conn); err != nil || string(got) != banner {
		t.Errorf("%d bytes of %d, %v", len(got), len(banner), err)
	}
	if res := p.result(t); res.Opaque {
		t.Errorf("%+v", res)
	}
}
