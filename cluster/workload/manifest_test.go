package workload_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/workload"
)

func TestManifests(t *testing.T) {
	const in = `# a comment
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: cart
spec:
  unknownField: 7
  template:
    spec:
      containers:
      - name: cart
---
apiVersion: v1
kind: List
items:
- apiVersion: batch/v1
  kind: CronJob
  metadata: {name: load}
`
	var out strings.Builder
	n, _, err := workload.Manifests(strings.NewReader(in), &out, func(w *workload.Workload) (map[string]*string, error) {
		p, err := workload.Plan(w, nil)
		return p.Changes, err
	})
	if err != nil || n != 2 {
		t.Fatalf("%d workloads: %v", n, err)
	}
	for _, want := range []string{"# a comment\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n---", "unknownField: 7", "name: load"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, &out)
		}
	}
	if got := strings.Count(out.String(), annotation.Inject+`: "true"`); got != 2 {
		t.Errorf("%d annotations in\n%s", got, &out)
	}
	var plain strings.Builder
	_, _, err = workload.Manifests(strings.NewReader(out.String()), &plain, func(w *workload.Workload) (map[string]*string, error) { return workload.Removal(w), nil })
	if err != nil || strings.Contains(plain.String(), "annotations") {
		t.Errorf("taken away again (%v):\n%s", err, &plain)
	}
	for text, want := range map[string]string{
		"a: b: c": "document 1", "---\nkind: X\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {replicas: many}": `document 2: Deployment "x"`,
	} {
		if _, _, err := workload.Manifests(strings.NewReader(text), &out, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestManifestsOfPodsAreLeftWithoutAWord: a pod by itself can have a sidecar, and what cannot is named.
func TestManifestsOfPodsAreLeftWithoutAWord(t *testing.T) {
	const in = `apiVersion: v1
kind: Pod
metadata: {name: batch, namespace: shop}
spec: {containers: [{name: batch}]}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: old, namespace: shop}
spec: {template: {spec: {containers: [{name: old}]}}}
---
apiVersion: v1
kind: Pod
metadata: {name: cart-1, namespace: shop, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: cart, uid: "1"}]}
spec: {containers: [{name: cart}]}
---
apiVersion: v1
kind: Service
metadata: {name: cart}
spec: {selector: {app: cart}}
`
	var out strings.Builder
	n, left, err := workload.Manifests(strings.NewReader(in), &out, func(w *workload.Workload) (map[string]*string, error) {
		p, err := workload.Plan(w, nil)
		return p.Changes, err
	})
	if err != nil || n != 1 || strings.Count(out.String(), annotation.Inject) != 1 || !strings.Contains(out.String(), annotation.Inject+": \"true\"\n  name: batch") {
		t.Errorf("%d workloads: %v:\n%s", n, err, &out)
	}
	want := []string{
		"replicaset shop/old is left as it is: a replicaset by itself cannot have a sidecar, a deployment can",
		`pod shop/cart-1 is left as it is: it is of replicaset "cart", and the workload at the end of its owners asks for a sidecar`,
	}
	if diff := cmp.Diff(want, left); diff != "" {
		t.Error(diff)
	}
	host := "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {hostNetwork: true, containers: [{name: x}]}"
	if _, _, err := workload.Manifests(strings.NewReader(host), &out, func(w *workload.Workload) (map[string]*string, error) {
		_, err := workload.Plan(w, nil)
		return nil, err
	}); !workload.IsRefused(err) {
		t.Errorf("a pod that cannot have one: %v", err)
	}
}

func FuzzManifests(f *testing.F) {
	f.Add("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n---\nkind: List\nitems: [1, {kind: List, items: [null]}]\n")
	f.Fuzz(func(t *testing.T, text string) {
		var out strings.Builder
		workload.Manifests(strings.NewReader(text), &out, func(w *workload.Workload) (map[string]*string, error) { return workload.Removal(w), nil })
	})
}
