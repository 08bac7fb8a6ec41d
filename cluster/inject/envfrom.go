package inject

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/speedscale/speedscale/cluster/annotation"
)

// Overridden says which containers of a pod take variables from elsewhere that may be
// among those which the sidecar sets. Those in env then count (Kubernetes, EnvFromSource),
// and what is elsewhere, such as in a Secret, is not ours to read.
func Overridden(pod *corev1.Pod, s annotation.Sidecar) (warnings []string) {
	p := newPatch(pod.DeepCopy(), Workload{}, s, Options{})
	before := p.appContainers()
	had := make([][]corev1.EnvVar, len(before))
	for i, c := range before {
		had[i] = slices.Clone(c.Env)
	}
	if err := p.apps(); err != nil {
		return nil // it gets no sidecar
	}
	for i, c := range before {
		var names []string
		for _, e := range c.Env {
			added := !slices.ContainsFunc(had[i], func(old corev1.EnvVar) bool { return old.Name == e.Name })
			if added && slices.ContainsFunc(c.EnvFrom, func(from corev1.EnvFromSource) bool { return strings.HasPrefix(e.Name, from.Prefix) }) {
				names = append(names, e.Name)
			}
		}
		if len(names) > 0 {
			warnings = append(warnings, fmt.Sprintf("container %q has envFrom, and what is in it under these names is overridden (to keep it, put it in env): %s", c.Name, strings.Join(names, ", ")))
		}
	}
	return warnings
}
