package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/term"
)

func newPull(g *global) *cobra.Command {
	c := &cobra.Command{Use: "pull", Short: "Copy a snapshot from the cloud to this machine", Example: "  speedctl pull snapshot latest", Args: args(cobra.NoArgs)}
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
	return c
}

func newPush(g *global) *cobra.Command {
	var force bool
	c := &cobra.Command{Use: "push", Short: "Copy a snapshot from this machine to the cloud", Example: "  speedctl push snapshot ./checkout", Args: args(cobra.NoArgs)}
	snap := &cobra.Command{
		Use:     "snapshot FOLDER|ID",
		Short:   "Copy a snapshot's folder, or one that was pulled, to the cloud",
		Example: "  speedctl push snapshot ./checkout\n  speedctl --context team push snapshot 939b6844-4da9-4d35-9128-7e6c2a95988b",
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
	return c
}

func newDelete(g *global) *cobra.Command {
	var exitZero bool
	c := &cobra.Command{Use: "delete", Short: "Delete a snapshot or an API key", Example: "  speedctl delete snapshot checkout", Args: args(cobra.NoArgs)}
	snap := &cobra.Command{
		Use:     "snapshot ID|NAME...",
		Short:   "Delete snapshots from the cloud, and their pulled copies",
		Example: "  speedctl delete snapshot checkout",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			dir, err := g.dir()
			if err != nil {
				return err
			}
			return g.withCloud(c.Context(), func(cl *client.Client) error {
				for _, ref := range a {
					id, err := cl.DeleteSnapshot(c.Context(), dir, ref)
					if exitZero && term.CodeOf(err) == term.ExitNotFound {
						continue
					}
					if err != nil {
						return err
					}
					g.Sayf("deleted snapshot %s", id)
				}
				return nil
			})
		},
	}
	snap.Flags().BoolVar(&exitZero, "exit-zero", false, "a snapshot that does not exist is no error")
	key := &cobra.Command{
		Use:     "api-key ID...",
		Short:   "Revoke API keys",
		Example: "  speedctl delete api-key k1f3a",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			return g.withCloud(c.Context(), func(cl *client.Client) error {
				for _, id := range a {
					if _, err := cl.Keys.Revoke(c.Context(), &cloudv1.RevokeKeyRequest{Id: id}); err != nil {
						return client.Explain(err)
					}
					g.Sayf("revoked %s", id)
				}
				return nil
			})
		},
	}
	c.AddCommand(snap, key)
	return c
}
