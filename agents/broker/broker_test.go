package broker_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/speedscale/speedscale/agents/broker"
	"github.com/speedscale/speedscale/agents/bus"
)

func start(t testing.TB, o broker.Options) *broker.Server {
	t.Helper()
	s, err := broker.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func connect(t testing.TB, o bus.ConnectOptions) *nats.Conn {
	t.Helper()
	o.MaxReconnectWait = 200 * time.Millisecond
	nc, err := bus.Connect(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within 10 s: %s", what)
}

// echo answers requests on subject "echo" with their own data.
func echo(t testing.TB, s *broker.Server) {
	t.Helper()
	nc, err := s.Connect(t.Context(), bus.ConnectOptions{Name: "echo"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if _, err := nc.Subscribe("echo", func(m *nats.Msg) { m.Respond(m.Data) }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

func ask(t testing.TB, nc *nats.Conn) {
	t.Helper()
	eventually(t, "connection", nc.IsConnected)
	m, err := nc.Request("echo", []byte("hello"), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if string(m.Data) != "hello" {
		t.Errorf("the answer is %q", m.Data)
	}
}

// certificate is a self-signed one for 127.0.0.1.
func certificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestEveryTransport(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	cert, roots := certificate(t)
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	t.Run("transports", func(t *testing.T) {
		plain := start(t, broker.Options{Listen: "127.0.0.1:0", WebSocket: "127.0.0.1:0"})
		secure := start(t, broker.Options{Listen: "127.0.0.1:0", TLS: config, WebSocket: "127.0.0.1:0", WebSocketTLS: config})
		echo(t, plain)
		echo(t, secure)
		for _, url := range []string{
			plain.ClientURL(), plain.WebSocketURL(),
			strings.Replace(secure.ClientURL(), "nats://", "tls://", 1), secure.WebSocketURL(),
		} {
			t.Run(url[:strings.Index(url, ":")], func(t *testing.T) {
				ask(t, connect(t, bus.ConnectOptions{URLs: []string{url}, RootCAs: roots}))
			})
		}
		t.Run("unknown CA is refused", func(t *testing.T) {
			_, others := certificate(t)
			for _, url := range []string{strings.Replace(secure.ClientURL(), "nats://", "tls://", 1), secure.WebSocketURL()} {
				var log logBuffer
				nc := connect(t, bus.ConnectOptions{URLs: []string{url}, RootCAs: others, Logger: slog.New(slog.NewTextHandler(&log, nil))})
				eventually(t, "an error in the log", func() bool { return strings.Contains(log.String(), "certificate") })
				if nc.IsConnected() {
					t.Errorf("%s: connected", url)
				}
			}
		})
	})
}

func TestWrongURLsAreErrors(t *testing.T) {
	for _, url := range []string{"http://host", "nats://", "host:4222", "nats://h\x7f"} {
		if _, err := bus.Connect(t.Context(), bus.ConnectOptions{URLs: []string{url}}); err == nil {
			t.Errorf("%q: no error", url)
		}
	}
	if _, err := broker.Start(broker.Options{Listen: "nowhere"}); err == nil || !strings.Contains(err.Error(), `"nowhere"`) {
		t.Errorf("listen address: %v", err)
	}
}

func TestUnusableStoreIsAnError(t *testing.T) {
	_, err := broker.Start(broker.Options{Store: &broker.StoreOptions{Dir: "/proc/none"}})
	if err == nil || !strings.Contains(err.Error(), "storage directory") {
		t.Errorf("got %v", err)
	}
}

func TestTakenPortIsAnError(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err = broker.Start(broker.Options{Listen: l.Addr().String()}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v", err)
	}
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

func TestTokens(t *testing.T) {
	var log logBuffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := start(t, broker.Options{Listen: "127.0.0.1:0", Logger: logger, Authenticate: func(token string) (broker.Permissions, error) {
		switch token {
		case "token-of-a", "token-of-b":
			return broker.Permissions{Name: token[9:], Publish: []string{"echo"}}, nil
		}
		return broker.Permissions{}, errors.New("unknown token")
	}})
	echo(t, s)
	url := []string{s.ClientURL()}

	for _, token := range []string{"", "secret-guess"} {
		nc := connect(t, bus.ConnectOptions{URLs: url, Token: token, Logger: logger})
		eventually(t, "refusal", func() bool { return errors.Is(nc.LastError(), nats.ErrAuthorization) })
		if nc.IsConnected() {
			t.Errorf("token %q is connected", token)
		}
		nc.Close()
	}
	if s.Refused() < 2 {
		t.Errorf("%d refusals are counted, want at least 2", s.Refused())
	}

	a := connect(t, bus.ConnectOptions{URLs: url, Token: "token-of-a", Logger: logger})
	ask(t, a)
	// One may neither publish elsewhere nor read the answers to another.
	violations := make(chan error, 10)
	a.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { violations <- err })
	for what, do := range map[string]func() error{
		"publish elsewhere": func() error { return a.Publish("other", nil) },
		"all inboxes":       func() error { _, err := a.SubscribeSync("_INBOX.>"); return err },
		"another's inbox":   func() error { _, err := a.SubscribeSync(bus.InboxPrefix("token-of-b") + ".>"); return err },
	} {
		if err := do(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		select {
		case err := <-violations:
			if !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("%s: %v", what, err)
			}
		case <-time.After(5 * time.Second):
			t.Errorf("%s is not refused", what)
		}
	}
	if text := log.String(); strings.Contains(text, "secret-guess") || strings.Contains(text, "token-of-a") {
		t.Errorf("the log holds a token:\n%s", text)
	}
}

func TestClientStartsBeforeServerAndComesBack(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	nc := connect(t, bus.ConnectOptions{URLs: []string{"nats://" + addr}})
	if nc.IsConnected() {
		t.Fatal("connected to nothing")
	}
	for i := range 2 {
		t.Run(fmt.Sprint("start ", i), func(t *testing.T) {
			s := start(t, broker.Options{Listen: addr})
			echo(t, s)
			ask(t, nc)
		})
		eventually(t, "disconnection", func() bool { return !nc.IsConnected() })
	}
}

func TestStoreIsCreated(t *testing.T) {
	s := start(t, broker.Options{Store: &broker.StoreOptions{Dir: filepath.Join(t.TempDir(), "a", "b"), MaxBytes: 1 << 20}})
	if err := s.StoreError(); err != nil {
		t.Error(err)
	}
}
