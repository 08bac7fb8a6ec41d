package forwarder_test

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/speedscale/speedscale/agents/broker"
	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/agents/forwarder"
)

// TestFullDisk has the spool on a file system of 16 MiB, and a cloud that is away.
func TestFullDisk(t *testing.T) {
	spool := t.TempDir()
	if err := unix.Mount("tmpfs", spool, "tmpfs", 0, "size=16m"); err != nil {
		t.Skipf("mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(spool, 0); err != nil {
			t.Error(err)
		}
	})
	cloudAt, dir := freePort(t), t.TempDir()
	c := startCloud(t, cloudAt, dir, true)
	f := run(t, forwarder.Options{
		Cloud: bus.ConnectOptions{URLs: []string{"nats://" + cloudAt}},
		Spool: broker.StoreOptions{Dir: spool, Reserve: 12 << 20},
	})
	eventually(t, "rules", func() bool { return f.Ready() == nil })
	c.stop()
	p := proxy(t, f, "p1")
	const n = 5000 // 10 MB
	for i := range n {
		p.Pair(pair(i, "/orders"))
	}
	eventually(t, "a refusal", func() bool { return f.Stats().RefusedSpoolFull > 0 })
	if err := f.Ready(); !errors.Is(err, broker.ErrDiskFull) || !strings.Contains(err.Error(), spool) {
		t.Errorf("ready: %v", err)
	}
	if st := p.Stats(); st.AckedPairs == 0 || st.AckedPairs == n {
		t.Errorf("stats %+v", st)
	}
	c = startCloud(t, cloudAt, dir, true)
	closeNow(t, p)
	drain(t, f)
	if pairs, lost := c.pairs(t); len(pairs) != n || len(lost) != 0 {
		t.Errorf("%d pairs of %d, lost %v", len(pairs), n, lost)
	}
	f.stop()
}
