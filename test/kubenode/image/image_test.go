package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestArchive reads the archive back as a container runtime does: from index.json
// through manifest and configuration to the layer, every blob checked by digest.
func TestArchive(t *testing.T) {
	dir, out := t.TempDir(), filepath.Join(t.TempDir(), "app.tar")
	put(t, filepath.Join(dir, "app"), 0o755, "program")
	put(t, filepath.Join(dir, "etc/app/config.yaml"), 0o640, "a: 1\n")
	if err := os.Symlink("app", filepath.Join(dir, "run")); err != nil {
		t.Fatal(err)
	}
	args := []string{"--user", "2100:2100", "--env", "A=1", "--env", "B=x=y", "--workdir", "/etc", dir, "speedscale/app:v1", out, "/app", "-v"}
	if err := run(args, t.Output()); err != nil {
		t.Fatal(err)
	}

	files := untar(t, readFile(t, out))
	blob := func(d descriptor) []byte {
		t.Helper()
		b := []byte(files[d.path()].content)
		sum := sha256.Sum256(b)
		if got := "sha256:" + hex.EncodeToString(sum[:]); got != d.Digest || int64(len(b)) != d.Size {
			t.Fatalf("blob %s has digest %s and %d bytes, want %d", d.Digest, got, len(b), d.Size)
		}
		return b
	}
	var idx index
	decode(t, []byte(files["index.json"].content), &idx)
	if got := idx.Manifests[0].Annotations["io.containerd.image.name"]; got != "docker.io/speedscale/app:v1" {
		t.Errorf("the image's name is %q", got)
	}
	var m manifest
	decode(t, blob(idx.Manifests[0]), &m)
	var c imageConfig
	decode(t, blob(m.Config), &c)
	if got := strings.Join(append(c.Config.Entrypoint, c.Config.User, c.Config.WorkingDir), " ") + " " + strings.Join(c.Config.Env, " "); got != "/app -v 2100:2100 /etc A=1 B=x=y" {
		t.Errorf("the configuration says %q", got)
	}
	if c.RootFS.DiffIDs[0] != m.Layers[0].Digest {
		t.Errorf("diff id %s is not the digest of the uncompressed layer %s", c.RootFS.DiffIDs[0], m.Layers[0].Digest)
	}
	layer := untar(t, blob(m.Layers[0]))
	for name, want := range map[string]entry{
		"app":                 {0o755, "program", ""},
		"etc/":                {0o755, "", ""},
		"etc/app/config.yaml": {0o640, "a: 1\n", ""},
		"run":                 {0o777, "", "app"},
	} {
		if got := layer[name]; got != want {
			t.Errorf("%s is %+v, want %+v", name, got, want)
		}
	}

	again := filepath.Join(t.TempDir(), "app.tar")
	args[10] = again
	if err := run(args, t.Output()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(readFile(t, out), readFile(t, again)) {
		t.Error("the same input gave other bytes")
	}
}

func TestNames(t *testing.T) {
	for in, want := range map[string]string{
		"app:v1":                      "docker.io/library/app:v1",
		"speedscale/app:v1-2-gabc":    "docker.io/speedscale/app:v1-2-gabc",
		"localhost/app:1":             "localhost/app:1",
		"registry.test:5000/a/b_c:1.": "registry.test:5000/a/b_c:1.",
	} {
		if got, err := fullName(in); got != want || err != nil {
			t.Errorf("fullName(%q) is %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "app", "app:", "App:v1", "a b:1", "app:v1/x", "-a:1", "speedscale/app"} {
		if got, err := fullName(in); err == nil {
			t.Errorf("fullName(%q) is %q, want an error", in, got)
		}
	}
}

// TestBadInput leaves nothing behind, and says what is wrong.
func TestBadInput(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	put(t, file, 0o644, "")
	for _, test := range []struct {
		want string
		args []string
	}{
		{"want at least 4", []string{"dir"}},
		{"no such file", []string{filepath.Join(t.TempDir(), "missing"), "a:1", "OUT", "/a"}},
		{"is not a directory", []string{file, "a:1", "OUT", "/a"}},
		{`--user "root"`, []string{"--user", "root", t.TempDir(), "a:1", "OUT", "/a"}},
		{"NAME=VALUE", []string{"--env", "A", t.TempDir(), "a:1", "OUT", "/a"}},
		{"NAME:TAG", []string{t.TempDir(), "a", "OUT", "/a"}},
	} {
		dir := t.TempDir()
		for i, arg := range test.args {
			if arg == "OUT" {
				test.args[i] = filepath.Join(dir, "out.tar")
			}
		}
		if err := run(test.args, io.Discard); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("image %q: %v, want %q", test.args, err, test.want)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("image %q left %v, %v", test.args, left, err)
		}
	}
}

type entry struct {
	mode          int64
	content, link string
}

func untar(t *testing.T, archive []byte) map[string]entry {
	t.Helper()
	entries := map[string]entry{}
	for tr := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.ModTime.Unix() > 0 {
			t.Errorf("%s belongs to %d:%d and is of %v", h.Name, h.Uid, h.Gid, h.ModTime)
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		entries[h.Name] = entry{h.Mode, string(content), h.Linkname}
	}
}

func put(t *testing.T, path string, mode os.FileMode, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decode(t *testing.T, b []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}
