package e2e

import (
	"crypto/rand"
	"encoding/base64"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestFullDisk fills the cloud's volume: ingest says why it stops, and what was
// captured meanwhile is in the archive once there is room again.
func TestFullDisk(t *testing.T) {
	need(t, "curl")
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: a full disk needs root, to mount a small file system")
	}
	dir := t.TempDir()
	volume := filepath.Join(dir, "cloud")
	if err := os.Mkdir(volume, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", volume, "tmpfs", 0, "size=96m"); err != nil {
		t.Skipf("SKIPPED: a full disk: mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(volume, 0); err != nil {
			t.Error(err)
		}
	})
	ballast := filepath.Join(volume, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 32<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	d := deployCloud(t, dir, "-reserve", strconv.Itoa(24<<20), "-retention-bytes", "-1")
	d.deployForwarder()
	d.deployProxy(startSink(t), d.forwarderAddr)

	sent := 0
	send := func() {
		t.Helper()
		// Text that does not compress well, and that masking can read.
		noise := make([]byte, 60_000)
		rand.Read(noise)
		res, err := client(t).Post("http://"+d.in+"/", "text/plain", strings.NewReader(base64.StdEncoding.EncodeToString(noise)))
		if err != nil {
			t.Fatalf("request %d: %v", sent, err)
		}
		res.Body.Close()
		sent++
	}
	refused := ""
	for deadline := time.Now().Add(time.Minute); refused == "" && time.Now().Before(deadline); {
		for range 20 {
			send()
		}
		// No more waits before the cloud than there will be room for.
		for queued := true; queued && refused == ""; time.Sleep(50 * time.Millisecond) {
			n, ok := metric(d.forwarderMetrics, "messages_queued")
			queued = !ok || n > 0
			refused = d.ingest(false).Refused
		}
	}
	if !strings.Contains(refused, "disk full") || !strings.Contains(refused, volume) {
		t.Fatalf("after %d requests of 80 kB the cloud says %q", sent, refused)
	}
	// The cloud still answers, and the app too.
	d.user.must("get", "snapshots")
	for range 20 {
		send()
	}
	d.drainProxy() // the forwarder's spool has what the cloud refuses
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	d.proxy.stop()
	d.drainForwarder()
	if r := d.flush(); r.Pairs != uint64(sent) || r.Refused != "" {
		t.Errorf("of %d pairs %d are in the archive; the cloud refuses with %q", sent, r.Pairs, r.Refused)
	}
	out := d.user.must("get", "traffic", "--limit", "0", "-o", "json")
	if n := strings.Count(out, `"msgType":"rrpair"`); n != sent {
		t.Errorf("speedctl get traffic shows %d of %d pairs", n, sent)
	}
}
