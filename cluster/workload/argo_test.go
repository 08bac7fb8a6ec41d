package workload_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/workload"
)

// cart is a Rollout whose pods are all there.
const cart = `
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {namespace: shop, name: cart, generation: 2, annotations: {team: a}}
spec:
  replicas: 2
  selector: {matchLabels: {app: cart}}
  template:
    metadata: {labels: {app: cart}}
    spec: {containers: [{name: cart, image: "cart:1"}]}
status: {observedGeneration: "2", replicas: 2, updatedReplicas: 2, readyReplicas: 2, phase: Healthy}
`

// rollouts is an API server that has one Rollout, shop/cart, and nothing else; "" is one
// that has Argo CD only.
type rollouts struct {
	mu     sync.Mutex
	object string // JSON
	asked  []string
}

func newRollouts(t *testing.T, manifest string) (*rollouts, kubernetes.Interface) {
	t.Helper()
	r := &rollouts{}
	if manifest != "" {
		text, err := yaml.YAMLToJSON([]byte(manifest))
		if err != nil {
			t.Fatal(err)
		}
		r.object = string(text)
	}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	c, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return r, c
}

func (r *rollouts) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, req.Method+" "+req.URL.RequestURI())
	w.Header().Set("Content-Type", "application/json")
	const of = "/apis/argoproj.io/v1alpha1"
	known := r.object != ""
	switch path := req.URL.Path; {
	case path == of && known:
		io.WriteString(w, `{"kind":"APIResourceList","groupVersion":"argoproj.io/v1alpha1","resources":[{"name":"rollouts","kind":"Rollout","namespaced":true}]}`)
	case path == of:
		io.WriteString(w, `{"kind":"APIResourceList","groupVersion":"argoproj.io/v1alpha1","resources":[{"name":"applications","kind":"Application","namespaced":true}]}`)
	case known && (path == of+"/rollouts" || path == of+"/namespaces/shop/rollouts"):
		io.WriteString(w, `{"kind":"RolloutList","apiVersion":"argoproj.io/v1alpha1","items":[`+r.object+`]}`)
	case known && path == of+"/namespaces/shop/rollouts/cart" && req.Method == http.MethodPatch:
		r.patch(w, req)
	case known && path == of+"/namespaces/shop/rollouts/cart":
		io.WriteString(w, r.object)
	case req.Method == http.MethodGet && !strings.HasPrefix(path, of) && strings.HasSuffix(path, "s"):
		io.WriteString(w, `{"items":[]}`)
	default:
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"kind":"Status","status":"Failure","reason":"NotFound","code":404,"message":"there is no such thing"}`)
	}
}

func (r *rollouts) patch(w http.ResponseWriter, req *http.Request) {
	change, err := io.ReadAll(req.Body)
	if err == nil && strings.Contains(string(change), "forbidden") {
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, `{"kind":"Status","status":"Failure","reason":"Forbidden","code":403,"message":"a webhook says no"}`)
		return
	}
	var after []byte
	if err == nil && req.Header.Get("Content-Type") == "application/merge-patch+json" {
		after, err = jsonpatch.MergePatch([]byte(r.object), change)
	}
	if err != nil || after == nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if req.URL.Query().Get("dryRun") != metav1.DryRunAll {
		r.object = string(after)
	}
	w.Write(after)
}

var cartRef = workload.Ref{Kind: workload.ArgoRollout, Namespace: "shop", Name: "cart"}

func TestRolloutIsAWorkload(t *testing.T) {
	server, c := newRollouts(t, cart)
	w, err := workload.Get(t.Context(), c, cartRef)
	if err != nil {
		t.Fatal(err)
	}
	if s := workload.Rollout(w, nil); !s.Done || w.Scale != 2 || w.Template.Labels["app"] != "cart" {
		t.Errorf("%+v of %+v", s, w)
	}
	all, err := workload.List(t.Context(), c, "shop")
	if err != nil || len(all) != 1 || all[0].Ref != cartRef {
		t.Errorf("listed %v (%v)", all, err)
	}
	changes, err := workload.PlanAll(t.Context(), c, []workload.Ref{cartRef}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if patch, err := changes[0].Patch(); err != nil || !strings.Contains(patch, "apiVersion: argoproj.io/v1alpha1") {
		t.Errorf("the patch is %s (%v)", patch, err)
	}
	if err := workload.Annotate(t.Context(), c, cartRef, changes[0].Annotations); err != nil {
		t.Fatal(err)
	}
	if err := workload.AnnotatePods(t.Context(), c, cartRef, map[string]*string{annotation.Stamp: new("x")}); err != nil {
		t.Fatal(err)
	}
	if w, err = workload.Get(t.Context(), c, cartRef); err != nil || w.Annotations[annotation.Inject] != "true" || w.Annotations["team"] != "a" || w.Template.Annotations[annotation.Stamp] != "x" {
		t.Errorf("annotated: %+v (%v)", w, err)
	}
	if asked := strings.Join(server.asked, "\n"); !strings.Contains(asked, "rollouts/cart?fieldManager=speedctl") {
		t.Errorf("asked\n%s", asked)
	}
	if err := workload.Annotate(t.Context(), c, cartRef, map[string]*string{"forbidden": new("")}); !apierrors.IsForbidden(err) || err.Error() != "rollout shop/cart: a webhook says no" {
		t.Errorf("a change that is refused: %v", err)
	}
}

// TestRolloutIsNotChangedWhereAnotherWorkloadIsRefused: what goes before is a dry run for a
// Rollout too.
func TestRolloutIsNotChangedWhereAnotherWorkloadIsRefused(t *testing.T) {
	server, c := newRollouts(t, cart)
	before := server.object
	yes := map[string]*string{annotation.Inject: new("true")}
	err := workload.AnnotateAll(t.Context(), c, []workload.Change{
		{Workload: &workload.Workload{Ref: cartRef}, Annotations: yes},
		{Workload: &workload.Workload{Ref: workload.Ref{Kind: workload.Deployment, Namespace: "shop", Name: "denied"}}, Annotations: yes},
	})
	if err == nil || !strings.Contains(err.Error(), "deployment shop/denied") || server.object != before {
		t.Errorf("%v, and the Rollout is\n%s", err, server.object)
	}
}

func TestClusterWithoutRollouts(t *testing.T) {
	_, c := newRollouts(t, "")
	if all, err := workload.List(t.Context(), c, ""); err != nil || len(all) > 0 {
		t.Errorf("listed %v (%v)", all, err)
	}
	_, err := workload.Get(t.Context(), c, cartRef)
	if !apierrors.IsNotFound(err) || !strings.Contains(err.Error(), "rollout shop/cart: the cluster has no Argo Rollouts") {
		t.Errorf("read: %v", err)
	}
	if err := workload.Annotate(t.Context(), c, cartRef, nil); !apierrors.IsNotFound(err) || !strings.Contains(err.Error(), "has no Argo Rollouts") {
		t.Errorf("annotated: %v", err)
	}
	_, c = newRollouts(t, cart)
	if _, err := workload.Get(t.Context(), c, workload.Ref{Kind: workload.ArgoRollout, Namespace: "shop", Name: "gone"}); !apierrors.IsNotFound(err) || strings.Contains(err.Error(), "Argo") {
		t.Errorf("one that is gone: %v", err)
	}
}

// TestPausedRolloutIsReported, and not waited for.
func TestPausedRolloutIsReported(t *testing.T) {
	paused := strings.Replace(cart, "updatedReplicas: 2, readyReplicas: 2, phase: Healthy", "updatedReplicas: 1, readyReplicas: 2, phase: Paused, message: CanaryPauseStep", 1)
	paused = strings.Replace(paused, "metadata: {labels", `metadata: {annotations: {operator.speedscale.com/stamp: "{}"}, labels`, 1)
	_, c := newRollouts(t, paused)
	s, err := workload.WaitInjected(t.Context(), c, cartRef, time.Minute, nil)
	if err != nil || !s.Done || s.Text != "it is paused: CanaryPauseStep (kubectl argo rollouts promote goes on)" {
		t.Errorf("%+v (%v)", s, err)
	}
}

func TestRolloutOfADeploymentsTemplate(t *testing.T) {
	referring := strings.Replace(cart, "  replicas: 2\n", "  replicas: 2\n  workloadRef: {apiVersion: apps/v1, kind: Deployment, name: web}\n", 1)
	_, c := newRollouts(t, referring)
	if _, err := workload.PlanAll(t.Context(), c, []workload.Ref{cartRef}, nil); err == nil || !strings.Contains(err.Error(), `rollout shop/cart cannot have a sidecar: its pods are of the template of deployment "web"`) {
		t.Errorf("planned: %v", err)
	}
}

func TestRolloutInAManifest(t *testing.T) {
	var out strings.Builder
	n, _, err := workload.Manifests(strings.NewReader(cart), &out, func(w *workload.Workload) (map[string]*string, error) {
		p, err := workload.Plan(w, nil)
		return p.Changes, err
	})
	var got struct {
		Metadata struct{ Annotations map[string]string }
	}
	if err == nil {
		var text []byte
		if text, err = yaml.YAMLToJSON([]byte(out.String())); err == nil {
			err = json.Unmarshal(text, &got)
		}
	}
	if err != nil || n != 1 || got.Metadata.Annotations[annotation.Inject] != "true" {
		t.Errorf("%d workloads (%v):\n%s", n, err, &out)
	}
}
