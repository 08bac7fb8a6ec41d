package replay

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/speedscale/speedscale/traffic/testconfig"
)

// overridden are the chart's resources with what a test config says of its own.
func overridden(chart corev1.ResourceRequirements, own testconfig.Resources) (corev1.ResourceRequirements, error) {
	out := corev1.ResourceRequirements{Requests: maps.Clone(chart.Requests), Limits: maps.Clone(chart.Limits)}
	for _, l := range []struct {
		own map[string]string
		out *corev1.ResourceList
	}{{own.Requests, &out.Requests}, {own.Limits, &out.Limits}} {
		for name, text := range l.own {
			q, err := resource.ParseQuantity(text)
			if err != nil {
				return out, failf("test config: %s of %q: %v", name, text, err)
			}
			if *l.out == nil {
				*l.out = corev1.ResourceList{}
			}
			(*l.out)[corev1.ResourceName(name)] = q
		}
	}
	// A limit of the config below the chart's request is the request too.
	for name, limit := range out.Limits {
		if request, ok := out.Requests[name]; ok && request.Cmp(limit) > 0 {
			out.Requests[name] = limit
		}
	}
	return out, nil
}
