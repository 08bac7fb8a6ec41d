package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/speedscale/speedscale/charts"
	"github.com/speedscale/speedscale/cloud/auth"
	"github.com/speedscale/speedscale/cluster/helm"
	"github.com/speedscale/speedscale/cluster/install"
	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/term"
)

// installFlags are common to install, upgrade and uninstall.
type installFlags struct {
	kube           kubeFlags
	cloudNamespace string
	timeout        time.Duration
}

func (f *installFlags) add(c *cobra.Command) {
	f.kube.add(c)
	c.Flags().StringVar(&f.cloudNamespace, "cloud-namespace", "", "namespace of the cloud (default where it is, or "+install.CloudNamespace+")")
	c.Flags().DurationVar(&f.timeout, "timeout", 5*time.Minute, "limit of each part's wait")
}

func (f *installFlags) options() install.Options {
	return install.Options{
		Namespace: cmp.Or(*f.kube.Namespace, install.Namespace), CloudNamespace: f.cloudNamespace,
		Charts: charts.Files(), Version: version, NewKey: auth.NewKey, Timeout: f.timeout,
	}
}

func newInstall(g *global) *cobra.Command {
	f := installFlags{kube: g.kube}
	var values chartValues
	var appURL, appCA, version, output string
	var dryRun, reset bool
	c := &cobra.Command{
		Use:   "install",
		Short: "Install the operator and the cloud into a cluster, or upgrade them",
		Long: `Install puts the cloud (archive, snapshots, reports) and the operator into the cluster, makes the keys between
them, and waits until all of it is ready. It is safe to repeat: what was given before stays, unless it is given anew or
--reset-values is. With --app-url the operator sends to a cloud elsewhere, and --api-key opens it (scopes ingest and
control); --app-ca verifies it where its certificate is of a private CA, and is that of the context with the same address
where it is not given.

A cluster has one operator. Where it, or the cloud, is in another namespace than the one that is meant, or was installed by
something else, nothing is changed. --cloud-set persistence.size=100Gi makes the cloud's volume larger, where its storage
class allows that, and never smaller.

The cloud in the cluster gets a context, named after the kubeconfig's, by which other commands reach it: they make
their own way to it through the API server, and read its key from its Secret by the kubeconfig's right. The context
becomes the current one where there was none; otherwise -c names it.`,
		Example: `  speedctl install
  speedctl install --set clusterName=staging --cloud-set persistence.size=100Gi
  speedctl install --app-url https://speedscale.example.com --api-key "$SPEEDSCALE_API_KEY" --app-ca ca.pem
  speedctl install --dry-run -o yaml`,
		Annotations: notRun("it installs into a cluster: test/kube runs the command, with flags of its own", "speedctl install",
			"speedctl install --set clusterName=staging --cloud-set persistence.size=100Gi",
			`speedctl install --app-url https://speedscale.example.com --api-key "$SPEEDSCALE_API_KEY" --app-ca ca.pem`),
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			o := f.options()
			o.ResetValues = reset
			var err error
			if o.OperatorValues, o.CloudValues, err = values.read(); err != nil {
				return err
			}
			if err := g.elsewhere(c.Context(), &o, appURL, appCA, !dryRun); err != nil {
				return err
			}
			if output != "" && (output != "yaml" || !dryRun) {
				return term.WithCode(fmt.Errorf("-o %s: want yaml, together with --dry-run", output), term.ExitUsage)
			}
			if dryRun {
				manifests, err := install.Template(c.Context(), o, version)
				if err != nil {
					return term.WithCode(err, term.ExitUsage)
				}
				_, err = fmt.Fprint(g.Out, manifests)
				return err
			}
			kube, err := f.kube.client()
			if err != nil {
				return err
			}
			progress := g.StartProgress("installing")
			o.Progress = func(step string) { progress.Update("%s", step) }
			o.Warn = func(text string) { g.Warnf("%s", text) }
			o, err = install.Run(c.Context(), kube, &helm.Client{Getter: f.kube, Log: g.logger()}, o)
			progress.Stop()
			if err != nil {
				return installCode(err)
			}
			g.Sayf("Installed: the operator is in namespace %s.", o.Namespace)
			if o.AppURL == "" {
				return f.remember(g, o.CloudNamespace)
			}
			if appURL == "" {
				g.Sayf("It sends to %s, as before; --reset-values installs a cloud in the cluster instead.", o.AppURL)
			}
			return nil
		},
	}
	f.add(c)
	values.add(c)
	c.Flags().StringVar(&appURL, "app-url", "", "a cloud elsewhere, instead of one in the cluster")
	c.Flags().StringVar(&appCA, "app-ca", "", "with --app-url: PEM file with the private CA of that cloud")
	c.Flags().BoolVar(&reset, "reset-values", false, "forget what was given before: values of the charts, and a cloud elsewhere")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "print what would be applied, but for the Secrets")
	c.Flags().StringVar(&version, "kube-version", "", "with --dry-run: the cluster's version (default the oldest that is supported)")
	c.Flags().StringVarP(&output, "output", "o", "", "form of the output of --dry-run: yaml")
	return c
}

// elsewhere reads what is said of a cloud elsewhere. Where ask is set, that cloud is asked
// whether the key opens it: one that is not reached from here may be from the cluster.
func (g *global) elsewhere(ctx context.Context, o *install.Options, appURL, appCA string, ask bool) error {
	if appURL == "" && appCA != "" {
		return term.WithCode(errors.New("--app-ca is for the cloud that --app-url names"), term.ExitUsage)
	}
	if appURL == "" {
		return nil
	}
	o.AppURL, o.APIKey = appURL, cmp.Or(g.apiKey, g.Getenv("SPEEDSCALE_API_KEY"))
	if o.APIKey == "" {
		return term.WithCode(term.WithHint(errors.New("--app-url needs a key of that cloud"), "give --api-key or SPEEDSCALE_API_KEY, with the scopes ingest and control"), term.ExitUsage)
	}
	dir, err := g.dir()
	if err != nil {
		return err
	}
	remote := client.Remote(dir, appURL)
	remote.APIKey, remote.CA = o.APIKey, cmp.Or(appCA, remote.CA)
	if remote.CA != "" {
		text, err := os.ReadFile(remote.CA)
		if err != nil {
			return term.WithCode(fmt.Errorf("--app-ca: %w", err), term.ExitUsage)
		}
		o.AppCA = string(text)
		if appCA == "" {
			g.Sayf("The cloud is verified by %s, as in context %q.", remote.CA, remote.Name)
		}
	}
	if !ask || !strings.HasPrefix(appURL, "http") {
		return nil
	}
	switch err := client.CheckAgent(ctx, remote); {
	case term.CodeOf(err) == term.ExitDenied, term.CodeOf(err) == term.ExitUsage:
		return fmt.Errorf("--app-url %q: %w", appURL, err)
	case err != nil:
		g.Warnf("%v; the cluster has to reach it: speedctl check says whether it does", err)
	}
	return nil
}

// installCode gives an error of an installation its exit code.
func installCode(err error) error {
	if _, wrong := errors.AsType[*install.ValuesError](err); wrong {
		return term.WithCode(err, term.ExitUsage)
	}
	if _, denied := errors.AsType[*install.DeniedError](err); denied || apierrors.IsForbidden(err) {
		return term.WithCode(term.WithHint(err, "ask an administrator of the cluster for them, or to install"), term.ExitDenied)
	}
	if refused, is := errors.AsType[*install.RefusedError](err); is {
		return term.WithCode(term.WithHint(err, refused.Hint), term.ExitUsage)
	}
	if _, late := errors.AsType[*install.NotReadyError](err); late {
		return term.WithHint(err, "speedctl check says more; when it is mended, the same command goes on")
	}
	return err
}

// remember adds a context for the cloud that was installed into the cluster.
func (f *installFlags) remember(g *global, namespace string) error {
	dir, err := g.dir()
	if err != nil {
		return err
	}
	cluster, err := f.kube.home(namespace)
	if err != nil {
		return err
	}
	name, current, err := client.AddCluster(dir, cluster)
	if err != nil {
		return err
	}
	if current {
		g.Sayf("Its cloud is that of context %q, the current one.", name)
	} else {
		g.Sayf("Its cloud is that of context %q: -c %s means it, since another context is the current one.", name, name)
	}
	return nil
}
