package broker_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/speedscale/speedscale/agents/broker"
	"github.com/speedscale/speedscale/agents/bus"
)

// childStore names the store of a child process of TestKilledServerLosesNothing.
const childStore = "BROKER_TEST_STORE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childStore); dir != "" {
		err := publishForever(dir)
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func openStream(ctx context.Context, s *broker.Server) (jetstream.JetStream, jetstream.Stream, func(), error) {
	nc, err := s.Connect(ctx, bus.ConnectOptions{})
	if err != nil {
		return nil, nil, nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, nil, nil, err
	}
	stream, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, Discard: jetstream.DiscardNew})
	return js, stream, nc.Close, err
}

// publishForever prints the number of each message once it is acknowledged.
func publishForever(dir string) error {
	s, err := broker.Start(broker.Options{Store: &broker.StoreOptions{Dir: dir}})
	if err != nil {
		return err
	}
	js, _, _, err := openStream(context.Background(), s)
	if err != nil {
		return err
	}
	for i := 1; ; i++ {
		if _, err := js.Publish(context.Background(), "s.a", fmt.Appendf(nil, "%d %s", i, strings.Repeat("x", i*7%5000))); err != nil {
			return err
		}
		fmt.Println(i)
	}
}

func TestKilledServerLosesNothing(t *testing.T) {
	for round := range 3 {
		dir := t.TempDir()
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childStore+"="+dir)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		acked := 0
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			acked++
			if acked == 500+377*round {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		cmd.Wait() // it was killed
		if acked < 500 {
			t.Fatalf("%d acknowledged: %s", acked, &stderr)
		}
		s := start(t, broker.Options{Store: &broker.StoreOptions{Dir: dir}})
		_, stream, done, err := openStream(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		for i := 1; i <= acked; i++ {
			m, err := stream.GetMsg(t.Context(), uint64(i))
			if err != nil || !bytes.HasPrefix(m.Data, fmt.Appendf(nil, "%d ", i)) {
				t.Fatalf("acknowledged message %d of %d: %v", i, acked, err)
			}
		}
		done()
	}
}

func TestReserveIsKept(t *testing.T) {
	s := start(t, broker.Options{Store: &broker.StoreOptions{Dir: t.TempDir(), MaxBytes: 1 << 20, Reserve: 1 << 60}})
	if err := s.StoreError(); !errors.Is(err, broker.ErrDiskFull) {
		t.Errorf("got %v", err)
	}
	if err := s.RestartStore(); !errors.Is(err, broker.ErrDiskFull) {
		t.Errorf("restart: %v", err)
	}
}
