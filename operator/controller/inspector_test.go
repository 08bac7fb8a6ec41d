package controller_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestInspectorIsMadeAndTakenAwayAgain(t *testing.T) {
	c := cluster()
	p := controlPlane(c)
	p.Config.WithInspector = true
	pass(t, p)
	d := get(t, c, &appsv1.Deployment{}, "speedscale-inspector")
	if account := d.Spec.Template.Spec.ServiceAccountName; account != "speedscale-inspector" || len(d.OwnerReferences) != 1 {
		t.Errorf("service account %q, owners %v", account, d.OwnerReferences)
	}
	get(t, c, &corev1.ServiceAccount{}, "speedscale-inspector")
	p.Config.WithInspector = false
	pass(t, p)
	for _, o := range []client.Object{&appsv1.Deployment{}, &corev1.ServiceAccount{}} {
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: "speedscale", Name: "speedscale-inspector"}, o); !apierrors.IsNotFound(err) {
			t.Errorf("%T is still there: %v", o, err)
		}
	}
	get(t, c, &appsv1.Deployment{}, "speedscale-forwarder")
}

func TestAnInspectorOfSomebodyElseStays(t *testing.T) {
	c := cluster()
	foreign := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "speedscale", Name: "speedscale-inspector"}}
	if err := c.Create(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	pass(t, controlPlane(c))
	get(t, c, &appsv1.Deployment{}, "speedscale-inspector")
}
