package style

import (
	"strings"
	"unicode"

	"github.com/charmbracelet/x/ansi"
)

// Width is how many cells a text takes, escape sequences none.
func Width(s string) int { return ansi.StringWidth(s) }

// Cut shortens a text to a width, with … in place of what is gone.
func Cut(s string, width int) string { return ansi.Truncate(s, max(width, 0), "…") }

// CutMiddle is Cut for names that tell apart by their ends, such as those of pods.
func CutMiddle(s string, width int) string {
	w := Width(s)
	if w <= width || width < 3 {
		return Cut(s, width)
	}
	end := (width - 1) / 2
	return Cut(s, width-end) + ansi.TruncateLeft(s, w-end, "")
}

// Fit makes a text exactly so wide.
func Fit(s string, width int) string {
	s = Cut(s, width)
	return s + strings.Repeat(" ", max(width-Width(s), 0))
}

// FitRight is Fit for numbers, which stand at the right.
func FitRight(s string, width int) string {
	s = Cut(s, width)
	return strings.Repeat(" ", max(width-Width(s), 0)) + s
}

// Ends puts two texts at the ends of a line; the left one is cut where there is no room
// for both.
func Ends(left, right string, width int) string {
	right = Cut(right, width)
	return Fit(left, width-Width(right)) + right
}

// Clean makes a text that came from elsewhere fit for a line of the screen: without
// escape sequences, which could draw anywhere, and without control characters.
func Clean(s string) string {
	s = strings.ReplaceAll(ansi.Strip(s), "\t", "    ")
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, s)
}

// Wrap breaks a text into at most so many lines of a width, one at least.
func Wrap(s string, width, lines int) []string {
	list := strings.Split(ansi.Wrap(s, max(width, 1), ""), "\n")
	if lines = max(lines, 1); len(list) > lines {
		list = list[:lines]
		list[lines-1] = Cut(list[lines-1]+"…", width)
	}
	return list
}

// Break breaks a text at the width alone, as an address has to be.
func Break(s string, width int) []string {
	return strings.Split(ansi.Hardwrap(s, max(width, 1), true), "\n")
}

// Rule is the heading of a section: its name in a line.
func (t Theme) Rule(name string, width int) string {
	if width < 4 {
		return Fit("", width)
	}
	name = Cut(name, width-4)
	return t.Faint.Render("─") + " " + t.Head.Render(name) + " " + t.Faint.Render(strings.Repeat("─", max(width-3-Width(name), 0)))
}

// Key is a key and what it does.
type Key struct{ Name, Does string }

// Keys is the line that says which keys there are. Those for which there is no room are
// left out, the last ones first, so that the most needed stand first.
func (t Theme) Keys(width int, keys ...Key) string {
	line := ""
	for _, k := range keys {
		next := t.Key.Render(k.Name) + " " + k.Does
		if line != "" {
			next = line + "  " + next
		}
		if Width(next) > width {
			break
		}
		line = next
	}
	return Fit(line, width)
}

// Screen makes lines exactly so many, each so wide: those too many are left out.
func Screen(lines []string, width, height int) string {
	var b strings.Builder
	for i := range height {
		if i > 0 {
			b.WriteByte('\n')
		}
		line := ""
		if i < len(lines) {
			line = lines[i]
		}
		b.WriteString(Fit(line, width))
	}
	return b.String()
}

// Beside joins two blocks of lines of exact widths, with a bar between them.
func (t Theme) Beside(left, right []string, leftWidth int) []string {
	var list []string
	for i := range max(len(left), len(right)) {
		l, r := "", ""
		if i < len(left) {
			l = left[i]
		}
		if i < len(right) {
			r = right[i]
		}
		list = append(list, Fit(l, leftWidth)+t.Faint.Render(" │ ")+r)
	}
	return list
}
