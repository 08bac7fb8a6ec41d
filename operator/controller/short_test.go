package controller_test

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/stamp"
)

// orders is a StatefulSet of three pods, and so many of them with the sidecar.
func orders(t *testing.T, injected int) (*appsv1.StatefulSet, []client.Object) {
	s := &appsv1.StatefulSet{ObjectMeta: meta("orders"), Spec: appsv1.StatefulSetSpec{
		Replicas: new(int32(3)), Selector: selects("orders"), Template: template("orders", stamp.Next("", "StatefulSet", "orders", sidecar(t))),
	}, Status: appsv1.StatefulSetStatus{Replicas: int32(injected), UpdatedReplicas: int32(injected)}}
	objects := []client.Object{s}
	for i := range injected {
		p := podOf("orders-"+string(rune('2'-i)), s.Spec.Template)
		p.Labels[annotation.Injected] = "true"
		objects = append(objects, p)
	}
	return s, objects
}

func stampOf(v *world) string {
	return read(v, &appsv1.StatefulSet{}, "orders").Spec.Template.Annotations[annotation.Stamp]
}

// TestQuotaWithRoomForSomePodsOnly: one pod with the sidecar fits, and the next does not.
// The app would be short of it for ever.
func TestQuotaWithRoomForSomePodsOnly(t *testing.T) {
	_, objects := orders(t, 1)
	v := newWorld(t, objects...)
	v.pass("StatefulSet", "orders")
	must(t, v.client.Create(t.Context(), failure("f", "uid-orders", v.now.Add(time.Second))))
	v.now = v.now.Add(30 * time.Second)
	if v.pass("StatefulSet", "orders"); stampOf(v) == "" {
		t.Fatal("the stamp is withdrawn while the rollout may still go on")
	}
	v.now = v.now.Add(2 * time.Minute)
	if v.pass("StatefulSet", "orders"); stampOf(v) != "" {
		t.Error("the stamp is still there")
	}
	v.expectTold("Warning SidecarWithdrawn")
}

// TestOperatorThatStartsAnewKeepsWhatAQuotaIsShortFor: it was told once that all pods were
// there, and takes the sidecar off none of them for having forgotten it.
func TestOperatorThatStartsAnewKeepsWhatAQuotaIsShortFor(t *testing.T) {
	_, objects := orders(t, 2)
	v := newWorld(t, objects...)
	v.now = v.now.Add(time.Hour)
	for i := range 3 {
		v.pass("StatefulSet", "orders")
		v.now = v.now.Add(3 * time.Minute)
		must(t, v.client.Create(t.Context(), failure("f"+string(rune('0'+i)), "uid-orders", v.now)))
	}
	if v.pass("StatefulSet", "orders"); stampOf(v) == "" {
		t.Error("the stamp is withdrawn")
	}
	v.expectTold("Warning SidecarPodRefused")
}

// TestDeploymentThatWasCompleteOnce says so itself, however young its pods are.
func TestDeploymentThatWasCompleteOnce(t *testing.T) {
	for reason, kept := range map[string]bool{"NewReplicaSetAvailable": true, "ReplicaSetUpdated": false} {
		d := deployment(t, "cart")
		d.Spec.Replicas = new(int32(3))
		d.Status.Conditions = []appsv1.DeploymentCondition{
			{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: quota},
			{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: reason},
		}
		objects := []client.Object{d}
		for _, name := range []string{"cart-1", "cart-2"} {
			p := podOf(name, d.Spec.Template)
			p.Labels[annotation.Injected] = "true"
			objects = append(objects, p)
		}
		v := newWorld(t, objects...)
		v.pass("Deployment", "cart")
		v.now = v.now.Add(3 * time.Minute)
		v.pass("Deployment", "cart")
		if text := read(v, &appsv1.Deployment{}, "cart").Spec.Template.Annotations[annotation.Stamp]; (text != "") != kept {
			t.Errorf("%s: the stamp is %q", reason, text)
		}
	}
}

// A rollout under a tight quota goes on when old pods end: failures of before do not count.
func TestRolloutThatGoesOnKeepsItsStamp(t *testing.T) {
	_, objects := orders(t, 3)
	v := newWorld(t, objects[:2]...)
	for _, next := range append(objects[2:], nil) {
		v.pass("StatefulSet", "orders")
		v.now = v.now.Add(3 * time.Minute)
		if next == nil {
			break
		}
		f := failure("f-"+next.GetName(), "uid-orders", v.now.Add(-time.Second))
		must(t, v.client.Create(t.Context(), f))
		must(t, v.client.Create(t.Context(), next))
	}
	if v.pass("StatefulSet", "orders"); stampOf(v) == "" {
		t.Error("the stamp is withdrawn")
	}
	v.expectTold()
}

// TestQuotaThatOthersUsedUp: once all pods were there with the sidecar, it is not what is
// in the way. It is told once each time that a pod is refused, whatever its name.
func TestQuotaThatOthersUsedUp(t *testing.T) {
	s, objects := orders(t, 3)
	v := newWorld(t, objects...)
	v.pass("StatefulSet", "orders")
	short := func(name string) {
		t.Helper()
		must(t, v.client.Delete(t.Context(), objects[3]))
		s = read(v, &appsv1.StatefulSet{}, "orders")
		s.Status.Replicas, s.Status.UpdatedReplicas = 2, 2
		must(t, v.client.Status().Update(t.Context(), s))
		for i := range 3 {
			v.now = v.now.Add(3 * time.Minute)
			f := failure(name+string(rune('0'+i)), "uid-orders", v.now)
			f.Message = strings.Replace(f.Message, "requested", name+string(rune('0'+i))+" requested", 1)
			must(t, v.client.Create(t.Context(), f))
			v.pass("StatefulSet", "orders")
		}
		v.expectTold("Warning SidecarPodRefused the API server refuses a pod")
		if stampOf(v) == "" {
			t.Error("the stamp is withdrawn")
		}
	}
	short("a")
	objects[3].SetResourceVersion("")
	must(t, v.client.Create(t.Context(), objects[3]))
	s.Status.Replicas, s.Status.UpdatedReplicas = 3, 3
	must(t, v.client.Status().Update(t.Context(), s))
	v.pass("StatefulSet", "orders")
	short("b")
}

// TestWrongAnnotationsAreTold, which were stored while the webhook was away.
func TestWrongAnnotationsAreTold(t *testing.T) {
	for name, c := range map[string]struct {
		key, value string
		told       []string
	}{
		"another":         {annotation.ProxyType, "sideways", []string{"Warning SidecarSettings it is left as it is, since its annotations are wrong: annotation " + annotation.ProxyType}},
		"inject itself":   {annotation.Inject, "yes please", []string{"Warning SidecarSettings it is left as it is, since its annotations are wrong: annotation " + annotation.Inject}},
		"asks no more":    {annotation.Inject, "false", nil},
		"ignored":         {annotation.Ignore, "true", nil},
		"another manager": {annotation.ManagedBy, "other", nil},
	} {
		t.Run(name, func(t *testing.T) {
			d := deployment(t, "cart")
			if c.told == nil {
				d.Annotations[annotation.ProxyType] = "sideways"
			}
			d.Annotations[c.key] = c.value
			v := newWorld(t, d)
			v.pass("Deployment", "cart")
			v.pass("Deployment", "cart")
			v.expectTold(c.told...)
			if got := read(v, &appsv1.Deployment{}, "cart"); got.ResourceVersion != "999" {
				t.Errorf("it was changed: %v", got.Annotations)
			}
		})
	}
}
