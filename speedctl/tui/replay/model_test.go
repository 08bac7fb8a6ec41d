package replay

import (
	"fmt"
	"strings"
	"testing"

	tea "github.com/charmbracelet/bubbletea"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/traffic/report"
)

func (r *told) shows(texts ...string) {
	r.t.Helper()
	for _, text := range texts {
		if !strings.Contains(r.m.View(), text) {
			r.t.Errorf("%q is not in\n%s", text, r.m.View())
		}
	}
}

func (r *told) hides(texts ...string) {
	r.t.Helper()
	for _, text := range texts {
		if strings.Contains(r.m.View(), text) {
			r.t.Errorf("%q is in\n%s", text, r.m.View())
		}
	}
}

// TestCancelingIsConfirmed: no single key ends a replay, and ctrl+c twice does.
func TestCancelingIsConfirmed(t *testing.T) {
	for _, c := range []struct {
		keys     []string
		canceled bool
	}{
		{[]string{"c"}, false}, {[]string{"c", "n"}, false}, {[]string{"c", "esc", "y"}, false}, {[]string{"q", "q"}, false}, {[]string{"c", "x"}, false},
		{[]string{"c", "y"}, true}, {[]string{"q", "Y"}, true}, {[]string{"ctrl+c", "ctrl+c"}, true}, {[]string{"l", "ctrl+c", "y"}, true}, {[]string{"enter", "c", "y"}, true},
	} {
		r := tell(t, 80, 24, false)
		r.sending()
		r.keys(c.keys...)
		if r.canceled != c.canceled || r.quit {
			t.Errorf("%v: canceled %v, left %v", c.keys, r.canceled, r.quit)
		}
		if c.canceled {
			r.shows("canceling")
			r.keys("c")
			r.hides("y cancel it")
		}
	}
}

// TestLeaving: once the replay has ended, one key leaves, and none cancels.
func TestLeaving(t *testing.T) {
	for _, key := range []string{"q", "ctrl+c"} {
		r := tell(t, 80, 24, false)
		r.ended(nil)
		r.keys("c")
		if r.quit || r.canceled {
			t.Errorf("c leaves, or cancels what has ended")
		}
		r.keys(key)
		if !r.quit || r.canceled {
			t.Errorf("%s: left %v, canceled %v", key, r.quit, r.canceled)
		}
	}
}

// TestPausedViewStandsStill: what comes meanwhile is there when it goes on.
func TestPausedViewStandsStill(t *testing.T) {
	r := tell(t, 140, 40, false)
	r.sending()
	r.keys("p")
	before := body(r)
	r.progress(80, &cloudv1.ReplayProgress{Total: 3000, Sent: 2999, Passed: 2000})
	r.log(80, pod, "later")
	r.failed(80, report.Failure{Method: "PUT", Path: "/later"})
	r.event(80, &cloudv1.ReplayEvent{Event: &cloudv1.ReplayEvent_Usage{Usage: &cloudv1.PodUsage{Pod: pod, Container: "web", CpuMillicores: 999}}})
	if now := body(r); now != before {
		t.Errorf("the paused view changes:\n%s\nand was\n%s", now, before)
	}
	r.keys("p")
	r.shows("sent 2,999", "later", "PUT /later", "999m")
}

// body is the screen without its first line, and the running phase, which have clocks.
func body(r *told) string {
	var lines []string
	for _, l := range strings.Split(r.m.View(), "\n")[1:] {
		if !strings.HasPrefix(l, "●") {
			lines = append(lines, l)
		}
	}
	return strings.Join(lines, "\n")
}

func TestLogFilter(t *testing.T) {
	r := tell(t, 80, 24, false)
	r.sending()
	r.keys("l", "/", "UNHEALTHY")
	r.shows("Log and events: 1 of 33", "Readiness probe failed")
	r.keys("backspace", "ctrl+u", "q", "enter")
	r.shows("filter: q", "no line matches")
	r.keys("esc", "tab")
	r.shows("Log: 31 of 33")
	r.hides("Unhealthy")
	r.keys("tab", "tab")
	r.shows("Warnings: 1 of 33")
	r.keys("tab", "home")
	r.shows("listening on :8080")
	r.hides("GET /orders/30 ")
	r.keys("end")
	r.shows("GET /orders/30 ")
	r.keys("esc")
	r.shows("Phases")
}

// TestKeysThatArriveAsOne: a terminal hands over quickly pressed keys together, and pasted
// text too, which must not do anything.
func TestKeysThatArriveAsOne(t *testing.T) {
	r := tell(t, 80, 24, false)
	r.sending()
	r.send(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("l/orders")}, tea.KeyMsg{Type: tea.KeyEnter})
	r.shows("filter: orders")
	r.send(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("cy"), Paste: true})
	if r.canceled {
		t.Error("pasted text cancels the replay")
	}
}

// TestScrolledLogStandsStill: lines that come do not push away those that are read.
func TestScrolledLogStandsStill(t *testing.T) {
	r := tell(t, 80, 24, false)
	r.sending()
	r.keys("l", "up", "up")
	rows := func() string { return strings.Join(strings.Split(r.m.View(), "\n")[3:], "\n") }
	before := rows()
	for i := range 5 {
		r.log(50+i, pod, "more")
	}
	if now := rows(); now != before {
		t.Errorf("it is\n%s\nand was\n%s", now, before)
	}
}

func TestPairs(t *testing.T) {
	r := tell(t, 80, 24, false)
	r.sending()
	r.keys("enter", "down", "down", "end")
	r.shows(`"discount": 0.5`, "+ ", `"note": "none"`)
	r.keys("right", "right", "right", "right", "right", "right", "right")
	r.shows("Failing pair 6 of 6", "there was no response")
	r.keys("left")
	r.shows("Failing pair 5 of 6")
	r.keys("esc")
	r.shows("Failing endpoints: 2")
}

// TestBounds: a replay of days does not fill memory.
func TestBounds(t *testing.T) {
	r := tell(t, 80, 24, false)
	for i := range 3000 {
		r.log(i, fmt.Sprint("pod-", i), "x")
		r.phase(i, fmt.Sprint("phase-", i), "started", "")
		r.failed(i, report.Failure{Path: fmt.Sprint("/", i)})
		r.event(i, &cloudv1.ReplayEvent{Source: fmt.Sprint("generator-", i), Event: &cloudv1.ReplayEvent_Progress{Progress: &cloudv1.ReplayProgress{Sent: 1}}})
		r.event(i, &cloudv1.ReplayEvent{Source: "generator-0", Event: &cloudv1.ReplayEvent_Progress{Progress: &cloudv1.ReplayProgress{Sent: int64(i), Rate: 1}}})
		r.event(i, &cloudv1.ReplayEvent{Source: fmt.Sprint("responder-", i), Event: &cloudv1.ReplayEvent_Mocks{Mocks: &cloudv1.MockCounts{}}})
		r.event(i, &cloudv1.ReplayEvent{Event: &cloudv1.ReplayEvent_Usage{Usage: &cloudv1.PodUsage{Pod: fmt.Sprint(i)}}})
	}
	s := r.m.(Model).live
	if len(s.lines) != maxLines || len(s.phases) != maxPhases || len(s.failures) != maxFailures || len(s.progress) != maxSources ||
		len(s.mocks) != maxSources || len(s.points) != maxPoints || len(s.usage) != maxUsage || s.gone != 1000 {
		t.Errorf("lines %d (%d gone), phases %d, failures %d, sources %d and %d, points %d, usage %d",
			len(s.lines), s.gone, len(s.phases), len(s.failures), len(s.progress), len(s.mocks), len(s.points), len(s.usage))
	}
	r.m.View()
}

// TestSizes: no size makes it panic, or draw beyond the window.
func TestSizes(t *testing.T) {
	for _, keys := range [][]string{nil, {"enter"}, {"l"}, {"l", "w", "/", "a"}, {"c"}, {"p"}} {
		r := tell(t, 80, 24, false)
		r.sending()
		r.keys(keys...)
		for width := 0; width < 160; width += 3 {
			for height := 0; height < 60; height += 3 {
				r.send(tea.WindowSizeMsg{Width: width, Height: height})
				r.keys("down", "down", "up", "end", "pgup")
				if lines := strings.Split(r.m.View(), "\n"); width > 0 && len(lines) != max(height, 1) {
					t.Fatalf("%v at %d×%d: %d lines", keys, width, height, len(lines))
				}
			}
		}
	}
}

// TestSeveralGenerators: counts and rates add up, latencies are the worst.
func TestSeveralGenerators(t *testing.T) {
	r := tell(t, 80, 24, false)
	for i, source := range []string{"generator-0", "generator-1"} {
		r.event(i, &cloudv1.ReplayEvent{Source: source, Event: &cloudv1.ReplayEvent_Progress{Progress: &cloudv1.ReplayProgress{Total: 100, Sent: 10, Passed: 10, Rate: 10, P50: float64(1 + i)}}})
	}
	r.shows("sent 20 of 200", "passed 20")
	if p := r.m.(Model).live.points; len(p) != 2 || p[1].rate != 20 || p[1].p50 != 2 {
		t.Errorf("points %+v", p)
	}
}
