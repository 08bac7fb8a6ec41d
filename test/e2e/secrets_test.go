package e2e

import (
	"bytes"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
)

// TestSecretsAreNowhere plants secrets where apps put them, and looks for them in
// all bytes of the data folder, decompressed, and in all that was printed. The
// masked snapshot still replays against the server, and mocks it.
func TestSecretsAreNowhere(t *testing.T) {
	need(t, "curl")
	addr, port := freeAddr(t)
	inAddr, inPort := freeAddr(t)
	server := launch(t, os.Environ(), bin("go-httpbin"), "-host", "127.0.0.1", "-port", port)
	server.waitFor(addr)
	u := newUser(t)

	secrets := map[string]string{
		"header": "hdr-5ecret-8d1f0c", "query": "qry-5ecret-77aa01", "body": "bdy-5ecret-19cc3e",
		"cookie": "ck-5ecret-42e9b0", "card": "4111111111111111", "mail": "grace.hopper.5ecret@example.com",
	}
	capture := u.start("-vv", "capture", "httpbin", port, "--in-port", inPort, "--out-port", "0")
	capture.waitFor(inAddr)
	body := `{"user":"ann","password":"` + secrets["body"] + `","card":"` + secrets["card"] + `","contact":["` + secrets["mail"] + `"],"amount":12.50}`
	req, err := http.NewRequest(http.MethodPost, "http://"+inAddr+"/anything?token="+secrets["query"]+"&page=2", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+secrets["header"])
	req.AddCookie(&http.Cookie{Name: "session", Value: secrets["cookie"]})
	for range 3 {
		clone := req.Clone(t.Context())
		clone.Body, _ = req.GetBody()
		res, err := client(t).Do(clone)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
	printed := capture.interrupt()
	printed += u.must("create", "snapshot", "--name", "masked", "-o", "json")
	printed += u.must("get", "traffic", "-o", "json")
	if !strings.Contains(printed, "REDACTED") {
		t.Errorf("nothing was masked:\n%s", printed)
	}

	r := u.replay("masked", addr, append(httpbinDiffers, "headers"))
	if r.Requests.Passed != 3 {
		t.Errorf("%d of 3 masked requests passed", r.Requests.Passed)
	}
	for where, secret := range secrets {
		if strings.Contains(printed, secret) {
			t.Errorf("the secret of the %s was printed", where)
		}
	}
	searched := 0
	err = filepath.WalkDir(u.home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		searched++
		for _, content := range contents(t, path) {
			for where, secret := range secrets {
				if bytes.Contains(content, []byte(secret)) {
					t.Errorf("the secret of the %s is in %s", where, path)
				}
			}
		}
		return nil
	})
	if err != nil || searched < 5 {
		t.Errorf("searched %d files: %v", searched, err)
	}
}

// TestMaskingInTheSidecar looks for a secret on the way from proxy to forwarder: it
// is there, unless the proxy masks.
func TestMaskingInTheSidecar(t *testing.T) {
	for _, where := range []string{"forwarder", "sidecar"} {
		t.Run(where, func(t *testing.T) {
			d := deployCloud(t, t.TempDir())
			d.deployForwarder()
			w := newWitness(t, d.forwarderAddr)
			w.secret = []byte("hdr-5ecret-8d1f0c")
			d.deployProxy(startNginx(t), w.addr(), "MASK_IN="+where)
			d.eventually("the proxy has no rules", func() bool {
				return where == "forwarder" || strings.Contains(d.proxy.printed(), "masking rules in force")
			})
			for range 20 {
				req, err := http.NewRequest(http.MethodGet, "http://"+d.in+"/orders", nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Authorization", "Bearer "+string(w.secret))
				res, err := client(t).Do(req)
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
			}
			d.proxy.stop()
			d.drainForwarder()
			if in := d.flush(); in.Pairs != 20 {
				t.Errorf("%d of 20 pairs are archived", in.Pairs)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if leaked := w.leaked > 0; leaked != (where == "forwarder") {
				t.Errorf("%d batches with the secret left the proxy", w.leaked)
			}
			for _, s := range []*service{d.cloud, d.forwarder, d.proxy} {
				if strings.Contains(s.printed(), string(w.secret)) {
					t.Errorf("%s printed the secret", s.name)
				}
			}
		})
	}
}

// contents returns a file's bytes, and those of a Parquet file's values.
func contents(t *testing.T, path string) [][]byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all := [][]byte{raw}
	if filepath.Ext(path) != ".parquet" {
		return all
	}
	file, err := parquet.OpenFile(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for _, group := range file.RowGroups() {
		rows := group.Rows()
		buf := make([]parquet.Row, 64)
		for {
			n, err := rows.ReadRows(buf)
			for _, row := range buf[:n] {
				for _, v := range row {
					all = append(all, []byte(v.String()))
				}
			}
			if err != nil {
				break // io.EOF, or nothing that was not found by the search of the file itself
			}
		}
		rows.Close()
	}
	if len(all) < 2 {
		t.Errorf("%s holds no values", path)
	}
	return all
}
