package controller_test

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/operator/controller"
	"github.com/speedscale/speedscale/operator/resource"
)

func withDemo(c client.Client) *controller.ControlPlane {
	p := controlPlane(c)
	p.Config.Demo, p.DemoCertificate = resource.DemoJava, func() string { return "catalog's" }
	return p
}

func gone(t *testing.T, c client.Client, object client.Object, name string) {
	t.Helper()
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "speedscale", Name: name}, object); !apierrors.IsNotFound(err) {
		t.Errorf("%T %q: %v, want not found", object, name, err)
	}
}

// Made before the webhook can be reached, java-server is applied again until it is
// stamped.
func TestDemoIsAppliedUntilItIsStamped(t *testing.T) {
	c := cluster()
	p := withDemo(c)
	if r := pass(t, p); r.RequeueAfter > 10*time.Second {
		t.Errorf("not stamped, and again after %v", r.RequeueAfter)
	}
	d := get(t, c, &appsv1.Deployment{}, "java-server")
	d.Spec.Template.Annotations = map[string]string{annotation.Stamp: "a stamp"}
	if err := c.Update(t.Context(), d, client.FieldOwner("webhook")); err != nil {
		t.Fatal(err)
	}
	if r := pass(t, p); r.RequeueAfter < time.Minute {
		t.Errorf("stamped, and again after %v", r.RequeueAfter)
	}
	if got := get(t, c, &corev1.ConfigMap{}, "java-server-ca").Data["ca.crt"]; got != "catalog's" {
		t.Errorf("the certificate is %q", got)
	}
}

// TestDemoThatIsNeverStampedIsNotAppliedForEver, each second.
func TestDemoThatIsNeverStampedIsNotAppliedForEver(t *testing.T) {
	refused := func(t *testing.T, p *controller.ControlPlane) {
		pass(t, p)
		d := get(t, p.Client, &appsv1.Deployment{}, "java-server")
		d.Annotations = map[string]string{annotation.Refused: "violates PodSecurity (settings x)"}
		if err := p.Client.Update(t.Context(), d, client.FieldOwner("somebody")); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		change func(*testing.T, *controller.ControlPlane)
		passes int
	}{
		"not selected":            {func(_ *testing.T, p *controller.ControlPlane) { p.Namespaces = []string{"shop"} }, 1},
		"withdrawn":               {refused, 1},
		"a webhook that is away":  {func(*testing.T, *controller.ControlPlane) {}, 7},
		"selected, and long away": {func(_ *testing.T, p *controller.ControlPlane) { p.Namespaces = []string{"speedscale"} }, 12},
	} {
		t.Run(name, func(t *testing.T) {
			p := withDemo(cluster())
			c.change(t, p)
			var r reconcile.Result
			for range c.passes {
				r = pass(t, p)
			}
			if r.RequeueAfter < time.Minute || r.RequeueAfter > 10*time.Minute {
				t.Errorf("after %d passes again after %v", c.passes, r.RequeueAfter)
			}
		})
	}
}

func TestTheForwarderDoesNotWaitForTheDemo(t *testing.T) {
	c := cluster()
	p := withDemo(c)
	p.DemoCertificate = func() string { return "" }
	if r := pass(t, p); r.RequeueAfter == 0 || r.RequeueAfter > 10*time.Second {
		t.Errorf("without a certificate again after %v", r.RequeueAfter)
	}
	get(t, c, &appsv1.Deployment{}, "speedscale-forwarder")
	gone(t, c, &appsv1.Deployment{}, "java-server")
}

func TestDemoIsTakenAwayAndNothingElse(t *testing.T) {
	c := cluster()
	pass(t, withDemo(c))
	pass(t, controlPlane(c))
	for _, name := range []string{"java-server", "java-client"} {
		gone(t, c, &appsv1.Deployment{}, name)
	}
	gone(t, c, &corev1.Service{}, "java-server")
	gone(t, c, &corev1.ConfigMap{}, "java-server-ca")

	theirs := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "speedscale", Name: "java-client"}}
	if err := c.Create(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	pass(t, controlPlane(c))
	get(t, c, &appsv1.Deployment{}, "java-client")
}
