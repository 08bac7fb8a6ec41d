// Package policy evaluates NetworkPolicies as the Kubernetes documentation defines them
// (https://kubernetes.io/docs/concepts/services-networking/network-policies/), for tests on
// clusters whose network does not enforce them. What it is given are connections as the
// pods at both ends see them: with the addresses and ports behind a Service.
package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Pod is what selectors and named ports mean at an end of a connection. Pods on the
// host's network are none: to policies they are the node.
type Pod struct {
	Namespace, Name string
	// Labels are the pod's, NamespaceLabels those of its namespace.
	Labels, NamespaceLabels map[string]string
	// Ports are those of all its containers.
	Ports []corev1.ContainerPort
}

// End is one end of a connection.
type End struct {
	IP netip.Addr
	// Pod is nil for what is no pod.
	Pod *Pod
}

func (e End) String() string {
	if e.Pod == nil {
		return e.IP.String()
	}
	return e.Pod.Namespace + "/" + e.Pod.Name
}

// Connection is one that From opens to Port of To.
type Connection struct {
	From, To End
	Protocol corev1.Protocol
	Port     int32
}

func (c Connection) String() string {
	return fmt.Sprintf("%s → %s %s/%d", c.From, c.To, c.Protocol, c.Port)
}

// Rule is the smallest thing that a policy allows: one peer at one port, in one direction.
type Rule struct {
	// Policy is namespace/name.
	Policy    string
	Direction networkingv1.PolicyType
	// Peer is nil for anyone, Port for any port.
	Peer *networkingv1.NetworkPolicyPeer
	Port *networkingv1.NetworkPolicyPort

	namespace string
}

func (r Rule) String() string {
	preposition, peer, port := "from", "anyone", "any port"
	if r.Direction == networkingv1.PolicyTypeEgress {
		preposition = "to"
	}
	if r.Peer != nil {
		peer = describe(r.Peer)
	}
	if r.Port != nil {
		port = string(protocol(r.Port))
		if r.Port.Port != nil {
			port += "/" + r.Port.Port.String()
		}
		if r.Port.EndPort != nil {
			port += "-" + strconv.Itoa(int(*r.Port.EndPort))
		}
	}
	return fmt.Sprintf("%s: %s %s at %s", r.Policy, preposition, peer, port)
}

func describe(p *networkingv1.NetworkPolicyPeer) string {
	if p.IPBlock != nil {
		return fmt.Sprintf("%s except %v", p.IPBlock.CIDR, p.IPBlock.Except)
	}
	text := "pods " + metav1.FormatLabelSelector(p.PodSelector)
	if p.PodSelector == nil {
		text = "all pods"
	}
	if p.NamespaceSelector != nil {
		text += " of namespaces " + metav1.FormatLabelSelector(p.NamespaceSelector)
	}
	return text
}

// Verdict is what a set of policies says of a connection in one direction.
type Verdict struct {
	// Selected says whether any policy of that direction selects the pod. One that
	// none selects is not isolated: all is allowed.
	Selected bool
	// By are the rules that allow the connection.
	By []Rule
}

// Allowed says whether the connection may be made.
func (v Verdict) Allowed() bool { return !v.Selected || len(v.By) > 0 }

// Set is a set of policies that was checked.
type Set struct {
	policies []isolation
}

// isolation is a policy in one direction, whose rules may be none.
type isolation struct {
	direction networkingv1.PolicyType
	namespace string
	selector  metav1.LabelSelector
	rules     []Rule
}

// NewSet reads policies, and refuses what the API server would not have stored.
func NewSet(list []networkingv1.NetworkPolicy) (*Set, error) {
	s := &Set{}
	for _, p := range list {
		if err := check(p); err != nil {
			return nil, fmt.Errorf("network policy %q: %w", p.Namespace+"/"+p.Name, err)
		}
		for _, direction := range directions(p) {
			s.policies = append(s.policies, isolation{direction, p.Namespace, p.Spec.PodSelector, rules(p, direction)})
		}
	}
	return s, nil
}

// directions of a policy: without policyTypes it is one of ingress always, and of egress
// where it has such rules.
func directions(p networkingv1.NetworkPolicy) []networkingv1.PolicyType {
	if len(p.Spec.PolicyTypes) > 0 {
		return p.Spec.PolicyTypes
	}
	if len(p.Spec.Egress) > 0 {
		return []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}
	}
	return []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
}

func rules(p networkingv1.NetworkPolicy, direction networkingv1.PolicyType) (list []Rule) {
	add := func(peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) {
		for _, peer := range orAny(peers) {
			for _, port := range orAny(ports) {
				list = append(list, Rule{
					Policy: p.Namespace + "/" + p.Name, Direction: direction, Peer: peer, Port: port,
					namespace: p.Namespace,
				})
			}
		}
	}
	if direction == networkingv1.PolicyTypeEgress {
		for _, r := range p.Spec.Egress {
			add(r.To, r.Ports)
		}
		return list
	}
	for _, r := range p.Spec.Ingress {
		add(r.From, r.Ports)
	}
	return list
}

// orAny returns pointers to the items, or one nil: an empty list restricts nothing.
func orAny[T any](items []T) []*T {
	if len(items) == 0 {
		return []*T{nil}
	}
	list := make([]*T, len(items))
	for i := range items {
		list[i] = &items[i]
	}
	return list
}

// Rules returns all rules of all policies.
func (s *Set) Rules() (list []Rule) {
	for _, p := range s.policies {
		list = append(list, p.rules...)
	}
	return list
}

// Judge says what the policies of the pod at one end say: that of To for ingress, that of
// From for egress. Both ends have to allow a connection. A pod always reaches itself.
func (s *Set) Judge(c Connection, direction networkingv1.PolicyType) Verdict {
	own, peer := c.To, c.From
	if direction == networkingv1.PolicyTypeEgress {
		own, peer = c.From, c.To
	}
	if own.Pod == nil || own.IP == peer.IP {
		return Verdict{}
	}
	var v Verdict
	for _, p := range s.policies {
		if p.direction != direction || p.namespace != own.Pod.Namespace || !selects(&p.selector, own.Pod.Labels) {
			continue
		}
		v.Selected = true
		for _, r := range p.rules {
			if r.allowsPeer(peer) && r.allowsPort(c) {
				v.By = append(v.By, r)
			}
		}
	}
	return v
}

func (r Rule) allowsPeer(e End) bool {
	switch p := r.Peer; {
	case p == nil:
		return true
	case p.IPBlock != nil:
		// Both were checked.
		within := func(cidr string) bool { return netip.MustParsePrefix(cidr).Contains(e.IP.Unmap()) }
		return within(p.IPBlock.CIDR) && !slices.ContainsFunc(p.IPBlock.Except, within)
	case e.Pod == nil:
		return false
	case p.NamespaceSelector == nil:
		return e.Pod.Namespace == r.namespace && selects(p.PodSelector, e.Pod.Labels)
	default:
		return selects(p.NamespaceSelector, e.Pod.NamespaceLabels) && (p.PodSelector == nil || selects(p.PodSelector, e.Pod.Labels))
	}
}

func (r Rule) allowsPort(c Connection) bool {
	if r.Port == nil {
		return true
	}
	if protocol(r.Port) != c.Protocol {
		return false
	}
	switch port := r.Port.Port; {
	case port == nil:
		return true
	case port.Type == intstr.String:
		return c.To.Pod != nil && slices.ContainsFunc(c.To.Pod.Ports, func(p corev1.ContainerPort) bool {
			return p.Name == port.StrVal && p.ContainerPort == c.Port && (p.Protocol == c.Protocol || p.Protocol == "" && c.Protocol == corev1.ProtocolTCP)
		})
	case r.Port.EndPort != nil:
		return port.IntVal <= c.Port && c.Port <= *r.Port.EndPort
	default:
		return port.IntVal == c.Port
	}
}

func protocol(p *networkingv1.NetworkPolicyPort) corev1.Protocol {
	if p.Protocol == nil {
		return corev1.ProtocolTCP
	}
	return *p.Protocol
}

// selects says whether a selector, which was checked, means labels; an empty one means all.
func selects(s *metav1.LabelSelector, set map[string]string) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(labels.Set(set))
}
