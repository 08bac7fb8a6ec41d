package resource_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/speedscale/speedscale/operator/resource"
)

func scheduling() resource.Scheduling {
	arch := corev1.NodeSelectorRequirement{Key: "kubernetes.io/arch", Operator: corev1.NodeSelectorOpIn, Values: []string{"amd64"}}
	return resource.Scheduling{
		NodeSelector: map[string]string{"disk": "ssd"},
		Tolerations:  []corev1.Toleration{{Key: "dedicated", Operator: corev1.TolerationOpExists}},
		Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{arch}}},
		}}},
	}
}

// TestAllPodsRunWhereTheChartSays, not the operator's only: where each node has a taint,
// nothing else runs. Generators tolerate one more.
func TestAllPodsRunWhereTheChartSays(t *testing.T) {
	r := replay()
	objects := []any{r.ResponderDeployment(nil), r.CollectorDeployment(""), r.GeneratorJob(nil, 1, time.Minute)}
	for _, made := range [][]runtime.ApplyConfiguration{
		resource.ForwarderObjects(everything(), "", owner()), resource.InspectorObjects(everything(), owner()), resource.DemoObjects(everything(), "", owner()),
	} {
		for _, o := range made {
			objects = append(objects, o)
		}
	}
	var names []string
	for _, o := range objects {
		text, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		var read struct {
			Metadata struct{ Name string }
			Spec     struct {
				Template *struct{ Spec resource.Scheduling }
			}
		}
		if err := yaml.Unmarshal(text, &read); err != nil {
			t.Fatal(err)
		}
		if read.Spec.Template == nil {
			continue // it has no pods
		}
		names = append(names, read.Metadata.Name)
		want := scheduling()
		if read.Metadata.Name == r.NameOf(resource.Generator) {
			want.Tolerations = append(want.Tolerations, corev1.Toleration{Key: "dedicated-to", Operator: "Equal", Value: "speedscale-generator", Effect: "NoExecute"})
		}
		if diff := cmp.Diff(want, read.Spec.Template.Spec); diff != "" {
			t.Errorf("%s (-want +got):\n%s", read.Metadata.Name, diff)
		}
	}
	slices.Sort(names)
	want := []string{"java-client", "java-server", "speedscale-collector-brave-otter", "speedscale-forwarder", "speedscale-generator-brave-otter", "speedscale-inspector", "speedscale-responder-brave-otter"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("pods (-want +got):\n%s", diff)
	}
}
