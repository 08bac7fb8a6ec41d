package replay

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/speedscale/speedscale/speedctl/tui/style"
	"github.com/speedscale/speedscale/traffic/compare"
	"github.com/speedscale/speedscale/traffic/report"
)

// Sizes from which on there is a screen, and one with two columns.
const (
	leastWidth  = 40
	leastHeight = 10
	wideFrom    = 120
)

// View draws the screen: a line that says what is replayed and how it goes, the screen's
// body, and the line of keys.
func (m Model) View() string {
	switch {
	case m.width == 0:
		return ""
	case m.width < leastWidth || m.height < leastHeight:
		return style.Screen(style.Wrap(fmt.Sprintf("the window is smaller than %d×%d", leastWidth, leastHeight), m.width, m.height), m.width, m.height)
	}
	var body []string
	switch m.screen {
	case log:
		body = m.viewLog()
	case beside:
		body = m.viewPair()
	default:
		body = m.viewOverview()
	}
	rows := m.bodyRows()
	body = append(body[:min(len(body), rows)], make([]string, max(rows-len(body), 0))...)
	return style.Screen(append(append([]string{m.head()}, body...), m.foot()), m.width, m.height)
}

// bodyRows is what first and last line leave.
func (m *Model) bodyRows() int { return m.height - 2 }

func (m *Model) head() string {
	right := m.theme.Good.Render("running")
	if m.canceling {
		right = m.theme.Warn.Render("canceling")
	}
	if m.frozen != nil {
		right = m.theme.Warn.Render("view paused, replay running")
	}
	if m.outcome != nil {
		right = m.verdict()
	}
	return style.Ends(m.theme.Title.Render("Replay")+" "+style.Clean(m.o.Title), "  "+right+"  "+clock(m.now.Sub(m.started)), m.width)
}

// verdict is one word, or two.
func (m *Model) verdict() string {
	status := report.Error
	switch r := m.outcome.Report; {
	case r != nil:
		status = r.Verdict()
	case m.outcome.Canceled:
		status = report.Canceled
	case m.outcome.Err == nil:
		return m.theme.Good.Render("ended")
	}
	switch status {
	case report.Passed:
		return m.theme.Good.Render(string(status))
	case report.Canceled:
		return m.theme.Warn.Render(string(status))
	}
	return m.theme.Bad.Render(string(status))
}

func (m *Model) foot() string {
	if m.confirming {
		return m.theme.Keys(m.width, style.Key{Name: m.theme.Warn.Render(m.o.Question)}, style.Key{Name: "y", Does: "cancel it"}, style.Key{Name: "n", Does: "go on"})
	}
	pause := style.Key{Name: "p", Does: "pause"}
	if m.frozen != nil {
		pause.Does = "go on"
	}
	end := []style.Key{pause, {Name: "c", Does: "cancel"}}
	if m.canceling {
		end = nil
	}
	if m.outcome != nil {
		end = []style.Key{{Name: "q", Does: "leave"}}
	}
	var keys []style.Key
	switch m.screen {
	case log:
		if m.typing {
			return m.theme.Keys(m.width, style.Key{Name: "enter", Does: "keep filter"}, style.Key{Name: "esc", Does: "drop it"}, style.Key{Name: "ctrl+u", Does: "empty it"})
		}
		keys = []style.Key{{Name: "/", Does: "filter"}, {Name: "tab", Does: "kind"}, {Name: "↑↓", Does: "scroll"}, {Name: "w", Does: "wrap"}, {Name: "esc", Does: "back"}}
	case beside:
		keys = []style.Key{{Name: "←→", Does: "other pairs"}, {Name: "↑↓", Does: "scroll"}, {Name: "l", Does: "log"}, {Name: "esc", Does: "back"}}
	default:
		keys = []style.Key{{Name: "↑↓", Does: "choose"}, {Name: "enter", Does: "compare"}, {Name: "l", Does: "log"}}
		if len(m.shown().endpoints(m.report())) == 0 {
			keys = keys[2:]
		}
	}
	return m.theme.Keys(m.width, append(keys, end...)...)
}

// clock is a duration as mm:ss, or h:mm:ss.
func clock(d time.Duration) string {
	s := int(max(d, 0).Seconds())
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%02d:%02d", s/60, s%60)
}

// count groups the digits of a number.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// millis shows a latency with three digits.
func millis(v float64) string {
	switch {
	case v >= 10_000:
		return fmt.Sprintf("%.0f s", v/1000)
	case v >= 1000:
		return fmt.Sprintf("%.1f s", v/1000)
	case v >= 100:
		return fmt.Sprintf("%.0f ms", v)
	}
	return fmt.Sprintf("%.1f ms", v)
}

func plural(n int64, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + more
}

// place is a difference's location, without what all of them begin with.
func place(d compare.Difference) string {
	return strings.TrimPrefix(style.Clean(d.Location), "http.res.")
}

func difference(d compare.Difference) string {
	switch d.Kind {
	case compare.Added:
		return fmt.Sprintf("%s added: %s", place(d), style.Clean(d.Observed))
	case compare.Removed:
		return fmt.Sprintf("%s removed: %s", place(d), style.Clean(d.Recorded))
	}
	return fmt.Sprintf("%s: %s → %s", place(d), style.Clean(d.Recorded), style.Clean(d.Observed))
}

func firstDifference(f report.Failure) string {
	if len(f.Differences) > 0 {
		return difference(f.Differences[0])
	}
	return style.Clean(f.Error)
}
