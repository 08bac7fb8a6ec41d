package check

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/cluster/inject"
	"github.com/speedscale/speedscale/cluster/workload"
)

// busPort is where the forwarder's pod takes what sidecars send.
const busPort = 8888

// workloadsNetworkPolicy names pods whose policies keep the sidecar from the forwarder, and
// policies that keep clients from the sidecar. A pod that some policy of egress selects may
// open what one of those policies allows, and nothing else (https://kubernetes.io/docs/concepts/services-networking/network-policies/).
func workloadsNetworkPolicy(f *Facts) []Result {
	switch {
	case f.InjectedError != nil:
		return []Result{skip("%v", f.InjectedError)}
	case f.PoliciesError != nil:
		return []Result{skip("%v", f.PoliciesError)}
	case f.ForwarderPod == nil:
		return []Result{skip("there is no pod of the forwarder")}
	}
	shut := map[string]string{} // the policies, by workload or pod
	for i := range f.Injected {
		p := &f.Injected[i]
		if by := f.shuts(p); len(by) > 0 {
			name := p.Namespace + "/" + p.Name
			if p.Labels["app"] != "" {
				name = p.Namespace + "/" + p.Labels["app"]
			}
			shut[name] = strings.Join(by, ", ")
		}
	}
	bad := f.shutOut()
	for _, name := range slices.Sorted(maps.Keys(shut)) {
		bad = append(bad, warn(fmt.Sprintf("allow egress to port %d of the pods with the label app: %s in namespace %q", busPort, forwarderName, f.Namespace),
			"where the network enforces policies, its sidecars do not reach the forwarder: %s allows it not", shut[name]).of("pods of "+name))
	}
	return each(bad, ok("of %d pods", len(f.Injected)))
}

// shutOut names policies that keep clients of an app from the sidecar that stands before
// its port (reverse and dual mode).
func (f *Facts) shutOut() (bad []Result) {
	told := map[string]bool{}
	for i := range f.Injected {
		p := &f.Injected[i]
		mode := variable(p, "PROXY_TYPE")
		if mode != config.ModeReverse && mode != config.ModeDual {
			continue
		}
		app, sidecar := variable(p, "REVERSE_PROXY_PORT"), variable(p, "PROXY_IN_PORT")
		policies := slices.DeleteFunc(slices.Clone(f.Policies), func(n networkingv1.NetworkPolicy) bool { return n.Namespace != p.Namespace })
		for _, name := range workload.ShutOut(policies, p.Labels, int32(portOf(app)), int32(portOf(sidecar))) {
			of := "networkpolicy " + p.Namespace + "/" + name
			if told[of] {
				continue
			}
			told[of] = true
			bad = append(bad, warn("allow the port by its name, which is right with and without a sidecar, or "+sidecar+" too",
				"it allows port %s of pod %q by its number, and not the sidecar's %s, to which clients are led", app, p.Name, sidecar).of(of))
		}
	}
	return bad
}

// variable is a variable of a pod's sidecar.
func variable(p *corev1.Pod, name string) string {
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		for _, e := range c.Env {
			if c.Name == inject.Goproxy && e.Name == name {
				return e.Value
			}
		}
	}
	return ""
}

// portOf is 0 for what is no port.
func portOf(text string) uint64 {
	n, _ := strconv.ParseUint(text, 10, 16)
	return n
}

// shuts are the policies that select a pod's egress, where none of them allows the
// forwarder.
func (f *Facts) shuts(p *corev1.Pod) (by []string) {
	for i := range f.Policies {
		n := &f.Policies[i]
		if n.Namespace != p.Namespace || !slices.Contains(n.Spec.PolicyTypes, networkingv1.PolicyTypeEgress) || !selects(&n.Spec.PodSelector, p.Labels) {
			continue
		}
		if slices.ContainsFunc(n.Spec.Egress, f.allows(p.Namespace)) {
			return nil
		}
		by = append(by, "networkpolicy "+n.Name)
	}
	return by
}

// allows returns what says whether a rule of a namespace allows the forwarder. Addresses
// are not those of pods, by what the API says of them, and a rule of these is not counted.
func (f *Facts) allows(namespace string) func(networkingv1.NetworkPolicyEgressRule) bool {
	return func(rule networkingv1.NetworkPolicyEgressRule) bool {
		to := len(rule.To) == 0 || slices.ContainsFunc(rule.To, func(peer networkingv1.NetworkPolicyPeer) bool {
			switch {
			case peer.IPBlock != nil:
				return peer.IPBlock.CIDR == "0.0.0.0/0" || peer.IPBlock.CIDR == "::/0"
			case peer.NamespaceSelector == nil && namespace != f.Namespace:
				return false
			case peer.NamespaceSelector != nil && !selects(peer.NamespaceSelector, f.Labels):
				return false
			}
			return peer.PodSelector == nil || selects(peer.PodSelector, f.ForwarderPod.Labels)
		})
		return to && (len(rule.Ports) == 0 || slices.ContainsFunc(rule.Ports, f.opens))
	}
}

// opens says whether a rule is about the port of the forwarder's pod.
func (f *Facts) opens(p networkingv1.NetworkPolicyPort) bool {
	switch {
	case p.Protocol != nil && *p.Protocol != corev1.ProtocolTCP:
		return false
	case p.Port == nil:
		return true
	case p.Port.Type == intstr.String:
		return slices.ContainsFunc(f.ForwarderPod.Spec.Containers, func(c corev1.Container) bool {
			return slices.ContainsFunc(c.Ports, func(port corev1.ContainerPort) bool {
				return port.Name == p.Port.StrVal && port.ContainerPort == busPort
			})
		})
	case p.EndPort != nil:
		return p.Port.IntVal <= busPort && busPort <= *p.EndPort
	}
	return p.Port.IntVal == busPort
}

func selects(s *metav1.LabelSelector, set map[string]string) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(labels.Set(set))
}
