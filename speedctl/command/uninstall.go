package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"

	"github.com/speedscale/speedscale/cluster/helm"
	"github.com/speedscale/speedscale/cluster/install"
	"github.com/speedscale/speedscale/cluster/replay"
	"github.com/speedscale/speedscale/speedctl/term"
)

type uninstallFlags struct {
	installFlags
	data, force, yes bool
}

func newUninstall(g *global) *cobra.Command {
	f := uninstallFlags{installFlags: installFlags{kube: g.kube}}
	c := &cobra.Command{
		Use:   "uninstall",
		Short: "Take the operator and the cloud out of a cluster",
		Long: `What was captured stays, in the cloud's volume and behind the keys in its Secret, unless --delete-data is given;
so do the namespaces, and the definition of TrafficReplay with those replays that are over.

It refuses while workloads have a sidecar, replays run, or one with cleanup none keeps what it made; --force ends those
first, one after the other, and waits. It works after the operator's namespace was deleted too, and removes what is left
then. Where there is an operator or a cloud, but not in the namespace that is meant, it removes nothing. On a terminal it
asks first.`,
		Example: `  speedctl uninstall
  speedctl uninstall --force --yes
  speedctl uninstall --delete-data`,
		Annotations: notRun("it takes what is in a cluster out of it: test/kube runs the command, with flags of its own"),
		Args:        args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			kube, err := f.kube.client()
			if err != nil {
				return err
			}
			replays, err := g.replays()
			if err != nil {
				return err
			}
			return f.run(c.Context(), g, kube, replays)
		},
	}
	f.add(c)
	c.Flags().BoolVar(&f.data, "delete-data", false, "delete the cloud's volume and keys too")
	c.Flags().BoolVar(&f.force, "force", false, "end replays and take the sidecars out of workloads first")
	c.Flags().BoolVarP(&f.yes, "yes", "y", false, "do so without being asked")
	return c
}

func (f *uninstallFlags) run(ctx context.Context, g *global, kube kubernetes.Interface, replays replay.Client) error {
	o := f.options()
	operators, err := install.Operators(ctx, kube)
	if err != nil {
		return workloadCode(err)
	}
	if len(operators) > 0 && !slices.Contains(operators, o.Namespace) {
		err := fmt.Errorf("no operator is in namespace %q: it is in %s", o.Namespace, strings.Join(operators, ", "))
		return term.WithCode(term.WithHint(err, "speedctl uninstall -n "+operators[0]+" removes it"), term.ExitNotFound)
	}
	if len(operators) > 1 {
		err := fmt.Errorf("operators are in the namespaces %s, and uninstalling one would take away what they share", strings.Join(operators, ", "))
		return term.WithHint(err, install.Several)
	}
	releases := &helm.Client{Getter: f.kube, Log: g.logger()}
	if o, err = install.FindCloud(ctx, kube, releases, o); err != nil {
		return installCode(err)
	}
	use, err := install.InUse(ctx, kube, replays)
	if err != nil {
		return workloadCode(err)
	}
	if text := use.String(); text != "" && !f.force {
		return term.WithHint(fmt.Errorf("still in use: %s", text), "speedctl uninject and speedctl delete replay end that; --force does it for you")
	}
	if g.InTTY && !f.yes {
		if err := g.Confirm(ctx, f.question(o, use), "--yes"); err != nil {
			return err
		}
	}
	progress := g.StartProgress("uninstalling")
	defer progress.Stop()
	if err := use.Release(ctx, kube, replays, f.timeout, func(step string) { progress.Update("%s", step) }); err != nil {
		return err
	}
	found, err := install.Remove(ctx, kube, releases, o, f.data)
	if err := errors.Join(err, install.Clear(ctx, kube, replays)); err != nil {
		return err
	}
	if !found {
		g.Sayf("Nothing was installed in the namespaces %s and %s; what may have been left of an installation is gone.", o.Namespace, o.CloudNamespace)
	}
	return nil
}

func (f *uninstallFlags) question(o install.Options, use install.Use) string {
	text := fmt.Sprintf("Remove the operator from namespace %s and the cloud from %s", o.Namespace, o.CloudNamespace)
	if f.data {
		text += ", with all that was captured"
	}
	if names := use.String(); names != "" {
		text += ", and end first: " + names
	}
	return text + "?"
}
