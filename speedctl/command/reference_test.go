package command

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	diff "github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/speedscale/speedscale/speedctl/term"
)

var updateReference = flag.Bool("update-reference", false, "write docs/reference/commands.md")

// TestReference: docs/reference/commands.md is what the commands say.
// go test ./speedctl/command -run TestReference -update-reference writes it.
func TestReference(t *testing.T) {
	const file = "../../docs/reference/commands.md"
	want := reference()
	if *updateReference {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if d := diff.Diff(want, string(got)); err != nil || d != "" {
		t.Errorf("%s is out of date, go test ./speedctl/command -run TestReference -update-reference writes it: %v\n%s", file, err, d)
	}
}

func reference() string {
	w := &term.World{In: strings.NewReader(""), Out: &bytes.Buffer{}, Err: &bytes.Buffer{}, Getenv: func(string) string { return "" }}
	root := New(w)
	cluster := &cobra.Command{}
	newKubeFlags().add(cluster)

	var out strings.Builder
	out.WriteString("# Commands of speedctl\n\n`speedctl COMMAND --help` says the same. [Exit codes](exit-codes.md) are those of all commands.\n")
	out.WriteString("\n## Flags of all commands\n\n```text\n" + usages(root.PersistentFlags(), nil) + "```\n")
	out.WriteString("\n## Flags of commands that speak to a cluster\n\nThose of kubectl, with its meaning.\n\n```text\n" + usages(cluster.Flags(), nil) + "```\n")
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Hidden {
			return
		}
		if c != root {
			describe(&out, c, cluster.Flags())
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(root)
	return out.String()
}

func describe(out *strings.Builder, c *cobra.Command, cluster *pflag.FlagSet) {
	fmt.Fprintf(out, "\n## %s\n\n", c.CommandPath())
	out.WriteString(c.Short + ".\n\n")
	if c.Long != "" {
		out.WriteString(strings.TrimSpace(c.Long) + "\n\n")
	}
	out.WriteString("```text\n" + c.UseLine() + "\n```\n")
	if len(c.Aliases) > 0 {
		fmt.Fprintf(out, "\nAlso: %s.\n", strings.Join(c.Aliases, ", "))
	}
	if flags := usages(c.LocalNonPersistentFlags(), cluster); flags != "" {
		speaks := ""
		if c.Flags().Lookup("as-group") != nil {
			speaks = ", beside those of commands that speak to a cluster"
		}
		fmt.Fprintf(out, "\nFlags%s:\n\n```text\n%s```\n", speaks, flags)
	}
	if c.Example != "" {
		var lines []string
		for line := range strings.SplitSeq(c.Example, "\n") {
			lines = append(lines, strings.TrimSpace(line))
		}
		out.WriteString("\nExamples:\n\n```text\n" + strings.Join(lines, "\n") + "\n```\n")
	}
}

// usages lists flags without those of other, and without defaults that are the machine's.
func usages(flags, other *pflag.FlagSet) string {
	shown := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" || other != nil && other.Lookup(f.Name) != nil && other.Lookup(f.Name).Usage == f.Usage {
			return
		}
		copied := *f
		if strings.HasPrefix(f.DefValue, "/") {
			copied.DefValue = ""
		}
		shown.AddFlag(&copied)
	})
	return shown.FlagUsages()
}
