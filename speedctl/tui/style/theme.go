// Package style is what the screens of speedctl look like: colours, lines of an exact
// width, the line of keys, sparklines, and two documents side by side. All of it is
// pure: text in, text out.
package style

import (
	"io"

	"github.com/charmbracelet/lipgloss"
	"github.com/muesli/termenv"
)

// Theme has the styles of the screens. What a colour says is said by a word or a sign
// too, so that nothing is lost without colours. The sixteen colours of the terminal are
// used, which its owner has chosen.
type Theme struct {
	// Plain is for most text, Title for the first line, Head for headings and names of
	// columns, Faint for what matters less.
	Plain, Title, Head, Faint lipgloss.Style
	// Good, Warn and Bad are verdicts, of whatever.
	Good, Warn, Bad lipgloss.Style
	// Key is a key that does something, Selected the line that keys are about.
	Key, Selected lipgloss.Style
}

// New returns the theme of a terminal, without any escape sequence where colours are not
// wanted.
func New(w io.Writer, colors bool) Theme {
	r := lipgloss.NewRenderer(w)
	r.SetColorProfile(termenv.Ascii)
	if colors {
		r.SetColorProfile(termenv.ANSI)
	}
	r.SetHasDarkBackground(true) // no colour depends on it: the terminal is not asked
	plain := r.NewStyle().Inline(true)
	color := func(c string) lipgloss.Style { return plain.Foreground(lipgloss.Color(c)) }
	return Theme{
		Plain: plain, Title: plain.Bold(true), Head: color("6").Bold(true), Faint: color("8"),
		Good: color("2").Bold(true), Warn: color("3").Bold(true), Bad: color("1").Bold(true),
		Key: color("6").Bold(true), Selected: plain.Reverse(true),
	}
}
