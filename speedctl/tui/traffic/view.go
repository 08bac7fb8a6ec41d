package traffic

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/speedscale/speedscale/speedctl/tui/style"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/filter"
)

// The screen has so many lines above and below its middle.
const (
	headLines = 3
	footLines = 2
)

// View implements tea.Model.
func (m Model) View() string {
	var middle []string
	head := ""
	switch m.view {
	case viewPair:
		head, middle = m.pairHead(), m.pairLines()
	case viewMap:
		head, middle = m.mapLines()
	case viewHelp:
		head, middle = m.o.Theme.Rule("Help", m.width), helpLines(m.o.Theme)
	default:
		head, middle = m.listLines()
	}
	lines := []string{m.titleLine(), m.filterLine(), head}
	lines = append(lines, middle[:min(len(middle), m.rows())]...)
	for len(lines) < headLines+m.rows() {
		lines = append(lines, "")
	}
	return style.Screen(append(lines, m.noteLine(), m.keysLine()), m.width, m.height)
}

func (m Model) titleLine() string {
	t := m.o.Theme
	state := ""
	switch {
	case m.failed != nil:
		state = t.Bad.Render("✕ ended")
	case m.waiting != "":
		state = t.Warn.Render("◌ waiting")
	case !m.live:
		state = t.Warn.Render("◌ reading")
	case m.o.Live && m.latest:
		state = t.Good.Render("● live")
	case m.o.Live:
		state = t.Good.Render("●") + " live, held"
	}
	counts := fmt.Sprintf("%s of %s pairs  ", number(len(m.store.shown)), number(len(m.store.pairs)))
	if state == "" {
		counts = strings.TrimSpace(counts)
	}
	return style.Ends(t.Title.Render(style.Clean(m.o.Title)), counts+state, m.width)
}

// number has its thousands apart.
func number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func (m Model) filterLine() string {
	t := m.o.Theme
	label := "filter "
	switch m.asking {
	case askFilter:
	case askFilterName:
		label = "save the filter in file "
	case askSnapshotName:
		label = "name of the snapshot "
	default:
		if m.query == "" {
			return t.Faint.Render("filter  / types one, such as status NOT \"200\"")
		}
		return t.Faint.Render(label) + style.Cut(style.Clean(m.query), m.width-len(label))
	}
	return t.Key.Render(label) + m.inputText(m.width-len(label))
}

// inputText is what is typed, with the cursor, as far as there is room around that.
func (m Model) inputText(width int) string {
	value, at := []rune(m.input.Value()), m.input.Position()
	from := min(max(at-width+2, 0), at)
	hint := ""
	if s := []rune(m.input.CurrentSuggestion()); at == len(value) && len(s) > at {
		hint = m.o.Theme.Faint.Render(string(s[at:]))
	}
	return string(value[from:at]) + "█" + string(value[at:]) + hint
}

// noteLine says what went wrong, or what of the traffic is not here.
func (m Model) noteLine() string {
	t := m.o.Theme
	syntax, isSyntax := errors.AsType[*filter.SyntaxError](m.wrong)
	switch {
	case m.asking == askFilter && isSyntax:
		return t.Warn.Render(style.Cut(fmt.Sprintf("column %d: %s", syntax.Offset+1, style.Clean(syntax.Msg)), m.width))
	case m.asking == askFilter && m.wrong != nil:
		return t.Warn.Render(style.Cut(style.Clean(m.wrong.Error()), m.width))
	case m.note != "" && m.bad:
		return t.Bad.Render(style.Cut(style.Clean(m.note), m.width))
	case m.note != "":
		return t.Good.Render(style.Cut(style.Clean(m.note), m.width))
	case m.failed != nil:
		return t.Bad.Render(style.Cut(style.Clean(m.failed.Error()), m.width))
	case m.waiting != "":
		return t.Warn.Render(style.Cut(style.Clean(m.waiting), m.width))
	}
	var parts []string
	if m.store.gone > 0 {
		parts = append(parts, fmt.Sprintf("the last %s pairs, or %d MiB, are kept: %s older ones made room", number(MaxPairs), MaxBytes>>20, number(int(m.store.gone))))
	}
	if m.store.skipped > 0 {
		parts = append(parts, fmt.Sprintf("%s skipped, too fast to show; they are in the archive", number(int(m.store.skipped))))
	}
	return t.Faint.Render(style.Cut(strings.Join(parts, "; "), m.width))
}

func (m Model) keysLine() string {
	t := m.o.Theme
	switch m.asking {
	case askFilter:
		return t.Keys(m.width, style.Key{Name: "enter", Does: "keep"}, style.Key{Name: "esc", Does: "as before"}, style.Key{Name: "tab", Does: "complete"}, style.Key{Name: "↑↓", Does: "select"})
	case askFilterName, askSnapshotName:
		return t.Keys(m.width, style.Key{Name: "enter", Does: "save"}, style.Key{Name: "esc", Does: "do not"})
	}
	switch m.view {
	case viewPair:
		return t.Keys(m.width, style.Key{Name: "esc", Does: "back"}, style.Key{Name: "↑↓", Does: "scroll"}, style.Key{Name: "←→", Does: "other pairs"}, style.Key{Name: "?", Does: "help"})
	case viewMap:
		return t.Keys(m.width, style.Key{Name: "enter", Does: "show its pairs"}, style.Key{Name: "esc", Does: "back"}, style.Key{Name: "↑↓", Does: "select"}, style.Key{Name: "?", Does: "help"})
	case viewHelp:
		return t.Keys(m.width, style.Key{Name: "esc", Does: "back"})
	}
	keys := []style.Key{{Name: "/", Does: "filter"}, {Name: "enter", Does: "open"}, {Name: "m", Does: "map"}, {Name: "s", Does: "snapshot"}, {Name: "f", Does: "save filter"}}
	if m.o.Live {
		does := "hold"
		if !m.latest {
			does = "go live"
		}
		keys = append(keys, style.Key{Name: "space", Does: does})
	}
	return t.Keys(m.width, append(keys, style.Key{Name: "?", Does: "help"}, style.Key{Name: "q", Does: "quit"})...)
}

// columns of the list.
type columns struct{ service, host int }

func (m Model) columns() (c columns) {
	c.service = 14
	if m.width >= 110 {
		c.service, c.host = 22, 28
	}
	return c
}

func (m Model) listLines() (head string, lines []string) {
	c := m.columns()
	head = m.o.Theme.Head.Render(style.Fit("  "+c.row("TIME", "", "SERVICE", "STATUS", "DURATION", "HOST", "REQUEST"), m.width))
	shown := m.store.shown
	for i := m.top; i < len(shown) && len(lines) < m.rows(); i++ {
		lines = append(lines, m.row(c, shown[i], i == m.cursor))
	}
	if len(shown) == 0 && m.failed == nil {
		text := "  no pair yet"
		switch {
		case len(m.store.pairs) > 0:
			text = "  no pair matches the filter"
		case m.live && !m.o.Live:
			text = "  it holds no pairs"
		}
		lines = []string{"", m.o.Theme.Faint.Render(text)}
	}
	return head, lines
}

func (c columns) row(at, dir, service, status, took, host, request string) string {
	row := style.Fit(at, 12) + " " + style.Fit(dir, 3) + " " + style.Fit(service, c.service) + " " + style.Fit(status, 6) + " " + style.FitRight(took, 9) + "  "
	if c.host > 0 {
		row += style.Fit(host, c.host) + " "
	}
	return row + request
}

func (m Model) row(c columns, p *traffic.RRPair, selected bool) string {
	t := m.o.Theme
	status := style.Clean(p.Status)
	if p.RequestCut() || p.ResponseCut() {
		status += "…"
	}
	if !selected {
		switch {
		case failed(p):
			status = t.Bad.Render(status)
		case refused(p):
			status = t.Warn.Render(status)
		}
	}
	name := p.Service
	if c.host > 0 {
		name = serviceOf(p)
	}
	row := c.row(time.Unix(0, p.Ts).In(m.o.Location).Format("15:04:05.000"), direction(p), style.Clean(name), status, duration(p.Duration),
		style.Clean(p.NetworkAddress), style.Clean(strings.TrimSpace(p.Command+" "+p.Location)))
	return m.line(row, selected)
}

// line is one of a list, marked where keys are about it.
func (m Model) line(text string, selected bool) string {
	if selected {
		return m.o.Theme.Selected.Render(style.Fit("▸ "+text, m.width))
	}
	return style.Fit("  "+text, m.width)
}

func (m Model) pairHead() string {
	p := m.pair
	return m.o.Theme.Rule(fmt.Sprintf("%s %s → %s in %s", p.Command, p.Location, p.Status, duration(p.Duration)), m.width)
}

func (m Model) pairLines() []string {
	return m.detail[m.scroll:min(m.scroll+m.rows(), len(m.detail))]
}

// besideFrom is the width from which on request and response stand beside one another.
const besideFrom = 120

// draw is a pair in full, for the width: the request, the response, and what else is
// known.
func (m Model) draw(p *traffic.RRPair) []string {
	request, response, facts := describe(p, m.o.Location)
	if m.width < besideFrom {
		return slices.Concat(m.drawn(request, m.width), m.drawn(response, m.width), m.drawn(facts, m.width))
	}
	left := (m.width - 3) / 2
	both := m.o.Theme.Beside(m.drawn(request, left), m.drawn(response, m.width-3-left), left)
	return append(append(both, ""), m.drawn(facts, m.width)...)
}

// drawn has lines in a width. Those too long are broken.
func (m Model) drawn(list details, width int) (lines []string) {
	t := m.o.Theme
	for _, l := range list {
		text := l.text
		if l.kind == fieldLine {
			text = l.name + ": " + l.text
		}
		for i, part := range broken(text, width-2) {
			switch {
			case l.kind == headLine:
				lines = append(lines, t.Rule(l.name, width))
			case l.kind == fieldLine && i == 0:
				name := min(len(l.name)+1, len(part))
				lines = append(lines, "  "+t.Faint.Render(part[:name])+part[name:])
			case l.kind == noteLine:
				lines = append(lines, "  "+t.Faint.Render(part))
			default:
				lines = append(lines, "  "+part)
			}
		}
	}
	return lines
}

// broken breaks a text that is longer than a line, without regard to words: in tokens
// and documents there are none.
func broken(text string, width int) []string {
	return strings.Split(ansi.Hardwrap(text, max(width, 1), true), "\n")
}

func (m Model) mapLines() (head string, lines []string) {
	t := m.o.Theme
	label := max(m.width-34, 20)
	head = t.Head.Render(style.Fit(style.Fit("  SERVICE", label)+style.FitRight("PAIRS", 10)+style.FitRight("FAILED", 12)+style.FitRight("MEAN", 12), m.width))
	nodes := services(m.store.shown)
	for i := m.scroll; i < len(nodes) && len(lines) < m.rows(); i++ {
		n := nodes[i]
		wrong := "-"
		if n.failed > 0 {
			wrong = fmt.Sprintf("%d (%.0f%%)", n.failed, 100*float64(n.failed)/float64(n.count))
		}
		wrong = style.FitRight(wrong, 12)
		name := strings.Repeat("  ", n.depth) + style.Clean(n.label)
		if i != m.node && n.failed > 0 {
			wrong = t.Bad.Render(wrong)
		}
		row := style.Fit(name, label-2) + style.FitRight(number(n.count), 10) + wrong + style.FitRight(duration(int64(n.mean())), 12)
		if i != m.node && n.depth == 0 {
			row = t.Title.Render(row)
		}
		lines = append(lines, m.line(row, i == m.node))
	}
	if len(nodes) == 0 {
		lines = []string{"", t.Faint.Render("  no pair is shown")}
	}
	return head, lines
}

func helpLines(t style.Theme) (lines []string) {
	for _, k := range []style.Key{
		{Name: "↑ ↓ k j", Does: "the pair before, the next"}, {Name: "PgUp PgDn", Does: "a page up, down"}, {Name: "g G", Does: "the first, the last"},
		{Name: "enter", Does: "open the pair: its headers, its bodies decoded"}, {Name: "← →", Does: "in an open pair: the one before, the next"},
		{Name: "/", Does: "filter, applied as it is typed; esc takes it away"},
		{Name: "m", Does: "services and whom they call; enter there shows the pairs"},
		{Name: "s", Does: "save what is shown as a snapshot"}, {Name: "f", Does: "save the filter in a file, for speedctl tap -f"},
		{Name: "space", Does: "stay at a pair while others arrive, or go on with the newest"}, {Name: "q ctrl-c", Does: "back, and from the list the end"},
	} {
		lines = append(lines, "  "+t.Key.Render(style.Fit(k.Name, 10))+" "+k.Does)
	}
	return append(lines, "",
		t.Head.Render("Filters")+"  KEY OPERATOR \"VALUE\", joined by AND or OR, lists of them in ( )",
		"  keys       command status location service host url direction text",
		"             header[NAME] req_json[$.a.b] resp_json[$.a.b] namespace session …",
		"  operators  IS  NOT  CONTAINS  NOT CONTAINS  REGEX  NOT REGEX",
		"  such as    (status IS \"500\" OR status IS \"503\") AND command NOT \"GET\"")
}
