package command

import (
	"time"

	"github.com/spf13/cobra"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cluster/replay"
	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/term"
)

func newDelete(g *global) *cobra.Command {
	var exitZero bool
	c := &cobra.Command{Use: "delete", Short: "Delete a snapshot, a test config, an API key, or a replay of a cluster", Example: "  speedctl delete snapshot checkout"}
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
	c.AddCommand(snap, key, newDeleteTestConfig(g), newDeleteReplay(g))
	return group(c)
}

func newDeleteReplay(g *global) *cobra.Command {
	var timeout time.Duration
	c := &cobra.Command{
		Use:     "replay NAME...",
		Short:   "Delete replays of a cluster, cancelling those that run",
		Long:    "A replay is gone when its workloads are as they were before it, which is waited for.",
		Example: "  speedctl delete replay checkout-x7k2p -n shop",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			namespace, err := g.kube.namespace()
			if err != nil {
				return err
			}
			kube, err := g.replays()
			if err != nil {
				return err
			}
			for _, name := range a {
				if err := kube.Delete(c.Context(), namespace, name); err != nil {
					return workloadCode(err)
				}
			}
			for _, name := range a {
				if err := replay.WaitGone(c.Context(), kube, namespace, name, timeout); err != nil {
					return term.WithHint(err, "speedctl check says what is wrong with the operator")
				}
				g.Sayf("deleted trafficreplay %s/%s", namespace, name)
			}
			return nil
		},
	}
	c.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "limit of the wait for each")
	g.kube.add(c)
	return c
}
