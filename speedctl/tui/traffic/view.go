package traffic

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

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
	from := max(at-width+2, 0)
	under, rest := " ", ""
	if at < len(value) {
		under, rest = string(value[at]), string(value[at+1:])
	}
	hint := ""
	if at == len(value) {
		if s := []rune(m.input.CurrentSuggestion()); len(s) > len(value) {
			under, hint = string(s[at]), string(s[at+1:])
		}
	}
	return string(value[from:at]) + m.o.Theme.Selected.Render(under) + rest + m.o.Theme.Faint.Render(hint)
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
	head = m.o.Theme.Head.Render(style.Fit(c.row("TIME", "", "SERVICE", "STATUS", "DURATION", "HOST", "REQUEST"), m.width))
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
	row = style.Fit(row, m.width)
	if selected {
		return t.Selected.Render(row)
	}
	return row
}

func (m Model) pairHead() string {
	p := m.pair
	return m.o.Theme.Rule(fmt.Sprintf("%s %s → %s in %s", p.Command, p.Location, p.Status, duration(p.Duration)), m.width)
}

func (m Model) pairLines() (lines []string) {
	t := m.o.Theme
	for i := m.scroll; i < len(m.detail) && len(lines) < m.rows(); i++ {
		l := m.detail[i]
		switch l.kind {
		case headLine:
			lines = append(lines, t.Head.Render(l.name))
		case fieldLine:
			lines = append(lines, "  "+t.Faint.Render(l.name+":")+" "+l.text)
		case noteLine:
			lines = append(lines, "  "+t.Faint.Render("── "+l.text))
		default:
			lines = append(lines, "  "+l.text)
		}
	}
	return lines
}

func (m Model) mapLines() (head string, lines []string) {
	t := m.o.Theme
	label := max(m.width-36, 20)
	head = t.Head.Render(style.Fit(style.Fit("SERVICE", label)+style.FitRight("PAIRS", 10)+style.FitRight("FAILED", 12)+style.FitRight("MEAN", 12), m.width))
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
		row := style.Fit(name, label) + style.FitRight(number(n.count), 10) + wrong + style.FitRight(duration(int64(n.mean())), 12)
		switch {
		case i == m.node:
			row = t.Selected.Render(style.Fit(row, m.width))
		case n.depth == 0:
			row = t.Title.Render(row)
		}
		lines = append(lines, row)
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
		t.Head.Render("Filters")+"  KEY OPERATOR \"VALUE\", joined by AND or OR; lists in parentheses nest once",
		"  keys       command status location service host url direction header[NAME] text",
		"             req_json[$.a.b] resp_json[$.a.b] namespace session tech tag[NAME] …",
		"  operators  IS  NOT  CONTAINS  NOT CONTAINS  REGEX  NOT REGEX",
		"  such as    (status IS \"500\" OR status IS \"503\") AND location CONTAINS \"/orders\"")
}
