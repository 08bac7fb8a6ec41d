package controller_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	kresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/speedscale/speedscale/operator/controller"
	"github.com/speedscale/speedscale/operator/resource"
)

func cluster() client.WithWatch {
	return fake.NewClientBuilder().WithObjects(&corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "speedscale", Name: "speedscale-operator", UID: "1"}}).Build()
}

func controlPlane(c client.Client) *controller.ControlPlane {
	return &controller.ControlPlane{
		Client: c, Logger: slog.New(slog.DiscardHandler), Certificate: func() string { return "certificate" },
		Config: resource.Config{
			Namespace: "speedscale", Cluster: "test", APIKeySecret: "key",
			Images:    resource.Images{Registry: "r", Tag: "1"},
			Forwarder: resource.ForwarderConfig{Spool: resource.Spool{Size: kresource.MustParse("1Gi"), Persistent: true}},
		},
	}
}

var key = client.ObjectKey{Namespace: "speedscale", Name: "speedscale-operator"}

func pass(t *testing.T, p *controller.ControlPlane) reconcile.Result {
	t.Helper()
	result, err := p.Reconcile(t.Context(), reconcile.Request{NamespacedName: key})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func get[T client.Object](t *testing.T, c client.Client, object T, name string) T {
	t.Helper()
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "speedscale", Name: name}, object); err != nil {
		t.Fatal(err)
	}
	return object
}

func TestControlPlaneIsMadeAndOwned(t *testing.T) {
	c := cluster()
	if r := pass(t, controlPlane(c)); r.RequeueAfter == 0 {
		t.Error("a renewed certificate would not be noticed")
	}
	want := []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "speedscale-operator", UID: "1", Controller: new(true)}}
	for _, o := range []client.Object{
		get(t, c, &appsv1.Deployment{}, "speedscale-forwarder"), get(t, c, &corev1.Service{}, "speedscale-forwarder"),
		get(t, c, &corev1.ServiceAccount{}, "speedscale-forwarder"), get(t, c, &corev1.PersistentVolumeClaim{}, "speedscale-forwarder"),
		get(t, c, &coordinationv1.Lease{}, "speedscale-operator"),
	} {
		if diff := cmp.Diff(want, o.GetOwnerReferences()); diff != "" {
			t.Errorf("owner of %T (-want +got):\n%s", o, diff)
		}
	}
}

func TestWhatOthersChangedIsRestoredAndTheirOwnFieldsStay(t *testing.T) {
	c := cluster()
	p := controlPlane(c)
	pass(t, p)
	d := get(t, c, &appsv1.Deployment{}, "speedscale-forwarder")
	d.Spec.Replicas = new(int32(3))
	d.Spec.Template.Spec.PriorityClassName = "important"
	d.Annotations = map[string]string{"team": "platform"}
	if err := c.Update(t.Context(), d, client.FieldOwner("somebody")); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(t.Context(), get(t, c, &corev1.Service{}, "speedscale-forwarder")); err != nil {
		t.Fatal(err)
	}
	pass(t, p)
	d = get(t, c, &appsv1.Deployment{}, "speedscale-forwarder")
	if *d.Spec.Replicas != 1 || d.Spec.Template.Spec.PriorityClassName != "important" || d.Annotations["team"] != "platform" {
		t.Errorf("replicas %d, priority %q, annotations %v", *d.Spec.Replicas, d.Spec.Template.Spec.PriorityClassName, d.Annotations)
	}
	get(t, c, &corev1.Service{}, "speedscale-forwarder")
}

func TestANewCertificateRestartsTheForwarder(t *testing.T) {
	c := cluster()
	p := controlPlane(c)
	pass(t, p)
	first := get(t, c, &appsv1.Deployment{}, "speedscale-forwarder").Spec.Template.Annotations
	pass(t, p)
	if diff := cmp.Diff(first, get(t, c, &appsv1.Deployment{}, "speedscale-forwarder").Spec.Template.Annotations); diff != "" {
		t.Errorf("the same certificate changes the template:\n%s", diff)
	}
	p.Certificate = func() string { return "another" }
	pass(t, p)
	if cmp.Equal(first, get(t, c, &appsv1.Deployment{}, "speedscale-forwarder").Spec.Template.Annotations) {
		t.Error("another certificate does not change the template")
	}
}

func TestNothingIsMadeTooEarlyOrTooLate(t *testing.T) {
	absent := func(c client.Client) {
		t.Helper()
		err := c.Get(t.Context(), client.ObjectKey{Namespace: "speedscale", Name: "speedscale-forwarder"}, &appsv1.Deployment{})
		if !apierrors.IsNotFound(err) {
			t.Errorf("a forwarder is there: %v", err)
		}
	}
	early := controlPlane(cluster())
	early.Certificate = func() string { return "" }
	if r := pass(t, early); r.RequeueAfter == 0 || r.RequeueAfter > 10*time.Second {
		t.Errorf("without a certificate again after %v", r.RequeueAfter)
	}
	absent(early.Client)
	late := controlPlane(fake.NewClientBuilder().Build())
	pass(t, late)
	absent(late.Client)
	other := controlPlane(cluster())
	if _, err := other.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKey{Namespace: "speedscale", Name: "kube-root-ca.crt"}}); err != nil {
		t.Error(err)
	}
	absent(other.Client)
}

func TestARefusedObjectIsNamedAndTheOthersAreMade(t *testing.T) {
	inner := cluster()
	c := interceptor.NewClient(inner, interceptor.Funcs{
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			if named, ok := o.(interface{ GetKind() *string }); ok && *named.GetKind() == "PersistentVolumeClaim" {
				return errors.New("exceeded quota")
			}
			return c.Apply(ctx, o, opts...)
		},
	})
	_, err := controlPlane(c).Reconcile(t.Context(), reconcile.Request{NamespacedName: key})
	if err == nil || !strings.Contains(err.Error(), `PersistentVolumeClaim "speedscale-forwarder": exceeded quota`) {
		t.Errorf("error %v does not name the object", err)
	}
	get(t, inner, &appsv1.Deployment{}, "speedscale-forwarder")
}
