package docs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/speedscale/speedscale/test/ports"
)

const folder = "../../docs"

// programs is the folder of what TestMain builds.
var programs string

// TestMain builds the speedctl that readers have, unless SPEEDSCALE_DOCS_SPEEDCTL names
// one, such as that of a release.
func TestMain(m *testing.M) {
	code := 1
	dir, err := os.MkdirTemp("", "speedscale-docs-")
	if err == nil {
		programs = dir
		err = provide(filepath.Join(dir, "speedctl"), os.Getenv("SPEEDSCALE_DOCS_SPEEDCTL"))
	}
	if err == nil {
		code = m.Run()
	} else {
		fmt.Fprintln(os.Stderr, err)
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

func provide(program, given string) error {
	if given == "" {
		build := exec.Command("go", "build", "-trimpath", "-o", program, "../../speedctl") // as make does, so that all of it is compiled already
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("speedctl: %w\n%s", err, out)
		}
		return nil
	}
	given, err := filepath.Abs(given)
	if err != nil {
		return err
	}
	return os.Symlink(given, program)
}

func pages(t *testing.T) []Page {
	t.Helper()
	list, err := Pages(folder)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 {
		t.Fatalf("there are no pages in %s", folder)
	}
	return list
}

// reader is somebody with a fresh home and a copy of docs/, and without a network.
type reader struct{ home, checkout string }

func newReader(t *testing.T) reader {
	t.Helper()
	r := reader{t.TempDir(), t.TempDir()}
	if err := os.CopyFS(filepath.Join(r.checkout, "docs"), os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	return r
}

// offline is how bash starts in a network of its own, where this system can make one:
// ports that guides use may be taken, and what needs the internet would not be noticed.
func offline(t *testing.T) []string {
	own := []string{"unshare", "-rn", "bash", "-c", `ip link set lo up && exec bash "$0"`}
	if out, err := exec.Command("unshare", "-rn", "ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Logf("guides run in the network of this machine: %v: %s", err, out)
		return []string{"bash"}
	}
	return own
}

// follow runs a script as the reader, and returns what it printed.
func (r reader) follow(t *testing.T, script string) (string, error) {
	t.Helper()
	file := filepath.Join(r.home, ".script")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	// A file, since services in the background go on holding it.
	out, err := os.CreateTemp(t.TempDir(), "output")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	args := append(offline(t), file)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = r.checkout, out, out
	cmd.Env = []string{"HOME=" + r.home, "PATH=" + programs + ":" + os.Getenv("PATH"), "LANG=C.UTF-8", "TZ=UTC", "TMPDIR=" + t.TempDir()}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	group := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = group
	err = cmd.Run()
	if cmd.Process != nil {
		group() // what the page left in the background; there may be none
	}
	if _, err := out.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	text, readErr := io.ReadAll(out)
	return string(text), errors.Join(err, readErr)
}

// TestGuides runs what guides show, as a reader types it.
func TestGuides(t *testing.T) {
	for _, program := range []string{"bash", "python3", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("SKIPPED: %s is not installed", program)
		}
	}
	ran := 0
	for _, p := range pages(t) {
		blocks := p.At(Here)
		if len(blocks) == 0 {
			continue
		}
		ran += len(blocks)
		t.Run(p.Name, func(t *testing.T) {
			ports.Own(t)
			output, err := newReader(t).follow(t, Script(blocks))
			for _, problem := range p.Check(blocks, output) {
				t.Error(problem)
			}
			if err != nil {
				t.Errorf("%s: %v", p.Name, err)
			}
		})
	}
	if ran == 0 {
		t.Error("no guide shows a command")
	}
}

// TestNotRun lists what no test runs, with the reason that the page has, and what runs
// on the test node only.
func TestNotRun(t *testing.T) {
	here, cluster := 0, 0
	for _, p := range pages(t) {
		here += len(p.At(Here))
		cluster += len(p.At(Cluster))
		for _, b := range p.At(Nowhere) {
			first, _, _ := strings.Cut(b.Text, "\n")
			t.Logf("not run: %s:%d: %s: %s", p.Name, b.Line, b.Reason, first)
		}
	}
	t.Logf("%d blocks run here, and %d on the test node", here, cluster)
}

// TestCalls: what does not run here, that of README.md too, has commands and flags that
// speedctl knows.
func TestCalls(t *testing.T) {
	r := newReader(t)
	// With --help, which a command after -- must not get, speedctl reads its flags and
	// does nothing. Other programs are not found.
	const stub = `speedctl() {
	local args=() helped=
	for a; do
		[[ $a == -- && ! $helped ]] && args+=(--help) helped=1
		args+=("$a")
	done
	[[ $helped ]] || args+=(--help)
	local call="speedctl $*" help
	help=$("$PROGRAM" "${args[@]}" 2>error) || echo "$call: $(<error)"
	# Help of a group of commands is what an unknown one below it gets.
	if [[ $help =~ (speedctl[a-z\ -]*)\ \[command\] && ${call#"${BASH_REMATCH[1]}"} =~ ^\ [a-z] ]]; then
		echo "error: $call: there is no such command"
	fi
}
`
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := Parse("README.md", string(text))
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	for _, p := range append(pages(t), readme) {
		for _, call := range p.Calls() {
			calls++
			cmd := exec.CommandContext(t.Context(), "bash", "-c", stub+call)
			cmd.Dir, cmd.Env = t.TempDir(), []string{"PROGRAM=" + programs + "/speedctl", "PATH=", "HOME=" + r.home}
			var out bytes.Buffer
			cmd.Stdout = &out
			if cmd.Run(); strings.Contains(out.String(), "error:") {
				t.Errorf("%s: %s", p.Name, out.String())
			}
		}
	}
	if calls == 0 {
		t.Error("there are no calls")
	}
}

// TestFiles: files that pages show can be read.
func TestFiles(t *testing.T) {
	for _, p := range pages(t) {
		for _, b := range p.Blocks {
			if b.Lang != "yaml" && b.Lang != "json" {
				continue
			}
			for doc := range strings.SplitSeq(b.Text, "\n---\n") {
				var v any
				if err := yaml.UnmarshalStrict([]byte(doc), &v); err != nil {
					t.Errorf("%s:%d: %v", p.Name, b.Line, err)
				}
			}
		}
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.+)$`)
	anchor  = regexp.MustCompile(`<a (?:id|name)="([^"]+)"`)
)

// TestLinks: pages link to files, and to headings, that are there.
func TestLinks(t *testing.T) {
	var files []string
	for _, pattern := range []string{"*.md", "guides/*.md", "reference/*.md"} {
		found, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range link.FindAllStringSubmatch(string(text), -1) {
			target, fragment, _ := strings.Cut(found[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			path := file
			if target != "" {
				path = filepath.Join(filepath.Dir(file), target)
			}
			linked, err := os.ReadFile(path)
			if info, statErr := os.Stat(path); err != nil && (statErr != nil || !info.IsDir()) {
				t.Errorf("%s: %s is not there", file, found[1])
				continue
			}
			if fragment != "" && !slices.Contains(anchors(string(linked)), fragment) {
				t.Errorf("%s: %s has no such heading", file, found[1])
			}
		}
	}
}

var notInAnchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`)

// anchors are those that Markdown gives headings, and those that a page gives itself.
func anchors(text string) (list []string) {
	for _, h := range heading.FindAllStringSubmatch(text, -1) {
		plain := notInAnchor.ReplaceAllString(strings.ToLower(h[1]), "")
		list = append(list, strings.ReplaceAll(plain, " ", "-"))
	}
	for _, a := range anchor.FindAllStringSubmatch(text, -1) {
		list = append(list, a[1])
	}
	return list
}

func TestParse(t *testing.T) {
	const text = "# A\n\n```sh\necho  a b\n```\n\n```text\n…\na … b\n```\n\n<!-- cluster -->\n```sh\nspeedctl get x | head\n```\n" +
		"<!-- not run: it costs -->\n\n```sh\nb\n```\n\nWords.\n\n```text\nno output\n```\n"
	p, err := Parse("a.md", text)
	if err != nil {
		t.Fatal(err)
	}
	if here := p.At(Here); len(here) != 1 || here[0].Text != "echo  a b\n" || here[0].Want != "…\na … b\n" || here[0].Line != 3 {
		t.Errorf("%+v", here)
	}
	if not := p.At(Nowhere); len(not) != 1 || not[0].Reason != "it costs" || not[0].Want != "" {
		t.Errorf("%+v", not)
	}
	if calls := p.Calls(); !slices.Equal(calls, []string{"speedctl get x | head"}) {
		t.Errorf("%q", calls)
	}
	for _, wrong := range []string{"```sh\na\n", "<!-- not run: -->\n```sh\na\n```\n", "<!-- clusters -->\n```sh\na\n```\n"} {
		if _, err := Parse("a.md", wrong); err == nil || !strings.HasPrefix(err.Error(), "a.md:") {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	for _, output := range []string{"a x  b\n\x00", "1\n2\na … b\x00"} {
		if problems := p.Check(p.At(Here), output); len(problems) != 0 {
			t.Errorf("%q: %v", output, problems)
		}
	}
	for _, output := range []string{"a x c\x00", "a x b\nc\x00", "a\nb\x00", "a x b"} {
		if problems := p.Check(p.At(Here), output); len(problems) != 1 {
			t.Errorf("%q: %v", output, problems)
		}
	}
}
