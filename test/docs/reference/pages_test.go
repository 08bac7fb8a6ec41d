package reference

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/doc"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"sigs.k8s.io/yaml"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/traffic/filter"
	"github.com/speedscale/speedscale/traffic/mask"
	"github.com/speedscale/speedscale/traffic/testconfig"
)

func annotations() (string, error) {
	t := newTable("annotation", "what it does", "values", "default", "with `proxy-type`")
	for _, a := range annotation.Explanations() {
		modes := strings.Join(a.Modes, ", ")
		if len(a.Modes) == 4 {
			modes = "all"
		}
		t.row(code(a.Key), a.About, a.Wants, code(a.Default), modes)
	}
	return `# Annotations

What the owner of a workload writes on the workload itself (not on its pod template), by ` + "`speedctl inject`, `kubectl annotate`" + ` or
in its manifest. Each does what it says or is refused, with the reason, in an event of the workload and by ` + "`speedctl why`" + `; none is
ignored, and one that is misspelt is refused with the nearest that there is. Where one can do nothing, on a pod template, on a Job or a pod that is there
already, the API server answers with a warning; on a ReplicaSet by itself it refuses it.

` + t.String(), nil
}

// source reads the Go files of a folder that are not tests.
func source(dir string) (*token.FileSet, []*ast.File, error) {
	names, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil || len(names) == 0 {
		return nil, nil, fmt.Errorf("no Go files in %s: %w", dir, err)
	}
	set := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(set, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, nil, err
		}
		files = append(files, f)
	}
	return set, files, nil
}

// packageText is the package's comment in Markdown, without the package's name.
func packageText(dir string) (string, error) {
	set, files, err := source(dir)
	if err != nil {
		return "", err
	}
	p, err := doc.NewFromFiles(set, files, "github.com/speedscale/speedscale/"+dir)
	if err != nil {
		return "", err
	}
	printer := p.Printer()
	printer.HeadingLevel = 2
	printer.DocLinkURL = func(*comment.DocLink) string { return "" }
	text := []rune(strings.TrimPrefix(p.Doc, "Package "+p.Name+" "))
	text[0] = unicode.ToUpper(text[0])
	return string(printer.Markdown(p.Parser().Parse(string(text)))), nil
}

func exitCodes() (string, error) {
	_, files, err := source("speedctl/term")
	if err != nil {
		return "", err
	}
	t := newTable("code", "meaning")
	for _, f := range files {
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, s := range g.Specs {
				v := s.(*ast.ValueSpec)
				if name := v.Names[0].Name; strings.HasPrefix(name, "Exit") {
					_, text, _ := strings.Cut(v.Doc.Text(), ": ")
					t.row(v.Values[0].(*ast.BasicLit).Value, strings.TrimRight(text, ".\n"))
				}
			}
		}
	}
	return `# Exit codes of speedctl

` + t.String() + `
` + "`speedctl capture -- CMD` and `speedctl mock SNAPSHOT -- CMD`" + ` end with the exit code of CMD. The codes never change meaning.
`, nil
}

// example is a filter in JSON.
const example = `{
  "id": "no-probes",
  "operator": "OR",
  "conditions": [
    {"operator": "AND", "filters": [
      {"detectedCommand": "GET"},
      {"detectedLocation": "/health", "operator": "CONTAINS"}
    ]},
    {"filters": [
      {"header": {"key": "user-agent", "value": "kube-probe"}, "operator": "CONTAINS"}
    ]}
  ]
}
`

func filters() (string, error) {
	text, err := packageText("traffic/filter")
	if err != nil {
		return "", err
	}
	_, files, err := source("traffic/filter")
	if err != nil {
		return "", err
	}
	t := newTable("in a query", "in JSON", "in brackets", "")
	keys := literal(files, "keys")
	if keys == nil {
		return "", fmt.Errorf("traffic/filter has no keys")
	}
	for _, e := range keys.Elts {
		f := fields(e.(*ast.KeyValueExpr).Value.(*ast.CompositeLit))
		note := ""
		if f["fold"] == "true" {
			note = "without regard to case"
		}
		t.row(code(f["name"]), code(f["json"]), f["param"], note)
	}
	_, err = filter.ParseJSON([]byte(example))
	return "# Filters\n\nWhere `speedctl get traffic`, `create snapshot --filter`, the chart's `filterRule` and the `filters` of a transform take one.\n\n" +
		text + "\n## Keys\n\n" + t.String() + `
## In JSON

` + "```json\n" + example + "```\n\n`include: false`" + ` is NOT. What is not known is refused by its path.
`, err
}

// literal is the composite literal that a variable of a package is declared with.
func literal(files []*ast.File, name string) (found *ast.CompositeLit) {
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok && v.Names[0].Name == name && len(v.Values) == 1 {
				found, _ = v.Values[0].(*ast.CompositeLit)
			}
			return found == nil
		})
	}
	return found
}

// fields of a composite literal, as written but for the quotes.
func fields(c *ast.CompositeLit) map[string]string {
	found := map[string]string{}
	for _, e := range c.Elts {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		name, _ := kv.Key.(*ast.Ident)
		switch v := kv.Value.(type) {
		case *ast.BasicLit:
			found[name.Name], _ = strconv.Unquote(v.Value)
		case *ast.Ident:
			found[name.Name] = v.Name
		}
	}
	return found
}

func masking() (string, error) {
	text, err := packageText("traffic/mask")
	if err != nil {
		return "", err
	}
	_, files, err := source("traffic/mask")
	if err != nil {
		return "", err
	}
	t := newTable("member", "type", "")
	members(t, files, "Config", "", map[string]bool{})
	standard, err := yaml.Marshal(mask.Standard())
	return "# Masking rules\n\nWhat the chart's `dlp.config` takes, in JSON.\n\n" + text + "\n## Members\n\n" + t.String() +
		"\n## The rules `standard`\n\nThey hold where nothing else is said. In YAML:\n\n```yaml\n" + string(standard) + "```\n", err
}

// configMembers are the rows of a test config's members and of what is in them.
func configMembers(t *table, fields []testconfig.Field, path string) {
	for _, f := range fields {
		at, kind := path+f.Name, f.Type
		if inner, isList := strings.CutPrefix(kind, "[]"); isList {
			at, kind = at+"[]", "list of "+inner
		}
		about := f.About
		if len(f.Values) > 0 {
			about = strings.TrimSpace(about + " One of `" + strings.Join(f.Values, "`, `") + "`.")
		}
		t.row(code(at), kind, about)
		configMembers(t, f.Fields, at+".")
	}
}

// members adds a row for each member of a struct's JSON form, and of those in it.
func members(t *table, files []*ast.File, name, prefix string, within map[string]bool) {
	s := structure(files, name)
	if s == nil || within[name] {
		return
	}
	within[name] = true
	defer delete(within, name)
	for _, f := range s.Fields.List {
		if f.Tag == nil {
			continue
		}
		raw, _ := strconv.Unquote(f.Tag.Value)
		key, _, _ := strings.Cut(reflect.StructTag(raw).Get("json"), ",")
		text := strings.TrimSpace(f.Doc.Text() + f.Comment.Text())
		if rest, found := strings.CutPrefix(text, f.Names[0].Name+" "); found {
			text = code(key) + " " + rest
		}
		kind, below, list := jsonType(f.Type)
		if list {
			key += "[]"
		}
		t.row(code(prefix+key), kind, text)
		members(t, files, below, prefix+key+".", within)
	}
}

func structure(files []*ast.File, name string) (found *ast.StructType) {
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.TypeSpec); ok && s.Name.Name == name {
				found, _ = s.Type.(*ast.StructType)
			}
			return found == nil
		})
	}
	return found
}

// jsonType names a Go type as JSON has it; below is the struct that it is of.
func jsonType(e ast.Expr) (kind, below string, list bool) {
	switch v := e.(type) {
	case *ast.StarExpr:
		return jsonType(v.X)
	case *ast.ArrayType:
		kind, below, _ = jsonType(v.Elt)
		return "list of " + kind, below, true
	case *ast.MapType:
		kind, _, _ = jsonType(v.Value)
		return "object of " + kind, "", false
	case *ast.SelectorExpr:
		return "object", "", false
	case *ast.Ident:
		switch v.Name {
		case "string":
			return "string", "", false
		case "bool":
			return "boolean", "", false
		case "int", "float64":
			return "number", "", false
		case "duration":
			return "duration, such as 1m30s", "", false
		}
		return "object", v.Name, false
	}
	return "", "", false
}

func testConfigs() (string, error) {
	text, err := packageText("traffic/testconfig")
	if err != nil {
		return "", err
	}
	_, files, err := source("traffic/testconfig")
	if err != nil {
		return "", err
	}
	t := newTable("member", "type", "")
	configMembers(t, testconfig.Fields(), "")
	metrics := newTable("metricName", "in reports and `--fail-if`")
	for _, m := range metricNames(files) {
		metrics.row(code(m[0]), code(m[1]))
	}
	var builtins strings.Builder
	for _, c := range testconfig.Builtins() {
		document, err := yaml.JSONToYAML(c.JSON())
		if err != nil {
			return "", err
		}
		builtins.WriteString("---\n" + string(document))
	}
	return "# Test configs\n\n" + text + "\n## Members\n\n" + t.String() + "\n`transforms` are described in [transforms](../transforms.md).\n" +
		"\n## Metrics of rules\n\nA rule of type `TOO_HIGH` or `TOO_LOW` fails the replay.\n\n" + metrics.String() +
		"\n## Built in\n\n```yaml\n" + builtins.String() + "```\n", nil
}

// metricNames are the entries of the map that the function of this name returns.
func metricNames(files []*ast.File) (list [][2]string) {
	constants := map[string]string{}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch v := n.(type) {
			case *ast.ValueSpec:
				if len(v.Values) == 1 {
					if b, ok := v.Values[0].(*ast.BasicLit); ok {
						constants[v.Names[0].Name] = b.Value
					}
				}
			case *ast.FuncDecl:
				return v.Name.Name == "metricNames"
			case *ast.KeyValueExpr:
				key, ok := v.Key.(*ast.BasicLit)
				value, isText := v.Value.(*ast.BasicLit)
				if id, isName := v.Key.(*ast.Ident); isName && constants[id.Name] != "" {
					key, ok = &ast.BasicLit{Value: constants[id.Name]}, true
				}
				if ok && isText {
					k, _ := strconv.Unquote(key.Value)
					m, _ := strconv.Unquote(value.Value)
					list = append(list, [2]string{k, m})
				}
			}
			return true
		})
	}
	slices.SortFunc(list, func(a, b [2]string) int { return cmp.Compare(a[0], b[0]) })
	return list
}

// values are the tables of the charts' READMEs, which are made from their values.yaml.
func values() (string, error) {
	var out strings.Builder
	out.WriteString("# Values of the charts\n\n`speedctl install --set KEY=VALUE` sets one of the operator's chart, `--cloud-set` one of the cloud's.\n")
	for _, name := range []string{"speedscale-operator", "speedscale-cloud"} {
		text, err := os.ReadFile(filepath.Join(root, "charts", name, "README.md"))
		if err != nil {
			return "", err
		}
		_, rows, found := strings.Cut(string(text), "\n## Values\n")
		if !found {
			return "", fmt.Errorf("README.md of %s has no values", name)
		}
		out.WriteString("\n## " + name + "\n" + rows)
	}
	return out.String(), nil
}
