package command

import (
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes"

	"github.com/speedscale/speedscale/speedctl/term"
)

// kubeFlags find the cluster as kubectl does. Only --context is speedctl's own, so
// the kubeconfig's is --kube-context.
type kubeFlags struct{ *genericclioptions.ConfigFlags }

func newKubeFlags() kubeFlags { return kubeFlags{genericclioptions.NewConfigFlags(true)} }

func (f kubeFlags) add(c *cobra.Command) {
	context := f.Context
	f.Context = nil
	f.AddFlags(c.Flags())
	f.Context = context
	c.Flags().StringVar(f.Context, "kube-context", "", "context of the kubeconfig")
}

// client speaks to the cluster. Its error says how to name one.
func (f kubeFlags) client() (kubernetes.Interface, error) {
	config, err := f.ToRESTConfig()
	if err != nil {
		return nil, term.WithCode(term.WithHint(fmt.Errorf("no cluster: %w", err), "--kubeconfig, KUBECONFIG and --kube-context say which cluster is meant"), term.ExitUsage)
	}
	return kubernetes.NewForConfig(config)
}
