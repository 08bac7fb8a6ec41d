package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/term"
)

func newPush(g *global) *cobra.Command {
	var force bool
	c := &cobra.Command{Use: "push", Short: "Copy a snapshot from this machine to the cloud", Example: "  speedctl push snapshot ./checkout"}
	snap := &cobra.Command{
		Use:     "snapshot FOLDER|ID",
		Short:   "Copy a snapshot's folder, or one that was pulled, to the cloud",
		Example: "  speedctl push snapshot ./checkout\n  speedctl -c team push snapshot 939b6844-4da9-4d35-9128-7e6c2a95988b",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			home, err := g.dir()
			if err != nil {
				return err
			}
			dir := a[0]
			if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
				dir = home.Snapshot(a[0])
			}
			return g.withCloud(c.Context(), func(cl *client.Client) error {
				id, err := cl.PushSnapshot(c.Context(), dir, force)
				if err != nil {
					return term.WithHint(err, "--force replaces a snapshot that is there")
				}
				_, err = fmt.Fprintln(g.Out, id)
				return err
			})
		},
	}
	snap.Flags().BoolVar(&force, "force", false, "replace a snapshot that has this id")
	c.AddCommand(snap)
	return group(c)
}
