package snapshot_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/speedscale/speedscale/traffic/snapshot"
)

func TestFullDiskIsAClearErrorAndLeavesNothing(t *testing.T) {
	mount := t.TempDir()
	if err := syscall.Mount("tmpfs", mount, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mounting a small disk: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(mount, 0) })

	// Once the disk is full while pairs are added, once while committing, when
	// the lines are written a second time.
	for _, pairs := range []int{5000, 2200} {
		dir := filepath.Join(mount, "s")
		w, err := snapshot.Create(dir, snapshot.Meta{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range pairs {
			if err = w.Add(pair(i, in)); err != nil {
				break
			}
		}
		if (err != nil) != (pairs == 5000) {
			t.Fatalf("adding %d pairs: %v", pairs, err)
		}
		_, err = w.Commit()
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), dir) {
			t.Errorf("error is %v, want one that names the folder and the full disk", err)
		}
		if left, err := os.ReadDir(mount); err != nil || len(left) > 0 {
			t.Errorf("%v is left on the disk (%v)", left, err)
		}
	}
}
