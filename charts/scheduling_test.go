package charts_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
)

// TestPodsOfTheChartRunWhereItSays, the demo's catalogue too.
func TestPodsOfTheChartRunWhereItSays(t *testing.T) {
	deployments := of[*appsv1.Deployment](operatorObjects(t, all(t)))
	if len(deployments) != 2 {
		t.Errorf("there are %d deployments, want the operator and the catalogue", len(deployments))
	}
	for _, d := range deployments {
		pod := d.Spec.Template.Spec
		if pod.NodeSelector["disk"] != "ssd" || len(pod.Tolerations) != 1 || pod.Affinity == nil || pod.Affinity.NodeAffinity == nil {
			t.Errorf("%s runs by %v, %v and %v", d.Name, pod.NodeSelector, pod.Tolerations, pod.Affinity)
		}
	}
}
