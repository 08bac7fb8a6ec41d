package check

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/speedscale/speedscale/charts"
	"github.com/speedscale/speedscale/cluster/annotation"
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/cluster/install"
	"github.com/speedscale/speedscale/cluster/workload"
)

// Names of what the operator makes.
const (
	forwarderName = "speedscale-forwarder"
	inspectorName = "speedscale-inspector"
	// forwarderCerts is the Secret with the forwarder's certificate.
	forwarderCerts = "speedscale-forwarder-certs"
	// componentLabel is on all of the control plane.
	componentLabel = "controlplane.speedscale.com/component"
)

// Sources are where facts come from.
type Sources struct {
	Client  kubernetes.Interface
	Dynamic dynamic.Interface
	// Clock is wrapped around the transport of Client.
	Clock *Clock
	// Operator opens a connection to the operator's Service; nil looks at no certificate.
	Operator Dial
	// Namespace is the operator's, CloudNamespace the cloud's.
	Namespace, CloudNamespace string
	// Before reads what Before needs, and no more; else it is what After needs.
	Before bool
	// Version is this program's.
	Version string
}

// Gather reads the facts that Before or After needs. What cannot be read is in them
// as an error. All that it sends is read-only, or a dry run.
func Gather(ctx context.Context, s Sources) *Facts {
	c := s.Client
	f := &Facts{Now: time.Now(), Namespace: s.Namespace, Speedctl: s.Version, Unready: map[string][]string{}, Endpoints: map[string]int{}}
	if f.Version, f.VersionError = c.Discovery().ServerVersion(); f.VersionError != nil {
		return f
	}
	f.controlPlane(ctx, c)
	f.webhooks(ctx, c)
	if s.Before {
		o := install.Options{Namespace: s.Namespace, CloudNamespace: s.CloudNamespace, Charts: charts.Files()}
		f.Missing, f.RightsError = install.MissingRights(ctx, c, o)
		f.UnclaimedError = install.Unclaimed(ctx, c, o)
		f.StorageError = install.MissingStorage(ctx, c, o)
	} else {
		f.installation(ctx, s)
	}
	if s.Clock != nil {
		f.Clock = s.Clock.Offset()
	}
	return f
}

// installation reads what only After needs.
func (f *Facts) installation(ctx context.Context, s Sources) {
	f.DefinitionError = known(s.Client)
	f.Definition = fetched(s.Dynamic.Resource(schema.GroupVersionResource{
		Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions",
	}).Get(ctx, "trafficreplays."+v1.Group, metav1.GetOptions{}))
	f.Served = served(ctx, s.Operator, serverName(s.Namespace))
	f.Trial = try(ctx, s.Client, f)
	f.workloads(ctx, s.Client)
	f.Certificate = pinned(ctx, s.Client, s.Namespace)
	f.policies(ctx, s.Client)
	f.MetricsError = measured(s.Client)
}

// fetched is what a Get returned.
func fetched[T any](o *T, err error) Fetched[T] {
	switch {
	case apierrors.IsNotFound(err):
		return Fetched[T]{}
	case err != nil:
		return Fetched[T]{Err: err}
	}
	return Fetched[T]{Object: o}
}

// known says why the API server does not know TrafficReplays.
func known(c kubernetes.Interface) error {
	list, err := c.Discovery().ServerResourcesForGroupVersion(v1.Group + "/" + v1.Version)
	if err != nil {
		return err
	}
	for _, r := range list.APIResources {
		if r.Kind == "TrafficReplay" {
			return nil
		}
	}
	return fmt.Errorf("it is not in %s/%s", v1.Group, v1.Version)
}

// measured says why the metrics API does not answer.
func measured(c kubernetes.Interface) error {
	list, err := c.Discovery().ServerResourcesForGroupVersion("metrics.k8s.io/v1beta1")
	if err == nil && len(list.APIResources) == 0 {
		return errors.New("it has no resources")
	}
	return err
}

func deployment(ctx context.Context, c kubernetes.Interface, namespace, name string) Fetched[appsv1.Deployment] {
	return fetched(c.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{}))
}

func (f *Facts) controlPlane(ctx context.Context, c kubernetes.Interface) {
	f.Operator = deployment(ctx, c, f.Namespace, install.Operator)
	f.Forwarder = deployment(ctx, c, f.Namespace, forwarderName)
	f.Inspector = deployment(ctx, c, f.Namespace, inspectorName)
	f.Settings = fetched(c.CoreV1().ConfigMaps(f.Namespace).Get(ctx, install.Operator, metav1.GetOptions{}))
	operators, err := c.AppsV1().Deployments(corev1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: componentLabel + "=operator"})
	f.OperatorsError = err
	if err == nil {
		for _, d := range operators.Items {
			f.Operators = append(f.Operators, d.Namespace+"/"+d.Name)
		}
	}
	pods, err := c.CoreV1().Pods(f.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "app"})
	if err != nil {
		return // the Deployments say that nothing is ready, too
	}
	for i, p := range pods.Items {
		app := p.Labels["app"]
		if app == forwarderName {
			f.ForwarderPod = &pods.Items[i]
		}
		if why := workload.Unready(&p); why != "" && p.DeletionTimestamp == nil {
			f.Unready[app] = append(f.Unready[app], why)
		}
	}
}

func (f *Facts) webhooks(ctx context.Context, c kubernetes.Interface) {
	services := []string{f.Namespace + "/" + forwarderName}
	found, err := registered(ctx, c)
	f.Webhooks, f.WebhooksError = found, err
	for _, w := range found {
		services = append(services, w.Namespace+"/"+w.Service)
	}
	for _, name := range services {
		if _, counted := f.Endpoints[name]; counted {
			continue
		}
		n, err := endpoints(ctx, c, name)
		if err != nil {
			f.WebhooksError = errors.Join(f.WebhooksError, err)
			return
		}
		f.Endpoints[name] = n
	}
}

// endpoints counts the ready pods behind a Service, which is namespace/name.
func endpoints(ctx context.Context, c kubernetes.Interface, service string) (n int, err error) {
	namespace, name, _ := strings.Cut(service, "/")
	list, err := c.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + name})
	if err != nil {
		return 0, err
	}
	for _, slice := range list.Items {
		for _, e := range slice.Endpoints {
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				n += len(e.Addresses)
			}
		}
	}
	return n, nil
}

func (f *Facts) workloads(ctx context.Context, c kubernetes.Interface) {
	var scalers *autoscalingv2.HorizontalPodAutoscalerList
	var errs [2]error
	f.Captures, errs[0] = workload.Captures(ctx, c, corev1.NamespaceAll)
	if scalers, errs[1] = c.AutoscalingV2().HorizontalPodAutoscalers(corev1.NamespaceAll).List(ctx, metav1.ListOptions{}); errs[1] == nil {
		f.Autoscalers = scalers.Items
	}
	f.WorkloadsError = errors.Join(errs[:]...)
	pods, err := c.CoreV1().Pods(corev1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: annotation.Injected + "=true"})
	f.InjectedError = err
	if err != nil {
		return
	}
	for _, p := range pods.Items {
		if p.DeletionTimestamp == nil && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
			f.Injected = append(f.Injected, p)
		}
	}
}

// policies reads the network policies of the namespaces that have sidecars.
func (f *Facts) policies(ctx context.Context, c kubernetes.Interface) {
	namespace, err := c.CoreV1().Namespaces().Get(ctx, f.Namespace, metav1.GetOptions{})
	if err == nil {
		f.Labels = namespace.Labels
	}
	read := map[string]bool{}
	for _, p := range f.Injected {
		if read[p.Namespace] {
			continue
		}
		read[p.Namespace] = true
		list, err := c.NetworkingV1().NetworkPolicies(p.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			f.PoliciesError = err
			return
		}
		f.Policies = append(f.Policies, list.Items...)
	}
}
