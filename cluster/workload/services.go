package workload

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/cluster/annotation"
)

// selecting keeps the Services whose selector has pods with the labels.
func selecting(services []corev1.Service, of map[string]string) []corev1.Service {
	return slices.DeleteFunc(services, func(s corev1.Service) bool {
		return len(s.Spec.Selector) == 0 || !labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(of))
	})
}

// Uncaptured says what of the traffic that Services lead to a workload's pods the
// sidecar will not see, and how that is changed.
func Uncaptured(settings annotation.Sidecar, services []corev1.Service) (warnings []string) {
	for _, s := range services {
		spec := s.Spec
		external := spec.Type == corev1.ServiceTypeNodePort || spec.Type == corev1.ServiceTypeLoadBalancer
		if settings.Type == config.ModeTransparent && !settings.CaptureNodeTraffic && external && spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
			warnings = append(warnings, fmt.Sprintf(
				"service %q is a %s with externalTrafficPolicy Cluster: clients from outside look like the node to the sidecar, which passes the node's traffic uncaptured; use externalTrafficPolicy Local, or the annotation %s",
				s.Name, spec.Type, annotation.CaptureNodeTraffic))
		}
		if settings.Type != config.ModeReverse && settings.Type != config.ModeDual {
			continue
		}
		for i, p := range spec.Ports {
			number := p.TargetPort.IntVal
			if p.TargetPort == (intstr.IntOrString{}) {
				number = p.Port
			}
			if p.TargetPort.Type == intstr.Int && number == int32(settings.Port) {
				warnings = append(warnings, fmt.Sprintf(
					"service %q leads to port %d of the app, past the sidecar: kubectl -n %s patch service %s --type json -p '[{\"op\":\"replace\",\"path\":\"/spec/ports/%d/targetPort\",\"value\":%d}]'",
					s.Name, number, s.Namespace, s.Name, i, settings.InPort))
			}
		}
	}
	return warnings
}
