package check

import (
	"context"
	"fmt"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"

	"github.com/speedscale/speedscale/cluster/install"
)

// Surroundings are what decides beside the workload and its pods.
type Surroundings struct {
	// Webhook is the operator's mutating configuration, nil where there is none.
	Webhook *admissionregistrationv1.MutatingWebhookConfiguration
	// Namespace is the workload's.
	Namespace *corev1.Namespace
	// OperatorReady says that a pod of the operator is ready.
	OperatorReady bool
	// Unknown is what could not be looked at, for want of rights. Nothing is concluded
	// from that.
	Unknown Unknown
}

// Unknown are the Reasons why parts of Surroundings are not known, nil where they are.
type Unknown struct{ Webhook, Namespace, Operator *Reason }

// Reasons are those that there are.
func (u Unknown) Reasons() (reasons []Reason) {
	for _, r := range []*Reason{u.Webhook, u.Namespace, u.Operator} {
		if r != nil {
			reasons = append(reasons, *r)
		}
	}
	return reasons
}

// Surround looks at what decides in a namespace. The operator is in its namespace unless
// the webhooks say another one.
func Surround(ctx context.Context, c kubernetes.Interface, operatorNamespace, namespace string) (s Surroundings, err error) {
	var none metav1.GetOptions
	webhook, err := c.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, install.Operator, none)
	if s.Webhook, s.Unknown.Webhook, err = visible(webhook, err,
		"whether the operator is called for the workload could not be looked at", "get mutatingwebhookconfigurations"); err != nil {
		return s, err
	}
	object, err := c.CoreV1().Namespaces().Get(ctx, namespace, none)
	if s.Namespace, s.Unknown.Namespace, err = visible(object, err,
		fmt.Sprintf("whether namespace %q is one that the operator is called for could not be looked at", namespace), "get namespaces"); err != nil {
		return s, err
	}
	if s.Webhook != nil {
		for _, w := range s.Webhook.Webhooks {
			if w.ClientConfig.Service != nil {
				operatorNamespace = w.ClientConfig.Service.Namespace
			}
		}
	}
	d := deployment(ctx, c, operatorNamespace, install.Operator)
	operator, unknown, err := visible(d.Object, d.Err,
		"whether the operator is ready could not be looked at", fmt.Sprintf("get deployments in namespace %q", operatorNamespace))
	s.Unknown.Operator, s.OperatorReady = unknown, operator != nil && operator.Status.ReadyReplicas > 0
	return s, err
}

// visible returns nil for an object that does not exist, and for one that may not be
// looked at, with the reason.
func visible[T any](object *T, err error, unknown, right string) (*T, *Reason, error) {
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil, nil
	case apierrors.IsForbidden(err):
		return nil, &Reason{unknown, "it needs the right to " + right}, nil
	case err != nil:
		return nil, nil, err
	}
	return object, nil, nil
}

// Lasting are reasons that keep the operator from workloads until somebody changes the
// installation.
func (s Surroundings) Lasting() (reasons []Reason) {
	if s.Webhook == nil {
		if s.Unknown.Webhook == nil {
			reasons = append(reasons, Reason{fmt.Sprintf("no operator is installed: there is no mutating webhook configuration %q", install.Operator), "speedctl install"})
		}
		return reasons
	}
	for _, w := range s.Webhook.Webhooks {
		if s.Namespace == nil || w.NamespaceSelector == nil || strings.HasPrefix(w.Name, "ambient.") { // which is for a few
			continue
		}
		selector, err := metav1.LabelSelectorAsSelector(w.NamespaceSelector)
		if err == nil && !selector.Matches(labels.Set(s.Namespace.Labels)) {
			reasons = append(reasons, Reason{fmt.Sprintf("namespace %q is left out of the webhook %q", s.Namespace.Name, w.Name), "the chart's value namespaceSelector has the namespaces that are"})
		}
	}
	return reasons
}

// Passing are reasons that keep the operator from workloads now. It makes up for it when it is back.
func (s Surroundings) Passing() (reasons []Reason) {
	if s.Webhook == nil && s.Unknown.Webhook == nil {
		return nil // there is none
	}
	if !s.OperatorReady && s.Unknown.Operator == nil {
		reasons = append(reasons, Reason{"the operator is not ready: pods that start now get no sidecar", "speedctl check"})
	}
	if s.Webhook == nil {
		return reasons
	}
	for _, w := range s.Webhook.Webhooks {
		if len(w.ClientConfig.CABundle) == 0 {
			reasons = append(reasons, Reason{fmt.Sprintf("the webhook %q has no caBundle, so that the API server cannot call it", w.Name), "speedctl check"})
		}
	}
	return reasons
}
