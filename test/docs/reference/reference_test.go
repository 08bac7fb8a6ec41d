// Package reference makes the pages of docs/reference from the code, and fails where
// they are out of date. go test ./test/docs/reference -update writes them. That of
// commands is made beside them, in speedctl/command.
package reference

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write docs/reference")

const root = "../../.."

// TestReference makes the pages.
func TestReference(t *testing.T) {
	for name, page := range map[string]func() (string, error){
		"annotations":   annotations,
		"exit-codes":    exitCodes,
		"filters":       filters,
		"masking":       masking,
		"metrics":       metrics,
		"ports":         ports,
		"test-configs":  testConfigs,
		"trafficreplay": trafficReplay,
		"values":        values,
	} {
		t.Run(name, func(t *testing.T) {
			want, err := page()
			if err != nil {
				t.Fatal(err)
			}
			want = strings.TrimRight(want, "\n") + "\n"
			file := filepath.Join(root, "docs/reference", name+".md")
			if *update {
				if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, err := os.ReadFile(file)
			if diff := cmp.Diff(want, string(got)); err != nil || diff != "" {
				t.Errorf("%s is out of date, go test ./test/docs/reference -update writes it: %v\n%s", file, err, diff)
			}
		})
	}
}

// table is Markdown's, of cells that may hold anything but line ends.
type table struct{ strings.Builder }

func newTable(head ...string) *table {
	var t table
	t.row(head...)
	t.WriteString("|" + strings.Repeat("---|", len(head)) + "\n")
	return &t
}

func (t *table) row(cells ...string) {
	for i, c := range cells {
		c = strings.Join(strings.Fields(c), " ")
		cells[i] = strings.NewReplacer("|", `\|`, "<", "&lt;").Replace(c)
	}
	t.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

// code is a cell's text as it is typed.
func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}
