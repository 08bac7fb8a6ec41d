package command

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/printer"
)

func newGetKeys(g *global) *cobra.Command {
	out := printer.NewFlag(printer.Table, printer.JSON, printer.YAML)
	c := &cobra.Command{
		Use:     "api-keys",
		Aliases: []string{"api-key"},
		Short:   "List the cloud's API keys (their hashes are all it has)",
		Example: "  speedctl get api-keys",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			var keys []*cloudv1.Key
			err := g.withCloud(c.Context(), func(cl *client.Client) error {
				res, err := cl.Keys.List(c.Context(), &cloudv1.ListKeysRequest{})
				keys = res.GetKeys()
				return client.Explain(err)
			})
			if err != nil {
				return err
			}
			if done, err := out.Encode(g.Out, keys); done {
				return err
			}
			rows := [][]string{{"ID", "NAME", "SCOPES", "LAST USED"}}
			for _, k := range keys {
				used := "never"
				if k.GetLastUsed() > 0 {
					used = time.Unix(k.GetLastUsed(), 0).Format(time.DateTime)
				}
				rows = append(rows, []string{k.GetId(), k.GetName(), fmt.Sprint(k.GetScopes()), used})
			}
			return printer.Rows(g.Out, rows)
		},
	}
	c.Flags().VarP(out, "output", "o", "form of the output")
	return c
}
