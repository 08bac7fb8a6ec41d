package argo_test

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/speedscale/speedscale/cluster/argo"
)

// rollout with four pods, whose newest spec its controller has seen.
const rollout = `
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {namespace: shop, name: cart, generation: 3}
spec:
  replicas: 4
  selector: {matchLabels: {app: cart}}
  strategy: {canary: {steps: [{setWeight: 25}, {pause: {}}]}}
  template:
    metadata: {labels: {app: cart}}
    spec: {containers: [{name: cart, image: cart:1, resources: {requests: {cpu: 1}}}]}
status: {observedGeneration: "3", replicas: 4, updatedReplicas: 4, readyReplicas: 4, phase: Healthy}
`

func parse(t *testing.T, text string) *argo.Rollout {
	t.Helper()
	u := argo.New()
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	r, err := argo.Parse(u)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRollout(t *testing.T) {
	for name, c := range map[string]struct {
		from, to                       string
		held, failing, refused, unseen bool
	}{
		"healthy":         {"", "", false, false, false, false},
		"not seen yet":    {`"3"`, `"2"`, false, false, false, true},
		"never seen":      {`observedGeneration: "3", `, ``, false, false, false, true},
		"of version 0.9":  {`"3"`, `"6c54544bf9"`, false, false, false, true},
		"paused by spec":  {"replicas: 4", "paused: true", true, false, false, false},
		"paused at step":  {"phase: Healthy", "phase: Paused, message: CanaryPauseStep", true, false, false, false},
		"paused before":   {`"3", replicas: 4, updatedReplicas: 4, readyReplicas: 4, phase: Healthy`, `"2", phase: Paused`, false, false, false, true},
		"aborted":         {"phase: Healthy", "phase: Degraded, message: 'RolloutAborted: by hand'", false, true, false, false},
		"pods refused":    {"phase: Healthy", "phase: Progressing, conditions: [{type: Progressing, status: 'True'}, {type: ReplicaFailure, status: 'True', message: exceeded quota}]", false, true, true, false},
		"refused before":  {`"3", replicas: 4, updatedReplicas: 4, readyReplicas: 4, phase: Healthy`, `"2", conditions: [{type: ReplicaFailure, status: 'True', message: exceeded quota}]`, false, false, false, true},
		"refused, healed": {"phase: Healthy", "conditions: [{type: ReplicaFailure, status: 'False', message: exceeded quota}]", false, false, false, false},
	} {
		r := parse(t, strings.Replace(rollout, c.from, c.to, 1))
		if (r.Held() != "") != c.held || (r.Failing() != "") != c.failing || (r.Refused() != "") != c.refused || r.Seen() == c.unseen {
			t.Errorf("%s: held %q, failing %q, refused %q, seen %v", name, r.Held(), r.Failing(), r.Refused(), r.Seen())
		}
	}
	if r := parse(t, strings.Replace(rollout, "replicas: 4\n", "\n", 1)); r.Replicas() != 1 || r.Spec.Template.Spec.Containers[0].Name != "cart" {
		t.Errorf("without replicas it wants %d of %+v", r.Replicas(), r.Spec.Template)
	}
}

func TestTemplateElsewhere(t *testing.T) {
	for text, want := range map[string]string{
		rollout: "",
		"kind: Rollout\nspec: {workloadRef: {apiVersion: apps/v1, kind: Deployment, name: cart}}": `template of deployment "cart" (spec.workloadRef): annotate that one`,
		"kind: Rollout\nspec: {workloadRef: {kind: PodTemplate, name: cart}}":                     `podtemplate "cart"`,
		"kind: Deployment\nspec: {workloadRef: {kind: Deployment, name: cart}}":                   "",
		"kind: Rollout\nspec: [no, object]":                                                       "",
	} {
		u := argo.New()
		if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
			t.Fatal(err)
		}
		ref := argo.Elsewhere(u)
		if (ref == nil) != (want == "") || ref != nil && !strings.Contains(ref.Reason(), want) {
			t.Errorf("%s: %v, want %q", text, ref, want)
		}
	}
}

func TestWhatIsNoRolloutIsNamed(t *testing.T) {
	u := argo.New()
	u.SetName("cart")
	u.Object["spec"] = map[string]any{"replicas": "many"}
	if _, err := argo.Parse(u); err == nil || !strings.Contains(err.Error(), `Rollout "cart"`) {
		t.Errorf("got %v", err)
	}
}
