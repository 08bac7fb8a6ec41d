// Package architecture checks what docs/architecture.md says of the source tree.
package architecture

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/speedscale/speedscale"

type rule struct {
	folder   string
	except   []string
	directly bool // what others import does not count
	not      []string
	but      []string // allowed although not covers it
	because  string
}

type pkg struct {
	ImportPath string
	Dir        string
	Name       string
	GoFiles    []string
	Imports    []string
	Deps       []string
}

func TestImportLaw(t *testing.T) {
	rules := readLaw(t, "../../docs/architecture.md")
	pkgs := listPackages(t)
	for _, r := range rules {
		matched := false
		for _, p := range pkgs {
			if !r.covers(p.ImportPath) {
				continue
			}
			matched = true
			deps := p.Deps
			if r.directly {
				deps = p.Imports
			}
			for _, dep := range deps {
				if r.bans(dep) {
					t.Errorf("%s imports %s, which is not allowed because %s", p.ImportPath, dep, r.because)
				}
			}
		}
		if !matched {
			t.Errorf("the rule for %q covers no package", r.folder)
		}
	}
}

func TestEveryPackageHasOneComment(t *testing.T) {
	for _, p := range listPackages(t) {
		var with []string
		for _, f := range p.GoFiles {
			parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, f), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if parsed.Doc != nil && !strings.HasSuffix(f, ".pb.go") && !strings.HasSuffix(f, ".connect.go") {
				with = append(with, f)
			}
		}
		generated := strings.Contains(p.ImportPath, "/cloud/api/v1")
		if len(with) != 1 && len(p.GoFiles) > 0 && !generated {
			t.Errorf("%s has %d package comments %v, want 1", p.ImportPath, len(with), with)
		}
	}
}

func TestMainFilesAreShortAndTheOnlyOnesToExit(t *testing.T) {
	for _, p := range listPackages(t) {
		for _, f := range p.GoFiles {
			src, err := os.ReadFile(filepath.Join(p.Dir, f))
			if err != nil {
				t.Fatal(err)
			}
			isMain := p.Name == "main" && f == "main.go"
			if lines := strings.Count(string(src), "\n"); isMain && lines > 30 {
				t.Errorf("%s/main.go has %d lines, want at most 30", p.ImportPath, lines)
			}
			if strings.Contains(string(src), "os.Exit(") && !isMain {
				t.Errorf("%s/%s calls os.Exit, which only a main.go may", p.ImportPath, f)
			}
		}
	}
}

func (r rule) covers(path string) bool {
	rel := strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
	under := func(folder string) bool {
		return folder == "." || rel == folder || strings.HasPrefix(rel, folder+"/")
	}
	for _, e := range r.except {
		if under(e) {
			return false
		}
	}
	return under(r.folder)
}

func (r rule) bans(path string) bool {
	below := func(prefix string) bool {
		return path == prefix || strings.HasPrefix(path, strings.TrimSuffix(prefix, "/")+"/")
	}
	return slices.ContainsFunc(r.not, below) && !slices.ContainsFunc(r.but, below)
}

// readLaw reads the import-law block: "folder [!folder] [directly] not PREFIX… [!PREFIX…] because reason".
func readLaw(t *testing.T, file string) []rule {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var rules []rule
	inside := false
	for s := bufio.NewScanner(f); s.Scan(); {
		line := s.Text()
		switch {
		case line == "```import-law":
			inside = true
		case inside && line == "```":
			return rules
		case inside:
			r, err := parseRule(line)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			rules = append(rules, r)
		}
	}
	t.Fatalf("%s has no closed import-law block", file)
	return nil
}

func parseRule(line string) (rule, error) {
	body, because, ok := strings.Cut(line, " because ")
	folders, nots, ok2 := strings.Cut(body, " not ")
	if !ok || !ok2 {
		return rule{}, fmt.Errorf("rule %q is not of the form: folder [directly] not prefix… because reason", line)
	}
	r := rule{because: because}
	for _, prefix := range strings.Fields(nots) {
		if allowed, is := strings.CutPrefix(prefix, "!"); is {
			r.but = append(r.but, allowed)
		} else {
			r.not = append(r.not, prefix)
		}
	}
	for _, f := range strings.Fields(folders) {
		if e, isExcept := strings.CutPrefix(f, "!"); isExcept {
			r.except = append(r.except, e)
		} else if f == "directly" {
			r.directly = true
		} else {
			r.folder = f
		}
	}
	return r, nil
}

func listPackages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,Name,GoFiles,Imports,Deps", module+"/...")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(out); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return pkgs
}
