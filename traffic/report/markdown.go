package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"
)

// WriteMarkdown writes Markdown (CommonMark with tables), for a pull request or
// a job summary. Text from the traffic is written as code, so that it is shown
// and never read as markup.
func (r *Report) WriteMarkdown(w io.Writer) error {
	m := markdown{bufio.NewWriter(w)}
	m.printf("# %s: %s\n\n", escape(r.Name), r.Status)
	if r.Error != "" {
		m.printf("%s\n\n", code(r.Error))
	}
	m.printf("Snapshot %s against %s, %s, %s.\n\n", code(r.Snapshot.Name), code(r.Target),
		r.Started.UTC().Format(time.RFC3339), r.Finished.Sub(r.Started).Round(time.Millisecond))
	q := r.Requests
	m.printf("%d requests: %d passed, %d failed, %d without a response, %d skipped (%s %% passed); %s requests/s.\n\n",
		q.Sent, q.Passed, q.Failed, q.Errors, q.Skipped, number(r.SuccessRate), number(r.Throughput.PerSecond))
	m.latency(r)
	m.goals(r)
	m.endpoints(r)
	m.failures(r)
	m.mocks(r)
	m.cluster(r)
	m.rest(r)
	return m.Flush()
}

// markdown writes; a bufio.Writer keeps its first error until Flush.
type markdown struct{ *bufio.Writer }

func (m markdown) printf(format string, args ...any) { fmt.Fprintf(m, format, args...) }

func (m markdown) latency(r *Report) {
	m.printf("| latency, ms | p50 | p75 | p90 | p95 | p99 | max | avg |\n|---|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, row := range []struct {
		name string
		s    Summary
	}{{"from the planned time", r.Latency.Planned}, {"from the send", r.Latency.Sent}, {"recorded", r.Latency.Recorded}} {
		s := row.s
		m.printf("| %s | %s | %s | %s | %s | %s | %s | %s |\n", row.name,
			number(s.P50), number(s.P75), number(s.P90), number(s.P95), number(s.P99), number(s.Max), number(s.Avg))
	}
	m.printf("\n")
}

func (m markdown) goals(r *Report) {
	if len(r.Goals) == 0 {
		return
	}
	m.printf("## Goals\n\n| fail if | actual | status |\n|---|--:|---|\n")
	for _, g := range r.Goals {
		m.printf("| %s | %s | %s |\n", code(g.Goal.String()), number(g.Actual), g.Status)
	}
	m.printf("\n")
}

func (m markdown) endpoints(r *Report) {
	if len(r.Endpoints) == 0 {
		return
	}
	m.printf("## Endpoints\n\n| endpoint | requests | failed | p50 ms | p95 ms | recorded p95 | first difference |\n|---|--:|--:|--:|--:|--:|---|\n")
	for _, e := range r.Endpoints {
		first := e.Error
		if e.First != nil {
			first = e.First.String()
		}
		m.printf("| %s | %d | %d | %s | %s | %s | %s |\n", code(e.Method+" "+e.Path), e.Requests, e.Failed+e.Errors,
			number(e.Latency.P50), number(e.Latency.P95), number(e.Recorded.P95), code(first))
	}
	m.printf("\n")
}

func (m markdown) failures(r *Report) {
	if len(r.Failures) == 0 {
		return
	}
	m.printf("## Failures\n\n")
	for _, f := range r.Failures {
		m.printf("- %s", code(f.Method+" "+f.URL))
		if f.Error != "" {
			m.printf(": %s", code(f.Error))
		}
		m.printf("\n")
		for _, d := range f.Differences {
			m.printf("  - %s\n", code(d.String()))
		}
	}
	m.printf("\n")
}

func (m markdown) mocks(r *Report) {
	if r.Mocks == nil {
		return
	}
	m.printf("## Mocks\n\n%d requests: %d matched (%s %%), %d missed, %d passed through.\n\n",
		r.Mocks.Requests, r.Mocks.Matched, number(r.Mocks.MatchRate), r.Mocks.Missed, r.Mocks.Passthrough)
	for _, miss := range r.Mocks.Misses {
		m.printf("- %s, %d times", code(miss.Request), miss.Count)
		if miss.Nearest != "" {
			m.printf("; nearest %s", code(miss.Nearest))
		}
		m.printf("\n")
		for _, f := range miss.Fields {
			m.printf("  - %s: recorded %s, got %s\n", code(f.Key), code(f.Want), code(f.Got))
		}
	}
	m.printf("\n")
}

func (m markdown) cluster(r *Report) {
	if len(r.Usage) > 0 {
		m.printf("## Usage\n\n| container | CPU, millicores: min | avg | max | memory, MiB: min | avg | max |\n|---|--:|--:|--:|--:|--:|--:|\n")
		for _, u := range r.Usage {
			m.printf("| %s | %d | %d | %d | %s | %s | %s |\n", code(u.Pod+"/"+u.Container), u.CPU.Min, u.CPU.Avg, u.CPU.Max,
				mebibytes(u.Memory.Min), mebibytes(u.Memory.Avg), mebibytes(u.Memory.Max))
		}
		m.printf("\n")
	}
	if len(r.ClusterEvents) > 0 {
		m.printf("## Events of the cluster\n\n")
		for _, e := range r.ClusterEvents {
			m.printf("- %s %s %s, %d times: %s\n", escape(e.Type), escape(e.Reason), code(e.Object), e.Count, code(e.Message))
		}
		m.printf("\n")
	}
}

func (m markdown) rest(r *Report) {
	list := func(title string, n int, line func(i int) string) {
		if n == 0 {
			return
		}
		m.printf("## %s\n\n", title)
		for i := range n {
			m.printf("- %s\n", line(i))
		}
		m.printf("\n")
	}
	list("Warnings", len(r.Warnings), func(i int) string { return escape(r.Warnings[i]) })
	list("Skipped", len(r.Skipped), func(i int) string { return fmt.Sprintf("%d: %s", r.Skipped[i].Count, escape(r.Skipped[i].Reason)) })
	list("Left out as noise", len(r.Noise), func(i int) string {
		n := r.Noise[i]
		return fmt.Sprintf("%s in %s", code(n.Location), code(n.Method+" "+n.Path))
	})
	list("Carried over and transformed", len(r.Carried), func(i int) string {
		c := r.Carried[i]
		return fmt.Sprintf("%s to %s: %s", code(c.From), code(c.To), escape(c.Summary()))
	})
	list("Lost while recording", len(r.Losses), func(i int) string {
		l := r.Losses[i]
		return fmt.Sprintf("%s %s: %s", escape(l.Service), code(l.Reason), l.Size())
	})
	list("Gaps while recording", len(r.Gaps), func(i int) string {
		g := r.Gaps[i]
		return fmt.Sprintf("%s: pairs %d to %d", code(g.Producer), g.From, g.To)
	})
	list("Producers that ended without a goodbye", len(r.Vanished), func(i int) string { return code(r.Vanished[i]) })
}

// code writes text as a code span that can stand in a table: the fence is longer
// than any run of backticks inside (CommonMark, section 6.1).
func code(text string) string {
	if text == "" {
		return ""
	}
	text = strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, text)
	longest, run := 0, 0
	for _, c := range text {
		if run++; c != '`' {
			run = 0
		}
		longest = max(longest, run)
	}
	fence := strings.Repeat("`", longest+1)
	pad := ""
	if longest > 0 {
		pad = " "
	}
	return fence + pad + strings.ReplaceAll(text, "|", `\|`) + pad + fence
}

// escape keeps a person's text from being read as markup.
func escape(text string) string {
	var out strings.Builder
	for _, c := range text {
		switch {
		case c < ' ':
			c = ' '
		case strings.ContainsRune("\\`*_{}[]<>#|!~", c):
			out.WriteByte('\\')
		}
		out.WriteRune(c)
	}
	return out.String()
}
