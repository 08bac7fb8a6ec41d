package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/printer"
	"github.com/speedscale/speedscale/speedctl/term"
)

func newInfra(g *global) *cobra.Command {
	c := &cobra.Command{
		Use:   "infra",
		Short: "Command clusters through the cloud, without a kubeconfig",
		Long: `Infra has the inspector of a cluster list workloads and events, read logs, inject and uninject workloads, start and
cancel replays. It needs an API key with the scope admin, and each command is entered in the cloud's audit record.
A cluster without an inspector (the chart's dashboardAccess: false) cannot be commanded.`,
		Example: `  speedctl infra inspectors
  speedctl infra workloads --cluster my-cluster -n shop`,
	}
	c.AddCommand(
		newInfraInspectors(g), newInfraWorkloads(g), newInfraEvents(g), newInfraLogs(g), newInfraSidecar(g),
		newInfraReplay(g), newInfraCancelReplay(g), newInfraAudit(g),
	)
	return group(c)
}

// remoteFlags say where a command is carried out.
type remoteFlags struct{ cluster, namespace string }

func (f *remoteFlags) add(c *cobra.Command, namespace string) {
	c.Flags().StringVar(&f.cluster, "cluster", "", "cluster, as speedctl infra inspectors names it; needed where there are several")
	c.Flags().StringVarP(&f.namespace, "namespace", "n", "", namespace)
}

// needed is for commands that are about one object.
func (f *remoteFlags) needed() error {
	if f.namespace != "" {
		return nil
	}
	return term.WithCode(term.WithHint(errors.New("-n is not given"), "name the namespace with -n NAMESPACE: what the kubeconfig says is of another cluster"), term.ExitUsage)
}

// run has a command carried out, and reads its output into v where that is not nil.
func (f *remoteFlags) run(ctx context.Context, g *global, command *cloudv1.Command, v any) (output []byte, err error) {
	err = g.withCloud(ctx, func(c *client.Client) error {
		output, err = f.give(ctx, c, command)
		return err
	})
	if err == nil && v != nil {
		if err = json.Unmarshal(output, v); err != nil {
			err = fmt.Errorf("the inspector's answer: %w", err)
		}
	}
	return output, err
}

func (f *remoteFlags) give(ctx context.Context, c *client.Client, command *cloudv1.Command) ([]byte, error) {
	cluster, err := f.target(ctx, c)
	if err != nil {
		return nil, err
	}
	res, err := c.Control.Run(ctx, &cloudv1.RunRequest{Cluster: cluster, Command: command})
	if connect.CodeOf(err) == connect.CodeNotFound {
		return nil, term.WithHint(client.Explain(err), "speedctl infra inspectors lists those that are; in a cluster, kubectl -n speedscale logs deployment/speedscale-inspector says why it is not")
	}
	if err != nil {
		return nil, client.Explain(err)
	}
	if text := res.GetResult().GetError(); text != "" {
		return nil, fmt.Errorf("cluster %q: %s", cluster, text)
	}
	return res.GetResult().GetOutput(), nil
}

// target is the cluster of the flag, or the only one that there is.
func (f *remoteFlags) target(ctx context.Context, c *client.Client) (string, error) {
	if f.cluster != "" {
		return f.cluster, nil
	}
	res, err := c.Control.Clusters(ctx, &cloudv1.ClustersRequest{})
	if err != nil {
		return "", client.Explain(err)
	}
	var names []string
	for _, found := range res.GetClusters() {
		names = append(names, found.GetName())
	}
	switch len(names) {
	case 1:
		return names[0], nil
	case 0:
		return "", term.WithCode(term.WithHint(errors.New("no cluster has an inspector that is connected to this cloud"), "speedctl install puts one into a cluster, unless its chart has dashboardAccess: false"), term.ExitNotFound)
	}
	return "", term.WithCode(term.WithHint(fmt.Errorf("%d clusters are connected: %s", len(names), strings.Join(names, ", ")), "name one with --cluster"), term.ExitUsage)
}

// tableFlag adds -o for a list.
func tableFlag(c *cobra.Command) *printer.Flag {
	out := printer.NewFlag(printer.Table, printer.JSON, printer.YAML)
	c.Flags().VarP(out, "output", "o", "form of the output")
	return out
}
