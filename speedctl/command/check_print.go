package command

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/speedscale/speedscale/cluster/check"
	"github.com/speedscale/speedscale/speedctl/printer"
	"github.com/speedscale/speedscale/speedctl/term"
)

// printReport prints the outcome of checks. The error says that some failed; where the
// last line has said so, it has no text.
func printReport(g *global, out *printer.Flag, report check.Report) error {
	failed := report.Count(check.Failed)
	if done, err := out.Encode(g.Out, report); done {
		if err == nil && failed > 0 {
			err = fmt.Errorf("%d of %d checks failed", failed, len(report.All()))
		}
		return err
	}
	for _, c := range report.Categories {
		fmt.Fprintf(g.Out, "%s\n%s\n", g.Paint(c.Title, "", true), strings.Repeat("-", utf8.RuneCountInString(c.Title)))
		for _, r := range c.Results {
			printResult(g, r)
		}
		fmt.Fprintln(g.Out)
	}
	fmt.Fprintln(g.Out, lastLine(g, report))
	if failed > 0 {
		return term.WithCode(errors.New(""), term.ExitError)
	}
	return nil
}

func printResult(g *global, r check.Result) {
	line := r.Title
	for _, more := range []string{r.Subject, r.Text} {
		if more != "" && (more == r.Subject || r.Status == check.OK || r.Status == check.Skipped) {
			line += ": " + more
		}
	}
	fmt.Fprintf(g.Out, "%s %s\n", mark(g, r.Status), line)
	if r.Status == check.Warning || r.Status == check.Failed {
		fmt.Fprintf(g.Out, "    %s\n", r.Text)
	}
	if r.Hint != "" {
		fmt.Fprintf(g.Out, "    hint: %s\n", r.Hint)
	}
	if r.Doc != "" {
		fmt.Fprintf(g.Out, "    see %s\n", r.Doc)
	}
}

// mark is a sign for a status: a word, as wide as the others, where the terminal shows no
// more than ASCII.
func mark(g *global, s check.Status) string {
	marks := map[check.Status][3]string{
		check.OK: {"√", "ok  ", "2"}, check.Warning: {"‼", "warn", "3"}, check.Failed: {"×", "FAIL", "1"}, check.Skipped: {"-", "skip", ""},
	}
	m := marks[s]
	if g.UTF8() {
		return g.Paint(m[0], m[2], s != check.OK)
	}
	return g.Paint(m[1], m[2], s != check.OK)
}

// lastLine says how it went, and which checks it is about.
func lastLine(g *global, report check.Report) string {
	var parts []string
	status := check.OK
	if n := report.Count(check.Warning); n > 0 {
		status, parts = check.Warning, append(parts, fmt.Sprintf("%d warn (%s)", n, strings.Join(ids(report, check.Warning), ", ")))
	}
	if n := report.Count(check.Failed); n > 0 {
		status, parts = check.Failed, append(parts, fmt.Sprintf("%d failed (%s)", n, strings.Join(ids(report, check.Failed), ", ")))
	}
	if n := report.Count(check.Skipped); n > 0 {
		parts = append(parts, fmt.Sprintf("%d could not be made", n))
	}
	text := fmt.Sprintf("all %d checks hold", len(report.All()))
	if len(parts) > 0 {
		text = fmt.Sprintf("%d of %d checks hold; %s", report.Count(check.OK), len(report.All()), strings.Join(parts, ", "))
	}
	return mark(g, status) + " " + text
}

// ids are those of the checks with a status, each once.
func ids(report check.Report, s check.Status) (list []string) {
	for _, r := range report.All() {
		if r.Status == s && !slices.Contains(list, r.ID) {
			list = append(list, r.ID)
		}
	}
	return list
}
