// Package ports keeps tests of different packages, which go test runs at the same time,
// from each other's way.
package ports

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/speedscale/speedscale/agents/disk"
)

// limit is how long a test waits for the others.
const limit = 10 * time.Minute

// Own gives a test the ports that speedctl listens on by default, until it ends. It waits
// while another has them.
func Own(t testing.TB) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(os.TempDir(), "speedscale-test-ports.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() }) // and with it the lock
	for deadline := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		owned, err := disk.TryLock(f, false)
		switch {
		case err != nil:
			t.Fatalf("lock %q: %v", f.Name(), err)
		case owned:
			return
		case time.Now().After(deadline):
			t.Fatalf("%q: another test has had it for %v", f.Name(), limit)
		}
	}
}
