package traffic_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/speedscale/speedscale/speedctl/tui/style"
	tui "github.com/speedscale/speedscale/speedctl/tui/traffic"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/filter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestFilterIsAppliedAsItIsTyped: each key that completes a filter narrows, what is wrong
// leaves the last one, and esc goes back.
func TestFilterIsAppliedAsItIsTyped(t *testing.T) {
	s := newScreen(t, 80, 24, nil)
	s.send(tui.Arrived{Pairs: story(), Live: true})
	s.keys(`/status IS "50`)
	s.sees("5 of 5 pairs", "column 11: the value has no end")
	s.keys(`0"`)
	s.sees("1 of 5 pairs", "/orders/1001")
	s.keys(` AND command IS "POST"`)
	s.sees("0 of 5 pairs", "no pair matches the filter")
	s.keys("enter")
	s.sees(`filter status IS "500" AND command IS "POST"`)
	s.send(tui.Arrived{Pairs: []*traffic.RRPair{pair(99, true, "checkout:8080", "POST", "/late", "500", nil)}, Live: true})
	s.sees("1 of 6 pairs", "/late")
	s.keys("/x", "enter")
	s.sees("column 38") // enter keeps nothing that is wrong
	s.keys("esc")
	s.sees(`filter status IS "500" AND command IS "POST"`, "1 of 6")
	s.keys("esc")
	s.sees("6 of 6")
}

// TestMapNarrows: the pairs of a line of the map are those that its counts are of, with
// an id in the path and a query behind it, and the filter is one that can be typed.
func TestMapNarrows(t *testing.T) {
	s := newScreen(t, 140, 40, func(o *tui.Options) { o.Live = false })
	more := pair(50, true, "checkout:8080", "GET", "/orders/1002", "200", nil)
	s.send(tui.Arrived{Pairs: append(story(), more), Live: true})
	s.keys("m")
	s.sees("GET /orders/{id}")
	lines := strings.Split(s.text(), "\n")
	for i := range lines {
		if strings.Contains(lines[i], "GET /orders/{id}") {
			break
		}
		if i >= 3 {
			s.keys("down")
		}
	}
	s.keys("enter")
	s.sees("2 of 6 pairs", "/orders/1001", "/orders/1002", "REGEX")
	s.keys("s", "by map", "enter")
	if len(s.kept) != 1 || len(s.kept[0].Pairs) != 2 {
		t.Fatalf("kept %+v", s.kept)
	}
	f, err := filter.Parse(s.kept[0].Query)
	if err != nil || !f.Match(more) {
		t.Errorf("%q: %v", s.kept[0].Query, err)
	}
}

// TestBounds: the oldest pairs make room, counted, by number and by size, and what is
// selected stays selected.
func TestBounds(t *testing.T) {
	s := newScreen(t, 80, 24, nil)
	s.send(tui.Arrived{Pairs: []*traffic.RRPair{pair(1, true, "a:1", "GET", "/first", "200", nil), pair(2, true, "a:1", "GET", "/second", "200", nil)}, Live: true})
	for range tui.MaxPairs / 10 {
		var pairs []*traffic.RRPair
		for range 10 {
			pairs = append(pairs, pair(3, true, "a:1", "GET", "/more", "200", nil))
		}
		s.send(tui.Arrived{Pairs: pairs, Live: true})
	}
	s.sees("5,000 of 5,000 pairs", "2 older ones made room")
	s.keys("home")
	s.sees("/more")
	if strings.Contains(s.text(), "/second") {
		t.Error("what made room is still shown")
	}
	s.keys("home", "down", "down", "enter", "esc")
	before := s.text()
	s.send(tui.Arrived{Pairs: []*traffic.RRPair{pair(4, true, "a:1", "GET", "/newest", "200", nil)}, Live: true})
	if strings.Contains(s.text(), "/newest") || !strings.Contains(before, "held") {
		t.Errorf("the list does not stay where it is:\n%s", s.text())
	}
	large := newScreen(t, 80, 24, nil)
	for range 10 {
		large.send(tui.Arrived{Live: true, Pairs: []*traffic.RRPair{pair(5, true, "a:1", "GET", "/large", "200", withBodies("", strings.Repeat("x", 8<<20)))}})
	}
	large.sees("7 of 7 pairs", "3 older ones")
}

// TestSavesOnce: a name is asked for, an error is shown, and nothing is saved of nothing.
func TestSavesOnce(t *testing.T) {
	s := newScreen(t, 80, 24, nil)
	s.keys("s")
	s.sees("there is nothing to save")
	s.send(tui.Arrived{Pairs: story(), Live: true})
	s.keys("s", "enter", "esc", `/status IS "402"`, "enter", "f", "declined", "enter")
	s.sees("kept as declined")
	s.keys("s", "taken", "enter")
	s.sees("choose another name")
	if strings.Join(s.names, " ") != "declined taken" || len(s.kept[0].Pairs) != 1 || string(s.kept[0].Filter.JSON()) == "" {
		t.Errorf("kept %q: %+v", s.names, s.kept)
	}
	s.keys("q")
	if !s.quit {
		t.Error("q does not end it")
	}
}

// TestSnapshotOfNothing says so, and is not live.
func TestSnapshotOfNothing(t *testing.T) {
	s := newScreen(t, 80, 24, func(o *tui.Options) { o.Live, o.Title = false, "snapshot empty" })
	s.sees("reading")
	s.send(tui.Arrived{Live: true})
	s.sees("it holds no pairs")
	if strings.Contains(s.text(), "live") || strings.Contains(s.text(), "reading") {
		t.Error(s.text())
	}
}

// TestAnySize: nothing panics, and nothing is wider or higher than the terminal.
func TestAnySize(t *testing.T) {
	for width := 1; width < 160; width += 7 {
		for height := 1; height < 45; height += 3 {
			s := newScreen(t, width, height, nil)
			s.send(tui.Arrived{Pairs: story(), Live: true, Skipped: 1})
			for _, keys := range [][]string{{"home"}, {"enter", "pgdown"}, {"q", "m", "end"}, {"?"}, {"esc", `/status IS "1`}} {
				s.keys(keys...)
				lines := strings.Split(s.text(), "\n")
				if len(lines) != height {
					t.Fatalf("%dx%d, %v: %d lines", width, height, keys, len(lines))
				}
				for _, l := range lines {
					if style.Width(l) != width {
						t.Fatalf("%dx%d, %v: %q", width, height, keys, l)
					}
				}
			}
		}
	}
}

// TestRunEnds: with its user, and with its source, whose error it returns.
func TestRunEnds(t *testing.T) {
	o := tui.Options{Theme: style.New(io.Discard, false), Live: true}
	keys, typing := io.Pipe()
	refused := errors.New("refused")
	failed := make(chan struct{})
	go func() {
		<-failed
		io.WriteString(typing, "q")
	}()
	err := tui.Run(t.Context(), o, keys, io.Discard, func(_ context.Context, show func(tui.Arrived)) error {
		show(tui.Arrived{Pairs: story(), Live: true})
		close(failed)
		return refused
	})
	if !errors.Is(err, refused) {
		t.Errorf("error is %v", err)
	}
	typing.Close()
	ctx, cancel := context.WithCancel(t.Context())
	idle, end := io.Pipe()
	defer end.Close()
	err = tui.Run(ctx, o, idle, io.Discard, func(ctx context.Context, show func(tui.Arrived)) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}
