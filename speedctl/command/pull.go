package command

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/speedscale/speedscale/speedctl/client"
)

func newPull(g *global) *cobra.Command {
	c := &cobra.Command{Use: "pull", Short: "Copy a snapshot from the cloud to this machine", Example: "  speedctl pull snapshot latest"}
	c.AddCommand(&cobra.Command{
		Use:   "snapshot ID|NAME|latest",
		Short: "Copy a snapshot to ~/.speedscale/data/snapshots, and print the folder",
		Long: `The folder holds snapshot.json and pairs as JSON, one per line: raw.jsonl (all), action.jsonl (what a replay
sends) and reaction.jsonl (what mocks answer). mock and replay take the folder's path, too.`,
		Example: "  speedctl pull snapshot checkout",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			dir, err := g.dir()
			if err != nil {
				return err
			}
			return g.withCloud(c.Context(), func(cl *client.Client) error {
				progress := g.StartProgress("pulling " + a[0])
				path, err := cl.PullSnapshot(c.Context(), dir, a[0])
				progress.Stop()
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(g.Out, path)
				return err
			})
		},
	})
	return group(c)
}
