package intercept

import (
	"crypto/tls"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// TestRenewedCertificate: the files change before the app takes the new
// certificate, so both are known for a while.
func TestRenewedCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
		check := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		changes := 0
		write := func() []byte {
			ca, err := NewCA()
			check(err)
			check(ca.Save(cert, key))
			changes++
			// Two writes may come within one tick of the file system's clock.
			for _, file := range []string{cert, key} {
				check(os.Chtimes(file, time.Time{}, time.Now().Add(time.Duration(changes)*time.Minute)))
			}
			pair, err := tls.LoadX509KeyPair(cert, key)
			check(err)
			time.Sleep(recheck)
			return pair.Leaf.Raw
		}
		first := write()
		own := ownFiles(cert, key, slog.New(slog.DiscardHandler))
		check(own.load())
		known := func(certs ...[]byte) (n int) {
			for _, c := range certs {
				if p := own.get().find(c); p != nil && string(p.Leaf.Raw) == string(c) {
					n++
				}
			}
			return n
		}
		second := write()
		if known(first, second) != 2 {
			t.Error("after the first renewal not both are known")
		}
		third := write()
		if known(third) != 1 || known(second) != 1 || known(first) != 0 {
			t.Error("after the second renewal not just the last two are known")
		}
		// Files that make no sense leave what was there.
		check(os.WriteFile(key, []byte("x"), 0o600))
		check(os.Chtimes(key, time.Time{}, time.Now().Add(time.Hour)))
		time.Sleep(recheck)
		if known(third, second) != 2 {
			t.Error("an unreadable key took the place of a good one")
		}
	})
}

// TestFilesThatComeLater: a Secret may be made after the pod that names it.
func TestFilesThatComeLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
		i, err := New(Options{UpstreamCA: []string{cert}, InCert: cert, InKey: key, Tolerant: true})
		if err != nil {
			t.Fatal(err)
		}
		unusable := func() [2]bool { return [2]bool{i.outbound().unusable, i.intoApp().unusable} }
		if unusable() != [2]bool{true, true} {
			t.Error("files that are not there are used")
		}
		ca, err := NewCA()
		if err == nil {
			err = ca.Save(cert, key)
		}
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(recheck)
		if unusable() != [2]bool{false, false} {
			t.Error("files that are there by now are not used")
		}
	})
}
