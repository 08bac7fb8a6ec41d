package command

import (
	"github.com/spf13/cobra"
)

func newGet(g *global) *cobra.Command {
	c := &cobra.Command{
		Use:   "get",
		Short: "Show snapshots, reports and captured traffic",
		Example: `  speedctl get snapshots
  speedctl get traffic '(command IS "POST")' --start 15m
  speedctl get report latest`,
	}
	c.AddCommand(newGetSnapshot(g), newGetTraffic(g), newGetReport(g), newGetKeys(g))
	return group(c)
}
