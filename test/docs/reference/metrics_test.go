package reference

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// metrics are found in the source: where a metric is described, by the texts that its
// name, help and labels can have.
func metrics() (string, error) {
	s := &scan{}
	for _, dir := range []string{"agents", "cloud", "operator"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return err
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			if found, _ := filepath.Glob(filepath.Join(path, "*.go")); len(found) == 0 {
				return nil
			}
			_, files, err := source(name)
			s.packages = append(s.packages, files)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	found, err := s.metrics()
	if err != nil {
		return "", err
	}
	t := newTable("metric", "type", "labels", "")
	for _, name := range slices.Sorted(maps.Keys(found)) {
		m := found[name]
		t.row(code(name), m.kind, strings.Join(m.labels, ", "), m.help)
	}
	return `# Metrics

In the Prometheus text format at ` + "`/metrics`" + ` of the [ports](ports.md) named metrics, and of the cloud's API. Those of Go and of the process
(` + "`go_…`, `process_…`" + `) are there too, and those of controller-runtime in the operator.

` + t.String(), nil
}

type metric struct {
	kind, help string
	labels     []string
}

// scan evaluates texts in source, as far as those that describe metrics need it.
type scan struct {
	packages  [][]*ast.File
	constants map[constant]ast.Expr
	parents   map[ast.Node]ast.Node
	calls     map[string][]*ast.CallExpr
}

// constant is one of a function, or of a package, which its first file stands for.
type constant struct {
	of   ast.Node
	name string
}

// bindings are values of parameters of the functions around a place.
type bindings map[string][]string

func (s *scan) index() {
	s.parents, s.calls, s.constants = map[ast.Node]ast.Node{}, map[string][]*ast.CallExpr{}, map[constant]ast.Expr{}
	for _, files := range s.packages {
		for _, f := range files {
			s.indexFile(files[0], f)
		}
	}
}

func (s *scan) indexFile(pkg, f *ast.File) {
	if f != pkg {
		s.parents[f] = pkg
	}
	var stack []ast.Node
	ast.Inspect(f, func(n ast.Node) bool {
		if n == nil {
			stack = stack[:len(stack)-1]
			return true
		}
		if len(stack) > 0 {
			s.parents[n] = stack[len(stack)-1]
		}
		stack = append(stack, n)
		switch v := n.(type) {
		case *ast.CallExpr:
			switch f := v.Fun.(type) {
			case *ast.Ident:
				s.calls[f.Name] = append(s.calls[f.Name], v)
			case *ast.SelectorExpr:
				s.calls[f.Sel.Name] = append(s.calls[f.Sel.Name], v)
			}
		case *ast.GenDecl:
			if v.Tok == token.CONST {
				for _, spec := range v.Specs {
					if c := spec.(*ast.ValueSpec); len(c.Values) == 1 {
						s.constants[constant{cmp.Or(s.function(n), ast.Node(pkg)), c.Names[0].Name}] = c.Values[0]
					}
				}
			}
		}
		return true
	})
}

// site is where a metric is described.
type site struct {
	node               ast.Node
	kind               string
	name, help, labels ast.Expr
}

func (s *scan) metrics() (map[string]metric, error) {
	s.index()
	found := map[string]metric{}
	for _, f := range slices.Concat(s.packages...) {
		var sites []site
		ast.Inspect(f, func(n ast.Node) bool {
			if here, ok := describes(n); ok {
				sites = append(sites, here)
			}
			return true
		})
		for _, here := range sites {
			for _, env := range s.around(here.node) {
				name, help := s.text(here.name, env), s.text(here.help, env)
				if name == "" || help == "" {
					return nil, fmt.Errorf("a metric near %q has no name or help that can be read: teach this test", help)
				}
				kind := here.kind
				if kind == "" {
					kind = "gauge"
					if strings.HasSuffix(name, "_total") {
						kind = "counter"
					}
				}
				found[name] = metric{kind, help, s.list(here.labels, env)}
			}
		}
	}
	if len(found) < 20 {
		return nil, fmt.Errorf("only %d metrics are found", len(found))
	}
	return found, nil
}

func describes(n ast.Node) (site, bool) {
	switch v := n.(type) {
	case *ast.CompositeLit:
		kind, ok := v.Type.(*ast.SelectorExpr)
		if !ok || !slices.Contains([]string{"CounterOpts", "GaugeOpts", "HistogramOpts"}, kind.Sel.Name) {
			return site{}, false
		}
		here := site{node: n, kind: strings.ToLower(strings.TrimSuffix(kind.Sel.Name, "Opts"))}
		for _, e := range v.Elts {
			kv := e.(*ast.KeyValueExpr)
			switch kv.Key.(*ast.Ident).Name {
			case "Name":
				here.name = kv.Value
			case "Help":
				here.help = kv.Value
			case "ConstLabels":
				here.labels = kv.Value
			}
		}
		return here, true
	case *ast.CallExpr:
		if f, ok := v.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "NewDesc" {
			return site{node: n, name: v.Args[0], help: v.Args[1], labels: v.Args[2]}, true
		}
	}
	return site{}, false
}

// around returns what parameters of the functions around a node can be: one environment
// for each way of calls that leads there.
func (s *scan) around(n ast.Node) []bindings {
	for n = s.parents[n]; n != nil; n = s.parents[n] {
		switch f := n.(type) {
		case *ast.FuncDecl:
			return s.called(f.Name.Name, f.Type, nil, []bindings{{}})
		case *ast.FuncLit:
			outer := s.around(f)
			if a, ok := s.parents[f].(*ast.AssignStmt); ok {
				if name, ok := a.Lhs[0].(*ast.Ident); ok {
					return s.called(name.Name, f.Type, s.function(f), outer)
				}
			}
			return outer
		}
	}
	return []bindings{{}}
}

// function is the declared one that a node is in.
func (s *scan) function(n ast.Node) ast.Node {
	for ; n != nil; n = s.parents[n] {
		if _, ok := n.(*ast.FuncDecl); ok {
			return n
		}
	}
	return nil
}

// called has an environment for each call of a function, within another one unless that
// is nil, where the function takes texts.
func (s *scan) called(name string, f *ast.FuncType, within ast.Node, outer []bindings) (list []bindings) {
	var params []string
	texts, least := false, 0
	for _, p := range f.Params.List {
		_, variadic := p.Type.(*ast.Ellipsis)
		if !variadic {
			least += len(p.Names)
		}
		id, _ := p.Type.(*ast.Ident)
		texts = texts || variadic || id != nil && id.Name == "string"
		for _, n := range p.Names {
			params = append(params, n.Name)
		}
	}
	if !texts {
		return outer
	}
	for _, call := range s.calls[name] {
		if len(call.Args) < least || within != nil && s.function(call) != within {
			continue
		}
		for _, env := range s.around(call) {
			inner := maps.Clone(env)
			for i, p := range params {
				inner[p] = nil
				for j, arg := range call.Args {
					if j == i || j > i && i == len(params)-1 {
						inner[p] = append(inner[p], s.list(arg, env)...)
					}
				}
			}
			list = append(list, inner)
		}
	}
	return list
}

func (s *scan) text(e ast.Expr, env bindings) string { return strings.Join(s.list(e, env), "") }

// list evaluates a text, or the elements or keys of a literal; nothing where it cannot.
func (s *scan) list(e ast.Expr, env bindings) (list []string) {
	switch v := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(v.Value)
		if v.Kind == token.STRING && err == nil {
			return []string{text}
		}
	case *ast.Ident:
		if known, ok := env[v.Name]; ok {
			return known
		}
		for n := ast.Node(v); n != nil; n = s.parents[n] {
			if c, ok := s.constants[constant{n, v.Name}]; ok {
				return s.list(c, env)
			}
		}
	case *ast.BinaryExpr:
		x, y := s.text(v.X, env), s.text(v.Y, env)
		if v.Op == token.ADD && x != "" && y != "" {
			return []string{x + y}
		}
	case *ast.CompositeLit:
		for _, element := range v.Elts {
			if kv, ok := element.(*ast.KeyValueExpr); ok {
				element = kv.Key
			}
			list = append(list, s.list(element, env)...)
		}
	}
	return list
}
