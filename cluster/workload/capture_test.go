package workload_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/inject"
	"github.com/speedscale/speedscale/cluster/stamp"
	"github.com/speedscale/speedscale/cluster/workload"
)

func TestCaptures(t *testing.T) {
	d := shop()
	d.Annotations[annotation.Inject] = "true"
	d.Spec.Template.Annotations = map[string]string{annotation.Replay: stamp.Replay{ID: "1", Name: "shop/cart-1", Target: "0", Kind: "Deployment", Workload: "cart"}.String()}
	pod := func(namespace, name string, change func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": "cart"}, Annotations: map[string]string{}}}
		change(p)
		return p
	}
	with := func(p *corev1.Pod) {
		p.Labels[annotation.Injected] = "true"
		p.Spec.Containers = []corev1.Container{{Name: inject.Goproxy}}
	}
	refused := func(p *corev1.Pod) { p.Annotations[annotation.Refused] = "exceeded quota" }
	ended := func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }
	plain := shop()
	plain.Name, plain.Spec.Selector, plain.Annotations = "other", &metav1.LabelSelector{MatchLabels: map[string]string{"app": "other"}}, nil
	c := fake.NewClientset(d, plain, pod("shop", "a", with), pod("shop", "b", refused), pod("shop", "c", ended), pod("elsewhere", "d", with))
	got, err := workload.Captures(t.Context(), c, "")
	if err != nil {
		t.Fatal(err)
	}
	want := []workload.Capture{
		{
			Ref: workload.Ref{Kind: "Deployment", Namespace: "shop", Name: "cart"}, State: workload.Partly, Pods: 2, Sidecars: 1,
			Reasons: []string{"exceeded quota"}, Replay: "shop/cart-1", Asked: map[string]string{annotation.Inject: "true"},
		},
		{Ref: workload.Ref{Kind: "Deployment", Namespace: "shop", Name: "other"}, Asked: map[string]string{}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestRollRaisesTheCounter and keeps the settings.
func TestRollRaisesTheCounter(t *testing.T) {
	d := shop()
	settings, err := annotation.Parse(map[string]string{annotation.Inject: "true"})
	if err != nil {
		t.Fatal(err)
	}
	d.Spec.Template.Annotations = map[string]string{annotation.Stamp: stamp.Next("", "Deployment", "cart", settings)}
	c := fake.NewClientset(d)
	w := workload.Ref{Kind: "Deployment", Namespace: "shop", Name: "cart"}
	for want := 1; want < 3; want++ {
		now, err := workload.Get(t.Context(), c, w)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := workload.Roll(t.Context(), c, now, time.Minute, nil); err != nil {
			t.Fatal(err)
		}
		if now, err = workload.Get(t.Context(), c, w); err != nil {
			t.Fatal(err)
		}
		s, err := stamp.Parse(now.Template.Annotations[annotation.Stamp])
		if err != nil || s.Count != want || s.Hash != settings.Hash() {
			t.Errorf("%+v, %v", s, err)
		}
	}
	for _, held := range []*workload.Workload{{Ref: w}, {Ref: w, Held: "it is paused", Template: d.Spec.Template}} {
		if s, err := workload.Roll(t.Context(), c, held, time.Minute, nil); err != nil || !s.Done {
			t.Errorf("%+v, %v", s, err)
		}
	}
}

// TestRolledWorkloadIsGone: one that was deleted while others were rolled keeps none of the rest.
func TestRolledWorkloadIsGone(t *testing.T) {
	settings, err := annotation.Parse(map[string]string{annotation.Inject: "true"})
	if err != nil {
		t.Fatal(err)
	}
	d := shop()
	d.Spec.Template.Annotations = map[string]string{annotation.Stamp: stamp.Next("", "Deployment", "cart", settings)}
	w := get(t, d)
	before := fake.NewClientset()
	meanwhile := fake.NewClientset(d)
	meanwhile.PrependReactor("patch", "deployments", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, d, meanwhile.Tracker().Delete(appsv1.SchemeGroupVersion.WithResource("deployments"), d.Namespace, d.Name)
	})
	for when, c := range map[string]*fake.Clientset{"before": before, "while it is waited for": meanwhile} {
		if s, err := workload.Roll(t.Context(), c, w, time.Minute, nil); err != nil || !s.Done || s.Text != "it is gone" {
			t.Errorf("%s: %+v, %v", when, s, err)
		}
	}
}
