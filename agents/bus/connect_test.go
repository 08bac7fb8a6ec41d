package bus_test

import (
	"bufio"
	"encoding/base64"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http/httpproxy"

	"github.com/speedscale/speedscale/agents/broker"
	"github.com/speedscale/speedscale/agents/bus"
)

// connectProxy is an HTTP proxy that knows CONNECT for those with a password.
type connectProxy struct {
	net.Listener
	mu      sync.Mutex
	targets []string
}

func startProxy(t *testing.T) *connectProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &connectProxy{Listener: l}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		conns.Wait()
	})
	return p
}

func (p *connectProxy) serve(c net.Conn) {
	defer c.Close()
	br := bufio.NewReader(c)
	req, err := http.ReadRequest(br)
	if err != nil {
		return
	}
	if req.Header.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte("me:pa55")) {
		io.WriteString(c, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
		return
	}
	p.mu.Lock()
	p.targets = append(p.targets, req.Method+" "+req.Host)
	p.mu.Unlock()
	up, err := net.Dial("tcp", req.Host)
	if err != nil {
		io.WriteString(c, "HTTP/1.1 502 Bad Gateway\r\n\r\n")
		return
	}
	defer up.Close()
	// The head and the first bytes of the server come in one piece.
	first := make([]byte, 4096)
	n, err := up.Read(first)
	if err != nil {
		return
	}
	if _, err := c.Write(append([]byte("HTTP/1.1 200 Connection established\r\n\r\n"), first[:n]...)); err != nil {
		return
	}
	go func() {
		io.Copy(up, br)
		up.Close()
	}()
	io.Copy(c, up)
}

// hostAddress is an address of this machine that is no loopback, since those are
// never reached by way of a proxy.
func hostAddress(t *testing.T) string {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && n.IP.To4() != nil {
			return n.IP.String()
		}
	}
	t.Skip("SKIPPED: needs an address that is no loopback, which a proxy is never used for")
	return ""
}

func TestConnectThroughProxy(t *testing.T) {
	proxy := startProxy(t)
	s := startServer(t, broker.Options{Listen: net.JoinHostPort(hostAddress(t), "0")})
	at := "me:pa55@" + proxy.Addr().String()

	through := connect(t, bus.ConnectOptions{URLs: []string{s.ClientURL()}, Proxy: &httpproxy.Config{HTTPSProxy: "http://" + at}})
	eventually(t, "connection", through.IsConnected)
	if err := through.Flush(); err != nil {
		t.Error(err)
	}
	proxy.mu.Lock()
	if len(proxy.targets) != 1 || proxy.targets[0] != "CONNECT "+s.Addr().String() {
		t.Errorf("the proxy saw %q", proxy.targets)
	}
	proxy.mu.Unlock()

	direct := connect(t, bus.ConnectOptions{URLs: []string{s.ClientURL()},
		Proxy: &httpproxy.Config{HTTPSProxy: "http://" + at, NoProxy: "127.0.0.0/8," + s.Addr().String()}})
	eventually(t, "connection", direct.IsConnected)
	proxy.mu.Lock()
	if len(proxy.targets) != 1 {
		t.Errorf("NO_PROXY: the proxy saw %q", proxy.targets)
	}
	proxy.mu.Unlock()
	through.Close()
	direct.Close()
}

func TestProxyThatRefusesIsNamedWithoutItsPassword(t *testing.T) {
	proxy := startProxy(t)
	var log logBuffer
	nc := connect(t, bus.ConnectOptions{URLs: []string{"nats://bus.example:4222"}, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Proxy: &httpproxy.Config{HTTPSProxy: "http://me:wr0ng@" + proxy.Addr().String()}})
	eventually(t, "an error in the log", func() bool { return strings.Contains(log.String(), "407") })
	if text := log.String(); strings.Contains(text, "wr0ng") || !strings.Contains(text, proxy.Addr().String()) {
		t.Errorf("the log is %s", text)
	}
	if nc.IsConnected() {
		t.Error("connected")
	}
	nc.Close()
}

// TestSilentProxyTimesOut has a proxy that takes the connection and says nothing.
func TestSilentProxyTimesOut(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var log logBuffer
	nc := connect(t, bus.ConnectOptions{URLs: []string{"nats://bus.example:4222"}, ConnectTimeout: 100 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Proxy:  &httpproxy.Config{HTTPSProxy: "http://" + l.Addr().String()}})
	eventually(t, "an error in the log", func() bool { return strings.Contains(log.String(), "timeout") })
	nc.Close()
}

// logBuffer is a log that many goroutines write.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
