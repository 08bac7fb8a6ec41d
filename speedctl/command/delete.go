package command

import (
	"github.com/spf13/cobra"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/term"
)

func newDelete(g *global) *cobra.Command {
	var exitZero bool
	c := &cobra.Command{Use: "delete", Short: "Delete a snapshot or an API key", Example: "  speedctl delete snapshot checkout"}
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
	return group(c)
}
