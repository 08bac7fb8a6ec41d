package style_test

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/speedscale/speedscale/speedctl/tui/style"
)

func TestLinesHaveTheirWidth(t *testing.T) {
	for _, colors := range []bool{false, true} {
		theme := style.New(io.Discard, colors)
		for width := range 40 {
			for name, line := range map[string]string{
				"middle": style.Fit(style.CutMiddle("web-6d9f7c5b8d-日本-x2x2x", width), width),
				"fit":    style.Fit("naïve 日本 text that is long", width), "right": style.FitRight(theme.Bad.Render("12,345"), width),
				"ends": style.Ends("a name that is long", theme.Good.Render("done"), width), "rule": theme.Rule("Phases", width),
				"keys": theme.Keys(width, style.Key{Name: "p", Does: "pause"}, style.Key{Name: "q", Does: "quit"}), "bar": theme.Bar(0.4, width),
			} {
				if got := style.Width(line); got != width {
					t.Errorf("%s of width %d is %d wide: %q", name, width, got, line)
				}
				if !colors && strings.Contains(line, "\x1b") {
					t.Errorf("%s has colours that nobody wants: %q", name, line)
				}
			}
		}
	}
}

func TestScreenHasItsSize(t *testing.T) {
	for _, lines := range [][]string{nil, {"one"}, {"one", "two is too wide", "three"}} {
		got := strings.Split(style.Screen(lines, 8, 2), "\n")
		if len(got) != 2 || style.Width(got[0]) != 8 || style.Width(got[1]) != 8 {
			t.Errorf("%q", got)
		}
	}
}

// TestCleanKeepsEscapesOut: what a pod logs must not draw on the screen.
func TestCleanKeepsEscapesOut(t *testing.T) {
	for text, want := range map[string]string{
		"\x1b[31mred\x1b[0m": "red", "\x1b]0;title\x07x": "x", "a\tb": "a    b", "a\rb\x00": "a·b·", "\u202egnp.exe": "·gnp.exe",
	} {
		if got := style.Clean(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func TestCutMiddle(t *testing.T) {
	for width, want := range map[int]string{30: "web-6d9f7c5b8d-x2x2x", 12: "web-6d…x2x2x", 5: "we…2x", 1: "…"} {
		if got := style.CutMiddle("web-6d9f7c5b8d-x2x2x", width); got != want {
			t.Errorf("in %d it is %q, want %q", width, got, want)
		}
	}
}

func TestSpark(t *testing.T) {
	for _, c := range []struct {
		values []float64
		width  int
		want   string
	}{
		{nil, 5, ""}, {[]float64{0, 0}, 5, "▁▁"}, {[]float64{1, 2, 4, 8}, 4, "▂▃▅█"}, {[]float64{99, 1, -1, 1}, 3, "█ █"},
	} {
		if got := style.Spark(c.values, c.width); got != c.want {
			t.Errorf("%v is %q, want %q", c.values, got, c.want)
		}
	}
}

func TestCompare(t *testing.T) {
	show := func(left, right string) string {
		var b strings.Builder
		for _, r := range style.Compare(style.Lines(left), style.Lines(right)) {
			b.WriteString(strings.TrimSpace(r.Left) + string(r.Mark) + strings.TrimSpace(r.Right) + "\n")
		}
		return b.String()
	}
	for _, c := range []struct{ name, left, right, want string }{
		{"changed", `{"a":1,"b":2}`, `{"a":1,"b":3}`, "{│{\n\"a\": 1,│\"a\": 1,\n\"b\": 2≠\"b\": 3\n}│}\n"},
		{"added at the end", `{"a":1}`, `{"a":1,"b":3}`, "{│{\n\"a\": 1│\"a\": 1,\n+\"b\": 3\n}│}\n"},
		{"another member", `{"a":1,"note":"x","c":3}`, `{"a":1,"c":4,"sum":2}`, "{│{\n\"a\": 1,│\"a\": 1,\n\"note\": \"x\",-\n\"c\": 3≠\"c\": 4,\n+\"sum\": 2\n}│}\n"},
		{"removed", `["x","y"]`, `["y"]`, "[│[\n\"x\",-\n\"y\"│\"y\"\n]│]\n"},
		{"text", "one\ntwo\n", "one\r\n2\n", "one│one\ntwo≠2\n"},
		{"no JSON", `{"a"`, "", "{\"a\"-\n"},
		{"nothing", "", "", ""},
	} {
		if got := show(c.left, c.right); got != c.want {
			t.Errorf("%s:\n%swant\n%s", c.name, got, c.want)
		}
	}
	long := strings.Repeat("x\n", 5000)
	if n := len(style.Compare(style.Lines(long), style.Lines(long+"y"))); n != 5001 {
		t.Errorf("of 5001 lines there are %d", n)
	}
	wrapped := style.WrapRows([]style.Row{{Left: "the same is cut", Right: "the same is cut", Mark: style.Same}, {Left: "abcdef", Right: "abcdeg", Mark: style.Changed}}, 11)
	if want := []style.Row{wrapped[0], {Left: "abcd", Right: "abcd", Mark: style.Changed}, {Left: "ef", Right: "eg", Mark: style.Changed}}; !slices.Equal(wrapped, want) {
		t.Errorf("wrapped: %+v", wrapped)
	}
	for _, line := range style.New(io.Discard, false).SideBySide(style.Compare([]string{"日本語日本語日本語"}, []string{"b"}), 21) {
		if style.Width(line) != 21 {
			t.Errorf("%q is %d wide", line, style.Width(line))
		}
	}
}
