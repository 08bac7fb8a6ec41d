package workload

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"github.com/speedscale/speedscale/cluster/annotation"
)

// shutOut says which NetworkPolicies keep clients of the app from a sidecar that stands
// before its port. Who may not read them is told nothing.
func shutOut(ctx context.Context, c kubernetes.Interface, w *Workload, s annotation.Sidecar) (warnings []string) {
	if !takesPort(s) {
		return nil
	}
	list, err := c.NetworkingV1().NetworkPolicies(w.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil
	}
	for _, name := range ShutOut(list.Items, w.Template.Labels, int32(s.Port), int32(s.InPort)) {
		warnings = append(warnings, fmt.Sprintf(
			"networkpolicy %q allows port %d of the app by its number, and not the sidecar's %d, to which clients are led: allow the port by its name, which is right with and without a sidecar, or %d too",
			name, s.Port, s.InPort, s.InPort))
	}
	return warnings
}

// ShutOut are the names of policies of one namespace that allow pods with the labels to be
// reached at the app's port by its number, by peers that no policy allows at the sidecar's.
func ShutOut(policies []networkingv1.NetworkPolicy, of map[string]string, app, sidecar int32) (names []string) {
	var selecting []networkingv1.NetworkPolicy
	var rules []networkingv1.NetworkPolicyIngressRule
	for _, p := range policies {
		s, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
		if err == nil && s.Matches(labels.Set(of)) && slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeIngress) {
			selecting, rules = append(selecting, p), append(rules, p.Spec.Ingress...)
		}
	}
	for _, p := range selecting {
		if slices.ContainsFunc(p.Spec.Ingress, func(r networkingv1.NetworkPolicyIngressRule) bool {
			return opens(r, app) && !slices.ContainsFunc(rules, func(other networkingv1.NetworkPolicyIngressRule) bool {
				return opens(other, sidecar) && (len(other.From) == 0 || apiequality.Semantic.DeepEqual(other.From, r.From))
			}) && !byName(r)
		}) {
			names = append(names, p.Name)
		}
	}
	return names
}

// opens says whether a rule allows a port by its number, or any.
func opens(r networkingv1.NetworkPolicyIngressRule, number int32) bool {
	return len(r.Ports) == 0 || slices.ContainsFunc(r.Ports, func(p networkingv1.NetworkPolicyPort) bool {
		switch {
		case p.Protocol != nil && *p.Protocol != corev1.ProtocolTCP:
			return false
		case p.Port == nil:
			return true
		case p.Port.Type == intstr.String:
			return false
		case p.EndPort != nil:
			return p.Port.IntVal <= number && number <= *p.EndPort
		}
		return p.Port.IntVal == number
	})
}

// byName says whether a rule names a port too: the app's, as far as can be told, whose
// name the sidecar takes.
func byName(r networkingv1.NetworkPolicyIngressRule) bool {
	return slices.ContainsFunc(r.Ports, func(p networkingv1.NetworkPolicyPort) bool { return p.Port != nil && p.Port.Type == intstr.String })
}

// crowded says what hostNetwork has a workload's pods need, once they have a sidecar.
func crowded(w *Workload) []string {
	if !w.Template.Spec.HostNetwork {
		return nil
	}
	return []string{"its pods have hostNetwork, by which the sidecar's ports are the node's: no two pods with one fit on a node, so that a rollout needs a node that is free, or maxSurge 0"}
}
