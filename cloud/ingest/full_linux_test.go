package ingest_test

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/speedscale/speedscale/cloud/ingest"
	"github.com/speedscale/speedscale/traffic"
)

// On a full disk batches are refused with the reason, none that was acknowledged is
// lost, and ingest goes on by itself once there is room.
func TestFullDisk(t *testing.T) {
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
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 32<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, dir, ingest.Options{Reserve: 24 << 20, SegmentBytes: 2 << 20, SegmentAge: 100 * time.Millisecond}, nil)
	var sent []*traffic.Batch
	publish := func() error {
		b := newBatch("p", uint64(len(sent)+1), 20)
		for _, p := range b.Pairs {
			body := make([]byte, 10_000) // which does not compress
			rand.Read(body)
			p.Http = &traffic.HTTP{Res: &traffic.HTTPResponse{Body: body}}
		}
		err := r.publish(t, b)
		if err == nil {
			sent = append(sent, b)
		}
		return err
	}
	// Once in a while a batch finds room, since the archiver frees some.
	fill := func() {
		t.Helper()
		for end, refused := time.Now().Add(30*time.Second), 0; refused < 20; {
			if time.Now().After(end) {
				t.Fatal("nothing is refused")
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
	if len(sent) < 20 {
		t.Fatalf("only %d batches were taken", len(sent))
	}
	_, refused, err := r.Status(t.Context())
	if err != nil || !strings.Contains(refused, "disk full") || !strings.Contains(refused, dir) {
		t.Errorf("status: %q, %v", refused, err)
	}
	before := len(sent)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); publish() != nil; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("ingest does not go on after there is room again")
		}
	}
	fill()
	r.flush(t)
	wantOnce(t, r.uuids(t), sent...)
	t.Logf("%d batches of 200 KB, %d after there was room again", len(sent), len(sent)-before)
}
