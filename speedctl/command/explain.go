package command

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/speedctl/explain"
	"github.com/speedscale/speedscale/speedctl/printer"
	"github.com/speedscale/speedscale/speedctl/term"
)

func newExplain(g *global) *cobra.Command {
	var recursive bool
	out := printer.NewFlag(printer.Table, printer.JSON, printer.YAML)
	c := &cobra.Command{
		Use:   "explain [TOPIC[.FIELD...]]",
		Short: "Say what may stand in annotations, TrafficReplays and test configs",
		Long: `Topics are annotations, trafficreplay and testconfig; a field is named by its path, and an annotation by its key or
what follows sidecar.speedscale.com/ in it. No cluster is asked: what this version reads is explained.`,
		Example: `  speedctl explain
  speedctl explain annotations
  speedctl explain tls-out
  speedctl explain trafficreplay.spec.cleanup
  speedctl explain testconfig.generator --recursive`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, a []string) error {
			if len(a) == 0 {
				topics, err := explain.Topics()
				if err != nil {
					return err
				}
				return printTopics(g, out, topics)
			}
			f, err := explain.Find(a[0])
			if missing, ok := errors.AsType[*explain.NotFoundError](err); ok {
				hint := "there are " + strings.Join(missing.There, ", ")
				if len(missing.There) == 0 {
					hint = "it has no fields"
				}
				return term.WithCode(term.WithHint(err, hint), term.ExitNotFound)
			}
			if err != nil {
				return err
			}
			return printField(g, out, a[0], f, recursive)
		},
	}
	c.Flags().BoolVar(&recursive, "recursive", false, "show the fields of fields too")
	c.Flags().VarP(out, "output", "o", "form of the output")
	return c
}

func printTopics(g *global, out *printer.Flag, topics []explain.Field) error {
	if done, err := out.Encode(g.Out, topics); done {
		return err
	}
	rows := [][]string{{"TOPIC", "ABOUT"}}
	for _, f := range topics {
		rows = append(rows, []string{f.Name, f.About})
	}
	return printer.Rows(g.Out, rows)
}

// printField shows a field as kubectl explain does.
func printField(g *global, out *printer.Flag, path string, f explain.Field, recursive bool) error {
	if done, err := out.Encode(g.Out, f); done {
		return err
	}
	fmt.Fprintf(g.Out, "%s  %s\n", g.Paint(path, "6", true), kindOf(f))
	if f.About != "" {
		fmt.Fprintf(g.Out, "  %s\n", f.About)
	}
	if len(f.Fields) > 0 {
		fmt.Fprintln(g.Out)
		printFields(g, f.Fields, "  ", recursive)
	}
	return nil
}

func printFields(g *global, fields []explain.Field, indent string, recursive bool) {
	for _, f := range fields {
		fmt.Fprintf(g.Out, "%s%s  %s\n", indent, g.Paint(f.Name, "6", true), kindOf(f))
		if f.About != "" {
			fmt.Fprintf(g.Out, "%s    %s\n", indent, f.About)
		}
		if recursive {
			printFields(g, f.Fields, indent+"  ", true)
		}
	}
}

// kindOf says in brackets what values a field has.
func kindOf(f explain.Field) string {
	text := "<" + f.Type + ">"
	if len(f.Values) > 0 {
		text += " one of " + strings.Join(f.Values, ", ")
	}
	if f.Default != "" {
		text += ", default " + f.Default
	}
	if f.Required {
		text += ", required"
	}
	if len(f.Modes) > 0 {
		text += ", with proxy-type " + strings.Join(f.Modes, ", ")
	}
	return text
}

// explained are the paths of what can be explained, as far as they are typed.
func explained(_ context.Context, _ *global, _ *cobra.Command, typed string) (found []cobra.Completion, err error) {
	topics, err := explain.Topics()
	if err != nil {
		return nil, err
	}
	for _, f := range topics[0].Fields {
		found = append(found, cobra.CompletionWithDesc(strings.TrimPrefix(f.Name, annotation.Prefix), f.About))
	}
	parent := ""
	if i := strings.LastIndexByte(typed, '.'); i >= 0 {
		parent = typed[:i]
		f, err := explain.Find(parent)
		if err != nil {
			return nil, err
		}
		topics, parent = f.Fields, parent+"."
	}
	for _, f := range topics {
		found = append(found, cobra.CompletionWithDesc(parent+f.Name, f.About))
	}
	return found, nil
}
