package command

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"

	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/cluster/replay"
	"github.com/speedscale/speedscale/cluster/workload"
	"github.com/speedscale/speedscale/speedctl/printer"
)

// listFlags are those of lists of the cluster's objects.
type listFlags struct {
	all bool
	out *printer.Flag
}

func (f *listFlags) add(g *global, c *cobra.Command) {
	f.out = printer.NewFlag(printer.Table, printer.Wide, printer.JSON, printer.YAML, printer.Name)
	c.Flags().VarP(f.out, "output", "o", "form of the output")
	c.Flags().BoolVarP(&f.all, "all-namespaces", "A", false, "of all namespaces")
	g.kube.add(c)
}

// namespace is the one that is listed, "" for all.
func (f *listFlags) namespace(g *global) (string, error) {
	if f.all {
		return "", nil
	}
	return g.kube.namespace()
}

func newGetReplays(g *global) *cobra.Command {
	var f listFlags
	c := &cobra.Command{
		Use:     "replays [NAME]",
		Aliases: []string{"replay", "trafficreplays"},
		Short:   "List the replays of a cluster, or show one",
		Example: `  speedctl get replays -A
  speedctl get replays checkout-x7k2p -o yaml`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			namespace, err := f.namespace(g)
			if err != nil {
				return err
			}
			kube, err := g.replays()
			if err != nil {
				return err
			}
			if len(a) == 1 {
				r, err := kube.Get(c.Context(), namespace, a[0])
				if err != nil {
					return workloadCode(err)
				}
				return printReplays(g, f.out, r, []v1.TrafficReplay{*r})
			}
			list, err := kube.List(c.Context(), namespace)
			if err != nil {
				return workloadCode(err)
			}
			return printReplays(g, f.out, list, list)
		},
	}
	f.add(g, c)
	return c
}

func printReplays(g *global, out *printer.Flag, v any, list []v1.TrafficReplay) error {
	if done, err := out.Encode(g.Out, v); done {
		return err
	}
	if out.Format == printer.Name {
		for i := range list {
			fmt.Fprintln(g.Out, list[i].Name)
		}
		return nil
	}
	head := []string{"NAMESPACE", "NAME", "MODE", "VERDICT", "AGE", "STATUS"}
	if out.Format == printer.Wide {
		head = append(head, "SNAPSHOT", "CONFIG", "WORKLOADS", "REPORT")
	}
	rows := [][]string{head}
	for i := range list {
		r := &list[i]
		row := []string{r.Namespace, r.Name, string(r.Spec.Mode), replay.Verdict(r), age(r.CreationTimestamp.Time), replay.Status(r)}
		if out.Format == printer.Wide {
			var targets []string
			for _, w := range r.Spec.Workloads {
				if w.Ref != nil {
					targets = append(targets, strings.ToLower(w.Ref.Kind)+"/"+w.Ref.Name)
				}
			}
			row = append(row, r.Spec.SnapshotID, r.Spec.TestConfigID, strings.Join(targets, ","), r.Status.ReportID)
		}
		rows = append(rows, row)
	}
	return printer.Rows(g.Out, rows)
}

func age(since time.Time) string { return duration.HumanDuration(time.Since(since)) }

// workloadView is a workload as it is printed.
type workloadView struct {
	Namespace string `json:"namespace"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	// Capture is captured, partly, asked (no pod is captured yet) or empty.
	Capture string `json:"capture,omitempty"`
	// Pods are those that run, Sidecars those of them with one.
	Pods     int      `json:"pods"`
	Sidecars int      `json:"sidecars"`
	Reasons  []string `json:"reasons,omitempty"`
	Replay   string   `json:"replay,omitempty"`
	// Annotations are those about the sidecar.
	Annotations map[string]string `json:"annotations,omitempty"`
}

func newGetWorkloads(g *global) *cobra.Command {
	var f listFlags
	c := &cobra.Command{
		Use:     "workloads",
		Aliases: []string{"workload"},
		Short:   "List the workloads of a cluster, and whether their traffic is captured",
		Example: `  speedctl get workloads -n shop
  speedctl get workloads -A -o wide`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			namespace, err := f.namespace(g)
			if err != nil {
				return err
			}
			kube, err := g.kube.client()
			if err != nil {
				return err
			}
			captures, err := workload.Captures(c.Context(), kube, namespace)
			if err != nil {
				return workloadCode(err)
			}
			return printWorkloads(g, f.out, captures)
		},
	}
	f.add(g, c)
	return c
}

func printWorkloads(g *global, out *printer.Flag, captures []workload.Capture) error {
	views := make([]workloadView, len(captures))
	for i, c := range captures {
		views[i] = workloadView{c.Namespace, c.Kind, c.Name, c.State, c.Pods, c.Sidecars, c.Reasons, c.Replay, c.Asked}
	}
	if done, err := out.Encode(g.Out, views); done {
		return err
	}
	head := []string{"NAMESPACE", "KIND", "NAME", "CAPTURE", "PODS", "SIDECARS", "REPLAY"}
	if out.Format == printer.Wide {
		head = append(head, "REASONS")
	}
	rows := [][]string{head}
	for _, v := range views {
		if out.Format == printer.Name {
			fmt.Fprintf(g.Out, "%s/%s\n", strings.ToLower(v.Kind), v.Name)
			continue
		}
		row := []string{v.Namespace, v.Kind, v.Name, v.Capture, strconv.Itoa(v.Pods), strconv.Itoa(v.Sidecars), v.Replay}
		if out.Format == printer.Wide {
			row = append(row, strings.Join(v.Reasons, "; "))
		}
		rows = append(rows, row)
	}
	if out.Format == printer.Name {
		return nil
	}
	return printer.Rows(g.Out, rows)
}
