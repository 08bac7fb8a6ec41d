package check

import (
	"fmt"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/workload"
)

// workloads judges each workload that asks for a sidecar, and the autoscalers of those.
func workloads(f *Facts) []Result {
	all := Result{Category: "workloads", Name: "captured"}
	if f.WorkloadsError != nil {
		return []Result{all.skip("%v", f.WorkloadsError)}
	}
	var results []Result
	injected := map[workload.Ref]bool{}
	captured, asked := 0, 0
	for _, c := range f.Captures {
		if c.Asked[annotation.Inject] != "true" {
			continue
		}
		asked++
		injected[c.Ref] = true
		if r := captureResult(c); r.Status != OK {
			results = append(results, r)
			continue
		}
		captured++
	}
	if asked == 0 {
		results = append(results, all.ok("no workload asks for a sidecar; speedctl inject has one ask"))
	} else {
		results = append(results, all.ok("%d of %d workloads that ask for a sidecar", captured, asked))
	}
	for i := range f.Autoscalers {
		if r := autoscaler(&f.Autoscalers[i], injected); r.Status != OK {
			results = append(results, r)
		}
	}
	return results
}

func captureResult(c workload.Capture) Result {
	r := Result{Category: "workloads", Name: c.Ref.String()}
	why := fmt.Sprintf("speedctl why %s/%s -n %s says more", strings.ToLower(c.Kind), c.Name, c.Namespace)
	switch {
	case len(c.Reasons) > 0:
		return r.fail(why, "%d of %d pods have no sidecar: %s", c.Pods-c.Sidecars, c.Pods, strings.Join(c.Reasons, "; "))
	case c.Sidecars < c.Pods:
		return r.fail(why, "%d of %d pods have no sidecar", c.Pods-c.Sidecars, c.Pods)
	}
	return r.ok("%d pods have a sidecar", c.Sidecars)
}

// autoscaler warns of one whose figures count the sidecar.
func autoscaler(h *autoscalingv2.HorizontalPodAutoscaler, injected map[workload.Ref]bool) Result {
	r := Result{Category: "workloads", Name: "horizontalpodautoscaler " + h.Namespace + "/" + h.Name}
	target := workload.Ref{Kind: h.Spec.ScaleTargetRef.Kind, Namespace: h.Namespace, Name: h.Spec.ScaleTargetRef.Name}
	if !injected[target] {
		return r.ok("it scales no workload with a sidecar")
	}
	for _, m := range h.Spec.Metrics {
		if m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil {
			return r.warn("a metric of type ContainerResource looks at the app's container only",
				"it scales %s by the %s of whole pods, which now counts the sidecar", target, m.Resource.Name)
		}
	}
	return r.ok("its metrics do not count the sidecar")
}
