package command

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/printer"
	"github.com/speedscale/speedscale/speedctl/term"
	"github.com/speedscale/speedscale/traffic/testconfig"
)

func newCreateTestConfig(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "test-config FILE|-",
		Short: "Keep a test config in the cloud, in place of the one of its id",
		Long: `A test config says how a replay in a cluster is run: the load, what of responses must hold, the goals, how the
responder answers, and transforms. The file is JSON or YAML; what is wrong with it is named by its path.`,
		Example: "  speedctl create test-config daily.yaml",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			config, err := readTestConfig(g, a[0])
			if err != nil {
				return term.WithCode(err, term.ExitUsage)
			}
			return g.withCloud(c.Context(), func(cl *client.Client) error {
				if _, err := cl.TestConfigs.Put(c.Context(), &cloudv1.PutTestConfigRequest{TestConfig: config.JSON()}); err != nil {
					return client.Explain(err)
				}
				g.Sayf("test config %s is kept", config.ID())
				return nil
			})
		},
	}
}

func readTestConfig(g *global, name string) (testconfig.Config, error) {
	var text []byte
	var err error
	if name == "-" {
		text, err = io.ReadAll(g.In)
	} else {
		text, err = os.ReadFile(name)
	}
	if err != nil {
		return testconfig.Config{}, err
	}
	doc, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return testconfig.Config{}, fmt.Errorf("%s: %w", name, err)
	}
	config, err := testconfig.Parse(doc)
	if err != nil {
		return testconfig.Config{}, fmt.Errorf("%s: %w", name, err)
	}
	return config, nil
}

func newGetTestConfigs(g *global) *cobra.Command {
	out := printer.NewFlag(printer.Table, printer.JSON, printer.YAML, printer.Name)
	c := &cobra.Command{
		Use:     "test-configs [ID]",
		Aliases: []string{"test-config"},
		Short:   "List the test configs, or show one",
		Example: "  speedctl get test-config standard -o yaml",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			var docs [][]byte
			err := g.withCloud(c.Context(), func(cl *client.Client) error {
				if len(a) == 1 {
					res, err := cl.TestConfigs.Get(c.Context(), &cloudv1.GetTestConfigRequest{Id: a[0]})
					docs = [][]byte{res.GetTestConfig()}
					return client.Explain(err)
				}
				res, err := cl.TestConfigs.List(c.Context(), &cloudv1.ListTestConfigsRequest{})
				docs = res.GetTestConfigs()
				return client.Explain(err)
			})
			if err != nil {
				return err
			}
			return printTestConfigs(g, out, docs, len(a) == 1)
		},
	}
	c.Flags().VarP(out, "output", "o", "form of the output")
	return c
}

func printTestConfigs(g *global, out *printer.Flag, docs [][]byte, one bool) error {
	all := make([]json.RawMessage, len(docs))
	for i, doc := range docs {
		all[i] = doc
	}
	var v any = all
	if one {
		v = all[0]
	}
	if done, err := out.Encode(g.Out, v); done {
		return err
	}
	rows := [][]string{{"ID", "BUILT IN", "TRANSFORMS", "GOALS"}}
	for _, doc := range docs {
		c, err := testconfig.Parse(doc)
		if err != nil {
			return err
		}
		var names []string
		for _, goal := range c.Goals() {
			names = append(names, goal.String())
		}
		transforms := 0
		if t := c.Transforms(); t != nil {
			transforms = len(t.Generator) + len(t.Responder)
		}
		builtin := map[bool]string{true: "yes", false: "no"}[c.Protected()]
		rows = append(rows, []string{c.ID(), builtin, fmt.Sprint(transforms), strings.Join(names, ", ")})
	}
	if out.Format == printer.Name {
		for _, row := range rows[1:] {
			fmt.Fprintln(g.Out, row[0])
		}
		return nil
	}
	return printer.Rows(g.Out, rows)
}

func newDeleteTestConfig(g *global) *cobra.Command {
	return &cobra.Command{
		Use:     "test-config ID...",
		Short:   "Delete test configs",
		Example: "  speedctl delete test-config daily",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			return g.withCloud(c.Context(), func(cl *client.Client) error {
				for _, id := range a {
					if _, err := cl.TestConfigs.Delete(c.Context(), &cloudv1.DeleteTestConfigRequest{Id: id}); err != nil {
						return client.Explain(err)
					}
					g.Sayf("deleted test config %s", id)
				}
				return nil
			})
		},
	}
}
