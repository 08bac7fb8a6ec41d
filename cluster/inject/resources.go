package inject

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/speedscale/speedscale/cluster/annotation"
)

// What goproxy gets in a Guaranteed pod, where requests must be limits and nobody says
// how much: enough for its capture budget and some thousand connections, and a CPU limit
// that the app's own connections do not feel.
const (
	guaranteedCPU    = "500m"
	guaranteedMemory = "192Mi"
)

// resources of our containers: the workload's annotations come first, then the pod's QoS
// class, then the chart, then our defaults. The init containers have goproxy's, so that
// what a quota or a LimitRange asks for is said once. They run alone, and add nothing to
// what the pod requests where goproxy is no native sidecar, or the app requests as much.
func (p *patch) resources() corev1.ResourceRequirements {
	least := resource.MustParse(annotation.LeastMemoryLimit)
	switch {
	case p.unset():
		return requirements(p.s.CPURequest, p.s.CPULimit, p.s.MemoryRequest, p.s.MemoryLimit)
	case p.qos == corev1.PodQOSGuaranteed:
		memory := first(p.s.MemoryLimit, p.s.MemoryRequest, of(p.o.Resources.Limits, corev1.ResourceMemory), quantity(guaranteedMemory))
		if memory.Cmp(least) < 0 {
			memory = &least
		}
		cpu := first(p.s.CPULimit, p.s.CPURequest, of(p.o.Resources.Limits, corev1.ResourceCPU), quantity(guaranteedCPU))
		return equal(*cpu, *memory)
	default:
		limits, requests := p.o.Resources.Limits, p.o.Resources.Requests
		return requirements(
			first(p.s.CPURequest, of(requests, corev1.ResourceCPU), quantity(annotation.DefaultCPURequest)),
			first(p.s.CPULimit, of(limits, corev1.ResourceCPU)),
			first(p.s.MemoryRequest, of(requests, corev1.ResourceMemory), quantity(annotation.DefaultMemoryRequest)),
			first(p.s.MemoryLimit, of(limits, corev1.ResourceMemory)),
		)
	}
}

// settled: in a Guaranteed pod requests are limits, so that two different annotations
// cannot both do what they say.
func (p *patch) settled() *Refused {
	if p.qos != corev1.PodQOSGuaranteed || p.unset() {
		return nil
	}
	for _, of := range []struct {
		request, limit         *resource.Quantity
		requestName, limitName string
	}{
		{p.s.CPURequest, p.s.CPULimit, annotation.CPURequest, annotation.CPULimit},
		{p.s.MemoryRequest, p.s.MemoryLimit, annotation.MemoryRequest, annotation.MemoryLimit},
	} {
		if of.request != nil && of.limit != nil && of.request.Cmp(*of.limit) != 0 {
			return refused(p.w, ReasonResources, "its pods are of the QoS class Guaranteed, which they keep only if requests are limits, and %s=%s is not %s=%s: leave one of them out",
				of.requestName, of.request, of.limitName, of.limit)
		}
	}
	return nil
}

// unset says that our containers get nothing but what the workload's annotations say.
func (p *patch) unset() bool { return p.qos == corev1.PodQOSBestEffort || podLevel(p.pod) }

// podLevel: resources of the pod as a whole decide its class, and containers share them.
func podLevel(pod *corev1.Pod) bool {
	r := pod.Spec.Resources
	return r != nil && len(r.Requests)+len(r.Limits) > 0
}

func equal(cpu, memory resource.Quantity) corev1.ResourceRequirements {
	return requirements(&cpu, &cpu, &memory, &memory)
}

// requirements of those that are not nil. A request is never above its limit, which
// another source may have set.
func requirements(cpuRequest, cpuLimit, memoryRequest, memoryLimit *resource.Quantity) (r corev1.ResourceRequirements) {
	put := func(list *corev1.ResourceList, name corev1.ResourceName, q *resource.Quantity) {
		if q == nil {
			return
		}
		if *list == nil {
			*list = corev1.ResourceList{}
		}
		(*list)[name] = q.DeepCopy()
	}
	below := func(request, limit *resource.Quantity) *resource.Quantity {
		if request != nil && limit != nil && request.Cmp(*limit) > 0 {
			return limit
		}
		return request
	}
	put(&r.Requests, corev1.ResourceCPU, below(cpuRequest, cpuLimit))
	put(&r.Requests, corev1.ResourceMemory, below(memoryRequest, memoryLimit))
	put(&r.Limits, corev1.ResourceCPU, cpuLimit)
	put(&r.Limits, corev1.ResourceMemory, memoryLimit)
	return r
}

func first(quantities ...*resource.Quantity) *resource.Quantity {
	for _, q := range quantities {
		if q != nil {
			return q
		}
	}
	return nil
}

func of(list corev1.ResourceList, name corev1.ResourceName) *resource.Quantity {
	if q, ok := list[name]; ok {
		return &q
	}
	return nil
}

func quantity(s string) *resource.Quantity { return new(resource.MustParse(s)) }

// beside is what goproxy needs in bytes beside the budget of capture, and captureBudget
// what that is by default.
const (
	beside        = 56 << 20
	captureBudget = 64 << 20
	leastBudget   = 4 << 20
)

// captureMemory is the budget of capture where the memory limit leaves less than the
// default, "" elsewhere: what capture cannot keep is dropped and counted, and goproxy is
// not killed with the app's connections.
func (p *patch) captureMemory() string {
	limit := of(p.resources().Limits, corev1.ResourceMemory)
	if limit == nil || limit.Value() >= beside+captureBudget {
		return ""
	}
	return fmt.Sprintf("%dMi", max(limit.Value()-beside, leastBudget)>>20)
}

// qosClass is the class of a pod (k8s.io/kubernetes/pkg/apis/core/v1/helper/qos), which
// its status does not say when it is created. A request that is not set is its limit, as
// the API server fills it in.
func qosClass(pod *corev1.Pod) corev1.PodQOSClass {
	var all []corev1.ResourceRequirements
	if podLevel(pod) {
		all = append(all, *pod.Spec.Resources)
	} else {
		for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
			all = append(all, c.Resources)
		}
	}
	guaranteed, any := true, false
	for _, r := range all {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			request, limit := of(r.Requests, name), of(r.Limits, name)
			any = any || request != nil && !request.IsZero() || limit != nil && !limit.IsZero()
			if limit == nil || limit.IsZero() || request != nil && request.Cmp(*limit) != 0 {
				guaranteed = false
			}
		}
	}
	switch {
	case !any:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}
