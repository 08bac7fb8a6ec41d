package replay

import (
	"fmt"

	"github.com/speedscale/speedscale/speedctl/tui/style"
)

func (k kind) String() string {
	return [...]string{"Log and events", "Log", "Events", "Warnings"}[k]
}

// logRows is how many lines of the log there is room for.
func (m *Model) logRows() int { return max(m.bodyRows()-2, 1) }

func (m *Model) viewLog() []string {
	list := m.matching()
	s := m.shown()
	title := fmt.Sprintf("%s: %s of %s lines", m.kind, count(int64(len(list))), count(int64(len(s.lines))))
	if s.gone > 0 {
		title += fmt.Sprintf("; %s older ones are gone", count(int64(s.gone)))
	}
	lines := []string{m.theme.Rule(title, m.width), m.viewFilter()}
	rows := m.logRows()
	last := len(list) - min(m.back, max(len(list)-rows, 0))
	// From the last line upwards, as many as there is room for when they are wrapped.
	var window []string
	for i := last - 1; i >= 0 && len(window) < rows; i-- {
		window = append(m.logLine(list[i], m.width, m.wrap), window...)
	}
	if len(window) == 0 {
		window = []string{m.theme.Faint.Render("no line matches")}
		if len(s.lines) == 0 {
			window = []string{m.theme.Faint.Render("nothing yet")}
		}
	}
	return append(lines, window[max(0, len(window)-rows):]...)
}

func (m *Model) viewFilter() string {
	switch {
	case m.typing:
		return m.theme.Key.Render("/") + m.filter + "█"
	case m.filter != "":
		return m.theme.Faint.Render("filter: ") + m.filter
	}
	return m.theme.Faint.Render("no filter")
}

// logLine is a line of the log: when, who, what.
func (m *Model) logLine(l line, width int, wrap bool) []string {
	who := min(max(width/4, 12), 32)
	source := style.Fit(style.CutMiddle(l.source, who), who)
	switch l.kind {
	case warnings:
		source = m.theme.Warn.Render(source)
	case events:
		source = m.theme.Head.Render(source)
	default:
		source = m.theme.Faint.Render(source)
	}
	head := l.at.In(m.now.Location()).Format("15:04:05") + " " + source + " "
	room := width - style.Width(head)
	text := l.text
	if l.kind == warnings {
		text = "! " + text
	}
	if !wrap {
		return []string{head + style.Cut(text, room)}
	}
	lines := style.Wrap(text, room, 20)
	for i := range lines {
		if i > 0 {
			head = style.Fit("", width-room)
		}
		lines[i] = head + lines[i]
	}
	return lines
}
