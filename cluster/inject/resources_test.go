package inject_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/inject"
)

// injected is a pod of the container with the sidecar that annotations ask for.
func injected(t *testing.T, pod *corev1.Pod, annotations map[string]string) *corev1.Pod {
	t.Helper()
	s, err := annotation.Parse(annotations)
	if err != nil {
		t.Fatal(err)
	}
	pod.Spec.ServiceAccountName = "default"
	out, err := inject.Pod(pod, cart, s, options())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestInitContainersIgnoredResources: a quota of limits refused pods whatever was
// annotated, since our init containers had none.
func TestInitContainersIgnoredResources(t *testing.T) {
	quantities := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	for name, app := range map[string]corev1.ResourceRequirements{
		"Burstable":  {Requests: quantities("10m", "32Mi"), Limits: quantities("1", "1Gi")},
		"Guaranteed": {Limits: quantities("1", "1Gi")},
		"BestEffort": {},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "cart", Resources: app}}}}
		out := injected(t, pod, map[string]string{
			annotation.CPURequest: "200m", annotation.MemoryRequest: "128Mi", annotation.CPULimit: "200m", annotation.MemoryLimit: "128Mi", annotation.TLSOut: "true",
		})
		want := corev1.ResourceRequirements{Requests: quantities("200m", "128Mi"), Limits: quantities("200m", "128Mi")}
		for _, c := range append(out.Spec.InitContainers, out.Spec.Containers[0]) {
			if d := cmp.Diff(want, c.Resources); d != "" {
				t.Errorf("%s: container %s: %s", name, c.Name, d)
			}
		}
	}
}

// TestSidecarsOfANodeCollided: two pods with hostNetwork came to one node, and the app of
// the second was recorded by the sidecar of the first.
func TestSidecarsOfANodeCollided(t *testing.T) {
	for mode, want := range map[string][]int32{
		"forward": {4140, 4144, 4145},
		"dual":    {4140, 4143, 4144, 4145},
		"reverse": {4143, 4144, 4145},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{HostNetwork: true, Containers: []corev1.Container{{Name: "cart"}}}}
		annotations := map[string]string{annotation.ProxyType: mode}
		if mode != "forward" {
			annotations[annotation.ProxyPort] = "8080"
		}
		taken := map[int32]bool{}
		for _, p := range injected(t, pod, annotations).Spec.Containers[0].Ports {
			taken[p.HostPort] = true
		}
		for _, port := range want {
			if !taken[port] {
				t.Errorf("in %s mode the scheduler does not know of port %d", mode, port)
			}
		}
		if len(taken) != len(want) {
			t.Errorf("in %s mode ports are %v, want %v", mode, taken, want)
		}
	}
}
