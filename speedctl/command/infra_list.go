package command

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/speedscale/speedscale/agents/inspector"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/printer"
)

// connected is a cluster as infra inspectors prints it.
type connected struct {
	Name       string    `json:"name"`
	Version    string    `json:"version"`
	Kubernetes string    `json:"kubernetes"`
	Since      time.Time `json:"since"`
}

func newInfraInspectors(g *global) *cobra.Command {
	c := &cobra.Command{
		Use:     "inspectors",
		Aliases: []string{"clusters"},
		Short:   "List the clusters whose inspector is connected",
		Example: "  speedctl infra inspectors",
		Args:    args(cobra.NoArgs),
	}
	out := tableFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		list := []connected{}
		err := g.withCloud(c.Context(), func(cl *client.Client) error {
			res, err := cl.Control.Clusters(c.Context(), &cloudv1.ClustersRequest{})
			for _, found := range res.GetClusters() {
				list = append(list, connected{found.GetName(), found.GetVersion(), found.GetKubernetes(), time.Unix(0, found.GetSince()).UTC()})
			}
			return client.Explain(err)
		})
		if err != nil {
			return err
		}
		if done, err := out.Encode(g.Out, list); done {
			return err
		}
		rows := [][]string{{"CLUSTER", "VERSION", "KUBERNETES", "CONNECTED"}}
		for _, found := range list {
			rows = append(rows, []string{found.Name, found.Version, found.Kubernetes, found.Since.Local().Format(time.DateTime)})
		}
		return printer.Rows(g.Out, rows)
	}
	return c
}

func newInfraWorkloads(g *global) *cobra.Command {
	var f remoteFlags
	c := &cobra.Command{
		Use:   "workloads",
		Short: "List a cluster's workloads, and which have a sidecar",
		Example: `  speedctl infra workloads
  speedctl infra workloads --cluster my-cluster -n shop -o json`,
		Args: args(cobra.NoArgs),
	}
	f.add(c, "namespace; all without it")
	out := tableFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		var list []inspector.Workload
		command := &cloudv1.Command{Command: &cloudv1.Command_Workloads{Workloads: &cloudv1.ListWorkloads{Namespace: f.namespace}}}
		if _, err := f.run(c.Context(), g, command, &list); err != nil {
			return err
		}
		if done, err := out.Encode(g.Out, list); done {
			return err
		}
		rows := [][]string{{"NAMESPACE", "WORKLOAD", "READY", "SIDECAR", "WHY NOT"}}
		for _, w := range list {
			sidecar := "no"
			if w.Inject || w.Injected > 0 {
				sidecar = fmt.Sprintf("%d of %d pods", w.Injected, w.Pods)
			}
			rows = append(rows, []string{w.Namespace, w.Kind + "/" + w.Name, fmt.Sprintf("%d/%d", w.Ready, w.Wanted), sidecar, w.Refused})
		}
		return printer.Rows(g.Out, rows)
	}
	return c
}

func newInfraEvents(g *global) *cobra.Command {
	var f remoteFlags
	var limit int32
	c := &cobra.Command{
		Use:     "events",
		Short:   "List a cluster's newest events",
		Example: "  speedctl infra events --cluster my-cluster -n shop --limit 20",
		Args:    args(cobra.NoArgs),
	}
	f.add(c, "namespace; all without it")
	c.Flags().Int32Var(&limit, "limit", 100, "how many, at most 1000")
	out := tableFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		var list []inspector.Event
		command := &cloudv1.Command{Command: &cloudv1.Command_Events{Events: &cloudv1.ListEvents{Namespace: f.namespace, Limit: limit}}}
		if _, err := f.run(c.Context(), g, command, &list); err != nil {
			return err
		}
		if done, err := out.Encode(g.Out, list); done {
			return err
		}
		rows := [][]string{{"TIME", "NAMESPACE", "TYPE", "REASON", "OBJECT", "COUNT", "MESSAGE"}}
		for _, e := range list {
			rows = append(rows, []string{
				e.Time.Local().Format(time.DateTime), e.Namespace, e.Type, e.Reason, e.Object, strconv.Itoa(int(e.Count)), e.Message,
			})
		}
		return printer.Rows(g.Out, rows)
	}
	return c
}

func newInfraLogs(g *global) *cobra.Command {
	var f remoteFlags
	var container string
	var lines int32
	c := &cobra.Command{
		Use:     "logs POD",
		Short:   "Print the last lines of a pod's log, masked",
		Example: "  speedctl infra logs checkout-5d8c7 -n shop --container checkout --lines 200",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			if err := f.needed(); err != nil {
				return err
			}
			output, err := f.run(c.Context(), g, &cloudv1.Command{Command: &cloudv1.Command_Logs{Logs: &cloudv1.GetLogs{
				Namespace: f.namespace, Pod: a[0], Container: container, Lines: lines,
			}}}, nil)
			if err != nil {
				return err
			}
			_, err = g.Out.Write(output)
			return err
		},
	}
	f.add(c, "namespace of the pod")
	c.Flags().StringVar(&container, "container", "", "container, where the pod has several")
	c.Flags().Int32Var(&lines, "lines", 100, "how many, at most 10000")
	return c
}

// audited is an entry as infra audit prints it.
type audited struct {
	Time    time.Time       `json:"time"`
	Key     string          `json:"key"`
	Cluster string          `json:"cluster"`
	Command json.RawMessage `json:"command"`
	Outcome string          `json:"outcome"`
}

func newInfraAudit(g *global) *cobra.Command {
	var limit int32
	c := &cobra.Command{
		Use:     "audit",
		Short:   "List the commands that were given to clusters, newest first",
		Example: "  speedctl infra audit --limit 10",
		Args:    args(cobra.NoArgs),
	}
	c.Flags().Int32Var(&limit, "limit", 100, "how many, at most 1000")
	out := tableFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		list := []audited{}
		err := g.withCloud(c.Context(), func(cl *client.Client) error {
			res, err := cl.Control.Audit(c.Context(), &cloudv1.AuditRequest{Limit: limit})
			for _, e := range res.GetEntries() {
				list = append(list, audited{time.Unix(0, e.GetTime()).UTC(), e.GetKey(), e.GetCluster(), e.GetCommand(), e.GetOutcome()})
			}
			return client.Explain(err)
		})
		if err != nil {
			return err
		}
		if done, err := out.Encode(g.Out, list); done {
			return err
		}
		rows := [][]string{{"TIME", "KEY", "CLUSTER", "OUTCOME", "COMMAND"}}
		for _, e := range list {
			rows = append(rows, []string{e.Time.Local().Format(time.DateTime), e.Key, e.Cluster, e.Outcome, string(e.Command)})
		}
		return printer.Rows(g.Out, rows)
	}
	return c
}
