package broker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/speedscale/speedscale/agents/broker"
)

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
