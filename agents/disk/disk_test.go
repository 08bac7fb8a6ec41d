package disk_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/speedscale/speedscale/agents/disk"
)

func TestSpaceOf(t *testing.T) {
	s, err := disk.SpaceOf(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if s.Size <= 0 || s.Free < 0 || s.Free > s.Size {
		t.Errorf("got %+v", s)
	}
	if _, err := disk.SpaceOf(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a folder that is not there has space")
	}
}

func TestTryLock(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	open := func() *os.File {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	try := func(f *os.File, shared, want bool) {
		t.Helper()
		if ok, err := disk.TryLock(f, shared); ok != want || err != nil {
			t.Errorf("shared %t: got %t, %v; want %t", shared, ok, err, want)
		}
	}
	first := open()
	try(first, false, true)
	try(open(), false, false)
	try(open(), true, false)
	// What is locked can be read and written.
	if _, err := first.WriteString("x"); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(name); string(b) != "x" || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
	first.Close()
	reader := open()
	try(reader, true, true)
	try(open(), true, true)
	try(open(), false, false)
}
