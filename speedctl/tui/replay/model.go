package replay

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	tea "github.com/charmbracelet/bubbletea"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/speedctl/tui/style"
	"github.com/speedscale/speedscale/traffic/report"
)

// Outcome is how a replay ended.
type Outcome struct {
	// Report is nil where there is none.
	Report *report.Report
	// Address is where the report is: that of a page, or a command.
	Address string
	// Canceled says that there is no other verdict, since the user canceled.
	Canceled bool
	// Err says why there is no verdict.
	Err error
}

// What a model is told, beside keys and sizes.
type (
	eventMsg   struct{ event *cloudv1.ReplayEvent }
	statusMsg  string
	lostMsg    string
	saidMsg    string
	tickMsg    time.Time
	outcomeMsg Outcome
)

// Model is the screen of one replay. It changes by messages alone, and does nothing but
// what the commands that Update returns do.
type Model struct {
	o             Options
	theme         style.Theme
	width, height int
	now, started  time.Time

	live   *state
	frozen *state // what is shown while the view is paused

	screen     screen
	confirming bool
	canceling  bool
	outcome    *Outcome

	cursor int // of the failing endpoints
	pair   int // the failure that is shown
	scroll int // of the pair: lines above the window

	kind   kind
	filter string
	typing bool
	wrap   bool
	back   int // lines of the log below the window
}

type screen int

const (
	overview screen = iota
	log
	beside
)

func newModel(o Options) Model {
	return Model{o: o, theme: o.Theme, live: newState(o.Phases), now: o.Now(), started: o.Now()}
}

// tick tells the time, by which the model knows how long something takes.
func (m Model) tick() tea.Cmd {
	return tea.Tick(time.Second, func(time.Time) tea.Msg { return tickMsg(m.o.Now()) })
}

// Init starts the clock.
func (m Model) Init() tea.Cmd { return m.tick() }

// Update folds in a message.
func (m Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tickMsg:
		m.now = time.Time(msg)
		if m.outcome == nil {
			return m, m.tick()
		}
	case eventMsg:
		before := len(m.live.lines) + m.live.gone
		m.live.apply(msg.event)
		m.hold(len(m.live.lines) + m.live.gone - before)
	case statusMsg:
		m.live.status = style.Clean(string(msg))
	case lostMsg:
		m.live.lost = style.Clean(string(msg))
	case saidMsg:
		m.live.add(line{m.now, logs, m.o.Source, string(msg)})
		m.hold(1)
	case outcomeMsg:
		o := Outcome(msg)
		m.outcome, m.confirming, m.frozen = &o, false, nil
		m.now = m.o.Now()
		if m.o.leave() {
			return m, tea.Quit
		}
	case tea.KeyMsg:
		return m.keys(msg)
	}
	return m, nil
}

// keys takes keys one by one: those that are pressed quickly arrive as one. What is
// pasted is text, and no keys.
func (m Model) keys(k tea.KeyMsg) (tea.Model, tea.Cmd) {
	if len(k.Runes) < 2 {
		return m.key(k)
	}
	if k.Paste && !m.typing {
		return m, nil
	}
	var now tea.Model = m
	var commands []tea.Cmd
	for _, r := range k.Runes {
		var c tea.Cmd
		now, c = now.(Model).key(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune{r}})
		commands = append(commands, c)
	}
	return now, tea.Batch(commands...)
}

// hold keeps the lines in the window that a user has scrolled to, when others come.
func (m *Model) hold(more int) {
	if m.back > 0 && m.frozen == nil {
		m.back += more
	}
}

// shown is what the view is of.
func (m *Model) shown() *state {
	if m.frozen != nil {
		return m.frozen
	}
	return m.live
}

func (m *Model) report() *report.Report {
	if m.outcome == nil {
		return nil
	}
	return m.outcome.Report
}

func (m Model) key(k tea.KeyMsg) (tea.Model, tea.Cmd) {
	if m.confirming {
		return m.confirm(k)
	}
	if m.typing {
		return m.typed(k), nil
	}
	switch k.String() {
	case "ctrl+c", "c", "q":
		switch {
		case m.outcome != nil && k.String() != "c":
			return m, tea.Quit
		case k.String() == "q" && m.screen != overview:
			m.screen = overview
		case m.outcome == nil && !m.canceling:
			m.confirming = true
		}
		return m, nil
	case "p", " ":
		if m.frozen != nil {
			m.frozen = nil
		} else if m.outcome == nil {
			m.frozen = m.live.clone()
		}
		return m, nil
	}
	switch m.screen {
	case log:
		return m.logKey(k), nil
	case beside:
		return m.pairKey(k), nil
	}
	return m.overviewKey(k), nil
}

// confirm answers the question whether the replay is to be canceled; ctrl+c asked for it
// twice.
func (m Model) confirm(k tea.KeyMsg) (tea.Model, tea.Cmd) {
	switch k.String() {
	case "y", "Y", "ctrl+c":
		m.confirming, m.canceling, m.frozen = false, true, nil
		return m, func() tea.Msg { m.o.cancel(); return nil }
	case "n", "N", "esc", "q", "enter":
		m.confirming = false
	}
	return m, nil
}

func (m Model) overviewKey(k tea.KeyMsg) Model {
	list := m.shown().endpoints(m.report())
	switch k.String() {
	case "up", "k":
		m.cursor--
	case "down", "j":
		m.cursor++
	case "home", "g":
		m.cursor = 0
	case "end", "G":
		m.cursor = len(list) - 1
	case "l":
		m.screen, m.back = log, 0
	case "enter":
		if i := m.selected(list); i >= 0 && list[i].first >= 0 {
			m.screen, m.pair, m.scroll = beside, list[i].first, 0
		}
	}
	m.cursor = max(m.selected(list), 0)
	return m
}

// selected is the endpoint that keys are about, -1 where there is none.
func (m *Model) selected(list []endpoint) int { return min(max(m.cursor, 0), len(list)-1) }

func (m Model) pairKey(k tea.KeyMsg) Model {
	page := max(m.pairRows(), 1)
	switch k.String() {
	case "esc", "backspace":
		m.screen = overview
	case "l":
		m.screen, m.back = log, 0
	case "right", "n":
		m.pair, m.scroll = min(m.pair+1, len(m.shown().failures)-1), 0
	case "left", "b":
		m.pair, m.scroll = max(m.pair-1, 0), 0
	case "up", "k":
		m.scroll--
	case "down", "j":
		m.scroll++
	case "pgup":
		m.scroll -= page
	case "pgdown":
		m.scroll += page
	case "home", "g":
		m.scroll = 0
	case "end", "G":
		m.scroll = len(m.rows())
	}
	m.scroll = max(min(m.scroll, len(m.rows())-page), 0)
	return m
}

func (m Model) logKey(k tea.KeyMsg) Model {
	page := m.logRows()
	switch k.String() {
	case "esc":
		if m.filter == "" {
			m.screen = overview
		}
		m.filter, m.back = "", 0
	case "l":
		m.screen = overview
	case "/":
		m.typing = true
	case "tab":
		m.kind, m.back = (m.kind+1)%(warnings+1), 0
	case "w":
		m.wrap = !m.wrap
	case "up", "k":
		m.back++
	case "down", "j":
		m.back--
	case "pgup":
		m.back += page
	case "pgdown":
		m.back -= page
	case "home", "g":
		m.back = maxLines
	case "end", "G":
		m.back = 0
	}
	m.back = max(min(m.back, len(m.matching())-page), 0)
	return m
}

// typed changes the filter, which is in force while it is typed.
func (m Model) typed(k tea.KeyMsg) Model {
	switch k.Type {
	case tea.KeyEnter:
		m.typing = false
	case tea.KeyEsc, tea.KeyCtrlC:
		m.typing, m.filter = false, ""
	case tea.KeyBackspace:
		_, n := utf8.DecodeLastRuneInString(m.filter)
		m.filter = m.filter[:len(m.filter)-n]
	case tea.KeyCtrlU:
		m.filter = ""
	case tea.KeyRunes, tea.KeySpace:
		if text := style.Clean(string(k.Runes)); len(m.filter)+len(text) <= 200 {
			m.filter += text
		}
	}
	m.back = 0
	return m
}

// matching are the lines of the log that the filter lets through: those whose source or
// text contains it, whatever the case.
func (m *Model) matching() []line {
	all := m.shown().lines
	if m.kind == anything && m.filter == "" {
		return all
	}
	want := strings.ToLower(m.filter)
	return slices.DeleteFunc(slices.Clone(all), func(l line) bool {
		switch {
		case m.kind == logs && l.kind != logs, m.kind == events && l.kind == logs, m.kind == warnings && l.kind != warnings:
			return true
		}
		return !strings.Contains(strings.ToLower(l.source+" "+l.text), want)
	})
}
