package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// npmInstall installs what test/e2e/npm names, once for all tests. npm ci would refuse
// a lock file that does not have the packages of every platform, which not every
// registry serves.
var npmInstall = sync.OnceValue(func() error {
	cmd := exec.Command("npm", "install", "--no-save", "--no-audit", "--no-fund")
	cmd.Dir = "npm"
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm install: %w\n%s", err, out)
	}
	return nil
})

func needNPM(t *testing.T) {
	t.Helper()
	need(t, "node", "npm")
	if err := npmInstall(); err != nil {
		t.Fatal(err)
	}
}

const shelf = `{"books":[{"id":1,"title":"Emma","pages":474},{"id":2,"title":"Persuasion","pages":249}],"loans":[]}`

// jsonServer starts json-server with the data as it was at first.
func jsonServer(t *testing.T, addr, port string) *background {
	t.Helper()
	db := filepath.Join(t.TempDir(), "db.json")
	if err := os.WriteFile(db, []byte(shelf), 0o644); err != nil {
		t.Fatal(err)
	}
	b := launch(t, os.Environ(), "node", "npm/node_modules/json-server/lib/cli/bin.js", "--host", "127.0.0.1", "--port", port, db)
	b.waitFor(addr)
	return b
}

// TestJSONServerWithWrites captures reads and writes, and replays them in their
// order against a server whose data was put back.
func TestJSONServerWithWrites(t *testing.T) {
	needNPM(t)
	addr, port := freeAddr(t)
	inAddr, inPort := freeAddr(t)
	server := jsonServer(t, addr, port)
	u := newUser(t)
	capture := u.start("capture", "books", port, "--in-port", inPort, "--out-port", "0")
	capture.waitFor(inAddr)
	c := client(t)
	steps := []struct{ method, path, body string }{
		{"GET", "/books", ""},
		{"POST", "/books", `{"title":"Sanditon","pages":120}`},
		{"GET", "/books/3", ""},
		{"PUT", "/books/3", `{"title":"Sanditon","pages":121}`},
		{"PATCH", "/books/1", `{"pages":475}`},
		{"GET", "/books?pages_gte=200&_sort=title", ""},
		{"POST", "/loans", `{"bookId":3,"by":"ann"}`},
		{"GET", "/books/3?_embed=loans", ""},
		{"DELETE", "/books/2", ""},
		{"GET", "/books/2", ""},
		{"GET", "/books", ""},
		{"GET", "/nothing", ""},
	}
	for _, s := range steps {
		req, err := http.NewRequest(s.method, "http://"+inAddr+s.path, strings.NewReader(s.body))
		if err != nil {
			t.Fatal(err)
		}
		if s.body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
	if out, want := capture.interrupt(), fmt.Sprintf("Captured %d inbound", len(steps)); !strings.Contains(out, want) {
		t.Fatalf("capture did not say %q:\n%s", want, out)
	}
	u.must("create", "snapshot", "--name", "books")
	for range 2 {
		server.kill()
		server = jsonServer(t, addr, port)
		r := u.replay("books", addr, []string{"Date"})
		if r.Requests.Passed != int64(len(steps)) {
			t.Errorf("%d of %d requests passed", r.Requests.Passed, len(steps))
		}
	}
	// Without putting the data back, the replay has to tell the difference.
	if r := u.run("replay", "books", "--test-against", "http://"+addr, "--ignore", "Date"); r.code != 3 {
		t.Errorf("a replay against changed data ended with %d, want 3\n%s%s", r.code, r.stdout, r.stderr)
	}
}
