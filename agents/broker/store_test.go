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
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

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
	if testing.Short() {
		t.Skip("starts processes")
	}
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

// TestFullDisk fills a file system of 24 MiB past its last byte.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"); err != nil {
		t.Skipf("mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	// The reserve is switched off, as if another had taken the space meanwhile.
	s := start(t, broker.Options{Store: &broker.StoreOptions{Dir: dir, MaxBytes: 1 << 30, Reserve: 1}})
	js, stream, done, err := openStream(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	publish := func(i int) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := js.Publish(ctx, "s.a", fmt.Appendf(nil, "%d %s", i, strings.Repeat("x", 100_000)))
		return err
	}
	acked := 0
	for publish(acked+1) == nil {
		acked++
	}
	if acked < 100 || acked > 252 {
		t.Fatalf("%d messages of 100 kB were acknowledged on a disk of 24 MiB", acked)
	}
	if err := s.StoreError(); err == nil {
		t.Log("the reserve of one byte is still free")
	} else if !errors.Is(err, broker.ErrDiskFull) || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v", err)
	}
	// With room again, and the store opened anew, all that was acknowledged is there.
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=48m"); err != nil {
		t.Fatal(err)
	}
	if err := s.RestartStore(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a stored message", func() bool { return publish(acked+1) == nil })
	for i := 1; i <= acked+1; i++ {
		m, err := stream.GetMsg(t.Context(), uint64(i))
		if err != nil {
			t.Fatalf("message %d of %d: %v", i, acked, err)
		}
		if i <= acked && !bytes.HasPrefix(m.Data, fmt.Appendf(nil, "%d ", i)) {
			t.Fatalf("message %d is %.20q", i, m.Data)
		}
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
