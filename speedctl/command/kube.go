package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/install"
	"github.com/speedscale/speedscale/cluster/replay"
	"github.com/speedscale/speedscale/cluster/workload"
	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/home"
	"github.com/speedscale/speedscale/speedctl/term"
)

// kubeFlags find the cluster as kubectl does. Only --context is speedctl's own, so
// the kubeconfig's is --kube-context. Where kubectl runs speedctl, --context is the
// kubeconfig's too, and speedctl's own is --cloud-context.
type kubeFlags struct{ *genericclioptions.ConfigFlags }

func newKubeFlags() kubeFlags { return kubeFlags{genericclioptions.NewConfigFlags(true)} }

// addTo gives the root command the flags that say which cluster is meant. They are
// for all commands, since a cluster has a cloud.
func (f kubeFlags) addTo(root *cobra.Command, plugin bool) {
	flags := root.PersistentFlags()
	if plugin {
		flags.StringVar(f.Context, "context", "", "context of the kubeconfig, as kubectl has it; without -c the cloud in that cluster is meant")
		defer flags.MarkHidden("kube-context") //nolint:errcheck // the flag is there
	}
	flags.StringVar(f.KubeConfig, "kubeconfig", "", "kubeconfig file of the cluster, as kubectl has it")
	flags.StringVar(f.Context, "kube-context", "", "context of the kubeconfig; without -c the cloud in that cluster is meant")
}

// contextFlag is the name of the flag for speedctl's own contexts.
func (g *global) contextFlag() string {
	if g.Plugin() {
		return "cloud-context"
	}
	return "context"
}

// add gives a command that speaks to the cluster the rest of kubectl's flags.
func (f kubeFlags) add(c *cobra.Command) {
	context, file := f.Context, f.KubeConfig
	f.Context, f.KubeConfig = nil, nil
	f.AddFlags(c.Flags())
	f.Context, f.KubeConfig = context, file
}

// named says that the command line names a cluster.
func (f kubeFlags) named() bool { return *f.Context != "" || *f.KubeConfig != "" }

// client speaks to the cluster. Its error says how to name one.
func (f kubeFlags) client() (kubernetes.Interface, error) {
	config, err := f.ToRESTConfig()
	if err != nil {
		return nil, noCluster(err)
	}
	config = rest.CopyConfig(config)
	config.Timeout = cmp.Or(config.Timeout, requestLimit)
	return kubernetes.NewForConfig(config)
}

// requestLimit bounds a request to the API server, where --request-timeout does not.
const requestLimit = 30 * time.Second

func noCluster(err error) error {
	return term.WithCode(term.WithHint(fmt.Errorf("no cluster: %w", err), "--kubeconfig, KUBECONFIG and --kube-context say which cluster is meant"), term.ExitUsage)
}

// namespace is that of the flags, or of the kubeconfig's context.
func (f kubeFlags) namespace() (string, error) {
	namespace, _, err := f.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return "", noCluster(err)
	}
	return namespace, nil
}

// cluster is the cluster with its cloud.
func (f kubeFlags) cluster() (client.Cluster, error) {
	config, err := f.ToRESTConfig()
	if err != nil {
		return client.Cluster{}, noCluster(err)
	}
	kube, err := kubernetes.NewForConfig(config)
	return client.Cluster{Config: config, Client: kube, Namespace: install.CloudNamespace}, err
}

// home names the cluster so that another run of speedctl finds it.
func (f kubeFlags) home(cloudNamespace string) (home.Cluster, error) {
	raw, err := f.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return home.Cluster{}, noCluster(err)
	}
	c := home.Cluster{KubeContext: *f.Context, Namespace: cloudNamespace}
	if c.KubeContext == "" {
		c.KubeContext = raw.CurrentContext
	}
	if *f.KubeConfig != "" {
		c.Kubeconfig, err = filepath.Abs(*f.KubeConfig)
	}
	return c, err
}

// withClusterCloud runs do with a connection to the cloud that the cluster's operator
// reports to: the one that -c names, else the one in the cluster, else that of the
// current context, if that has an address.
func (g *global) withClusterCloud(ctx context.Context, do func(*client.Client) error) error {
	c, err := g.connectCluster(ctx, false)
	if err != nil {
		return err
	}
	return errors.Join(do(c), c.Close())
}

// connectCluster reaches that cloud. running is as client.Options has it.
func (g *global) connectCluster(ctx context.Context, running bool) (*client.Client, error) {
	o, err := g.cloudOptions()
	if err != nil {
		return nil, err
	}
	o.Running = running
	if g.context == "" && o.Cluster == nil {
		cluster, err := g.kube.cluster()
		if err != nil {
			return nil, err
		}
		o.Cluster = &cluster
	}
	c, err := g.reach(ctx, o)
	if errors.Is(err, client.ErrNoCloud) && g.context == "" && elsewhere(o.Home) {
		o.Cluster = nil
		c, err = client.Connect(ctx, o)
	}
	return c, err
}

// reach is client.Connect, but that a cluster's cloud is also where a context of the same
// cluster has it: install was told a namespace of its own for it.
func (g *global) reach(ctx context.Context, o client.Options) (*client.Client, error) {
	c, err := client.Connect(ctx, o)
	if o.Cluster == nil || !errors.Is(err, client.ErrNoCloud) {
		return c, err
	}
	if o.Context = g.contextOfCluster(o.Home); o.Context == "" {
		return nil, err
	}
	return client.Connect(ctx, o)
}

// contextOfCluster names the context whose cloud is in the cluster that is meant, "" where
// there is none.
func (g *global) contextOfCluster(dir home.Dir) string {
	cfg, err := dir.Load()
	if err != nil {
		return ""
	}
	meant, err := g.kube.home("")
	if err != nil {
		return ""
	}
	for _, c := range cfg.Contexts {
		if c.Cluster != nil && c.Cluster.Kubeconfig == meant.Kubeconfig && c.Cluster.KubeContext == meant.KubeContext {
			return c.Name
		}
	}
	return ""
}

// elsewhere says that the current context is of a cloud that has an address.
func elsewhere(dir home.Dir) bool {
	cfg, err := dir.Load()
	if err != nil {
		return false
	}
	c, err := cfg.Context("")
	return err == nil && c.AppURL != ""
}

// workloadCode gives an error about workloads its exit code.
func workloadCode(err error) error {
	var wrong *annotation.Error
	var all interface{ Unwrap() []error }
	first := err
	if errors.As(err, &all) && len(all.Unwrap()) > 0 {
		first = all.Unwrap()[0]
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, replay.ErrNotDefined):
		return term.WithCode(term.WithHint(err, "speedctl install installs it"), term.ExitNotFound)
	case apierrors.IsNotFound(first):
		return term.WithCode(term.WithHint(err, whereIs(first)), term.ExitNotFound)
	case apierrors.IsForbidden(first):
		return term.WithCode(err, term.ExitDenied)
	case errors.As(err, &wrong), workload.IsRefused(err), apierrors.IsInvalid(first):
		return term.WithCode(err, term.ExitUsage)
	}
	return err
}

// whereIs says where to look for what an API server did not find.
func whereIs(err error) string {
	var kind, name string
	if status, ok := errors.AsType[*apierrors.StatusError](err); ok && status.ErrStatus.Details != nil {
		kind, name = status.ErrStatus.Details.Kind, status.ErrStatus.Details.Name
	}
	switch {
	case name == "": // it is the kind that there is none of
		return ""
	case kind == "trafficreplays":
		return "-n names another namespace; speedctl get replays lists them"
	case kind == "pods", kind == "namespaces":
		return "-n names another namespace; kubectl get " + kind + " lists them"
	}
	return "-n names another namespace; speedctl get workloads lists them"
}
