package command_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/speedscale/speedscale/speedctl/command"
	"github.com/speedscale/speedscale/speedctl/term"
)

// TestHelp wants a summary and examples of every command, and examples that parse
// as they are pasted.
func TestHelp(t *testing.T) {
	w := &term.World{In: strings.NewReader(""), Out: &bytes.Buffer{}, Err: &bytes.Buffer{}, Getenv: func(string) string { return "" }}
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Hidden {
			return
		}
		if c.Short == "" || c.Example == "" {
			t.Errorf("%s has no summary or no example", c.CommandPath())
		}
		for line := range strings.Lines(c.Example) {
			checkExample(t, command.New(w), strings.TrimSpace(line))
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(command.New(w))
}

func checkExample(t *testing.T, root *cobra.Command, line string) {
	t.Helper()
	args := splitShell(line)
	if len(args) == 0 || args[0] != "speedctl" {
		t.Errorf("example %q does not begin with speedctl", line)
		return
	}
	c, rest, err := root.Find(args[1:])
	if err != nil {
		t.Errorf("example %q: %v", line, err)
		return
	}
	if err := c.ParseFlags(rest); err != nil {
		t.Errorf("example %q: %v", line, err)
		return
	}
	if err := c.ValidateArgs(c.Flags().Args()); err != nil {
		t.Errorf("example %q: %v", line, err)
	}
}

// splitShell splits a line as a shell does, as far as examples need it.
func splitShell(line string) (args []string) {
	var word strings.Builder
	quote, inWord := rune(0), false
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote, inWord = r, true
		case quote == 0 && r == ' ':
			if inWord {
				args = append(args, word.String())
				word.Reset()
			}
			inWord = false
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if inWord {
		args = append(args, word.String())
	}
	return args
}
