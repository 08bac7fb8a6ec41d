package charts_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/chart"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the charts' README.md")

// value is a row of the table of values.
type value struct{ Key, Type, Default, Description string }

// entry is a line of values.yaml that has a key.
type entry struct {
	path    []string
	comment string
}

func (e entry) key() string { return strings.Join(e.path, ".") }

// entries reads values.yaml, in which a comment belongs to the key on the line after it,
// and lists and the like are on one line.
func entries(text string) (list []entry, err error) {
	var path []string
	var comment []string
	for line := range strings.Lines(text) {
		content := strings.TrimSpace(line)
		if rest, found := strings.CutPrefix(content, "#"); found {
			comment = append(comment, strings.TrimSpace(rest))
			continue
		}
		if content == "" {
			comment = nil
			continue
		}
		depth := (len(line) - len(strings.TrimLeft(line, " "))) / 2
		key, _, found := strings.Cut(content, ":")
		if !found || depth > len(path) {
			return nil, fmt.Errorf("line %q is no key and its value", content)
		}
		path = append(path[:depth:depth], key)
		list = append(list, entry{path, strings.Join(comment, " ")})
		comment = nil
	}
	return list, nil
}

// table has a row for each key with a comment. One whose keys have none has all of them in
// its default.
func table(c *chart.Chart) (rows []value, err error) {
	var text string
	for _, f := range c.Raw {
		if f.Name == "values.yaml" {
			text = string(f.Data)
		}
	}
	list, err := entries(text)
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(list); i++ {
		e := list[i]
		below := list[i+1:]
		if end := slices.IndexFunc(below, func(b entry) bool { return len(b.path) <= len(e.path) }); end >= 0 {
			below = below[:end]
		}
		group := slices.ContainsFunc(below, func(b entry) bool { return b.comment != "" })
		row := value{Key: e.key(), Description: e.comment}
		if !group {
			if e.comment == "" {
				return nil, fmt.Errorf("values.yaml: %s has no comment", e.key())
			}
			if row.Type, row.Default, err = describe(c.Values, e.path); err != nil {
				return nil, fmt.Errorf("values.yaml: %s: %w", e.key(), err)
			}
			i += len(below)
		}
		if e.comment != "" {
			rows = append(rows, row)
		}
	}
	return rows, nil
}

func describe(values map[string]any, path []string) (kind, text string, err error) {
	var v any = values
	for _, key := range path {
		m, ok := v.(map[string]any)
		if v = m[key]; !ok || v == nil {
			return "", "", fmt.Errorf("%q is not there", key)
		}
	}
	switch v.(type) {
	case string:
		kind = "string"
	case bool:
		kind = "boolean"
	case float64, int64, int:
		kind = "number"
	case []any:
		kind = "list"
	case map[string]any:
		kind = "object"
	}
	data, err := json.Marshal(v)
	return kind, "`" + string(data) + "`", err
}

func readme(c *chart.Chart) (string, error) {
	tmpl, err := template.New("README.md.tmpl").Delims("<<", ">>").ParseFiles(filepath.Join("testdata", c.Name(), "README.md.tmpl"))
	if err != nil {
		return "", err
	}
	rows, err := table(c)
	if err != nil {
		return "", err
	}
	for i := range rows {
		rows[i].Default = strings.ReplaceAll(rows[i].Default, "|", `\|`)
		rows[i].Description = strings.NewReplacer("|", `\|`, "<", "&lt;").Replace(rows[i].Description)
	}
	var out bytes.Buffer
	err = tmpl.Execute(&out, map[string]any{"Chart": c.Metadata, "Values": rows})
	return out.String(), err
}

// TestReadme: README.md is what values.yaml says. With -update it is written.
func TestReadme(t *testing.T) {
	for _, name := range []string{"speedscale-cloud", "speedscale-operator"} {
		want, err := readme(load(t, name))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		file := filepath.Join(name, "README.md")
		if *update {
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if diff := cmp.Diff(want, string(got)); err != nil || diff != "" {
			t.Errorf("%s is out of date, go test ./charts -update writes it: %v\n%s", file, err, diff)
		}
	}
}

// The examples for Argo CD have values that the charts take.
func TestReadmeExamples(t *testing.T) {
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```")
	for _, name := range []string{"speedscale-cloud", "speedscale-operator"} {
		text, err := os.ReadFile(filepath.Join(name, "README.md"))
		if err != nil {
			t.Fatal(err)
		}
		found := block.FindAllSubmatch(text, -1)
		if len(found) == 0 {
			t.Errorf("%s has no example", name)
		}
		for _, example := range found {
			var app struct {
				Spec struct {
					Source struct {
						Path string
						Helm struct{ ValuesObject map[string]any }
					}
				}
			}
			if err := yaml.Unmarshal(example[1], &app); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, example[1])
			}
			set, err := yaml.Marshal(app.Spec.Source.Helm.ValuesObject)
			if err != nil {
				t.Fatal(err)
			}
			if app.Spec.Source.Path != "charts/"+name {
				t.Errorf("%s: the chart is in %q", name, app.Spec.Source.Path)
			}
			if _, err := render(load(t, name), string(set)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestTable(t *testing.T) {
	const text = `# One.
a: 1

# A group.
b:
  # Has a row.
  c: [x]
  # Told as a whole,
  # on two lines.
  d:
    e: "yes"
    f: {g: true}
`
	c := &chart.Chart{Raw: []*chart.File{{Name: "values.yaml", Data: []byte(text)}}}
	if err := yaml.Unmarshal([]byte(text), &c.Values); err != nil {
		t.Fatal(err)
	}
	want := []value{
		{"a", "number", "`1`", "One."},
		{"b", "", "", "A group."},
		{"b.c", "list", "`[\"x\"]`", "Has a row."},
		{"b.d", "object", "`{\"e\":\"yes\",\"f\":{\"g\":true}}`", "Told as a whole, on two lines."},
	}
	got, err := table(c)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	for wrong, want := range map[string]string{
		"a: 1":                                   "a has no comment",
		"# A group.\na:\n  # b.\n  b: 1\n  c: 2": "a.c has no comment",
		"# A list.\na:\n  - b":                   `"- b"`,
		"# No comment of its own.\n\na: 1":       "a has no comment",
	} {
		c := &chart.Chart{Raw: []*chart.File{{Name: "values.yaml", Data: []byte(wrong)}}}
		if err := yaml.Unmarshal([]byte(wrong), &c.Values); err != nil {
			t.Fatal(err)
		}
		if _, err := table(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %s", wrong, err, want)
		}
	}
}
