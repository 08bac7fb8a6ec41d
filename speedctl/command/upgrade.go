package command

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"

	"github.com/speedscale/speedscale/cluster/helm"
	"github.com/speedscale/speedscale/cluster/install"
	"github.com/speedscale/speedscale/cluster/workload"
	"github.com/speedscale/speedscale/speedctl/term"
)

func newUpgrade(g *global) *cobra.Command {
	f := installFlags{kube: g.kube}
	var values chartValues
	var roll bool
	c := &cobra.Command{
		Use:   "upgrade",
		Short: "Upgrade the operator and the cloud of a cluster to the version of speedctl",
		Long: `Upgrade keeps the values that were given to install, and takes more on top; those of an upgrade that failed it does not
keep. Images have the version of speedctl, unless a value image.tag says another one, which is named. It restarts no pod
of an app: their sidecars stay as they are, and work on. With --roll the pods of injected workloads are then made anew,
one workload after the other, each when the one before is ready.`,
		Example: `  speedctl upgrade
  speedctl upgrade --roll
  speedctl upgrade --set logLevel=debug --cloud-set retention.age=72h`,
		Annotations: notRun("it upgrades what is in a cluster: test/kube runs the command, with flags of its own"),
		Args:        args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			o := f.options()
			var err error
			if o.OperatorValues, o.CloudValues, err = values.read(); err != nil {
				return err
			}
			kube, err := f.kube.client()
			if err != nil {
				return err
			}
			progress := g.StartProgress("upgrading")
			o.Progress = func(step string) { progress.Update("%s", step) }
			o.Warn = func(text string) { g.Warnf("%s", text) }
			o, err = install.Upgrade(c.Context(), kube, &helm.Client{Getter: f.kube, Log: g.logger()}, o)
			progress.Stop()
			if errors.Is(err, install.ErrNotInstalled) {
				return term.WithCode(term.WithHint(err, "speedctl install installs it; -n names another namespace of the operator"), term.ExitNotFound)
			}
			if err != nil {
				return installCode(err)
			}
			g.Sayf("Upgraded: the operator is in namespace %s.", o.Namespace)
			if !roll {
				return nil
			}
			return f.roll(c.Context(), g, kube)
		},
	}
	f.add(c)
	values.add(c)
	c.Flags().BoolVar(&roll, "roll", false, "make the pods of injected workloads anew, with sidecars of this version")
	return c
}

// roll stops at the first workload that does not become ready, so that no other one
// is brought down by the same cause.
func (f *installFlags) roll(ctx context.Context, g *global, kube kubernetes.Interface) error {
	injected, err := workload.Injected(ctx, kube, "")
	if err != nil {
		return workloadCode(err)
	}
	for _, w := range injected {
		progress := g.StartProgress(w.Ref.String())
		s, err := workload.Roll(ctx, kube, w, f.timeout, func(s workload.State) { progress.Update("%s: %s", w.Ref, s.Text) })
		progress.Stop()
		if err != nil {
			return err
		}
		g.Sayf("%s: %s", w.Ref, s.Text)
	}
	return nil
}
