package goproxy_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/broker"
	"github.com/speedscale/speedscale/agents/bus"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/traffic"
)

// listener hears what sidecars say of themselves, as the forwarder does.
type listener struct {
	*forwarder
	mu    sync.Mutex
	heard []*cloudv1.SidecarTelemetry
}

func startListener(t *testing.T, authenticate func(string) (broker.Permissions, error)) *listener {
	t.Helper()
	s, err := broker.Start(broker.Options{Listen: "127.0.0.1:0", Authenticate: authenticate})
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Connect(t.Context(), bus.ConnectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{forwarder: &forwarder{addr: s.Addr().String()}}
	r, err := bus.Receive(bus.ReceiverOptions{Conn: c, Handle: func(_ context.Context, b *traffic.Batch) error {
		l.forwarder.mu.Lock()
		defer l.forwarder.mu.Unlock()
		l.got = append(l.got, b)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Subscribe(bus.RawTelemetry+">", func(m *nats.Msg) {
		var s cloudv1.SidecarTelemetry
		if err := proto.Unmarshal(m.Data, &s); err != nil {
			t.Error(err)
		}
		if _, producer, _ := bus.TelemetryPod(m.Subject); producer != s.Producer {
			t.Errorf("producer %q said it on %q", s.Producer, m.Subject)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.heard = append(l.heard, &s)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		c.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s.Shutdown(ctx)
	})
	return l
}

func (l *listener) last() *cloudv1.SidecarTelemetry {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.heard) == 0 {
		return nil
	}
	return l.heard[len(l.heard)-1]
}

func TestBinaryTellsHowItIs(t *testing.T) {
	t.Setenv("TELEMETRY_INTERVAL", "1s")
	t.Setenv("SPEEDSCALE_VERSION", "v7")
	app, l := echo(t), startListener(t, nil)
	b := startBinary(t, app.Listener.Addr().String(), l.addr)
	eventually(t, func() bool { return l.last() != nil }, "it says nothing")
	first := l.last()
	if first.Version != "v7" || first.Mode != "reverse" || first.Service != "cart" || first.Pod != "" || first.Namespace != "" ||
		first.Outbound != nil || first.Inbound.GetLastSeen() != 0 || first.Memory == 0 || first.CaptureMemoryLimit == 0 ||
		time.Duration(first.Interval) != time.Second || first.Started == 0 || first.Time < first.Started {
		t.Errorf("at first it says %v", first)
	}
	if _, err := request(b.in + "/1"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return l.last().Inbound.GetPairs() == 1 }, "the pair is not told")
	if d := l.last().Inbound; d.Connections != 1 || d.Bytes < 50 || d.LastSeen < first.Started {
		t.Errorf("it says %v", d)
	}
	syscall.Kill(b.relay(t), syscall.SIGKILL)
	eventually(t, func() bool { return l.last().Restarts == 1 && l.last().Producer != first.Producer }, "the restart is not told")
	b.Process.Signal(syscall.SIGTERM)
	if err := <-b.exited; err != nil {
		t.Errorf("exit: %v", err)
	}
	eventually(t, func() bool { return l.last().Gone }, "its end is not told")
}

func TestBinaryTellsNothingWhereItIsOff(t *testing.T) {
	t.Setenv("TELEMETRY_INTERVAL", "0")
	app, l := echo(t), startListener(t, nil)
	b := startBinary(t, app.Listener.Addr().String(), l.addr)
	if _, err := request(b.in + "/1"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { n, _, _ := l.count(""); return n == 1 }, "the pair did not arrive")
	b.Process.Signal(syscall.SIGTERM)
	if err := <-b.exited; err != nil {
		t.Errorf("exit: %v", err)
	}
	if s := l.last(); s != nil {
		t.Errorf("it says %v", s)
	}
}

// TestOlderForwarderTakesNoTelemetry: it does not know the subject, and refuses it. Data
// does not notice.
func TestOlderForwarderTakesNoTelemetry(t *testing.T) {
	t.Setenv("TELEMETRY_INTERVAL", "1s")
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("FORWARDER_TOKEN_FILE", token)
	var mu sync.Mutex
	connections := 0
	l := startListener(t, func(got string) (broker.Permissions, error) {
		if got != "0123456789abcdef" {
			return broker.Permissions{}, errors.New("another token")
		}
		mu.Lock()
		defer mu.Unlock()
		connections++
		return broker.Permissions{Publish: []string{bus.RawPairs + ">", bus.RulesMasking}}, nil
	})
	b := startBinary(t, app(t), l.addr)
	for i, n := time.Now(), 0; time.Since(i) < 3*time.Second; n++ {
		if _, err := request(b.in + "/1"); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() bool { got, _, _ := l.count(""); return got > n }, "a pair did not arrive")
		time.Sleep(100 * time.Millisecond)
	}
	mu.Lock()
	defer mu.Unlock()
	if s := l.last(); s != nil || connections != 1 {
		t.Errorf("%d connections, heard %v", connections, s)
	}
}

func app(t *testing.T) string { t.Helper(); return echo(t).Listener.Addr().String() }
