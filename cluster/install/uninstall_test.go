package install_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/speedscale/speedscale/cluster/annotation"
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/cluster/install"
	"github.com/speedscale/speedscale/cluster/replay"
	"github.com/speedscale/speedscale/cluster/stamp"
)

func meta(name string, labels ...string) metav1.ObjectMeta {
	m := metav1.ObjectMeta{Name: name, Labels: map[string]string{}}
	for i := 0; i < len(labels); i += 2 {
		m.Labels[labels[i]] = labels[i+1]
	}
	return m
}

func deployment(name string, annotations map[string]string, template metav1.ObjectMeta) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Annotations: annotations},
		Spec:       appsv1.DeploymentSpec{Replicas: new(int32(0)), Selector: &metav1.LabelSelector{}, Template: corev1.PodTemplateSpec{ObjectMeta: template}},
	}
}

func replays(t *testing.T, list ...*v1.TrafficReplay) replay.Client {
	t.Helper()
	d := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{replay.Resource(): "TrafficReplayList"})
	for _, r := range list {
		object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Tracker().Create(replay.Resource(), &unstructured.Unstructured{Object: object}, r.Namespace); err != nil {
			t.Fatal(err)
		}
	}
	return replay.Client{Dynamic: d}
}

func running(name string, workloads ...string) *v1.TrafficReplay {
	r := &v1.TrafficReplay{
		TypeMeta:   metav1.TypeMeta{APIVersion: "speedscale.com/v1", Kind: "TrafficReplay"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Finalizers: []string{"others", v1.Finalizer}},
	}
	for _, w := range workloads {
		r.Spec.Workloads = append(r.Spec.Workloads, v1.Workload{Ref: &v1.WorkloadRef{Kind: "Deployment", Name: w}})
	}
	return r
}

// took is a template that names a replay.
func took(replay string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Annotations: map[string]string{"a": "1", annotation.Replay: stamp.Replay{ID: "1", Name: replay, Target: "0", Kind: "Deployment", Workload: "x"}.String()}}
}

// ended is a replay that is over, unless it is active still.
func ended(name string, cleanup v1.Cleanup, active bool, workloads ...string) *v1.TrafficReplay {
	r := running(name, workloads...)
	r.Spec.Cleanup, r.Status.Active = cleanup, active
	r.Status.Conditions = []metav1.Condition{{Type: v1.ConditionReady, Status: metav1.ConditionTrue}}
	return r
}

func TestInUse(t *testing.T) {
	asks := map[string]string{annotation.Inject: "true"}
	c := fake.NewClientset(
		deployment("cart", asks, metav1.ObjectMeta{}),
		deployment("stamped", nil, metav1.ObjectMeta{Annotations: map[string]string{annotation.Stamp: "x"}}),
		deployment("plain", nil, metav1.ObjectMeta{}),
		deployment("replayed", nil, took("shop/one")), deployment("undone", nil, took("shop/gone")),
		deployment("java-server", asks, meta("", "app.kubernetes.io/managed-by", "speedscale-operator")),
	)
	use, err := install.InUse(t.Context(), c, replays(t, running("one"), ended("ended", "", false), ended("ending", v1.CleanupInventory, true)))
	if err != nil {
		t.Fatal(err)
	}
	if got := use.String(); got != "deployment shop/cart, deployment shop/stamped, deployment shop/undone, 1 replays" {
		t.Errorf("in use: %q", got)
	}
	if use, err = install.InUse(t.Context(), fake.NewClientset(), replays(t)); err != nil || use.String() != "" {
		t.Errorf("an empty cluster: %q, %v", use, err)
	}
}

// TestRelease: sidecars and running replays go, and what is not ours stays.
func TestRelease(t *testing.T) {
	c := fake.NewClientset(deployment("cart", map[string]string{annotation.Inject: "true", annotation.TLSOut: "true", "team": "a"}, metav1.ObjectMeta{}))
	r := replays(t, running("one"))
	use, err := install.InUse(t.Context(), c, r)
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	if err := use.Release(t.Context(), c, r, 1e9, func(step string) { said = append(said, step) }); err != nil {
		t.Fatal(err)
	}
	d, err := c.AppsV1().Deployments("shop").Get(t.Context(), "cart", metav1.GetOptions{})
	if err != nil || len(d.Annotations) != 1 || d.Annotations["team"] != "a" {
		t.Errorf("%v, %v", d.Annotations, err)
	}
	if list, err := r.List(t.Context(), ""); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	if got := strings.Join(said, "\n"); !strings.Contains(got, "shop/one") || !strings.Contains(got, "shop/cart") {
		t.Errorf("it said %s", got)
	}
}

// TestReplayThatKeepsWhatItMade: one of cleanup none is in use after its end, and is ended
// as one that runs.
func TestReplayThatKeepsWhatItMade(t *testing.T) {
	c, r := fake.NewClientset(operatorIn("speedscale")), replays(t, ended("kept", v1.CleanupNone, true))
	use, err := install.InUse(t.Context(), c, r)
	if err != nil || use.String() != "1 replays" {
		t.Errorf("in use: %q, %v", use, err)
	}
	if err := use.Release(t.Context(), c, r, 1e9, func(string) {}); err != nil {
		t.Fatal(err)
	}
	if list, err := r.List(t.Context(), ""); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
}

// TestReplayThatCleansUp: the operator goes when it has cleaned up after a replay that has
// ended, or has not done so for long.
func TestReplayThatCleansUp(t *testing.T) {
	for name, tt := range map[string]struct{ after, want time.Duration }{
		"in time": {5 * time.Second, 5 * time.Second}, "never": {time.Hour, 150 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, r := fake.NewClientset(operatorIn("speedscale")), replays(t, ended("ending", v1.CleanupInventory, true))
				use, err := install.InUse(t.Context(), c, r)
				if err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				cleaned := time.AfterFunc(tt.after, func() {
					patch := []byte(`{"status": {"active": false}}`)
					if _, err := r.Dynamic.Resource(replay.Resource()).Namespace("shop").Patch(t.Context(), "ending", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
						t.Error(err)
					}
				})
				defer cleaned.Stop()
				if err := use.Release(t.Context(), c, r, 1e9, func(string) {}); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(start).Round(time.Second); took < tt.want || took > tt.want+2*time.Second {
					t.Errorf("it took %s, want %s", took, tt.want)
				}
				if _, err := r.Get(t.Context(), "shop", "ending"); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestClearTakesWhatReplaysMade: a replay that has not cleaned up is deleted, and what it
// owns goes with it; its report's TrafficReplay stays where it has.
func TestClearTakesWhatReplaysMade(t *testing.T) {
	r := replays(t, ended("over", "", false), ended("active", "", true), ended("kept", v1.CleanupNone, true), running("begun"))
	if err := install.Clear(t.Context(), fake.NewClientset(), r); err != nil {
		t.Fatal(err)
	}
	list, err := r.List(t.Context(), "")
	var names []string
	for _, x := range list {
		names = append(names, x.Name)
	}
	slices.Sort(names)
	if got := strings.Join(names, " "); err != nil || got != "begun over" {
		t.Errorf("there are %q (%v)", got, err)
	}
}

// TestWorkloadGoneMeanwhile: what ends while others are released does not keep the rest.
func TestWorkloadGoneMeanwhile(t *testing.T) {
	asks := map[string]string{annotation.Inject: "true"}
	c := fake.NewClientset(deployment("brief", asks, metav1.ObjectMeta{}), deployment("cart", asks, metav1.ObjectMeta{}))
	r := replays(t)
	use, err := install.InUse(t.Context(), c, r)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.AppsV1().Deployments("shop").Delete(t.Context(), "brief", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := use.Release(t.Context(), c, r, 1e9, func(string) {}); err != nil {
		t.Error(err)
	}
	d, err := c.AppsV1().Deployments("shop").Get(t.Context(), "cart", metav1.GetOptions{})
	if err != nil || len(d.Annotations) != 0 {
		t.Errorf("cart has %v, %v", d.Annotations, err)
	}
}

// TestClear: what an operator leaves whose namespace was deleted goes, its hold on
// replays and workloads with it; what belongs to others stays.
func TestClear(t *testing.T) {
	const name, operator = "app.kubernetes.io/name", "speedscale-operator"
	in := func(namespace string, m metav1.ObjectMeta) metav1.ObjectMeta { m.Namespace = namespace; return m }
	c := fake.NewClientset(
		&admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: meta("ours", name, operator)},
		&admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: meta("theirs", name, "other")},
		&admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: meta("ours", name, operator)},
		&rbacv1.ClusterRole{ObjectMeta: meta("ours", name, operator)}, &rbacv1.ClusterRole{ObjectMeta: meta("admin")},
		&rbacv1.ClusterRoleBinding{ObjectMeta: meta("ours", name, operator)},
		&rbacv1.Role{ObjectMeta: in("shop", meta("ours", name, operator))}, &rbacv1.RoleBinding{ObjectMeta: in("shop", meta("ours", name, operator))},
		&corev1.Namespace{ObjectMeta: meta("speedscale-demo", "app.kubernetes.io/part-of", "speedscale-demo")}, &corev1.Namespace{ObjectMeta: meta("shop")},
		deployment("cart", nil, took("shop/one")), deployment("undone", nil, took("shop/gone")),
	)
	r := replays(t, running("one", "cart", "undone", "gone"))
	for range 2 { // it is safe to repeat
		if err := install.Clear(t.Context(), c, r); err != nil {
			t.Fatal(err)
		}
	}
	count := func(what string, n, want int, err error) {
		t.Helper()
		if err != nil || n != want {
			t.Errorf("%d %s are left, want %d (%v)", n, what, want, err)
		}
	}
	var all metav1.ListOptions
	mutating, err := c.AdmissionregistrationV1().MutatingWebhookConfigurations().List(t.Context(), all)
	count("mutating webhooks", len(mutating.Items), 1, err)
	validating, err := c.AdmissionregistrationV1().ValidatingWebhookConfigurations().List(t.Context(), all)
	count("validating webhooks", len(validating.Items), 0, err)
	roles, err := c.RbacV1().ClusterRoles().List(t.Context(), all)
	count("cluster roles", len(roles.Items), 1, err)
	bindings, err := c.RbacV1().ClusterRoleBindings().List(t.Context(), all)
	count("cluster role bindings", len(bindings.Items), 0, err)
	own, err := c.RbacV1().Roles("").List(t.Context(), all)
	count("roles", len(own.Items), 0, err)
	ownBindings, err := c.RbacV1().RoleBindings("").List(t.Context(), all)
	count("role bindings", len(ownBindings.Items), 0, err)
	namespaces, err := c.CoreV1().Namespaces().List(t.Context(), all)
	count("namespaces", len(namespaces.Items), 1, err)

	left, err := r.Get(t.Context(), "shop", "one")
	if err != nil || len(left.Finalizers) != 1 || left.Finalizers[0] != "others" {
		t.Errorf("finalizers are %v (%v)", left.Finalizers, err)
	}
	for _, workload := range []string{"cart", "undone"} {
		d, err := c.AppsV1().Deployments("shop").Get(t.Context(), workload, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, has := d.Spec.Template.Annotations[annotation.Replay]; has || d.Spec.Template.Annotations["a"] != "1" {
			t.Errorf("the template of %s has %v", workload, d.Spec.Template.Annotations)
		}
	}
}

// operatorIn is the Deployment that the chart makes.
func operatorIn(namespace string) *appsv1.Deployment {
	d := deployment("speedscale-operator", nil, metav1.ObjectMeta{})
	d.Namespace, d.Labels = namespace, map[string]string{"app.kubernetes.io/name": "speedscale-operator"}
	return d
}

// TestRemoveWhatHelmDidNotInstall: what was applied by kubectl is not half removed.
func TestRemoveWhatHelmDidNotInstall(t *testing.T) {
	c := fake.NewClientset(operatorIn("tools"))
	_, err := install.Remove(t.Context(), c, releases{}, install.Options{Namespace: "tools", CloudNamespace: "cloud"}, true)
	if err == nil || !strings.Contains(err.Error(), `the operator in namespace "tools" is of no release`) {
		t.Errorf("got %v", err)
	}
	if list := made(c); len(list) > 1 { // it has listed Deployments
		t.Errorf("it did %v", list)
	}
}

// TestRemoveTakesWhatNoChartHas: the lease of the operator's replicas, and no other one.
func TestRemoveTakesWhatNoChartHas(t *testing.T) {
	lease := func(namespace, name string) *coordinationv1.Lease {
		return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	}
	c := fake.NewClientset(lease("tools", "speedscale-operator"), lease("tools", "theirs"), lease("other", "speedscale-operator"))
	o := install.Options{Namespace: "tools", CloudNamespace: "cloud"}
	for range 2 {
		if _, err := install.Remove(t.Context(), c, releases{}, o, false); err != nil {
			t.Fatal(err)
		}
	}
	list, err := c.CoordinationV1().Leases("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, l := range list.Items {
		left = append(left, l.Namespace+"/"+l.Name)
	}
	if slices.Sort(left); !slices.Equal(left, []string{"other/speedscale-operator", "tools/theirs"}) {
		t.Errorf("left are %v", left)
	}
}

// TestClearWhileAnOperatorRuns: what it needs stays, in whatever namespace it is.
func TestClearWhileAnOperatorRuns(t *testing.T) {
	const name, operator = "app.kubernetes.io/name", "speedscale-operator"
	c := fake.NewClientset(operatorIn("tools"), &rbacv1.ClusterRole{ObjectMeta: meta("ours", name, operator)},
		&corev1.Namespace{ObjectMeta: meta("speedscale-demo", "app.kubernetes.io/part-of", "speedscale-demo")})
	r := replays(t, running("one"))
	if err := install.Clear(t.Context(), c, r); err != nil {
		t.Fatal(err)
	}
	for _, a := range c.Actions() {
		if a.GetVerb() != "list" {
			t.Errorf("it did %s %s", a.GetVerb(), a.GetResource().Resource)
		}
	}
	if one, err := r.Get(t.Context(), "shop", "one"); err != nil || len(one.Finalizers) != 2 {
		t.Errorf("finalizers are %v (%v)", one.Finalizers, err)
	}
	if got, err := install.Operators(t.Context(), c); err != nil || len(got) != 1 || got[0] != "tools" {
		t.Errorf("operators are in %v (%v)", got, err)
	}
}
