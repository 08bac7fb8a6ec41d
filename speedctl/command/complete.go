package command

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/speedscale/speedscale/agents/inspector"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/term"
	"github.com/speedscale/speedscale/traffic/report"
	"github.com/speedscale/speedscale/traffic/testconfig"
)

// completeLimit bounds what a shell waits for: a cloud or a cluster that does not answer
// in time has no names to offer.
const completeLimit = 2 * time.Second

// completeMost bounds how many names are asked for and offered.
const completeMost = 500

// lister gives the values that an argument or flag of a command may have, of which typed
// is the beginning. It need not leave out what begins otherwise.
type lister func(ctx context.Context, g *global, c *cobra.Command, typed string) ([]cobra.Completion, error)

// values completes by a list, and has nothing to offer where the list fails.
func (g *global) values(list lister, directive cobra.ShellCompDirective) cobra.CompletionFunc {
	return func(c *cobra.Command, given []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(c.Context(), completeLimit)
		defer cancel()
		listed := make(chan []cobra.Completion, 1)
		// What takes longer ends with the process: credentials of a kubeconfig are
		// got without a limit.
		go func() {
			values, err := list(ctx, g.silent(), c, typed)
			if err != nil {
				values = nil
			}
			listed <- values
		}()
		var offered []cobra.Completion
		select {
		case values := <-listed:
			for _, v := range values {
				value, _, _ := strings.Cut(v, "\t")
				if strings.HasPrefix(value, typed) && !slices.Contains(given, value) && len(offered) < completeMost {
					offered = append(offered, v)
				}
			}
		case <-ctx.Done():
		}
		return offered, directive
	}
}

// silent is g with nowhere to talk to.
func (g *global) silent() *global {
	quiet := *g
	quiet.World = &term.World{
		In: strings.NewReader(""), Out: io.Discard, Err: io.Discard,
		Getenv: g.Getenv, Environ: g.Environ, Self: g.Self, Name: g.Name, Quiet: true,
	}
	return &quiet
}

// fixed are values that are always the same.
func fixed(values ...string) lister {
	return func(context.Context, *global, *cobra.Command, string) ([]cobra.Completion, error) { return values, nil }
}

// ask calls the cloud, where there is one.
func (g *global) ask(ctx context.Context, do func(*client.Client) error) error {
	if !g.hasCloud() {
		return nil
	}
	return g.withCloud(ctx, do)
}

// hasCloud says that to call the cloud would not make one on this machine.
func (g *global) hasCloud() bool {
	if g.kube.named() {
		return true
	}
	dir, err := g.dir()
	if err != nil {
		return false
	}
	_, err = dir.Load()
	return err == nil
}

// snapshotNames are names, and the ids of those without one or where an id is typed.
func snapshotNames(ctx context.Context, g *global, _ *cobra.Command, typed string) (found []cobra.Completion, err error) {
	if !g.hasCloud() {
		return nil, nil
	}
	metas, err := snapshots(ctx, g, nil)
	for _, m := range metas {
		about := fmt.Sprintf("%d pairs, %s", m.RecordsProcessed, m.Info.CreatedAt.Local().Format(time.DateTime))
		if m.Info.Name != "" {
			found = append(found, cobra.CompletionWithDesc(m.Info.Name, about))
		}
		if m.Info.Name == "" || typed != "" {
			found = append(found, cobra.CompletionWithDesc(m.ID, strings.TrimPrefix(m.Info.Name+", "+about, ", ")))
		}
	}
	if len(found) > 0 {
		found = append(found, cobra.CompletionWithDesc("latest", "the newest"))
	}
	return unique(found), err
}

// unique leaves out what has the name of one before it: the newest goes by the name.
func unique(list []cobra.Completion) (found []cobra.Completion) {
	seen := map[string]bool{}
	for _, v := range list {
		name, _, _ := strings.Cut(v, "\t")
		if !seen[name] {
			found = append(found, v)
		}
		seen[name] = true
	}
	return found
}

func reportNames(ctx context.Context, g *global, c *cobra.Command, _ string) (found []cobra.Completion, err error) {
	err = g.ask(ctx, func(cl *client.Client) error {
		res, err := cl.Reports.List(ctx, &cloudv1.ListReportsRequest{Limit: 100})
		for _, doc := range res.GetReports() {
			var r *report.Report
			if r, err = decodeReport(doc); err != nil {
				return err
			}
			found = append(found, cobra.CompletionWithDesc(r.ID, fmt.Sprintf("%s, %s, %s", r.Status, r.Snapshot.Name, r.Started.Local().Format(time.DateTime))))
		}
		if len(found) > 0 && c.Name() == "report" && c.Parent().Name() == "get" {
			found = append(found, cobra.CompletionWithDesc("latest", "the newest"))
		}
		return err
	})
	return found, err
}

func testConfigNames(ctx context.Context, g *global, _ *cobra.Command, _ string) (found []cobra.Completion, err error) {
	err = g.ask(ctx, func(cl *client.Client) error {
		res, err := cl.TestConfigs.List(ctx, &cloudv1.ListTestConfigsRequest{})
		for _, doc := range res.GetTestConfigs() {
			var c testconfig.Config
			if c, err = testconfig.Parse(doc); err != nil {
				return err
			}
			found = append(found, c.ID())
		}
		return err
	})
	return found, err
}

func keyNames(ctx context.Context, g *global, _ *cobra.Command, _ string) (found []cobra.Completion, err error) {
	err = g.ask(ctx, func(cl *client.Client) error {
		res, err := cl.Keys.List(ctx, &cloudv1.ListKeysRequest{})
		for _, k := range res.GetKeys() {
			found = append(found, cobra.CompletionWithDesc(k.GetId(), k.GetName()))
		}
		return err
	})
	return found, err
}

// toldClusterNames are the clusters whose agents tell the cloud how they are.
func toldClusterNames(ctx context.Context, g *global, _ *cobra.Command, _ string) (found []cobra.Completion, err error) {
	err = g.ask(ctx, func(cl *client.Client) error {
		res, err := cl.Telemetry.Clusters(ctx, &cloudv1.TelemetryClustersRequest{})
		for _, c := range res.GetClusters() {
			found = append(found, c.GetName())
		}
		return err
	})
	return unique(found), err
}

func remoteClusterNames(ctx context.Context, g *global, _ *cobra.Command, _ string) (found []cobra.Completion, err error) {
	err = g.ask(ctx, func(cl *client.Client) error {
		res, err := cl.Control.Clusters(ctx, &cloudv1.ClustersRequest{})
		for _, c := range res.GetClusters() {
			found = append(found, c.GetName())
		}
		return err
	})
	return found, err
}

// remoteWorkloadNames are those of the cluster that the command's flags name.
func remoteWorkloadNames(ctx context.Context, g *global, c *cobra.Command, _ string) (found []cobra.Completion, err error) {
	var f remoteFlags
	f.cluster, _ = c.Flags().GetString("cluster")
	f.namespace, _ = c.Flags().GetString("namespace")
	if !g.hasCloud() {
		return nil, nil
	}
	var list []inspector.Workload
	command := &cloudv1.Command{Command: &cloudv1.Command_Workloads{Workloads: &cloudv1.ListWorkloads{Namespace: f.namespace}}}
	_, err = f.run(ctx, g, command, &list)
	for _, w := range list {
		found = append(found, strings.ToLower(w.Kind)+"/"+w.Name)
	}
	return found, err
}

func contextNames(_ context.Context, g *global, _ *cobra.Command, _ string) (found []cobra.Completion, err error) {
	_, cfg, err := g.contexts()
	if err != nil {
		return nil, err
	}
	for _, x := range cfg.Contexts {
		v := contextView{AppURL: x.AppURL, Cluster: x.Cluster}
		found = append(found, cobra.CompletionWithDesc(x.Name, v.cloud()))
	}
	return found, nil
}
