package ingest_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/cloud/ingest"
	"github.com/speedscale/speedscale/traffic"
)

// On a full disk batches are refused with the reason, none that was acknowledged is
// lost, and ingest goes on by itself once there is room.
func TestFullDisk(t *testing.T) {
	dir := smallVolume(t)
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 32<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, dir, ingest.Options{Reserve: 24 << 20, SegmentBytes: 2 << 20, SegmentAge: 100 * time.Millisecond}, nil)
	f := &feed{t: t, r: r}
	publish := f.publish
	// Once in a while a batch finds room, since the archiver frees some.
	fill := func() {
		t.Helper()
		for end, refused := time.Now().Add(90*time.Second), 0; refused < 20; {
			if time.Now().After(end) {
				t.Fatalf("only %d batches are refused of %d", refused, refused+len(f.sent))
			}
			if err := publish(); err != nil {
				if !strings.Contains(err.Error(), "maximum bytes exceeded") {
					t.Fatalf("refused with %v", err)
				}
				refused++
				time.Sleep(100 * time.Millisecond)
			}
		}
	}
	fill()
	if len(f.sent) < 20 {
		t.Fatalf("only %d batches were taken", len(f.sent))
	}
	_, refused, err := r.Status(t.Context())
	if err != nil || !strings.Contains(refused, "disk full") || !strings.Contains(refused, dir) {
		t.Errorf("status: %q, %v", refused, err)
	}
	before := len(f.sent)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); publish() != nil; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("ingest does not go on after there is room again")
		}
	}
	fill()
	f.wantOnce()
	t.Logf("%d batches of 200 KB, %d after there was room again", len(f.sent), len(f.sent)-before)
}

// Another program fills the volume to its last byte between two looks at it, so that
// the store fails to write. It is opened anew by itself once there is room.
func TestDiskFilledByOthers(t *testing.T) {
	dir := smallVolume(t)
	r := start(t, dir, ingest.Options{Reserve: 24 << 20, SegmentBytes: 2 << 20, SegmentAge: 100 * time.Millisecond}, nil)
	f := &feed{t: t, r: r}
	for range 20 {
		if err := f.publish(); err != nil {
			t.Fatal(err)
		}
	}
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 96<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the volume is not full: %v", err)
	}
	failed := 0
	f.timeout = 500 * time.Millisecond
	for range 10 {
		if err := f.publish(); err != nil {
			failed++
		}
	}
	if failed < 9 {
		t.Errorf("%d of 10 batches are refused on a full volume", failed)
	}
	if _, refused, err := r.Status(t.Context()); err != nil || !strings.Contains(refused, "disk full") {
		t.Errorf("status: %q, %v", refused, err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); f.publish() != nil; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("ingest does not go on after there is room again")
		}
	}
	f.wantOnce()
}

// smallVolume mounts a file system of 96 MiB.
func smallVolume(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: the full disk needs root, to mount a small file system")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=96m"); err != nil {
		t.Skipf("NOT TESTED: the full disk: mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// feed publishes batches of 200 KB, each until it is acknowledged.
type feed struct {
	t       *testing.T
	r       *rig
	timeout time.Duration // 0 is 5 s
	next    *traffic.Batch
	sent    []*traffic.Batch
}

func (f *feed) publish() error {
	if f.next == nil {
		f.next = newBatch("p", uint64(len(f.sent)+1), 20)
		for _, p := range f.next.Pairs {
			body := make([]byte, 10_000) // which does not compress
			rand.Read(body)
			p.Http = &traffic.HTTP{Res: &traffic.HTTPResponse{Body: body}}
		}
	}
	ctx, cancel := context.WithTimeout(f.t.Context(), cmp.Or(f.timeout, 5*time.Second))
	defer cancel()
	_, err := f.r.js.Publish(ctx, bus.IngestPairs+"p", mustMarshal(f.t, f.next))
	if err == nil {
		f.sent, f.next = append(f.sent, f.next), nil
	}
	return err
}

func (f *feed) wantOnce() {
	f.t.Helper()
	f.r.flush(f.t)
	got := f.r.uuids(f.t)
	if f.next != nil && got[string(f.next.Pairs[0].Uuid)] == 1 {
		f.sent = append(f.sent, f.next) // stored, but the acknowledgement was late
	}
	wantOnce(f.t, got, f.sent...)
}
