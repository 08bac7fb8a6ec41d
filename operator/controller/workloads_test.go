package controller_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/stamp"
	"github.com/speedscale/speedscale/operator/controller"
)

func TestPodsThatWereNotSeenAreMadeAnew(t *testing.T) {
	d := deployment(t, "cart")
	injected := podOf("cart-2", d.Spec.Template)
	injected.Labels[annotation.Injected] = "true"
	v := newWorld(t, d, podOf("cart-1", d.Spec.Template), injected)
	v.pass("Deployment", "cart")
	d = read(v, &appsv1.Deployment{}, "cart")
	s, err := stamp.Parse(d.Spec.Template.Annotations[annotation.Stamp])
	if err != nil || s.Count != 1 || d.Spec.Template.Annotations["team"] != "a" {
		t.Errorf("stamp %+v, %v; annotations %v", s, err, d.Spec.Template.Annotations)
	}
	v.expectTold("Normal SidecarRolledOut")
	// The pods of before are of another template now.
	v.pass("Deployment", "cart")
	v.expectTold()

	// Pods that it still does not see are no reason to go on restarting the app.
	must(t, v.client.Create(t.Context(), podOf("cart-3", d.Spec.Template)))
	if r := v.pass("Deployment", "cart"); r.RequeueAfter <= 0 {
		t.Error("it is not looked at again")
	}
	if again := read(v, &appsv1.Deployment{}, "cart"); again.Spec.Template.Annotations[annotation.Stamp] != d.Spec.Template.Annotations[annotation.Stamp] {
		t.Error("it is rolled out again at once")
	}
	v.now = v.now.Add(time.Hour)
	v.pass("Deployment", "cart")
	if s, err := stamp.Parse(read(v, &appsv1.Deployment{}, "cart").Spec.Template.Annotations[annotation.Stamp]); err != nil || s.Count != 2 {
		t.Errorf("an hour later the stamp is %+v, %v", s, err)
	}
}

// Pods that are made anew before the webhook can be reached would be without a sidecar again.
func TestNothingIsRolledOutBeforeTheWebhookIsReached(t *testing.T) {
	d := deployment(t, "cart")
	v := newWorld(t, d, podOf("cart-1", d.Spec.Template))
	v.w.From = v.now.Add(10 * time.Second)
	if r := v.pass("Deployment", "cart"); r.RequeueAfter != 10*time.Second {
		t.Errorf("again after %v", r.RequeueAfter)
	}
	v.expectTold()
	v.now = v.w.From
	v.pass("Deployment", "cart")
	v.expectTold("Normal SidecarRolledOut")
}

func TestFewWorkloadsAreRolledOutAtATime(t *testing.T) {
	var objects []client.Object
	const n = 8
	for i := range n {
		d := deployment(t, fmt.Sprint("w", i))
		d.Status.UpdatedReplicas = 0 // once it is rolled out
		objects = append(objects, d, podOf(d.Name+"-1", d.Spec.Template))
	}
	v := newWorld(t, objects...)
	raised := func() (count int) {
		for i := range n {
			name := fmt.Sprint("w", i)
			v.pass("Deployment", name)
			s, err := stamp.Parse(read(v, &appsv1.Deployment{}, name).Spec.Template.Annotations[annotation.Stamp])
			if err != nil {
				t.Fatal(err)
			}
			count += s.Count
		}
		return count
	}
	first := raised()
	if first < 1 || first > 3 || raised() != first {
		t.Fatalf("%d of %d are rolled out at once", first, n)
	}
	// One that has its pods makes room for the next.
	d := read(v, &appsv1.Deployment{}, "w0")
	d.Status.UpdatedReplicas = 2
	must(t, v.client.Status().Update(t.Context(), d))
	if second := raised(); second != first+1 {
		t.Errorf("%d are rolled out after one is done, want %d", second, first+1)
	}
}

func TestWhatIsHeldIsReportedOnly(t *testing.T) {
	paused := deployment(t, "paused")
	paused.Spec.Paused = true
	replay := deployment(t, "replay")
	replay.Spec.Template.Annotations[annotation.Replay] = "{}"
	onDelete := &appsv1.StatefulSet{ObjectMeta: meta("sts"), Spec: appsv1.StatefulSetSpec{
		Selector: selects("sts"), Template: template("sts", stamp.Next("", "StatefulSet", "sts", sidecar(t))),
		UpdateStrategy: appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType},
	}, Status: appsv1.StatefulSetStatus{Replicas: 1}}
	job := &batchv1.CronJob{ObjectMeta: meta("nightly"), Spec: batchv1.CronJobSpec{JobTemplate: batchv1.JobTemplateSpec{
		Spec: batchv1.JobSpec{Template: template("nightly", stamp.Next("", "CronJob", "nightly", sidecar(t)))},
	}}}
	pod := podOf("nightly-29-x", job.Spec.JobTemplate.Spec.Template)
	pod.Labels[batchv1.JobNameLabel] = "nightly-29"
	v := newWorld(t, paused, podOf("paused-1", paused.Spec.Template), replay, podOf("replay-1", replay.Spec.Template),
		onDelete, podOf("sts-0", onDelete.Spec.Template), job, pod)
	for _, c := range [][3]string{
		{"Deployment", "paused", "paused"}, {"Deployment", "replay", "replay"}, {"StatefulSet", "sts", "OnDelete"}, {"CronJob", "nightly", "Job"},
	} {
		v.pass(c[0], c[1])
		v.pass(c[0], c[1]) // and it is said once
		v.expectTold("SidecarMissing")
	}
	if read(v, &appsv1.StatefulSet{}, "sts").ResourceVersion != "999" || read(v, &batchv1.CronJob{}, "nightly").ResourceVersion != "999" {
		t.Error("a workload was changed")
	}
}

func TestReasonsOfPodsAreToldOnce(t *testing.T) {
	d := deployment(t, "cart")
	pods := []client.Object{d}
	for i := range 3 {
		p := podOf(fmt.Sprint("cart-", i), d.Spec.Template)
		p.Annotations[annotation.Refused] = "deployment shop/cart is not injected: " + strings.Repeat("ü", 1000)
		pods = append(pods, p)
	}
	v := newWorld(t, pods...)
	v.pass("Deployment", "cart")
	v.pass("Deployment", "cart")
	got := v.told()
	if len(got) != 1 || !strings.Contains(got[0], "Warning SidecarNotInjected deployment shop/cart") || len(got[0]) > 1100 || strings.Contains(got[0], "\ufffd") {
		t.Errorf("told %q", got)
	}
}

// TestPodsThatTrustAnotherCertificateAreTold of, once; they are left as they are.
func TestPodsThatTrustAnotherCertificateAreTold(t *testing.T) {
	d := deployment(t, "cart")
	objects := []client.Object{d}
	for i, certificate := range []string{"the present one", "an old one", "an old one"} {
		p := podOf(fmt.Sprint("cart-", i), d.Spec.Template)
		p.Labels[annotation.Injected], p.Annotations[annotation.ForwarderCA] = "true", certificate
		objects = append(objects, p)
	}
	v := newWorld(t, objects...)
	v.pass("Deployment", "cart")
	v.pass("Deployment", "cart")
	v.expectTold("Warning SidecarCertificate pods trust a certificate that the forwarder does not have any more")
	if read(v, &appsv1.Deployment{}, "cart").ResourceVersion != "999" {
		t.Error("it was changed")
	}
}

const quota = `pods "x" is forbidden: exceeded quota: q, requested: pods=1`

func TestDeploymentWhosePodsAreRefusedLosesItsStamp(t *testing.T) {
	d := deployment(t, "cart")
	d.Status.UpdatedReplicas = 0
	d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: quota}}
	v := newWorld(t, d)
	v.pass("Deployment", "cart")
	got := read(v, &appsv1.Deployment{}, "cart")
	if text, ok := got.Spec.Template.Annotations[annotation.Stamp]; ok || got.Spec.Template.Annotations["team"] != "a" {
		t.Errorf("stamp is %q, annotations %v", text, got.Spec.Template.Annotations)
	}
	r, err := stamp.ParseRefusal(got.Annotations[annotation.Refused])
	if err != nil || r.Hash != sidecar(t).Hash() || !strings.Contains(r.Reason, "exceeded quota") {
		t.Errorf("refused: %+v, %v", r, err)
	}
	v.expectTold("Warning SidecarWithdrawn")
	v.pass("Deployment", "cart")
	v.expectTold()
	if again := read(v, &appsv1.Deployment{}, "cart"); again.ResourceVersion != got.ResourceVersion {
		t.Error("it was changed again")
	}
}

// forbid has the API server refuse a Deployment's pods for a reason.
func forbid(d *appsv1.Deployment, why string) {
	d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: `pods "cart-1" is forbidden: ` + why}}
}

// TestRefusalsOfAdmissionPlugins, which say "forbidden" and then what they like.
func TestRefusalsOfAdmissionPlugins(t *testing.T) {
	for name, why := range map[string]string{
		"OpenShift": `unable to validate against any security context constraint: [provider "restricted-v2": .initContainers[1].capabilities.add: Invalid value: "NET_ADMIN": capability may not be added]`,
		"images":    `image policy webhook backend denied one or more images: registry is not allowed`,
		"limits":    `[maximum memory usage per Pod is 64Mi, but limit is 128Mi]`,
	} {
		t.Run(name, func(t *testing.T) {
			d := deployment(t, "cart")
			d.Status.UpdatedReplicas = 0
			forbid(d, why)
			v := newWorld(t, d)
			v.pass("Deployment", "cart")
			got := read(v, &appsv1.Deployment{}, "cart")
			if text := got.Spec.Template.Annotations[annotation.Stamp]; text != "" || !strings.Contains(got.Annotations[annotation.Refused], why) {
				t.Errorf("stamp %q, refused %q", text, got.Annotations[annotation.Refused])
			}
			v.expectTold("Warning SidecarWithdrawn")
		})
	}
}

// TestFailuresThatAreNotTheSidecars leave the stamp as it is.
func TestFailuresThatAreNotTheSidecars(t *testing.T) {
	for name, change := range map[string]func(*appsv1.Deployment){
		"no service account": func(d *appsv1.Deployment) {
			d.Status.Conditions[0].Message = `pods "x" is forbidden: error looking up service account shop/cart: serviceaccount "cart" not found`
		},
		"a webhook that is away": func(d *appsv1.Deployment) {
			d.Status.Conditions[0].Message = `Internal error occurred: failed calling webhook "replayed.sidecar.speedscale.com": failed to call webhook: Post "https://speedscale-operator.speedscale.svc:443/mutate-pods?timeout=10s": context deadline exceeded`
		},
		"the operator, not ready yet": func(d *appsv1.Deployment) {
			d.Status.Conditions[0].Message = `admission webhook "replayed.sidecar.speedscale.com" denied the request: the operator cannot route pods yet: options of injection: forwarder's CA: want PEM certificates`
		},
		"of the template before": func(d *appsv1.Deployment) { d.Generation = 2 },
		"over":                   func(d *appsv1.Deployment) { d.Status.Conditions[0].Status = corev1.ConditionFalse },
		"another operator's":     func(d *appsv1.Deployment) { d.Annotations[annotation.ManagedBy] = "other" },
		"being deleted": func(d *appsv1.Deployment) {
			d.DeletionTimestamp, d.Finalizers = &metav1.Time{Time: time.Now()}, []string{"x.example/y"}
		},
		"no priority class": func(d *appsv1.Deployment) { forbid(d, `no PriorityClass with name high was found`) },
		"no runtime class":  func(d *appsv1.Deployment) { forbid(d, `pod rejected: RuntimeClass "gvisor" not found`) },
		"a namespace that ends": func(d *appsv1.Deployment) {
			forbid(d, `unable to create new content in namespace shop because it is being terminated`)
		},
		"a quota that is new":          func(d *appsv1.Deployment) { forbid(d, `status unknown for quota: q, resources: pods`) },
		"an image policy that is away": func(d *appsv1.Deployment) { forbid(d, `Post "https://policy": dial tcp: connection refused`) },
		"no right": func(d *appsv1.Deployment) {
			d.Status.Conditions[0].Message = `pods is forbidden: User "system:serviceaccount:kube-system:replicaset-controller" cannot create resource "pods" in API group "" in the namespace "shop"`
		},
		"our own": func(d *appsv1.Deployment) {
			d.Spec.Template.Labels["controlplane.speedscale.com/component"] = "demo"
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := deployment(t, "cart")
			d.Status.UpdatedReplicas = 0
			d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: quota}}
			change(d)
			v := newWorld(t, d)
			v.pass("Deployment", "cart")
			if got := read(v, &appsv1.Deployment{}, "cart"); got.ResourceVersion != "999" {
				t.Errorf("it was changed: %v", got.Annotations)
			}
			v.expectTold()
		})
	}
}

func failure(name string, of types.UID, at time.Time) *corev1.Event {
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, InvolvedObject: corev1.ObjectReference{UID: of},
		Reason: "FailedCreate", Message: quota, LastTimestamp: metav1.NewTime(at),
	}
}

// TestOthersArePutOffByEvents: the status of these kinds does not say why pods are missing.
func TestOthersArePutOffByEvents(t *testing.T) {
	sts := &appsv1.StatefulSet{ObjectMeta: meta("sts"), Spec: appsv1.StatefulSetSpec{
		Selector: selects("sts"), Template: template("sts", stamp.Next("", "StatefulSet", "sts", sidecar(t))),
	}}
	set := &appsv1.DaemonSet{ObjectMeta: meta("ds"), Spec: appsv1.DaemonSetSpec{
		Selector: selects("ds"), Template: template("ds", stamp.Next("", "DaemonSet", "ds", sidecar(t))),
	}, Status: appsv1.DaemonSetStatus{DesiredNumberScheduled: 2}}
	job := &batchv1.CronJob{ObjectMeta: meta("nightly"), Spec: batchv1.CronJobSpec{JobTemplate: batchv1.JobTemplateSpec{
		Spec: batchv1.JobSpec{Template: template("nightly", stamp.Next("", "CronJob", "nightly", sidecar(t)))},
	}}, Status: batchv1.CronJobStatus{Active: []corev1.ObjectReference{{UID: "uid-job"}}}}
	v := newWorld(t, sts, set, job)
	before := v.now.Add(-time.Minute)
	for _, c := range []struct {
		kind, name string
		of         types.UID
		stamp      func() string
	}{
		{"StatefulSet", "sts", "uid-sts", func() string {
			return read(v, &appsv1.StatefulSet{}, "sts").Spec.Template.Annotations[annotation.Stamp]
		}},
		{"DaemonSet", "ds", "uid-ds", func() string {
			return read(v, &appsv1.DaemonSet{}, "ds").Spec.Template.Annotations[annotation.Stamp]
		}},
		{"CronJob", "nightly", "uid-job", func() string {
			return read(v, &batchv1.CronJob{}, "nightly").Spec.JobTemplate.Spec.Template.Annotations[annotation.Stamp]
		}},
	} {
		t.Run(c.kind, func(t *testing.T) {
			must(t, v.client.Create(t.Context(), failure("old-"+c.name, c.of, before)))
			must(t, v.client.Create(t.Context(), failure("other-"+c.name, "uid-other", v.now)))
			if r := v.pass(c.kind, c.name); r.RequeueAfter == 0 || c.stamp() == "" {
				t.Fatalf("after a failure of before, or of another: stamp %q, again after %v", c.stamp(), r.RequeueAfter)
			}
			must(t, v.client.Create(t.Context(), failure("new-"+c.name, c.of, v.now.Add(time.Second))))
			v.pass(c.kind, c.name)
			if c.stamp() != "" {
				t.Error("the stamp is still there")
			}
			v.expectTold("SidecarWithdrawn")
		})
	}
}

func TestStampThatNobodyWrote(t *testing.T) {
	d := deployment(t, "cart")
	delete(d.Spec.Template.Annotations, annotation.Stamp)
	left := deployment(t, "left")
	left.Annotations = nil
	v := newWorld(t, d, left)
	v.pass("Deployment", "cart")
	if s, err := stamp.Parse(read(v, &appsv1.Deployment{}, "cart").Spec.Template.Annotations[annotation.Stamp]); err != nil || s.Name != "cart" || s.Count != 0 {
		t.Errorf("stamp %+v, %v", s, err)
	}
	v.pass("Deployment", "left")
	if text, ok := read(v, &appsv1.Deployment{}, "left").Spec.Template.Annotations[annotation.Stamp]; ok {
		t.Errorf("a workload that asks for nothing keeps the stamp %q", text)
	}
}

// TestAnOwnersEditIsNotOverwritten: what was decided by an older object is not written.
func TestAnOwnersEditIsNotOverwritten(t *testing.T) {
	d := deployment(t, "cart")
	v := newWorld(t, d, podOf("cart-1", d.Spec.Template))
	inner := v.w.Client.(client.WithWatch)
	v.w.Client = interceptor.NewClient(inner, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			now := read(v, &appsv1.Deployment{}, "cart")
			now.Annotations[annotation.Ignore] = "true"
			must(t, inner.Update(ctx, now))
			return c.Patch(ctx, o, p, opts...)
		},
	})
	if _, err := v.w.Reconcile(t.Context(), "Deployment", client.ObjectKey{Namespace: "shop", Name: "cart"}); err == nil {
		t.Error("no conflict")
	}
	if s, err := stamp.Parse(read(v, &appsv1.Deployment{}, "cart").Spec.Template.Annotations[annotation.Stamp]); err != nil || s.Count != 0 {
		t.Errorf("stamp %+v, %v", s, err)
	}
	v.expectTold()
}

func TestGoneWorkloads(t *testing.T) {
	v := newWorld(t)
	for _, kind := range []string{"Deployment", "StatefulSet", "DaemonSet", "CronJob", "Job"} {
		if r := v.pass(kind, "gone"); r != (reconcile.Result{}) {
			t.Errorf("%s: %+v", kind, r)
		}
	}
	if _, err := v.w.Reconcile(t.Context(), "Service", client.ObjectKey{Namespace: "shop", Name: "x"}); err == nil {
		t.Error("a Service is looked after")
	}
}

// TestSetup: the controllers of all kinds can be added to a manager, for all namespaces
// and for some. No API server is asked for that.
func TestSetup(t *testing.T) {
	for _, namespaces := range [][]string{nil, {"shop", "billing"}} {
		mgr, err := ctrl.NewManager(&rest.Config{Host: "127.0.0.1:1"}, ctrl.Options{
			Metrics: server.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: new(true)},
		})
		if err != nil {
			t.Fatal(err)
		}
		w := &controller.Workloads{Client: mgr.GetClient(), Namespaces: namespaces, Logger: slog.New(slog.DiscardHandler)}
		if err := w.Setup(mgr); err != nil {
			t.Errorf("namespaces %q: %v", namespaces, err)
		}
	}
}
