package replay_test

import (
	"context"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/speedscale/speedscale/cluster/annotation"
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/cluster/argo"
)

// rollout is checkout as an Argo Rollout, which has come to a step that waits.
func rollout(t *testing.T, spec map[string]any) *unstructured.Unstructured {
	t.Helper()
	d := checkout()
	template, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&d.Spec.Template)
	if err != nil {
		t.Fatal(err)
	}
	u := argo.New()
	u.SetNamespace(d.Namespace)
	u.SetName(d.Name)
	u.SetUID("rollout-uid")
	u.SetGeneration(1)
	u.Object["spec"] = map[string]any{"selector": map[string]any{"matchLabels": map[string]any{"app": "checkout"}}, "template": template}
	if spec != nil {
		u.Object["spec"] = spec
	}
	u.Object["status"] = map[string]any{
		"observedGeneration": "1", "replicas": int64(1), "updatedReplicas": int64(1), "readyReplicas": int64(1), "phase": "Paused", "message": "CanaryPauseStep",
	}
	return u
}

func ofRollout(r *v1.TrafficReplay) {
	r.Spec.Workloads[0].Ref = &v1.WorkloadRef{APIVersion: argo.APIVersion, Kind: argo.Kind, Name: "checkout"}
}

func TestRollout(t *testing.T) {
	o := rollout(t, nil)
	old := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "old", Labels: map[string]string{"app": "checkout"}}}
	w := newWorld(t, o, old, trafficReplay(ofRollout))
	w.until("workload", w.in(v1.ReasonWorkload))
	if m, want := w.ready().Message, "rollout shop/checkout: 1 of 1 pods have no routing yet: it is paused: CanaryPauseStep"; !strings.Contains(m, want) {
		t.Errorf("meanwhile %q, want %q", m, want)
	}
	template := func() corev1.PodTemplateSpec {
		w.must(w.c.Get(t.Context(), client.ObjectKeyFromObject(o), o))
		r, err := argo.Parse(o)
		w.must(err)
		return r.Spec.Template
	}
	if template().Annotations["owner"] != "payments" || template().Spec.Containers[0].Image != "checkout:1" {
		t.Errorf("the template is %+v", template())
	}
	// Somebody promotes it, and its controller replaces the pod.
	w.must(w.c.Delete(t.Context(), old))
	w.must(w.c.Create(t.Context(), w.podOf(&appsv1.Deployment{ObjectMeta: checkout().ObjectMeta, Spec: appsv1.DeploymentSpec{Template: template()}}, 0)))
	w.until("finished", func() bool { return w.get().Status.FinishedTime != nil })
	if c := w.ready(); c.Reason != v1.ReasonTestSucceeded {
		t.Errorf("ended with %+v", c)
	}
	if _, ok := template().Annotations[annotation.Replay]; ok {
		t.Error("the annotation is left")
	}
}

func TestRolloutOfADeploymentsTemplate(t *testing.T) {
	o := rollout(t, map[string]any{"workloadRef": map[string]any{"kind": "Deployment", "name": "web"}})
	w := newWorld(t, o, trafficReplay(ofRollout))
	w.until("ended", w.ended)
	if c := w.ready(); c.Reason != v1.ReasonError || !strings.Contains(c.Message, `rollout shop/checkout cannot be replayed: its pods are of the template of deployment "web"`) {
		t.Errorf("ended with %+v", c)
	}
}

// TestRolloutsDefinitionIsDeletedDuringAReplay: the finalizer goes all the same.
func TestRolloutsDefinitionIsDeletedDuringAReplay(t *testing.T) {
	w := newWorld(t, rollout(t, nil), trafficReplay(ofRollout))
	w.until("workload", w.in(v1.ReasonWorkload))
	w.c = interceptor.NewClient(w.c, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if o.GetObjectKind().GroupVersionKind().Kind == argo.Kind {
				return &apimeta.NoKindMatchError{GroupKind: schema.GroupKind{Group: argo.Group, Kind: argo.Kind}, SearchedVersions: []string{argo.Version}}
			}
			return c.Get(ctx, key, o, opts...)
		},
	})
	w.must(w.c.Delete(t.Context(), w.get()))
	w.until("gone", func() bool { return w.get() == nil })
}
