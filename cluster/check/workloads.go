package check

import (
	"fmt"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/workload"
)

// asking are the workloads that ask for a sidecar.
func (f *Facts) asking() (found []workload.Capture) {
	for _, c := range f.Captures {
		if c.Asked[annotation.Inject] == "true" {
			found = append(found, c)
		}
	}
	return found
}

// whyHint says how to ask for every reason.
func whyHint(r workload.Ref) string {
	return fmt.Sprintf("speedctl why %s/%s -n %s says more", strings.ToLower(r.Kind), r.Name, r.Namespace)
}

func workloadsCaptured(f *Facts) []Result {
	if f.WorkloadsError != nil {
		return []Result{skip("%v", f.WorkloadsError)}
	}
	all := f.asking()
	var bad []Result
	for _, c := range all {
		if c.Sidecars < c.Pods && len(c.Reasons) == 0 { // others are withdrawn
			bad = append(bad, fail(whyHint(c.Ref), "%d of %d pods have no sidecar", c.Pods-c.Sidecars, c.Pods).of(c.Ref.String()))
		}
	}
	if len(all) == 0 {
		return []Result{ok("none asks; speedctl inject has one ask")}
	}
	return each(bad, ok("%d workloads ask", len(all)))
}

func workloadsWithdrawn(f *Facts) []Result {
	if f.WorkloadsError != nil {
		return []Result{skip("%v", f.WorkloadsError)}
	}
	var bad []Result
	for _, c := range f.asking() {
		if len(c.Reasons) > 0 {
			bad = append(bad, fail(whyHint(c.Ref), "%s: %d of %d pods have no sidecar", strings.Join(c.Reasons, "; "), c.Pods-c.Sidecars, c.Pods).of(c.Ref.String()))
		}
	}
	return each(bad, ok("of %d workloads", len(f.asking())))
}

// workloadsManagedBy names workloads that another operator than this one is to look after.
func workloadsManagedBy(f *Facts) []Result {
	switch {
	case f.WorkloadsError != nil:
		return []Result{skip("%v", f.WorkloadsError)}
	case f.Settings.Object == nil:
		return []Result{skip("the operator's settings could not be read")}
	}
	is := f.Settings.Object.Data["INSTANCE_ID"]
	var bad []Result
	for _, c := range f.asking() {
		if c.ManagedBy != "" && c.ManagedBy != is {
			bad = append(bad, warn("take the annotation away, or see that the other operator runs", "by its annotation %s it is left to the operator %q; this one is %q",
				annotation.ManagedBy, c.ManagedBy, is).of(c.Ref.String()))
		}
	}
	return each(bad, ok("none is left to another than %q", is))
}

// workloadsAutoscaler warns of autoscalers whose figures count the sidecar.
func workloadsAutoscaler(f *Facts) []Result {
	if f.WorkloadsError != nil {
		return []Result{skip("%v", f.WorkloadsError)}
	}
	injected := map[workload.Ref]bool{}
	for _, c := range f.asking() {
		injected[c.Ref] = true
	}
	var bad []Result
	for i := range f.Autoscalers {
		h := &f.Autoscalers[i]
		target := workload.Ref{Kind: h.Spec.ScaleTargetRef.Kind, Namespace: h.Namespace, Name: h.Spec.ScaleTargetRef.Name}
		if metric := ofWholePods(h); metric != "" && injected[target] {
			bad = append(bad, warn("a metric of type ContainerResource looks at the app's container only",
				"it scales %s by the %s of whole pods, which now counts the sidecar", target, metric).of("horizontalpodautoscaler "+h.Namespace+"/"+h.Name))
		}
	}
	return each(bad, ok("of workloads with a sidecar"))
}

// ofWholePods is the first metric of an autoscaler that adds up a pod's containers.
func ofWholePods(h *autoscalingv2.HorizontalPodAutoscaler) string {
	for _, m := range h.Spec.Metrics {
		if m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil {
			return string(m.Resource.Name)
		}
	}
	return ""
}
