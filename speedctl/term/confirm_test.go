package term_test

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/speedscale/speedscale/speedctl/term"
)

func TestConfirm(t *testing.T) {
	for answer, code := range map[string]int{"y\n": term.ExitOK, " Yes \n": term.ExitOK, "n\n": term.ExitCanceled, "\n": term.ExitCanceled, "": term.ExitCanceled} {
		var out strings.Builder
		w := &term.World{In: strings.NewReader(answer), Err: &out, InTTY: true, ErrTTY: true}
		if err := w.Confirm(t.Context(), "Start?", "--yes"); term.CodeOf(err) != code {
			t.Errorf("%q: %v, want code %d", answer, err, code)
		}
		if out.String() != "Start? [y/N] " {
			t.Errorf("asked %q", &out)
		}
	}
	w := &term.World{In: strings.NewReader("y\n"), Err: io.Discard, Getenv: func(string) string { return "" }}
	if err := w.Confirm(t.Context(), "Start?", "--yes"); term.CodeOf(err) != term.ExitUsage {
		t.Errorf("without a terminal: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	in, _ := io.Pipe()
	w = &term.World{In: in, Err: io.Discard, InTTY: true, ErrTTY: true}
	if err := w.Confirm(ctx, "Start?", "--yes"); err == nil {
		t.Error("an interrupt is a yes")
	}
}
