package command

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"

	"github.com/speedscale/speedscale/cluster/check"
	"github.com/speedscale/speedscale/cluster/install"
	"github.com/speedscale/speedscale/cluster/workload"
	"github.com/speedscale/speedscale/speedctl/printer"
	"github.com/speedscale/speedscale/speedctl/term"
)

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
			if len(e.Unknown) > 0 {
				state = "may be captured when it has some"
			}
		}
		fmt.Fprintf(g.Out, "%s %s\n", subject, state)
		var sidecar []check.Reason
		if e.Sidecar != nil {
			sidecar = append(sidecar, *e.Sidecar)
		}
		for _, r := range slices.Concat(sidecar, e.Quiet, e.Warnings, e.Reasons, e.Unknown) {
			fmt.Fprintf(g.Out, "  %s\n", r.Text)
			if r.Hint != "" {
				fmt.Fprintf(g.Out, "    hint: %s\n", r.Hint)
			}
		}
	}
	return nil
}
