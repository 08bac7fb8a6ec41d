package term_test

import (
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/speedscale/speedscale/speedctl/term"
)

// TestRedirect: while a screen has the terminal, nobody else writes to it or reads from it.
func TestRedirect(t *testing.T) {
	var out, errOut, aside strings.Builder
	w := &term.World{In: strings.NewReader("keys"), Out: &out, Err: &errOut, InTTY: true, OutTTY: true, ErrTTY: true, Getenv: func(string) string { return "" }}
	if !w.Screen() {
		t.Error("a terminal has no screen")
	}
	log := slog.New(slog.NewTextHandler(w.Talk(), nil)) // made before, used meanwhile
	restore := w.Redirect(&aside)
	w.Sayf("said")
	w.Warnf("warned")
	log.Info("logged")
	if in, _ := io.ReadAll(w.In); len(in) > 0 || w.Screen() {
		t.Errorf("there is input %q, or another screen", in)
	}
	if out.Len()+errOut.Len() > 0 || !strings.HasPrefix(aside.String(), "said\nwarning: warned\n") || !strings.Contains(aside.String(), "logged") {
		t.Errorf("on the terminal: %q, %q; aside: %q", &out, &errOut, &aside)
	}
	restore()
	w.Sayf("later")
	log.Info("logged later")
	if !strings.HasPrefix(errOut.String(), "later\n") || !strings.Contains(errOut.String(), "logged later") {
		t.Errorf("after that, the terminal has %q", &errOut)
	}
	if in, _ := io.ReadAll(w.In); string(in) != "keys" {
		t.Errorf("the input is %q", in)
	}
}

// TestNoScreen: programs, and people who say so, get none.
func TestNoScreen(t *testing.T) {
	for name, w := range map[string]*term.World{
		"output to a file": {InTTY: true, ErrTTY: true, Getenv: func(string) string { return "" }},
		"quiet":            {InTTY: true, OutTTY: true, ErrTTY: true, Quiet: true, Getenv: func(string) string { return "" }},
		"CI":               {InTTY: true, OutTTY: true, ErrTTY: true, Getenv: func(n string) string { return map[string]string{"CI": "true"}[n] }},
		"dumb terminal":    {InTTY: true, OutTTY: true, ErrTTY: true, Getenv: func(n string) string { return map[string]string{"TERM": "dumb"}[n] }},
	} {
		if w.Screen() {
			t.Errorf("%s: a screen is drawn", name)
		}
	}
}
