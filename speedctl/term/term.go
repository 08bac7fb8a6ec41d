// Package term is everything of the process that a command may touch: streams,
// arguments, environment and signals. Data goes to standard output; talk, progress
// and errors go to standard error.
package term

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/charmbracelet/lipgloss"
	"github.com/muesli/termenv"
	"golang.org/x/term"
)

// World is the process as a command sees it. Tests make their own.
type World struct {
	In       io.Reader
	Out, Err io.Writer
	// Getenv reads the environment.
	Getenv func(string) string
	// Environ lists it, for child processes.
	Environ []string
	// Self is how this program can be started again (path, then argv[0]).
	Self, Name string
	// InTTY, OutTTY and ErrTTY say whether the streams are terminals.
	InTTY, OutTTY, ErrTTY bool
	// Quiet silences talk, never errors.
	Quiet bool

	mu    sync.Mutex
	drawn bool // a line of progress is on the terminal
}

// System returns the World of the running process.
func System() *World {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	return &World{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		Getenv: os.Getenv, Environ: os.Environ(), Self: self, Name: os.Args[0],
		InTTY: term.IsTerminal(int(os.Stdin.Fd())), OutTTY: term.IsTerminal(int(os.Stdout.Fd())), ErrTTY: term.IsTerminal(int(os.Stderr.Fd())),
	}
}

// What the program is called, by itself and as a plugin of kubectl.
const (
	commandName = "speedctl"
	pluginName  = "kubectl speedscale"
)

// Plugin says that kubectl runs the program: kubectl finds kubectl-speedscale where
// kubectl speedscale is typed.
func (w *World) Plugin() bool {
	return strings.TrimSuffix(filepath.Base(w.Name), ".exe") == strings.ReplaceAll(pluginName, " ", "-")
}

// Command is how this user runs the program.
func (w *World) Command() string {
	if w.Plugin() {
		return pluginName
	}
	return commandName
}

// Commands writes the program's commands in a text as this user runs them.
func (w *World) Commands(text string) string {
	if !w.Plugin() {
		return text
	}
	return strings.NewReplacer(commandName+" ", pluginName+" ", "--kube-context", "--context").Replace(text)
}

// Redirect gives the terminal to a screen: until restored, talk and the output of commands
// go to another writer, and there is no input. Progress is not shown then: a screen has
// its own.
func (w *World) Redirect(to io.Writer) (restore func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clear()
	in, out, err := w.In, w.Out, w.Err
	inTTY, outTTY, errTTY := w.InTTY, w.OutTTY, w.ErrTTY
	w.In, w.Out, w.Err = strings.NewReader(""), to, to
	w.InTTY, w.OutTTY, w.ErrTTY = false, false, false
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.In, w.Out, w.Err = in, out, err
		w.InTTY, w.OutTTY, w.ErrTTY = inTTY, outTTY, errTTY
	}
}

// Talk is standard error, or where Redirect leads it, for those who keep a writer.
func (w *World) Talk() io.Writer { return talk{w} }

type talk struct{ world *World }

func (t talk) Write(p []byte) (int, error) {
	t.world.mu.Lock()
	defer t.world.mu.Unlock()
	t.world.clear()
	return t.world.Err.Write(p)
}

// Screen says whether there is a person at a terminal that a screen can be drawn on.
func (w *World) Screen() bool {
	return w.InTTY && w.OutTTY && w.ErrTTY && !w.Quiet && w.Getenv("TERM") != "dumb" && w.Getenv("CI") == ""
}

// Colors says whether the terminal's owner wants colours (https://no-color.org).
func (w *World) Colors() bool { return w.Getenv("NO_COLOR") == "" && w.Getenv("TERM") != "dumb" }

// Sayf tells the user something, on a line of its own on standard error.
func (w *World) Sayf(format string, args ...any) {
	if w.Quiet {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clear()
	fmt.Fprintf(w.Err, format+"\n", args...)
}

// clear takes progress off the terminal, so that something else can be written.
func (w *World) clear() {
	if w.drawn {
		fmt.Fprint(w.Err, "\r\x1b[K")
		w.drawn = false
	}
}

// Warnf tells the user of something that may not be what they want.
func (w *World) Warnf(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clear()
	fmt.Fprintln(w.Err, w.style(w.ErrTTY).Foreground(lipgloss.Color("3")).Render("warning:")+" "+fmt.Sprintf(format, args...))
}

// Paint renders text for standard output in an ANSI colour, bold or not.
func (w *World) Paint(text, color string, bold bool) string {
	return w.style(w.OutTTY).Foreground(lipgloss.Color(color)).Bold(bold).Render(text)
}

// UTF8 says whether standard output takes characters beyond ASCII, as the locale has it
// (POSIX.1-2024, 8.2: LC_ALL wins over LC_CTYPE, and that over LANG). Windows has no
// locale; its newer terminal is known by WT_SESSION.
func (w *World) UTF8() bool {
	locale := strings.ToLower(cmp.Or(w.Getenv("LC_ALL"), w.Getenv("LC_CTYPE"), w.Getenv("LANG")))
	return strings.Contains(locale, "utf-8") || strings.Contains(locale, "utf8") || w.Getenv("WT_SESSION") != ""
}

func (w *World) style(tty bool) lipgloss.Style {
	r := lipgloss.NewRenderer(w.Out)
	r.SetColorProfile(termenv.Ascii)
	if tty && w.Colors() {
		r.SetColorProfile(termenv.ANSI)
	}
	return r.NewStyle()
}

// Fail prints an error and its hint the way every command does, and returns the
// exit code that goes with it.
func (w *World) Fail(err error) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if text := err.Error(); text != "" {
		fmt.Fprintf(w.Err, "%s %s\n", w.style(w.ErrTTY).Foreground(lipgloss.Color("1")).Render("error:"), text)
	}
	if hint := hintOf(err); hint != "" {
		for line := range strings.SplitSeq(hint, "\n") {
			fmt.Fprintf(w.Err, "hint: %s\n", w.Commands(line))
		}
	}
	return CodeOf(err)
}
