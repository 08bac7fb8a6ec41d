package snapshot_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

func TestOpenExplainsWhatIsWrong(t *testing.T) {
	root := t.TempDir()
	write := func(name, file, data string) string {
		dir := filepath.Join(root, name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if file != "" {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	write("gone.tmp", "", "")
	for _, c := range []struct {
		dir  string
		is   error
		text string
	}{
		{filepath.Join(root, "missing"), fs.ErrNotExist, "not a snapshot"},
		{write("empty", "", ""), snapshot.ErrNotSnapshot, "no snapshot.json"},
		{write("rawonly", "raw.jsonl", ""), snapshot.ErrNotSnapshot, "import the file"},
		{write("garbage", "snapshot.json", "<html>"), snapshot.ErrNotSnapshot, "snapshot.json"},
		{write("object", "snapshot.json", "{}"), snapshot.ErrNotSnapshot, "no id"},
		{write("future", "snapshot.json", `{"version":2,"id":"x"}`), snapshot.ErrVersion, "2"},
		{write("running", "snapshot.json", `{"version":1,"id":"x","status":"Processing"}`), snapshot.ErrUnfinished, "Processing"},
		{write("nodata", "snapshot.json", `{"version":1,"id":"x","status":"Complete"}`), snapshot.ErrNotSnapshot, "raw.jsonl is missing"},
		{filepath.Join(root, "gone"), snapshot.ErrUnfinished, "gone.tmp"},
	} {
		_, err := snapshot.Open(c.dir)
		if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: error is %v, want %q with %q", filepath.Base(c.dir), err, c.is, c.text)
		}
	}
}

func TestDocumentedSnapshotOfAnotherProgram(t *testing.T) {
	dir := t.TempDir()
	var raw []byte
	for _, i := range []int{2, 0, 1} {
		raw = append(traffic.AppendJSON(raw, pair(i, in)), '\n')
	}
	meta := `{"id":"939b6844","meta":{"name":"documented","startTime":"2026-01-01T00:00:00Z","namespaces":[{"name":"a","inspector":{"clusterName":"c"}}]},` +
		`"status":"Complete","tokenizerConfig":{"generator":[]},"recordsProcessed":3,"inTraffic":{},"outTraffic":{}}`
	for name, data := range map[string][]byte{"snapshot.json": []byte(meta), "raw.jsonl": raw, "action.jsonl": raw} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := snapshot.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := locations(t, s.Actions()); got != "/0 /1 /2" {
		t.Errorf("actions are %q, want them by time", got)
	}
	if got := locations(t, s.Reactions()); got != "" {
		t.Errorf("reactions are %q, want none", got)
	}
}

func TestImport(t *testing.T) {
	raw, err := os.ReadFile("../testdata/documented.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "s")
	meta, bad, err := snapshot.Import(dir, "imported", bytes.NewReader(append(raw, "{oops\n\n"...)))
	if err != nil {
		t.Fatal(err)
	}
	if len(bad) != 1 || bad[0].Line != 4 {
		t.Errorf("bad lines are %v, want line 4", bad)
	}
	if meta.RecordsProcessed != 3 || len(meta.Losses) != 1 || meta.Losses[0].Pairs != 1 {
		t.Errorf("meta is %+v", meta)
	}
	var keys []string
	for k := range meta.OutTraffic {
		keys = append(keys, k)
	}
	if _, err := snapshot.Match(keys, "java-client:java-server:80"); err != nil {
		t.Error(err)
	}
	kept, err := os.ReadFile(filepath.Join(dir, "raw.jsonl"))
	if err != nil || !bytes.Equal(kept, raw) {
		t.Errorf("lines were not kept as they are (%v)", err)
	}
	if _, _, err := snapshot.Import(filepath.Join(t.TempDir(), "s"), "x", strings.NewReader("no\n")); !errors.Is(err, snapshot.ErrNotSnapshot) {
		t.Errorf("importing a file without pairs: %v", err)
	}
}
