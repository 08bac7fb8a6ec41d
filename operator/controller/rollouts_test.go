package controller_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/argo"
	"github.com/speedscale/speedscale/cluster/stamp"
	"github.com/speedscale/speedscale/operator/controller"
	"github.com/speedscale/speedscale/operator/note"
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
	kinds := map[string]string{
		"/apis/apps/v1":  `{"name":"deployments","kind":"Deployment","namespaced":true},{"name":"statefulsets","kind":"StatefulSet","namespaced":true},{"name":"daemonsets","kind":"DaemonSet","namespaced":true}`,
		"/apis/batch/v1": `{"name":"cronjobs","kind":"CronJob","namespaced":true}`,
	}
	const rollouts = "/apis/argoproj.io/v1alpha1"
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		path := r.URL.Path
		switch {
		case path == "/api":
			io.WriteString(w, `{"kind":"APIVersions","versions":["v1"]}`)
		case path == "/apis":
			io.WriteString(w, `{"kind":"APIGroupList","groups":[{"name":"apps","versions":[{"groupVersion":"apps/v1","version":"v1"}]},{"name":"batch","versions":[{"groupVersion":"batch/v1","version":"v1"}]}]}`)
		case kinds[path] != "":
			io.WriteString(w, `{"kind":"APIResourceList","groupVersion":"`+strings.TrimPrefix(path, "/apis/")+`","resources":[`+kinds[path]+`]}`)
		case path == rollouts && installed.Load():
			io.WriteString(w, `{"kind":"APIResourceList","groupVersion":"argoproj.io/v1alpha1","resources":[{"name":"rollouts","kind":"Rollout","namespaced":true}]}`)
		case path == rollouts+"/namespaces/shop/rollouts/cart":
			read <- path
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, `{"kind":"Status","status":"Failure","reason":"NotFound","code":404}`)
		case strings.HasPrefix(path, rollouts) && !installed.Load():
			w.WriteHeader(http.StatusNotFound)
		case r.URL.Query().Get("sendInitialEvents") != "": // the client lists, then
			w.WriteHeader(http.StatusUnprocessableEntity)
			io.WriteString(w, `{"kind":"Status","status":"Failure","reason":"Invalid","code":422}`)
		case r.URL.Query().Get("watch") != "":
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		case path == rollouts+"/rollouts":
			io.WriteString(w, `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"1"},"items":[`+string(object)+`]}`)
		default:
			io.WriteString(w, `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"1"},"items":[]}`)
		}
	}))
	t.Cleanup(api.Close)
	cfg := &rest.Config{Host: api.URL}
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Metrics: server.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: new(true)},
	})
	must(t, err)
	direct, err := client.New(cfg, client.Options{})
	must(t, err)
	w := &controller.Workloads{Client: direct, Events: note.Recorder{To: events.NewFakeRecorder(100)}, Now: time.Now, Logger: slog.New(slog.DiscardHandler), LookAgain: 10 * time.Millisecond}
	must(t, w.Setup(mgr))
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(t.Context()) }()
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
