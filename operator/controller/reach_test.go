package controller_test

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/argo"
	"github.com/speedscale/speedscale/cluster/stamp"
)

// countOf is how often the operator has rolled the Deployment out.
func countOf(v *world, name string) int {
	v.t.Helper()
	s, err := stamp.Parse(read(v, &appsv1.Deployment{}, name).Spec.Template.Annotations[annotation.Stamp])
	must(v.t, err)
	return s.Count
}

// TestWebhookThatIsNeverReachedRestartsNoApp: new pods would be without a sidecar again.
func TestWebhookThatIsNeverReachedRestartsNoApp(t *testing.T) {
	d := deployment(t, "cart")
	unstamped := deployment(t, "late")
	delete(unstamped.Spec.Template.Annotations, annotation.Stamp)
	r := rollout(t, "name: cart", "name: canary")
	v := newWorld(t, d, podOf("cart-1", d.Spec.Template), unstamped, r, podOf("canary-1", templateOf(t, r)))
	v.deaf = true
	for range 100 {
		v.now = v.now.Add(time.Hour)
		for name, kind := range map[string]string{"cart": "Deployment", "late": "Deployment", "canary": argo.Kind} {
			if r := v.pass(kind, name); r.RequeueAfter <= 0 {
				t.Fatalf("%s is not looked at again", name)
			}
		}
	}
	if v.asked != 100 {
		t.Errorf("the webhook was tried %d times for a namespace, want once an hour", v.asked)
	}
	for _, o := range []client.Object{read(v, &appsv1.Deployment{}, "cart"), read(v, &appsv1.Deployment{}, "late"), read(v, argo.New(), "canary")} {
		if o.GetResourceVersion() != "999" {
			t.Errorf("%s was changed", o.GetName())
		}
	}
	const told = "Warning SidecarMissing pods have no sidecar, and stay, since the API server does not reach the operator's webhook"
	v.expectTold(told, told, told)

	v.deaf = false
	v.now = v.now.Add(time.Hour)
	if v.pass("Deployment", "cart"); countOf(v, "cart") != 1 {
		t.Error("it is not rolled out once the webhook is reached")
	}
}

// TestPodsThatStayUnseenRestartAnAppAFewTimes only, though the webhook for workloads is
// reached, until new ones have been seen.
func TestPodsThatStayUnseenRestartAnAppAFewTimes(t *testing.T) {
	v := newWorld(t, deployment(t, "cart"))
	unseen := func(name string) {
		must(t, client.IgnoreNotFound(v.client.DeleteAllOf(t.Context(), podOf("", read(v, &appsv1.Deployment{}, "cart").Spec.Template), client.InNamespace("shop"))))
		must(t, v.client.Create(t.Context(), podOf(name, read(v, &appsv1.Deployment{}, "cart").Spec.Template)))
	}
	for range 50 {
		unseen("cart-1")
		v.now = v.now.Add(time.Hour)
		v.pass("Deployment", "cart")
	}
	if n := countOf(v, "cart"); n != 3 {
		t.Errorf("it was rolled out %d times, want 3", n)
	}
	if told := v.told(); len(told) != 4 {
		t.Errorf("told %q", told)
	}
	pod := podOf("cart-1", read(v, &appsv1.Deployment{}, "cart").Spec.Template)
	must(t, v.client.Delete(t.Context(), pod))
	pod.Labels[annotation.Injected] = "true"
	must(t, v.client.Create(t.Context(), pod))
	v.pass("Deployment", "cart")
	unseen("cart-2")
	if v.pass("Deployment", "cart"); countOf(v, "cart") != 4 {
		t.Error("it is not rolled out again after pods had a sidecar")
	}
}
