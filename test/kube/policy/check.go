package policy

import (
	"errors"
	"fmt"
	"net/netip"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// check refuses what cannot be evaluated.
func check(p networkingv1.NetworkPolicy) error {
	for _, t := range p.Spec.PolicyTypes {
		if t != networkingv1.PolicyTypeIngress && t != networkingv1.PolicyTypeEgress {
			return fmt.Errorf("policyTypes: %q is neither Ingress nor Egress", t)
		}
	}
	if _, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector); err != nil {
		return fmt.Errorf("podSelector: %w", err)
	}
	for _, direction := range []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress} {
		for _, r := range rules(p, direction) {
			if err := errors.Join(checkPeer(r.Peer), checkPort(r.Port)); err != nil {
				return fmt.Errorf("%s: %w", direction, err)
			}
		}
	}
	return nil
}

func checkPeer(p *networkingv1.NetworkPolicyPeer) error {
	switch {
	case p == nil:
		return nil
	case p.IPBlock == nil && p.PodSelector == nil && p.NamespaceSelector == nil:
		return errors.New("a peer has no selector and no ipBlock")
	case p.IPBlock == nil:
		_, podErr := metav1.LabelSelectorAsSelector(p.PodSelector)
		_, namespaceErr := metav1.LabelSelectorAsSelector(p.NamespaceSelector)
		return errors.Join(podErr, namespaceErr)
	case p.PodSelector != nil || p.NamespaceSelector != nil:
		return errors.New("a peer has both an ipBlock and a selector")
	}
	all, err := netip.ParsePrefix(p.IPBlock.CIDR)
	if err != nil {
		return fmt.Errorf("ipBlock: %w", err)
	}
	for _, text := range p.IPBlock.Except {
		part, err := netip.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("ipBlock: except: %w", err)
		}
		if !all.Contains(part.Addr()) || part.Bits() <= all.Bits() {
			return fmt.Errorf("ipBlock: except %s is no part of %s", part, all)
		}
	}
	return nil
}

func checkPort(p *networkingv1.NetworkPolicyPort) error {
	if p == nil || p.EndPort == nil {
		return nil
	}
	if p.Port == nil || p.Port.Type == intstr.String || *p.EndPort < p.Port.IntVal {
		return fmt.Errorf("endPort %d is not behind a port's number", *p.EndPort)
	}
	return nil
}
