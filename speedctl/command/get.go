package command

import (
	"github.com/spf13/cobra"
)

func newGet(g *global) *cobra.Command {
	c := &cobra.Command{
		Use:   "get",
		Short: "Show snapshots, reports, captured traffic, and what is in a cluster",
		Example: `  speedctl get snapshots
  speedctl get traffic '(command IS "POST")' --start 15m
  speedctl get report latest
  speedctl get workloads -n shop`,
	}
	c.AddCommand(newGetSnapshot(g), newGetTraffic(g), newGetReport(g), newGetKeys(g), newGetTestConfigs(g), newGetReplays(g), newGetWorkloads(g), newGetAgents(g))
	return group(c)
}
