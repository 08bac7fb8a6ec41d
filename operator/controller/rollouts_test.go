package controller_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/argo"
	"github.com/speedscale/speedscale/cluster/stamp"
)

// rollout of two pods that are there, with a change of its manifest.
func rollout(t *testing.T, from, to string) *unstructured.Unstructured {
	t.Helper()
	text := `
metadata: {namespace: shop, name: cart, uid: uid-cart, generation: 2, annotations: {sidecar.speedscale.com/inject: "true"}}
spec:
  replicas: 2
  selector: {matchLabels: {app: cart}}
  template:
    metadata: {labels: {app: cart}, annotations: {team: a}}
    spec: {containers: [{name: app, image: "cart:1", x-owners: field}]}
status: {observedGeneration: "2", replicas: 2, updatedReplicas: 2, phase: Healthy}
`
	u := argo.New()
	if err := yaml.Unmarshal([]byte(strings.Replace(text, from, to, 1)), &u.Object); err != nil {
		t.Fatal(err)
	}
	if err := unstructured.SetNestedField(u.Object, stamp.Next("", argo.Kind, "cart", sidecar(t)), "spec", "template", "metadata", "annotations", annotation.Stamp); err != nil {
		t.Fatal(err)
	}
	return u
}

func templateOf(t *testing.T, u *unstructured.Unstructured) corev1.PodTemplateSpec {
	t.Helper()
	r, err := argo.Parse(u)
	if err != nil {
		t.Fatal(err)
	}
	return r.Spec.Template
}

func TestRolloutWhosePodsWereNotSeen(t *testing.T) {
	r := rollout(t, "", "")
	v := newWorld(t, r, podOf("cart-1", templateOf(t, r)))
	v.pass(argo.Kind, "cart")
	got := read(v, argo.New(), "cart")
	s, err := stamp.Parse(templateOf(t, got).Annotations[annotation.Stamp])
	if err != nil || s.Count != 1 || s.Kind != argo.Kind || templateOf(t, got).Annotations["team"] != "a" {
		t.Errorf("stamp %+v, %v", s, err)
	}
	if containers, _, _ := unstructured.NestedSlice(got.Object, "spec", "template", "spec", "containers"); containers[0].(map[string]any)["x-owners"] != "field" {
		t.Errorf("what we do not know of is lost: %v", containers)
	}
	v.expectTold("Normal SidecarRolledOut")
}

func TestPausedRolloutIsReportedOnly(t *testing.T) {
	r := rollout(t, "updatedReplicas: 2, phase: Healthy", "updatedReplicas: 1, phase: Paused, message: CanaryPauseStep")
	v := newWorld(t, r, podOf("cart-1", templateOf(t, r)))
	v.pass(argo.Kind, "cart")
	v.pass(argo.Kind, "cart")
	v.expectTold("SidecarMissing pods were made while the operator was away, and have no sidecar; they stay, since it is paused: CanaryPauseStep")
	if got := read(v, argo.New(), "cart"); got.GetResourceVersion() != "999" {
		t.Error("it was changed")
	}
}

func TestRolloutWhosePodsAreRefusedLosesItsStamp(t *testing.T) {
	r := rollout(t, "updatedReplicas: 2, phase: Healthy", "updatedReplicas: 0, phase: Progressing, conditions: [{type: ReplicaFailure, status: 'True', message: '"+quota+"'}]")
	v := newWorld(t, r)
	v.pass(argo.Kind, "cart")
	got := read(v, argo.New(), "cart")
	if text, ok := templateOf(t, got).Annotations[annotation.Stamp]; ok {
		t.Errorf("stamp is %q", text)
	}
	if r, err := stamp.ParseRefusal(got.GetAnnotations()[annotation.Refused]); err != nil || !strings.Contains(r.Reason, "exceeded quota") {
		t.Errorf("refused: %+v, %v", r, err)
	}
	v.expectTold("Warning SidecarWithdrawn")
}

func TestRolloutOfADeploymentsTemplate(t *testing.T) {
	r := rollout(t, "", "")
	unstructured.RemoveNestedField(r.Object, "spec", "template")
	must(t, unstructured.SetNestedStringMap(r.Object, map[string]string{"kind": "Deployment", "name": "web"}, "spec", "workloadRef"))
	v := newWorld(t, r)
	v.pass(argo.Kind, "cart")
	v.pass(argo.Kind, "cart")
	v.expectTold(`Warning SidecarNotInjected its pods are of the template of deployment "web" (spec.workloadRef): annotate that one`)
	if got := read(v, argo.New(), "cart"); got.GetResourceVersion() != "999" {
		t.Error("it was changed")
	}
}

// TestRolloutsAreLookedAfterOnceTheyAreThere: the manager runs without their definition,
// and meets them when it is installed.
func TestRolloutsAreLookedAfterOnceTheyAreThere(t *testing.T) {
	var installed atomic.Bool
	read := make(chan string, 100)
	object, err := json.Marshal(rollout(t, "", ""))
	must(t, err)
	const rollouts = "/apis/argoproj.io/v1alpha1"
	api := apiServer(t, func(w http.ResponseWriter, r *http.Request) bool {
		path := r.URL.Path
		switch {
		case path == rollouts && installed.Load():
			io.WriteString(w, `{"kind":"APIResourceList","groupVersion":"argoproj.io/v1alpha1","resources":[{"name":"rollouts","kind":"Rollout","namespaced":true}]}`)
		case path == rollouts+"/namespaces/shop/rollouts/cart":
			read <- path
			notFound(w)
		case strings.HasPrefix(path, rollouts) && !installed.Load():
			w.WriteHeader(http.StatusNotFound)
		case path == rollouts+"/rollouts" && isList(r):
			io.WriteString(w, `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"1"},"items":[`+string(object)+`]}`)
		default:
			return false
		}
		return true
	})
	ended := startWorkloads(t, api)
	select {
	case path := <-read:
		t.Fatalf("%s is read, which is not there", path)
	case err := <-ended:
		t.Fatalf("the manager ended: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	installed.Store(true)
	select {
	case <-read:
	case err := <-ended:
		t.Fatalf("the manager ended: %v", err)
	case <-time.After(20 * time.Second):
		t.Fatal("the Rollout is not looked after")
	}
}
