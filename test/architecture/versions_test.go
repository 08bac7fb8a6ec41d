package architecture

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestOneVersionOfEachDependency: what the product and the modules of tests in a cluster
// share is compiled once for all of them, which saves a machine with an empty cache minutes.
func TestOneVersionOfEachDependency(t *testing.T) {
	const root = "../../"
	files, err := filepath.Glob(root + "test/*/*/go.mod")
	if err != nil || len(files) < 3 {
		t.Fatalf("modules are %q, %v", files, err)
	}
	require := regexp.MustCompile(`(?m)^\t(\S+) (v\S+)`)
	type use struct{ file, version string }
	known := map[string]use{}
	for _, file := range append([]string{root + "go.mod"}, files...) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(file, root)
		for _, m := range require.FindAllStringSubmatch(string(text), -1) {
			path, version := m[1], m[2]
			if version == "v0.0.0" { // replaced
				continue
			}
			first, ok := known[path]
			if !ok {
				known[path] = use{name, version}
			} else if first.version != version {
				t.Errorf("%s has %s %s and %s has %s: go get the newer one in both", first.file, path, first.version, name, version)
			}
		}
	}
	if len(known) < 300 {
		t.Errorf("only %d dependencies were read", len(known))
	}
}
