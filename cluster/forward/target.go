package forward

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/speedscale/speedscale/cluster/workload"
)

// target is the pod that is connected to, and its port behind the first of the
// Service. Where no pod is ready, the error says what is wrong with those there are.
func target(service *corev1.Service, pods []corev1.Pod) (name string, port int32, err error) {
	if len(service.Spec.Selector) == 0 || len(service.Spec.Ports) == 0 {
		return "", 0, fmt.Errorf("it selects no pods, or has no port")
	}
	if len(pods) == 0 {
		return "", 0, fmt.Errorf("it has no pods")
	}
	i := slices.IndexFunc(pods, ready)
	if i < 0 {
		return "", 0, fmt.Errorf("none of its %d pods is ready: pod %q: %s", len(pods), pods[0].Name, unready(&pods[0]))
	}
	pod := &pods[i]
	want := service.Spec.Ports[0]
	if want.TargetPort.Type == intstr.Int {
		if number := want.TargetPort.IntVal; number != 0 {
			return pod.Name, number, nil
		}
		return pod.Name, want.Port, nil
	}
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			if p.Name == want.TargetPort.StrVal {
				return pod.Name, p.ContainerPort, nil
			}
		}
	}
	return "", 0, fmt.Errorf("pod %q has no port %q", pod.Name, want.TargetPort.StrVal)
}

func ready(pod corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// unready says why a pod is not ready, for one that is going away too.
func unready(pod *corev1.Pod) string {
	if pod.DeletionTimestamp != nil {
		return "it is being deleted"
	}
	return cmp.Or(workload.Unready(pod), "it has ended")
}

// withCodec completes a configuration for a client that only makes URLs.
func withCodec(c *rest.Config) *rest.Config {
	c = rest.CopyConfig(c)
	c.GroupVersion = &schema.GroupVersion{Version: "v1"}
	c.APIPath = "/api"
	c.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	return c
}
