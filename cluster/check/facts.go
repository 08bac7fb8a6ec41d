package check

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/kubernetes"

	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/cluster/install"
	"github.com/speedscale/speedscale/cluster/workload"
)

// Fetched is an object, nil where there is none, or why it could not be read.
type Fetched[T any] struct {
	Object *T
	Err    error
}

// Facts are what the checks look at.
type Facts struct {
	// Namespace is the operator's.
	Namespace string

	Version      *version.Info
	VersionError error
	// Missing are rights that an installation needs and the user does not have.
	Missing     []install.Right
	RightsError error

	DefinitionError                error
	Operator, Forwarder, Inspector Fetched[appsv1.Deployment]
	// Unready says why pods of the control plane are not ready, by their label app.
	Unready map[string][]string
	// Webhooks are the operator's, and Endpoints how many ready pods are behind a
	// Service, by namespace/name.
	Webhooks      []Webhook
	Endpoints     map[string]int
	WebhooksError error

	// Cloud is nil where it was not asked.
	Cloud *Cloud

	Captures       []workload.Capture
	Autoscalers    []autoscalingv2.HorizontalPodAutoscaler
	WorkloadsError error
}

// Cloud is what the cloud says of itself.
type Cloud struct {
	Err error
	// Refused is why it takes nothing in.
	Refused string
	Pairs   uint64
	// Telemetry is of the cluster that is checked.
	Telemetry Telemetry
}

// Gather reads the facts that Before and After need. What cannot be read is in them
// as an error.
func Gather(ctx context.Context, c kubernetes.Interface, namespace, cloudNamespace string) *Facts {
	f := &Facts{Namespace: namespace, Unready: map[string][]string{}, Endpoints: map[string]int{}}
	if f.Version, f.VersionError = c.Discovery().ServerVersion(); f.VersionError != nil {
		return f
	}
	f.Missing, f.RightsError = install.MissingRights(ctx, c, install.Options{Namespace: namespace, CloudNamespace: cloudNamespace})
	f.DefinitionError = known(c)
	f.Operator = deployment(ctx, c, namespace, install.Operator)
	f.Forwarder = deployment(ctx, c, namespace, "speedscale-forwarder")
	f.Inspector = deployment(ctx, c, namespace, "speedscale-inspector")
	f.unready(ctx, c)
	f.webhooks(ctx, c)
	f.workloads(ctx, c)
	return f
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

func deployment(ctx context.Context, c kubernetes.Interface, namespace, name string) Fetched[appsv1.Deployment] {
	d, err := c.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return Fetched[appsv1.Deployment]{}
	case err != nil:
		return Fetched[appsv1.Deployment]{Err: err}
	}
	return Fetched[appsv1.Deployment]{Object: d}
}

func (f *Facts) unready(ctx context.Context, c kubernetes.Interface) {
	pods, err := c.CoreV1().Pods(f.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "app"})
	if err != nil {
		return // the Deployments say that nothing is ready, too
	}
	for i := range pods.Items {
		if why := workload.Unready(&pods.Items[i]); why != "" {
			app := pods.Items[i].Labels["app"]
			f.Unready[app] = append(f.Unready[app], why)
		}
	}
}

func (f *Facts) webhooks(ctx context.Context, c kubernetes.Interface) {
	found, err := Webhooks(ctx, c)
	if err != nil {
		f.WebhooksError = err
		return
	}
	f.Webhooks = found
	for _, w := range found {
		n, err := endpoints(ctx, c, w.Namespace, w.Service)
		if err != nil {
			f.WebhooksError = err
			return
		}
		f.Endpoints[w.Namespace+"/"+w.Service] = n
	}
}

// Webhooks returns those of the operator.
func Webhooks(ctx context.Context, c kubernetes.Interface) (found []Webhook, err error) {
	var none metav1.GetOptions
	registered := c.AdmissionregistrationV1()
	for _, name := range []string{install.Operator, install.Operator + "-replay"} {
		mutating, err := registered.MutatingWebhookConfigurations().Get(ctx, name, none)
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, err
		}
		if err == nil {
			for _, w := range mutating.Webhooks {
				if s := w.ClientConfig.Service; s != nil {
					found = append(found, Webhook{"mutatingwebhookconfiguration", name, w.Name, w.ClientConfig.CABundle, s.Namespace, s.Name})
				}
			}
		}
		validating, err := registered.ValidatingWebhookConfigurations().Get(ctx, name, none)
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, err
		}
		if err == nil {
			for _, w := range validating.Webhooks {
				if s := w.ClientConfig.Service; s != nil {
					found = append(found, Webhook{"validatingwebhookconfiguration", name, w.Name, w.ClientConfig.CABundle, s.Namespace, s.Name})
				}
			}
		}
	}
	return found, nil
}

// endpoints counts the ready pods behind a Service.
func endpoints(ctx context.Context, c kubernetes.Interface, namespace, service string) (n int, err error) {
	list, err := c.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + service})
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
}
