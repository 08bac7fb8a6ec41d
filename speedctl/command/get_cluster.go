package command

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"

	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/cluster/replay"
	"github.com/speedscale/speedscale/cluster/workload"
	"github.com/speedscale/speedscale/speedctl/printer"
	"github.com/speedscale/speedscale/speedctl/term"
)

// listFlags are those of lists of the cluster's objects.
type listFlags struct {
	showFlags
	all bool
	out *printer.Flag
}

func (f *listFlags) add(g *global, c *cobra.Command) {
	f.out = printer.NewFlag(printer.Table, printer.Wide, printer.JSON, printer.YAML, printer.Name)
	c.Flags().VarP(f.out, "output", "o", "form of the output")
	c.Flags().BoolVarP(&f.all, "all-namespaces", "A", false, "of all namespaces")
	f.showFlags.add(c)
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
  speedctl get replays --sort-by age
  speedctl get replays checkout-x7k2p -o yaml`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			if f.all && len(a) == 1 {
				err := errors.New("a resource cannot be retrieved by name across all namespaces")
				return term.WithCode(term.WithHint(err, "-n names the namespace of the one, -A without a name lists all"), term.ExitUsage)
			}
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
				if done, err := f.out.Encode(g.Out, r); done {
					return err
				}
				return replayList([]v1.TrafficReplay{*r}, f.out.Format).Write(g.Out, f.out)
			}
			return f.show(c.Context(), g, f.out, func(ctx context.Context) (printer.List, error) {
				list, err := kube.List(ctx, namespace)
				return replayList(list, f.out.Format), workloadCode(err)
			})
		},
	}
	f.add(g, c)
	return c
}

func replayList(list []v1.TrafficReplay, format printer.Format) printer.List {
	head := []string{"NAMESPACE", "NAME", "MODE", "VERDICT", "AGE", "STATUS"}
	if format == printer.Wide {
		head = append(head, "SNAPSHOT", "CONFIG", "WORKLOADS", "REPORT")
	}
	l := printer.List{Objects: list, Rows: [][]string{head}}
	for i := range list {
		r := &list[i]
		row := []string{r.Namespace, r.Name, string(r.Spec.Mode), replay.Verdict(r), age(r.CreationTimestamp.Time), replay.Status(r)}
		if format == printer.Wide {
			var targets []string
			for _, w := range r.Spec.Workloads {
				if w.Ref != nil {
					targets = append(targets, strings.ToLower(w.Ref.Kind)+"/"+w.Ref.Name)
				}
			}
			row = append(row, r.Spec.SnapshotID, r.Spec.TestConfigID, strings.Join(targets, ","), r.Status.ReportID)
		}
		l.Rows, l.Names = append(l.Rows, row), append(l.Names, r.Name)
	}
	return l
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
  speedctl get workloads -A -o wide --sort-by capture`,
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
			return f.show(c.Context(), g, f.out, func(ctx context.Context) (printer.List, error) {
				captures, err := workload.Captures(ctx, kube, namespace)
				return workloadList(captures, f.out.Format), workloadCode(err)
			})
		},
	}
	f.add(g, c)
	return c
}

func workloadList(captures []workload.Capture, format printer.Format) printer.List {
	head := []string{"NAMESPACE", "KIND", "NAME", "CAPTURE", "PODS", "SIDECARS", "REPLAY"}
	if format == printer.Wide {
		head = append(head, "REASONS")
	}
	views := make([]workloadView, len(captures))
	l := printer.List{Objects: views, Rows: [][]string{head}}
	for i, c := range captures {
		v := workloadView{c.Namespace, c.Kind, c.Name, c.State, c.Pods, c.Sidecars, c.Reasons, c.Replay, c.Asked}
		row := []string{v.Namespace, v.Kind, v.Name, v.Capture, strconv.Itoa(v.Pods), strconv.Itoa(v.Sidecars), v.Replay}
		if format == printer.Wide {
			row = append(row, strings.Join(v.Reasons, "; "))
		}
		views[i] = v
		l.Rows, l.Names = append(l.Rows, row), append(l.Names, strings.ToLower(v.Kind)+"/"+v.Name)
	}
	return l
}
