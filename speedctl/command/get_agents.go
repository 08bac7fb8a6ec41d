package command

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/printer"
)

func newGetAgents(g *global) *cobra.Command {
	var cluster string
	var f showFlags
	c := &cobra.Command{
		Use:     "agents",
		Aliases: []string{"agent", "telemetry"},
		Short:   "List the forwarders and sidecars of clusters, as they last told the cloud how they are",
		Long: `Agents tell the cloud about once in a minute, unless the chart's telemetry.enabled is false. A sidecar that is gone is
listed for some minutes more, a cluster for an hour.`,
		Example: `  speedctl get agents
  speedctl get agents --cluster my-cluster -o json`,
		Args: args(cobra.NoArgs),
	}
	out := tableFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		return g.withCloud(c.Context(), func(cl *client.Client) error {
			return f.show(c.Context(), g, out, func(ctx context.Context) (printer.List, error) {
				list, err := telemetryOf(ctx, cl, cluster)
				return printer.List{Objects: list, Rows: agentRows(list, time.Now())}, client.Explain(err)
			})
		})
	}
	f.add(c)
	c.Flags().StringVar(&cluster, "cluster", "", "only that cluster")
	return c
}

// telemetryOf is that of one cluster, or of all.
func telemetryOf(ctx context.Context, cl *client.Client, cluster string) ([]*cloudv1.ClusterTelemetry, error) {
	names := []string{cluster}
	if cluster == "" {
		res, err := cl.Telemetry.Clusters(ctx, &cloudv1.TelemetryClustersRequest{})
		if err != nil {
			return nil, err
		}
		names = nil
		for _, found := range res.GetClusters() {
			names = append(names, found.GetName())
		}
		names = slices.Compact(names)
	}
	list := []*cloudv1.ClusterTelemetry{}
	for _, name := range names {
		res, err := cl.Telemetry.Agents(ctx, &cloudv1.TelemetryAgentsRequest{Cluster: name})
		if err != nil {
			return nil, err
		}
		list = append(list, res.GetClusters()...)
	}
	return list, nil
}

func agentRows(list []*cloudv1.ClusterTelemetry, now time.Time) [][]string {
	rows := [][]string{{"CLUSTER", "NAMESPACE", "AGENT", "MODE", "VERSION", "PAIRS IN", "PAIRS OUT", "LAST SEEN", "HEARD"}}
	ago := func(ns int64) string {
		if ns == 0 {
			return "never"
		}
		return duration.HumanDuration(max(0, now.Sub(time.Unix(0, ns)))) + " ago"
	}
	for _, c := range list {
		f := c.GetForwarder()
		rows = append(rows, []string{c.GetName(), "", "forwarder", "", f.GetVersion(), "", "", "", ago(c.GetReceived())})
		for _, s := range c.GetSidecars() {
			pairs := func(d *cloudv1.DirectionTelemetry) string {
				if d == nil {
					return "-"
				}
				return strconv.FormatUint(d.GetPairs(), 10)
			}
			name := s.GetPod()
			if name == "" {
				name = s.GetProducer()
			}
			rows = append(rows, []string{
				c.GetName(), s.GetNamespace(), name, s.GetMode(), s.GetVersion(), pairs(s.GetInbound()), pairs(s.GetOutbound()),
				ago(max(s.GetInbound().GetLastSeen(), s.GetOutbound().GetLastSeen())), ago(s.GetReceived()),
			})
		}
		if c.GetOmitted() > 0 {
			rows = append(rows, []string{c.GetName(), "", fmt.Sprintf("and %d more", c.GetOmitted()), "", "", "", "", "", ""})
		}
	}
	return rows
}
