package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cluster/check"
	"github.com/speedscale/speedscale/cluster/install"
	"github.com/speedscale/speedscale/cluster/workload"
	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/printer"
	"github.com/speedscale/speedscale/speedctl/term"
)

// askLimit bounds what is asked of the cloud in one check.
const askLimit = 20 * time.Second

func newCheck(g *global) *cobra.Command {
	var before bool
	var wait time.Duration
	out := printer.NewFlag(printer.Table, printer.JSON, printer.YAML)
	c := &cobra.Command{
		Use:   "check",
		Short: "Say what is wrong with the installation in a cluster, or in the way of one",
		Long: `Check looks at the cluster, the operator and what it runs, the way to the cloud, what forwarder and sidecars tell of
themselves, and every workload that asks for a sidecar. With --pre it says whether speedscale can be installed. It changes nothing.

Exit codes: 0 when no check failed (there may be warnings), 1 when one did.`,
		Example: `  speedctl check
  speedctl check --pre
  speedctl check --wait 2m -o json`,
		Annotations: notRun("it wants an installed operator: test/kube runs it", "speedctl check", "speedctl check --wait 2m -o json"),
		Args:        args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			kube, err := g.kube.client()
			if err != nil {
				return err
			}
			look := func(ctx context.Context) []check.Result {
				facts := check.Gather(ctx, kube, g.operatorNamespace(), install.CloudNamespace)
				if before {
					return check.Before(facts)
				}
				facts.Cloud = g.askCloud(ctx, check.ClusterOf(facts.Forwarder.Object))
				return check.After(facts)
			}
			results := waitChecks(c.Context(), g, wait, look)
			if err := printChecks(g, out, results); err != nil {
				return err
			}
			if n := check.Failures(results); n > 0 {
				return fmt.Errorf("%d of %d checks failed", n, len(results))
			}
			g.Sayf("All checks were successful.")
			return c.Context().Err()
		},
	}
	c.Flags().BoolVar(&before, "pre", false, "check whether it can be installed")
	c.Flags().DurationVar(&wait, "wait", 0, "check again until nothing fails, for so long")
	c.Flags().VarP(out, "output", "o", "form of the output")
	g.kube.add(c)
	return c
}

// operatorNamespace is that of -n or, unlike for workloads, always the same one.
func (g *global) operatorNamespace() string { return cmp.Or(*g.kube.Namespace, install.Namespace) }

// waitChecks looks again until nothing fails, or the limit is over.
func waitChecks(ctx context.Context, g *global, limit time.Duration, look func(context.Context) []check.Result) []check.Result {
	deadline := time.Now().Add(limit)
	progress := g.StartProgress("checking")
	defer progress.Stop()
	for {
		results := look(ctx)
		if check.Failures(results) == 0 || ctx.Err() != nil || !time.Now().Before(deadline) {
			return results
		}
		for _, r := range results {
			if r.Status == check.Failed {
				progress.Update("waiting for %s: %s", r.Name, r.Text)
				break
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(2 * time.Second):
		}
	}
}

// askCloud asks the cloud that the operator sends to how it is, and what it has heard of
// the cluster.
func (g *global) askCloud(ctx context.Context, cluster check.Cluster) *check.Cloud {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	var state check.Cloud
	state.Err = g.withClusterCloud(ctx, func(cl *client.Client) error {
		res, err := cl.Traffic.Ingest(ctx, &cloudv1.IngestRequest{})
		state.Refused, state.Pairs = res.GetRefused(), res.GetPairs()
		if err == nil && cluster.Told {
			state.Telemetry = askTelemetry(ctx, cl, cluster.Name)
		}
		return client.Explain(err)
	})
	return &state
}

// askTelemetry asks for the latest of a cluster.
func askTelemetry(ctx context.Context, cl *client.Client, cluster string) (t check.Telemetry) {
	res, err := cl.Telemetry.Agents(ctx, &cloudv1.TelemetryAgentsRequest{Cluster: cluster})
	switch code := connect.CodeOf(err); {
	case err == nil:
	case code == connect.CodeUnimplemented || code == connect.CodeNotFound:
		t.Err = errors.New("the cloud is of a version that takes none")
	default:
		t.Err = client.Explain(err)
	}
	if list := res.GetClusters(); len(list) > 0 {
		t.Latest, t.Age = list[0], time.Duration(res.GetTime()-list[0].GetReceived())
	}
	return t
}

func printChecks(g *global, out *printer.Flag, results []check.Result) error {
	if done, err := out.Encode(g.Out, results); done {
		return err
	}
	category := ""
	for _, r := range results {
		if r.Category != category {
			category = r.Category
			fmt.Fprintln(g.Out, category)
		}
		mark := map[check.Status]string{
			check.OK: g.Paint("ok  ", "2", false), check.Warning: g.Paint("warn", "3", true),
			check.Failed: g.Paint("FAIL", "1", true), check.Skipped: "skip",
		}[r.Status]
		fmt.Fprintf(g.Out, "  %s  %s: %s\n", mark, r.Name, r.Text)
		if r.Hint != "" {
			fmt.Fprintf(g.Out, "        hint: %s\n", r.Hint)
		}
	}
	return nil
}

func newWhy(g *global) *cobra.Command {
	var operator string
	out := printer.NewFlag(printer.Table, printer.JSON, printer.YAML)
	c := &cobra.Command{
		Use:   "why POD|KIND/NAME",
		Short: "Say whether a pod or a workload is captured, and every reason why not",
		Example: `  speedctl why deployment/checkout -n shop
  speedctl why checkout-7c9d6b5f4-x2x7k`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			namespace, err := g.kube.namespace()
			if err != nil {
				return err
			}
			kube, err := g.kube.client()
			if err != nil {
				return err
			}
			subject, err := lookAt(c.Context(), kube, operator, namespace, a[0])
			if err != nil {
				return workloadCode(err)
			}
			return printWhy(g, out, a[0], subject.Explain())
		},
	}
	c.Flags().StringVar(&operator, "operator-namespace", install.Namespace, "namespace of the operator")
	c.Flags().VarP(out, "output", "o", "form of the output")
	g.kube.add(c)
	return c
}

// lookAt reads what is asked about: a workload, or a pod with or without pod/.
func lookAt(ctx context.Context, kube kubernetes.Interface, operator, namespace, name string) (check.Subject, error) {
	pod, named := strings.CutPrefix(name, "pod/")
	if named || !strings.Contains(name, "/") {
		return check.LookAtPod(ctx, kube, operator, namespace, pod)
	}
	r, err := workload.ParseRef(name, namespace)
	if err != nil {
		return check.Subject{}, term.WithCode(err, term.ExitUsage)
	}
	return check.LookAt(ctx, kube, operator, r)
}

func printWhy(g *global, out *printer.Flag, name string, all []check.Explanation) error {
	if done, err := out.Encode(g.Out, all); done {
		return err
	}
	for _, e := range all {
		subject := "pod " + e.Pod
		if e.Pod == "" {
			subject = name + ", which has no pods,"
		}
		state := g.Paint("is not captured", "1", true)
		if e.Captured {
			state = g.Paint("is captured", "2", true)
		}
		if e.Replay != "" {
			state += ", and takes part in the replay " + e.Replay
		}
		if e.Pod == "" && len(e.Reasons) == 0 {
			state = "will be captured when it has some"
		}
		fmt.Fprintf(g.Out, "%s %s\n", subject, state)
		for _, r := range slices.Concat(e.Quiet, e.Reasons) {
			fmt.Fprintf(g.Out, "  %s\n", r.Text)
			if r.Hint != "" {
				fmt.Fprintf(g.Out, "    hint: %s\n", r.Hint)
			}
		}
	}
	return nil
}
