package traffic

import (
	"strings"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/speedscale/speedscale/speedctl/tui/style"
)

// key takes one key, or several that came at once: a fast typist's, over a slow line.
func (m Model) key(k tea.KeyMsg) (tea.Model, tea.Cmd) {
	if k.Type == tea.KeyRunes && len(k.Runes) > 1 && !k.Paste {
		var model tea.Model = m
		var cmds []tea.Cmd
		for _, r := range k.Runes {
			var cmd tea.Cmd
			model, cmd = model.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune{r}, Alt: k.Alt})
			cmds = append(cmds, cmd)
		}
		return model, tea.Batch(cmds...)
	}
	if m.asking != askNothing {
		return m.typed(k)
	}
	return m.pressed(k)
}

// pressed does what a key is for where nothing is typed in.
func (m Model) pressed(k tea.KeyMsg) (tea.Model, tea.Cmd) {
	m.note, m.bad = "", false
	switch key := k.String(); key {
	case "q":
		if m.view == viewList {
			return m, tea.Quit
		}
		m.view, m.scroll = viewList, 0
	case "esc", "backspace":
		if m.view == viewList && m.query != "" {
			_ = m.apply("") // the empty query is one
		}
		m.view, m.scroll = viewList, 0
	case "?":
		m.view, m.scroll = viewHelp, 0
	case "/":
		m.before = m.query
		m.ask(askFilter, m.query)
	case "f":
		m.save(askFilterName)
	case "s":
		m.save(askSnapshotName)
	case "m":
		m.view, m.scroll, m.node = viewMap, 0, 0
	case "enter":
		m.enter()
	case " ":
		if m.o.Live {
			m.latest = !m.latest
			m.cursor = max(m.cursor, 0)
			if m.latest {
				m.cursor = len(m.store.shown) - 1
			}
		}
	case "left", "h", "p":
		m.turn(-1)
	case "right", "l", "n":
		m.turn(1)
	default:
		m.move(key)
	}
	m.settle()
	return m, nil
}

// move goes up and down in what is on the screen.
func (m *Model) move(key string) {
	const all = 1 << 30
	by := map[string]int{
		"up": -1, "k": -1, "down": 1, "j": 1, "pgup": -m.rows(), "ctrl+b": -m.rows(), "pgdown": m.rows(), "ctrl+f": m.rows(),
		"home": -all, "g": -all, "end": all, "G": all,
	}[key]
	if by == 0 {
		return
	}
	switch m.view {
	case viewList:
		m.cursor += by
		m.latest = m.o.Live && m.cursor >= len(m.store.shown)-1
	case viewMap:
		m.node += by
	case viewPair:
		m.scroll += by
	}
}

// turn opens the pair before or after the one that is open.
func (m *Model) turn(by int) {
	if m.view != viewPair || len(m.store.shown) == 0 {
		return
	}
	at := m.store.place(m.pair)
	if at < 0 {
		at = m.cursor
	}
	m.cursor = min(max(at+by, 0), len(m.store.shown)-1)
	m.open()
}

func (m *Model) open() {
	m.latest = false // what is open stays where it is in the list
	m.view, m.pair, m.scroll = viewPair, m.store.shown[m.cursor], 0
	m.detail = m.draw(m.pair)
}

func (m *Model) enter() {
	switch {
	case m.view == viewList && m.cursor < len(m.store.shown):
		m.open()
	case m.view == viewMap:
		nodes := services(m.store.shown)
		if m.node >= len(nodes) {
			return
		}
		if err := m.apply(narrow(m.query, nodes[m.node].query)); err != nil {
			m.note, m.bad = "the filter that is applied cannot be narrowed further: esc takes it away", true
			return
		}
		m.view, m.scroll = viewList, 0
	}
}

// narrow adds conditions to a query that is a list joined by AND.
func narrow(query, by string) string {
	switch {
	case query == "":
		return by
	case strings.HasSuffix(query, by):
		return query
	}
	return query + " AND " + by
}

func (m *Model) save(what asking) {
	switch {
	case m.saving:
		m.note = "what was asked for before is still being saved"
	case what == askSnapshotName && len(m.store.shown) == 0:
		m.note, m.bad = "there is nothing to save", true
	default:
		m.ask(what, "")
	}
}

func (m *Model) ask(what asking, value string) {
	m.asking, m.wrong = what, nil
	m.input.SetValue(value)
	m.input.CursorEnd()
	m.input.Focus()
	m.input.ShowSuggestions = what == askFilter
	if what == askFilter {
		m.input.KeyMap.AcceptSuggestion.SetKeys("tab")
		m.suggest()
	}
}

// typed takes what is typed in. The filter is applied with each key.
func (m Model) typed(k tea.KeyMsg) (tea.Model, tea.Cmd) {
	var cmd tea.Cmd
	switch k.Type {
	case tea.KeyEsc:
		if m.asking == askFilter {
			_ = m.apply(m.before) // it was applied before
		}
		m.asking, m.wrong = askNothing, nil
	case tea.KeyEnter:
		cmd = m.answered(strings.TrimSpace(m.input.Value()))
	case tea.KeyUp, tea.KeyDown, tea.KeyPgUp, tea.KeyPgDown:
		if m.asking == askFilter {
			m.move(k.String())
		}
	default:
		m.input, _ = m.input.Update(k)
		if m.asking == askFilter {
			m.wrong = m.apply(m.input.Value())
			m.suggest()
		}
	}
	m.settle()
	return m, cmd
}

// answered ends typing.
func (m *Model) answered(text string) tea.Cmd {
	what := m.asking
	switch {
	case what == askFilter && m.wrong != nil:
		return nil // the screen says what is wrong
	case what == askFilterName && text == "", what == askSnapshotName && text == "":
		return nil
	}
	m.asking = askNothing
	if what == askFilter {
		return nil
	}
	shown, ctx, o := m.what(), m.ctx, m.o
	m.saving, m.note, m.bad = true, "saving…", false
	return func() tea.Msg {
		var s saved
		if what == askFilterName {
			s.text, s.err = o.SaveFilter(text, shown)
		} else {
			s.text, s.err = o.SaveSnapshot(ctx, text, shown)
		}
		s.text = style.Clean(s.text)
		return s
	}
}

// suggest offers the names that what is typed last may be the beginning of.
func (m *Model) suggest() {
	text := m.input.Value()
	at := strings.LastIndexAny(text, " (") + 1
	if at == len(text) || strings.Count(text, `"`)%2 == 1 {
		m.input.SetSuggestions(nil)
		return
	}
	var list []string
	for _, word := range words() {
		if len(word) > len(text)-at && strings.EqualFold(word[:len(text)-at], text[at:]) {
			list = append(list, text+word[len(text)-at:])
		}
	}
	m.input.SetSuggestions(list)
}

// words are those of the filter language that are typed most.
func words() []string {
	return []string{
		"command", "status", "location", "service", "host", "url", "direction", "header[", "text", "tech", "session", "namespace",
		"req_json[", "resp_json[", "tag[", "networkaddr", "l7protocol", "source", "cluster", "timerange", "uuid",
		"IS", "NOT", "CONTAINS", "REGEX", "AND", "OR",
	}
}
