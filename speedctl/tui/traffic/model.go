// Package traffic is the screen of captured traffic: pairs as they arrive or those of a
// snapshot, which a filter narrows while it is typed, one of them with its bodies
// decoded, and the services and whom they call as a tree. What is shown can be kept as a
// filter or as a snapshot. It draws what it is told; it reads no clock and no network.
package traffic

import (
	"context"
	"strings"
	"time"

	"github.com/charmbracelet/bubbles/cursor"
	"github.com/charmbracelet/bubbles/textinput"
	tea "github.com/charmbracelet/bubbletea"

	"github.com/speedscale/speedscale/speedctl/tui/style"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/filter"
)

// Shown is what a user wants kept.
type Shown struct {
	// Query is the filter that they see, and Filter the same compiled.
	Query  string
	Filter *filter.Filter
	// Pairs are those that it matches, in the order that they came.
	Pairs []*traffic.RRPair
}

// Options describe what is looked at.
type Options struct {
	Theme style.Theme
	// Title says of what the traffic is.
	Title string
	// Query is the filter to begin with.
	Query string
	// Live says that pairs arrive; else they are read, and that is all.
	Live bool
	// Location is where times are shown in.
	Location *time.Location
	// SaveFilter and SaveSnapshot keep what is shown under a name, and return what they
	// made of it for the user to read.
	SaveFilter   func(name string, s Shown) (string, error)
	SaveSnapshot func(ctx context.Context, name string, s Shown) (string, error)
}

// Messages to the screen.
type (
	// Arrived has pairs, and how the source is.
	Arrived struct {
		Pairs   []*traffic.RRPair
		Skipped uint64
		// Live says that the pairs are those that arrive now, or of a snapshot, that all
		// of it is there; Waiting says why nothing comes.
		Live    bool
		Waiting string
	}
	// Failed says that nothing comes any more.
	Failed struct{ Err error }
	// saved is the end of a save.
	saved struct {
		text string
		err  error
	}
)

// view is what fills the screen.
type view int

const (
	viewList view = iota
	viewPair
	viewMap
	viewHelp
)

// asking is what is typed in.
type asking int

const (
	askNothing asking = iota
	askFilter
	askFilterName
	askSnapshotName
)

// Model is the screen. Its methods are pure but for the pairs, which it shares with its
// earlier values.
type Model struct {
	o             Options
	ctx           context.Context
	width, height int
	store         *store

	view   view
	cursor int  // of shown
	top    int  // first line of the list
	latest bool // the newest pair is the selected one

	pair   *traffic.RRPair // of viewPair
	detail []string        // of pair, drawn for the width
	scroll int             // of pair, map and help
	node   int             // selected in the map

	asking asking
	input  textinput.Model
	query  string // of the filter that is applied
	wrong  error  // why what is typed is none
	before string // the query that esc goes back to

	live    bool
	waiting string
	failed  error
	note    string
	bad     bool // note is of something that failed
	saving  bool
}

// New returns the screen before it knows its size.
func New(ctx context.Context, o Options) (Model, error) {
	if o.Location == nil {
		o.Location = time.Local
	}
	in := textinput.New()
	in.Cursor.SetMode(cursor.CursorHide) // the screen draws it
	in.Prompt = ""
	in.CharLimit = 4000
	m := Model{o: o, ctx: ctx, width: 80, height: 24, store: newStore(), input: in, latest: o.Live}
	f, err := filter.Parse(o.Query)
	if err != nil {
		return m, err
	}
	m.query = strings.TrimSpace(o.Query)
	m.store.show(f)
	return m, nil
}

// Init implements tea.Model.
func (m Model) Init() tea.Cmd { return nil }

// Update implements tea.Model.
func (m Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
		if m.view == viewPair {
			m.detail = m.draw(m.pair)
		}
	case Arrived:
		m.arrived(msg)
	case Failed:
		m.failed = msg.Err
	case saved:
		m.saving = false
		m.note, m.bad = msg.text, msg.err != nil
		if m.bad {
			m.note = msg.err.Error()
		}
	case tea.KeyMsg:
		if msg.Type == tea.KeyCtrlC {
			return m, tea.Quit
		}
		return m.key(msg)
	}
	m.settle()
	return m, nil
}

func (m *Model) arrived(a Arrived) {
	removed := m.store.add(a.Pairs)
	m.store.skipped += a.Skipped
	m.live, m.waiting = a.Live, a.Waiting
	m.cursor, m.top = max(m.cursor-removed, 0), max(m.top-removed, 0)
	if m.latest {
		m.cursor = len(m.store.shown) - 1
	}
}

// settle keeps what is selected on the screen.
func (m *Model) settle() {
	rows := m.rows()
	m.cursor = min(max(m.cursor, 0), max(len(m.store.shown)-1, 0))
	m.top = min(max(m.top, m.cursor-rows+1), m.cursor)
	m.top = max(min(m.top, len(m.store.shown)-rows), 0)
	switch m.view {
	case viewPair:
		m.scroll = max(min(m.scroll, len(m.detail)-rows), 0)
	case viewMap:
		n := len(services(m.store.shown))
		m.node = max(min(m.node, n-1), 0)
		m.scroll = max(min(max(m.scroll, m.node-rows+1), m.node), 0)
	}
}

// rows is how many lines there are between the head of the screen and its foot.
func (m Model) rows() int { return max(m.height-headLines-footLines, 1) }

// apply shows what a query matches. What is selected stays, where it is shown.
func (m *Model) apply(query string) error {
	f, err := filter.Parse(query)
	if err != nil {
		return err
	}
	var selected *traffic.RRPair
	if m.cursor < len(m.store.shown) {
		selected = m.store.shown[m.cursor]
	}
	m.query = strings.TrimSpace(query)
	m.store.show(f)
	if m.cursor = m.store.place(selected); m.cursor < 0 || m.latest {
		m.cursor = max(len(m.store.shown)-1, 0)
	}
	return nil
}

// what is to be kept.
func (m Model) what() Shown {
	return Shown{Query: m.query, Filter: m.store.filter, Pairs: append([]*traffic.RRPair(nil), m.store.shown...)}
}
