package ingest_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/broker"
	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/cloud/archive"
	"github.com/speedscale/speedscale/cloud/catalog"
	"github.com/speedscale/speedscale/cloud/ingest"
	"github.com/speedscale/speedscale/traffic"
)

// What the test binary is told where it runs as a child: the folder, and at which
// step of which commit it kills itself.
const (
	childDir  = "INGEST_TEST_DIR"
	childStep = "INGEST_TEST_STEP"
)

// child runs an ingest until it is killed, and prints where it listens.
func child(dir string) error {
	cat, err := catalog.Open(context.Background(), filepath.Join(dir, "catalog.db"))
	if err != nil {
		return err
	}
	ar, err := archive.Open(context.Background(), archive.Options{URL: "file://" + filepath.Join(dir, "archive"), Catalog: cat, MergeBelow: 1 << 20})
	if err != nil {
		return err
	}
	store := filepath.Join(dir, "bus")
	b, err := broker.Start(broker.Options{Name: "child", Listen: "127.0.0.1:0", Store: &broker.StoreOptions{Dir: store, MaxBytes: 1 << 40, Reserve: 1}})
	if err != nil {
		return err
	}
	in, err := ingest.Open(context.Background(), ingest.Options{
		Broker: b, Catalog: cat, Archive: ar, StoreDir: store, SegmentRows: 300, SegmentAge: 20 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	first, last, err := in.Holds(context.Background())
	if err != nil {
		return err
	}
	if err := ar.Recover(context.Background(), first, last); err != nil {
		return err
	}
	left := 1 + rand.N(4)
	in.SetFault(func(step string) error {
		if step == os.Getenv(childStep) {
			if left--; left == 0 {
				return syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
		}
		return nil
	})
	fmt.Println(b.ClientURL())
	go func() {
		for {
			ar.Merge(context.Background())
			time.Sleep(10 * time.Millisecond)
		}
	}()
	in.Run(context.Background())
	return nil
}

// The archiver is killed between upload and commit, and at every other step, while
// a producer goes on until each batch is acknowledged.
func TestExactlyOnceOverKill(t *testing.T) {
	dir := t.TempDir()
	steps := []string{"uploaded", "write", "committed", "uploaded", "", "uploaded"} // "": at any time
	var mu sync.Mutex
	url := ""
	stop := make(chan struct{})
	var running sync.WaitGroup
	defer running.Wait()
	defer sync.OnceFunc(func() { close(stop) })()
	ended := make(chan struct{})
	running.Go(func() {
		defer close(ended)
		for i := 0; i < len(steps); i++ {
			if err := runChild(dir, steps[i], stop, func(u string) { mu.Lock(); url = u; mu.Unlock() }); err != nil {
				t.Error(err)
				return
			}
		}
	})
	var sent []*traffic.Batch
	producing := true
	for seq := uint64(1); producing; seq++ {
		b := newBatch("p", seq, 20)
		data, err := proto.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		for acked := false; !acked && producing; {
			mu.Lock()
			u := url
			mu.Unlock()
			acked = publishTo(u, "p", data) == nil
			select {
			case <-ended:
				producing = false
			default:
			}
			if acked {
				sent = append(sent, b)
			}
		}
	}
	if t.Failed() {
		return
	}
	if len(sent) < 20 {
		t.Fatalf("only %d batches were acknowledged", len(sent))
	}
	r := start(t, dir, ingest.Options{}, nil)
	r.flush(t)
	got := r.uuids(t)
	for _, b := range sent {
		for _, p := range b.Pairs {
			if got[string(p.Uuid)] != 1 {
				t.Fatalf("a pair of batch %d is in the archive %d times", b.Sequence, got[string(p.Uuid)])
			}
		}
	}
	for _, n := range got {
		if n != 1 {
			t.Fatal("a pair that was not acknowledged is there more than once")
		}
	}
	t.Logf("%d batches acknowledged over %d kills", len(sent), len(steps))
}

// runChild runs a child until it has killed itself, or is killed.
func runChild(dir, step string, stop <-chan struct{}, listening func(url string)) error {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir, childStep+"="+step)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err == nil {
		listening(strings.TrimSpace(line))
	}
	wait := 20 * time.Second
	if step == "" {
		wait = 300 * time.Millisecond
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err = <-done:
	case <-time.After(wait):
		cmd.Process.Kill()
		err = <-done
		if step != "" {
			return fmt.Errorf("the child did not reach step %q in %v", step, wait)
		}
	case <-stop:
		cmd.Process.Kill()
		err = <-done
	}
	if cmd.ProcessState.ExitCode() != -1 {
		return fmt.Errorf("the child was not killed, but ended: %w", err)
	}
	return nil
}

// publishTo publishes once, over a connection of its own.
func publishTo(url, producer string, data []byte) error {
	nc, err := nats.Connect(url, nats.MaxReconnects(0), nats.Timeout(time.Second))
	if err != nil {
		time.Sleep(5 * time.Millisecond)
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, err = js.Publish(ctx, bus.IngestPairs+producer, data)
	return err
}
