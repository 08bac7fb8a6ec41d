package workload

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

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
func Uncaptured(w *Workload, settings annotation.Sidecar, services []corev1.Service) (warnings []string) {
	for _, s := range services {
		spec := s.Spec
		external := spec.Type == corev1.ServiceTypeNodePort || spec.Type == corev1.ServiceTypeLoadBalancer
		if settings.Type == config.ModeTransparent && !settings.CaptureNodeTraffic && external && spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
			warnings = append(warnings, fmt.Sprintf(
				"service %q is a %s with externalTrafficPolicy Cluster: clients from outside look like the node to the sidecar, which passes the node's traffic uncaptured; use externalTrafficPolicy Local, or the annotation %s",
				s.Name, spec.Type, annotation.CaptureNodeTraffic))
		}
		if !takesPort(settings) {
			continue
		}
		for i, p := range spec.Ports {
			number := p.TargetPort.IntVal
			if p.TargetPort == (intstr.IntOrString{}) {
				number = p.Port
			}
			if p.TargetPort.Type == intstr.Int && number == int32(settings.Port) {
				name, first := portName(w, number)
				warnings = append(warnings, fmt.Sprintf("service %q leads to port %d of the app, past the sidecar; by the port's name it leads to whichever is there: %s%s",
					s.Name, number, first, patchOf(s.Namespace, "service", s.Name, "replace", fmt.Sprintf("/spec/ports/%d/targetPort", i), name)))
			}
		}
	}
	return warnings
}

// takesPort says whether the sidecar takes the name of the app's port, so that what comes
// by the port's number does not come to it.
func takesPort(s annotation.Sidecar) bool {
	return s.Type == config.ModeReverse || s.Type == config.ModeDual
}

// portName is the name of a port of the app, and how it gets one where it has none: the
// Service may only follow once all pods have it.
func portName(w *Workload, number int32) (name, first string) {
	name = fmt.Sprintf("app-%d", number)
	containers := w.Template.Spec.Containers
	for i, c := range containers {
		for j, p := range c.Ports {
			switch {
			case p.ContainerPort != number || p.Protocol != "" && p.Protocol != corev1.ProtocolTCP:
			case p.Name != "":
				return p.Name, ""
			default:
				return name, nameFirst(w, fmt.Sprintf("/containers/%d/ports/%d/name", i, j), name)
			}
		}
	}
	port := map[string]any{"name": name, "containerPort": number}
	switch {
	case len(containers) != 1: // nobody says which of them listens
		return name, fmt.Sprintf("give it the name %q in the container that listens, and when the pods have it, ", name)
	case len(containers[0].Ports) == 0:
		return name, nameFirst(w, "/containers/0/ports", []any{port})
	}
	return name, nameFirst(w, "/containers/0/ports/-", port)
}

// nameFirst adds to the pods of a workload what gives a port a name.
func nameFirst(w *Workload, path string, value any) string {
	kind := strings.ToLower(w.Kind)
	switch w.Kind {
	case Deployment, StatefulSet, DaemonSet:
		return patchOf(w.Namespace, kind, w.Name, "add", "/spec/template/spec"+path, value) +
			fmt.Sprintf(" && kubectl -n %s rollout status %s/%s && ", w.Namespace, kind, w.Name)
	}
	text, _ := json.Marshal(value) // strings, numbers and lists of them
	return fmt.Sprintf("add %s at %s of the pods' spec, and when the pods have it, ", text, path)
}

// patchOf is the command that changes one field of an object.
func patchOf(namespace, kind, name, op, path string, value any) string {
	patch, _ := json.Marshal([]struct { // as in nameFirst
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}{{op, path, value}})
	return fmt.Sprintf("kubectl -n %s patch %s %s --type json -p '%s'", namespace, kind, name, patch)
}
