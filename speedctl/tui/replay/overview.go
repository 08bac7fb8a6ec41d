package replay

import (
	"fmt"
	"strings"
	"time"

	"github.com/speedscale/speedscale/speedctl/tui/style"
	"github.com/speedscale/speedscale/traffic/report"
)

// viewOverview draws the sections of the overview: below one another, or in two columns.
func (m *Model) viewOverview() []string {
	rows := m.bodyRows()
	if m.width < wideFrom {
		return m.narrow(m.width, rows)
	}
	left := (m.width - 3) * 11 / 20
	right := m.width - 3 - left
	column := append(m.viewPhases(left), m.viewTraffic(left)...)
	column = append(column, m.viewFailing(left, rows-len(column))...)
	var other []string
	if m.outcome != nil {
		other = append(m.viewVerdict(right, 12), "")
	}
	if m.o.Pods {
		other = append(other, m.viewPods(right, min(len(m.shown().usage)+1, rows/3))...)
	}
	other = append(other, m.viewTail(right, rows-len(other))...)
	return m.theme.Beside(column[:min(len(column), rows)], other[:min(len(other), rows)], left)
}

// leastFailing is how many failing endpoints there is room for before pods and log get any.
const leastFailing = 4

// verdictRows is what a verdict with two goals and a long address takes.
const verdictRows = 7

func (m *Model) narrow(width, rows int) []string {
	top := m.viewPhases(width)
	height := max(len(top), verdictRows)
	if m.outcome != nil { // in the place of the phases, so that nothing below jumps
		top = m.viewVerdict(width, height)
	}
	lines := append(pad(top, height), m.viewTraffic(width)...)
	rest := rows - len(lines)
	pods := 0
	if m.o.Pods {
		pods = min(max(rest-leastFailing-1, 2), len(m.shown().usage)+1, 6)
		pods = max(pods, 2)
	}
	tail := rest - pods - leastFailing - 1
	if tail < 4 {
		tail = 0
	} else {
		tail = min(tail, rest/2)
	}
	lines = append(lines, m.viewFailing(width, rest-pods-tail)...)
	if pods > 0 {
		lines = append(lines, m.viewPods(width, pods)...)
	}
	if tail > 0 {
		lines = append(lines, m.viewTail(width, tail)...)
	}
	return lines
}

// pad makes a section exactly so high.
func pad(lines []string, rows int) []string {
	rows = max(rows, 0)
	return append(lines[:min(len(lines), rows)], make([]string, max(rows-len(lines), 0))...)
}

func (m *Model) viewPhases(width int) []string {
	s := m.shown()
	lines := []string{m.theme.Rule("Phases", width)}
	for _, p := range s.phases {
		lines = append(lines, m.phaseLine(p, width))
	}
	switch {
	case s.lost != "":
		lines = append(lines, m.theme.Warn.Render(style.Fit("! "+s.lost, width)))
	case s.status != "" && len(s.phases) > 0 && s.phases[0].started.IsZero():
		lines[1] = m.theme.Faint.Render("·") + " " + style.Fit(s.status, width-2)
	}
	return lines
}

func (m *Model) phaseLine(p phase, width int) string {
	if p.started.IsZero() {
		return m.theme.Faint.Render(style.Fit("· "+p.name, width))
	}
	sign, took := m.theme.Warn.Render("●"), m.now.Sub(p.started)
	switch p.state {
	case "done":
		sign = m.theme.Good.Render("✓")
	case "failed":
		sign = m.theme.Bad.Render("✗")
	}
	if !p.ended.IsZero() {
		took = p.ended.Sub(p.started)
	}
	at := p.started.In(m.now.Location()).Format("15:04:05")
	head := sign + " " + style.Fit(p.name, 10) + at + style.FitRight(clock(took), 8) + "  "
	return head + style.Fit(behind(p), width-style.Width(head))
}

// behind is what a phase has to say: its pods, and what it waits for.
func behind(p phase) string {
	pods := style.Clean(strings.Join(p.pods, ", "))
	switch {
	case len(p.pods) > 2:
		pods = fmt.Sprintf("%s and %d other pods", style.Clean(p.pods[0]), len(p.pods)-1)
	case pods == "":
		return p.text
	}
	if p.state == "started" && p.text != "" {
		return pods + ": " + p.text
	}
	return pods
}

func (m *Model) viewTraffic(width int) []string {
	s := m.shown()
	sum, mocks := s.totals(), s.mocked()
	lines := []string{m.theme.Rule("Requests", width)}
	sent := "sent " + count(sum.Sent)
	if sum.Total > 0 {
		sent += " of " + count(sum.Total)
	}
	tone := func(n int64, text string) string {
		if n == 0 {
			return text
		}
		return m.theme.Bad.Render(text)
	}
	counts := fmt.Sprintf("%s   passed %s   %s   %s", sent, count(sum.Passed), tone(sum.Failed, "failed "+count(sum.Failed)), tone(sum.Errors, "errors "+count(sum.Errors)))
	if room := width - style.Width(counts) - 10; sum.Total > 0 && room >= 8 {
		share := float64(sum.Sent) / float64(sum.Total)
		counts += "   " + m.theme.Bar(share, min(room, 30)) + style.FitRight(fmt.Sprintf("%.0f %%", 100*share), 6)
	}
	lines = append(lines, counts)
	mocked := "mocks: no request yet"
	if n := mocks.Requests; n > 0 {
		mocked = fmt.Sprintf("mocks %s   matched %.1f %%   %s", count(n), 100*float64(mocks.Matched)/float64(n), tone(mocks.Missed, "missed "+count(mocks.Missed)))
		if mocks.Passthrough > 0 {
			mocked += "   passed through " + count(mocks.Passthrough)
		}
	}
	lines = append(lines, mocked)
	for _, row := range []struct {
		name  string
		value func(point) float64
		show  func(float64) string
	}{
		{"requests/s", func(p point) float64 { return p.rate }, func(v float64) string { return fmt.Sprintf("%.0f", v) }},
		{"p50", func(p point) float64 { return p.p50 }, millis},
		{"p95", func(p point) float64 { return p.p95 }, millis},
		{"p99", func(p point) float64 { return p.p99 }, millis},
	} {
		lines = append(lines, m.chart(row.name, row.value, row.show, width))
	}
	return lines
}

// chart is a value over time: its last one, a sparkline, and its largest one.
func (m *Model) chart(name string, value func(point) float64, show func(float64) string, width int) string {
	points := m.shown().points
	if len(points) == 0 {
		return m.theme.Faint.Render(style.Fit(name, 11) + style.FitRight("–", 9))
	}
	values := make([]float64, len(points))
	most := 0.0
	for i, p := range points {
		values[i] = value(p)
		most = max(most, values[i])
	}
	const around = 11 + 9 + 2 + 2 + 13
	line := m.theme.Faint.Render(style.Fit(name, 11)) + style.FitRight(show(values[len(values)-1]), 9) + "  "
	return line + m.theme.Head.Render(style.Fit(style.Spark(values, width-around), width-around)) + "  " + m.theme.Faint.Render(style.FitRight("max "+show(most), 13))
}

func (m *Model) viewFailing(width, rows int) []string {
	list := m.shown().endpoints(m.report())
	title := "Failing endpoints: " + count(int64(len(list)))
	if len(list) == 0 {
		title = "Failing endpoints"
		return pad([]string{m.theme.Rule(title, width), m.theme.Faint.Render("none")}, rows)
	}
	lines := []string{m.theme.Rule(title, width)}
	names := 0
	for _, e := range list {
		names = max(names, style.Width(e.method+" "+e.path))
	}
	names = min(names, (width-10)*2/5)
	selected, room := m.selected(list), max(rows-1, 1)
	from := max(0, min(selected-room/2, len(list)-room))
	for i := from; i < min(from+room, len(list)); i++ {
		e := list[i]
		n := count(e.failed)
		if e.more {
			n += "+"
		}
		sign := "  "
		if i == selected {
			sign = "▸ "
		}
		text := sign + style.FitRight(n, 6) + "  " + style.Fit(style.Clean(e.method+" "+e.path), names) + "  "
		text = style.Fit(text+e.text, width)
		if i == selected {
			text = m.theme.Selected.Render(text)
		}
		lines = append(lines, text)
	}
	return pad(lines, rows)
}

func (m *Model) viewPods(width, rows int) []string {
	list := m.shown().usage
	head := m.theme.Rule("Pods of the workload", width)
	if len(list) == 0 {
		return pad([]string{head, m.theme.Faint.Render("no usage yet")}, max(rows, 2))
	}
	lines := []string{head}
	for i, u := range list {
		if len(lines) == rows-1 && i < len(list)-1 {
			lines = append(lines, m.theme.Faint.Render(fmt.Sprintf("… and %d other containers", len(list)-i)))
			break
		}
		numbers := style.FitRight(fmt.Sprintf("%dm CPU", u.millicores), 11) + style.FitRight(fmt.Sprintf("%d MiB", u.memory>>20), 11)
		name := (width - style.Width(numbers) - 1) / 2
		lines = append(lines, style.Fit(style.CutMiddle(u.pod, name), name)+" "+style.Fit(u.container, width-style.Width(numbers)-1-name)+numbers)
	}
	return pad(lines, rows)
}

// viewVerdict says how it ended, and where the report is.
func (m *Model) viewVerdict(width, rows int) []string {
	lines := []string{m.theme.Rule("Verdict", width)}
	r := m.outcome.Report
	summary := m.verdict()
	if r != nil {
		summary += "   " + result(r)
	}
	lines = append(lines, style.Cut(summary, width))
	var details []string
	if m.outcome.Err != nil {
		details = append(details, style.Wrap(style.Clean(m.outcome.Err.Error()), width, 3)...)
	} else if r != nil && r.Error != "" {
		details = append(details, style.Wrap(style.Clean(r.Error), width, 3)...)
	}
	if r != nil {
		for _, g := range r.Goals {
			sign := m.theme.Good.Render("✓")
			if g.Status != report.Pass {
				sign = m.theme.Bad.Render("✗")
			}
			details = append(details, sign+" "+style.Cut(fmt.Sprintf("fails if %s %s %v: was %.4g", g.Metric, g.Op, g.Value, g.Actual), width-2))
		}
		for _, w := range r.Warnings {
			details = append(details, m.theme.Warn.Render("!")+" "+style.Cut(style.Clean(w), width-2))
		}
	}
	last := m.address(width)
	room := max(rows-len(lines)-len(last), 0)
	if phases := m.phasesInShort(); phases != "" && len(details) < room {
		last = append(last, m.theme.Faint.Render(style.Cut(phases, width)))
	}
	if len(details) > room {
		details = append(details[:max(room-1, 0)], m.theme.Faint.Render(fmt.Sprintf("… and %d more, which the report has", len(details)-max(room-1, 0))))
	}
	return append(append(lines, details...), last...)
}

// address says where the report is, broken by nothing but the window's edge.
func (m *Model) address(width int) []string {
	where := style.Clean(m.outcome.Address)
	switch {
	case where == "":
		return nil
	case style.Width("Report: "+where) <= width:
		return []string{"Report: " + where}
	}
	return style.Break(where, width)
}

// result is what a report counts, in a sentence.
func result(r *report.Report) string {
	q := r.Requests
	of := " of " + plural(q.Sent, "request", "requests")
	switch {
	case q.Failed+q.Errors == 0:
		return plural(q.Sent, "request", "requests") + ", none of which failed"
	case q.Errors == 0:
		return count(q.Failed) + of + " differ"
	case q.Failed == 0:
		return count(q.Errors) + of + " got no response"
	}
	return count(q.Failed) + of + " differ, " + count(q.Errors) + " got no response"
}

// phasesInShort are the phases and how long they took, where there is no room for a
// line for each.
func (m *Model) phasesInShort() string {
	if m.width >= wideFrom {
		return ""
	}
	var list []string
	for _, p := range m.live.phases {
		if p.started.IsZero() {
			continue
		}
		if p.ended.IsZero() {
			p.ended = m.now
		}
		list = append(list, p.name+" "+p.ended.Sub(p.started).Round(time.Second).String())
	}
	return strings.Join(list, "  ")
}

// viewTail are the last lines of the log.
func (m *Model) viewTail(width, rows int) []string {
	lines := []string{m.theme.Rule("Log and events", width)}
	all := m.shown().lines
	for _, l := range all[max(0, len(all)-max(rows-1, 0)):] {
		lines = append(lines, m.logLine(l, width, false)...)
	}
	if len(all) == 0 {
		lines = append(lines, m.theme.Faint.Render("none"))
	}
	return pad(lines, rows)
}
