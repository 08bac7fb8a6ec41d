package controller_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/stamp"
	"github.com/speedscale/speedscale/operator/controller"
	"github.com/speedscale/speedscale/operator/note"
)

// world is a cluster with workloads, and what they were told.
type world struct {
	t      *testing.T
	client client.Client
	w      *controller.Workloads
	events *events.FakeRecorder
	now    time.Time
	deaf   bool // the API server does not reach the webhook
	asked  int  // how often it was to ask it
}

// began is when a world's clock begins.
func began() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

func newWorld(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	c := fake.NewClientBuilder().WithObjects(objects...).
		WithStatusSubresource(&appsv1.Deployment{}).
		WithIndex(&corev1.Event{}, "involvedObject.uid", func(o client.Object) []string { return []string{string(o.(*corev1.Event).InvolvedObject.UID)} }).
		WithIndex(&corev1.Event{}, "reason", func(o client.Object) []string { return []string{o.(*corev1.Event).Reason} }).
		Build()
	v := &world{t: t, client: c, events: events.NewFakeRecorder(100), now: began()}
	v.w = &controller.Workloads{
		Client: interceptor.NewClient(c, interceptor.Funcs{Patch: v.patch}), Instance: "test", Events: note.Recorder{To: v.events}, Now: func() time.Time { return v.now }, Logger: slog.New(slog.DiscardHandler),
		Certificate: func() string { return "the present one" },
		Running:     func(_ context.Context, r stamp.Replay) bool { return r.Name == "shop/runs" },
	}
	return v
}

// patch asks the webhook about a dry run, as an API server does.
func (v *world) patch(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
	var options client.PatchOptions
	options.ApplyOptions(opts)
	if err := c.Patch(ctx, o, p, opts...); err != nil || len(options.DryRun) == 0 {
		return err
	}
	v.asked++
	if v.deaf {
		return nil
	}
	path := []string{"spec", "template", "metadata", "annotations", annotation.Stamp}
	if o.GetObjectKind().GroupVersionKind().Kind == "CronJob" {
		path = append([]string{"spec", "jobTemplate"}, path...)
	}
	return unstructured.SetNestedField(o.(*unstructured.Unstructured).Object, "a stamp", path...)
}

func (v *world) pass(kind, name string) reconcile.Result {
	v.t.Helper()
	r, err := v.w.Reconcile(v.t.Context(), kind, client.ObjectKey{Namespace: "shop", Name: name})
	if err != nil {
		v.t.Fatal(err)
	}
	return r
}

// told returns the events since the last call.
func (v *world) told() (all []string) {
	for {
		select {
		case e := <-v.events.Events:
			all = append(all, e)
		default:
			return all
		}
	}
}

func (v *world) expectTold(want ...string) {
	v.t.Helper()
	got := v.told()
	if len(got) != len(want) {
		v.t.Fatalf("told %q, want %d events", got, len(want))
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) {
			v.t.Errorf("told %q, want %q", got[i], want[i])
		}
	}
}

func read[T client.Object](v *world, object T, name string) T {
	v.t.Helper()
	if err := v.client.Get(v.t.Context(), client.ObjectKey{Namespace: "shop", Name: name}, object); err != nil {
		v.t.Fatal(err)
	}
	return object
}

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("uid-" + name), Annotations: map[string]string{annotation.Inject: "true"}}
}

func template(name, stamp string) corev1.PodTemplateSpec {
	notes := map[string]string{"team": "a"}
	if stamp != "" {
		notes[annotation.Stamp] = stamp
	}
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}, Annotations: notes}}
}

func selects(name string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
}

// deployment of two pods that are there.
func deployment(t *testing.T, name string) *appsv1.Deployment {
	s := stamp.Next("", "Deployment", name, sidecar(t))
	return &appsv1.Deployment{
		ObjectMeta: meta(name),
		Spec:       appsv1.DeploymentSpec{Replicas: new(int32(2)), Selector: selects(name), Template: template(name, s)},
		Status:     appsv1.DeploymentStatus{Replicas: 2, UpdatedReplicas: 2},
	}
}

// podOf a template, which the webhook has not seen.
func podOf(name string, t corev1.PodTemplateSpec) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: *t.ObjectMeta.DeepCopy()}
	p.Namespace, p.Name, p.CreationTimestamp = "shop", name, metav1.NewTime(began())
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
