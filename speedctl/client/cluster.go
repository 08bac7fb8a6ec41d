package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/speedscale/speedscale/cloud/client"
	"github.com/speedscale/speedscale/cluster/forward"
	"github.com/speedscale/speedscale/cluster/install"
	"github.com/speedscale/speedscale/speedctl/home"
	"github.com/speedscale/speedscale/speedctl/term"
)

// Cluster is a cluster with a cloud in it.
type Cluster struct {
	// Config is the way to its API server, and Client speaks to it.
	Config *rest.Config
	Client kubernetes.Interface
	// Namespace is the cloud's.
	Namespace string
}

// KubeCluster finds a cluster as kubectl does.
func KubeCluster(c home.Cluster) (Cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = c.Kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: c.KubeContext}).ClientConfig()
	if err != nil {
		return Cluster{}, err
	}
	kube, err := kubernetes.NewForConfig(config)
	return Cluster{Config: config, Client: kube, Namespace: c.Namespace}, err
}

// ErrNoCloud says that there is no cloud in a cluster.
var ErrNoCloud = errors.New("the cluster has no cloud")

// inCluster reaches the cloud in a cluster, by a way of its own, with the key of
// the options, of the context, or of the cluster's Secret.
func inCluster(ctx context.Context, o Options, c Cluster, target home.Context) (*Client, error) {
	service, err := c.Client.CoreV1().Services(c.Namespace).Get(ctx, install.Cloud, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, term.WithCode(term.WithHint(fmt.Errorf("%w: no service %q in namespace %q", ErrNoCloud, install.Cloud, c.Namespace),
			"speedctl install puts one there; for one elsewhere, speedctl init --app-url names it"), term.ExitNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("the cluster's cloud: %w", err)
	}
	key, from := o.APIKey, o.KeyFrom
	if key == "" && target.APIKey != "" {
		key, from = target.APIKey, fmt.Sprintf("context %q", target.Name)
	}
	if key == "" {
		name := cmp.Or(service.Annotations[install.KeysAnnotation], install.CloudKeys) // an older chart does not say it
		if key, err = clusterKey(ctx, c, name); err != nil {
			return nil, err
		}
		from = fmt.Sprintf("secret %q in namespace %q", name, c.Namespace)
	}
	o.Logger.Info("API key", "from", from)
	way := forward.New(forward.Options{Config: c.Config, Client: c.Client, Namespace: c.Namespace, Service: install.Cloud})
	api := client.Options{URL: "http://localhost", Key: key, Dial: way.DialContext} // for localhost no proxy is asked
	if encrypted(service) {
		api.URL = "https://" + install.Cloud + "." + c.Namespace + ".svc"
		if target.CA != "" {
			if api.Roots, err = poolWith(target.CA); err != nil {
				return nil, term.WithCode(err, term.ExitUsage)
			}
		}
	}
	made, err := client.New(api)
	if err != nil {
		return nil, err
	}
	return &Client{Client: made, key: key, roots: api.Roots, forward: way, encrypted: encrypted(service)}, nil
}

// encrypted says that a Service speaks TLS, at whatever port. An older chart does not state
// it, and means port 443.
func encrypted(s *corev1.Service) bool {
	if len(s.Spec.Ports) == 0 {
		return false
	}
	port := s.Spec.Ports[0]
	if port.AppProtocol == nil {
		return port.Port == 443
	}
	return *port.AppProtocol == "https"
}

// clusterKey reads the first admin key of the cloud from a Secret, by the kubeconfig's own
// right.
func clusterKey(ctx context.Context, c Cluster, name string) (string, error) {
	secret, err := c.Client.CoreV1().Secrets(c.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err == nil && len(secret.Data[install.EntryAdmin]) == 0 {
		err = fmt.Errorf("secret %q in namespace %q has no entry %q", name, c.Namespace, install.EntryAdmin)
	}
	if err != nil {
		return "", term.WithCode(term.WithHint(fmt.Errorf("no API key for the cluster's cloud: %w", err),
			"give --api-key or SPEEDSCALE_API_KEY, or a kubeconfig that may read that Secret"), term.ExitDenied)
	}
	return string(secret.Data[install.EntryAdmin]), nil
}

// AddCluster adds a context for the cloud in a cluster, and makes it the current one
// where there was none. It returns the context's name, which is the kubeconfig
// context's.
func AddCluster(dir home.Dir, c home.Cluster) (name string, current bool, err error) {
	cfg, err := dir.Load()
	if errors.Is(err, home.ErrNotInitialized) {
		cfg, err = &home.Config{}, nil
	}
	if err != nil {
		return "", false, err
	}
	if name = cmp.Or(c.KubeContext, "cluster"); name == home.Local {
		name = "cluster-" + name
	}
	if was, err := cfg.Context(name); err == nil && was.Cluster == nil {
		name = "cluster-" + name // another cloud has the name
	}
	current = cfg.Add(home.Context{Name: name, Cluster: &c})
	return name, current, dir.Save(cfg)
}
