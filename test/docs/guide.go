// Package docs reads the guides in docs/ and runs what they show. A block of commands
// is fenced by ```sh and runs on this machine, offline, unless a comment before it says
// otherwise:
//
//	<!-- cluster -->          it runs on the test node, with test/kube
//	<!-- not run: REASON -->  nothing runs it, for the reason
//
// All blocks of a page that run at one place are one session of bash, which ends at the
// first command that fails. A ```text block that follows one is what it prints, standard
// error included, where … stands for any text, on a line of its own for any lines, and
// blanks count once.
package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Where a block runs.
const (
	Here    = "here"
	Cluster = "cluster"
	Nowhere = "nowhere"
)

// Page is a file of docs/.
type Page struct {
	Name   string // its path in docs/
	Text   string
	Blocks []Block
}

// Block is a fenced block of a page.
type Block struct {
	Line   int    // of its fence, from 1
	Lang   string // what stands behind the fence
	Text   string
	Where  string // of commands: one of the constants
	Reason string // why nothing runs it
	Want   string // what it prints; empty where the page does not say
}

// Pages reads all pages below dir but those of records and of references, which show
// nothing to type.
func Pages(dir string) (pages []Page, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if d.IsDir() && (name == "adr" || name == "reference") {
			return fs.SkipDir
		}
		if err != nil || d.IsDir() || filepath.Ext(name) != ".md" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		page, err := Parse(name, string(text))
		pages = append(pages, page)
		return err
	})
	return pages, err
}

var (
	comment = regexp.MustCompile(`^<!--\s*(.*?)\s*-->$`)
	notRun  = regexp.MustCompile(`^not run:\s*(.+)$`)
)

// Parse reads a page. Its errors name the line.
func Parse(name, text string) (Page, error) {
	p := Page{Name: name, Text: text}
	lines := strings.Split(text, "\n")
	marker := ""
	for i := 0; i < len(lines); i++ {
		line := strings.TrimSpace(lines[i])
		if found := comment.FindStringSubmatch(line); found != nil {
			marker = found[1]
			continue
		}
		lang, fenced := strings.CutPrefix(line, "```")
		if !fenced {
			if line != "" {
				marker = ""
			}
			continue
		}
		length := slices.IndexFunc(lines[i+1:], func(l string) bool { return strings.TrimSpace(l) == "```" })
		if length < 0 {
			return p, fmt.Errorf("%s:%d: the block has no end", name, i+1)
		}
		b := Block{Line: i + 1, Lang: lang, Text: strings.Join(lines[i+1:i+1+length], "\n") + "\n"}
		if err := b.place(marker); err != nil {
			return p, fmt.Errorf("%s:%d: %w", name, i+1, err)
		}
		if last := len(p.Blocks) - 1; lang == "text" && last >= 0 && p.Blocks[last].Lang == "sh" && blank(lines[p.Blocks[last].end():i]) {
			p.Blocks[last].Want = b.Text
		}
		p.Blocks = append(p.Blocks, b)
		marker = ""
		i += length + 1
	}
	return p, nil
}

// end is the index of the line after the block.
func (b Block) end() int { return b.Line + strings.Count(b.Text, "\n") + 1 }

func blank(lines []string) bool { return strings.TrimSpace(strings.Join(lines, "")) == "" }

func (b *Block) place(marker string) error {
	if b.Lang != "sh" {
		return nil
	}
	reason := notRun.FindStringSubmatch(marker)
	switch {
	case marker == "":
		b.Where = Here
	case marker == Cluster:
		b.Where = Cluster
	case reason != nil:
		b.Where, b.Reason = Nowhere, reason[1]
	default:
		return fmt.Errorf("comment %q: want cluster, or not run: and the reason", marker)
	}
	return nil
}

// At returns the page's blocks of commands that run at a place.
func (p Page) At(where string) (blocks []Block) {
	for _, b := range p.Blocks {
		if b.Lang == "sh" && b.Where == where {
			blocks = append(blocks, b)
		}
	}
	return blocks
}

// mark is between the outputs of two blocks.
const mark = "\x00"

// Script is what bash runs for the blocks, from its standard input or a file.
func Script(blocks []Block) string {
	var s strings.Builder
	s.WriteString("set -e\n")
	for _, b := range blocks {
		s.WriteString(b.Text + "printf '\\0'\n")
	}
	return s.String()
}

// Check compares what a Script printed with what the page says. Its errors name the
// block.
func (p Page) Check(blocks []Block, output string) (problems []error) {
	parts := strings.Split(output, mark)
	for i, b := range blocks {
		if i >= len(parts)-1 {
			return append(problems, fmt.Errorf("%s:%d: it ended here:\n%s", p.Name, b.Line, parts[len(parts)-1]))
		}
		if b.Want != "" && !matches(b.Want, parts[i]) {
			problems = append(problems, fmt.Errorf("%s:%d: it prints\n%s\nand the page says\n%s", p.Name, b.Line, parts[i], b.Want))
		}
	}
	return problems
}

var blanks = regexp.MustCompile(`[ \t]+`)

func tidy(text string) string {
	var lines []string
	for line := range strings.SplitSeq(blanks.ReplaceAllString(text, " "), "\n") {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

func matches(want, got string) bool {
	var pattern strings.Builder
	for line := range strings.SplitSeq(tidy(want), "\n") {
		if line == "…" {
			pattern.WriteString(`(?:.*\n)*`)
			continue
		}
		pattern.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*") + `\n`)
	}
	return regexp.MustCompile(`^` + pattern.String() + `$`).MatchString(tidy(got) + "\n")
}

var (
	fencedCall   = regexp.MustCompile(`(?m)^\s*(?:(?:-\s+)?run:\s+|- )?(speedctl\s.*(?:\\\n.*)*)$`)
	indentedCall = regexp.MustCompile(`(?m)^    (speedctl\s.*)$`)
	inlineCall   = regexp.MustCompile("`(speedctl [^`\n]+)`")
)

// Calls returns the calls of speedctl that a page shows and that do not run here: those
// in other blocks, and in its text, where … stands for what is left out.
func (p Page) Calls() (calls []string) {
	for _, b := range p.Blocks {
		if b.Lang == "text" || b.Lang == "sh" && b.Where == Here {
			continue
		}
		for _, found := range fencedCall.FindAllStringSubmatch(b.Text, -1) {
			calls = append(calls, found[1])
		}
	}
	for _, form := range []*regexp.Regexp{indentedCall, inlineCall} {
		for _, found := range form.FindAllStringSubmatch(p.Text, -1) {
			calls = append(calls, strings.ReplaceAll(found[1], "…", ""))
		}
	}
	return calls
}
