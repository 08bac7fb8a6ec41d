package replay_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/api/v1/cloudv1connect"
	cloud "github.com/speedscale/speedscale/cloud/client"
	"github.com/speedscale/speedscale/cluster/annotation"
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/cluster/stamp"
	"github.com/speedscale/speedscale/operator/note"
	"github.com/speedscale/speedscale/operator/replay"
	"github.com/speedscale/speedscale/operator/resource"
	"github.com/speedscale/speedscale/traffic/report"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

const (
	inKey     = "checkout:checkout:8080"
	otherIn   = "checkout:checkout:9090"
	stripe    = "checkout:api.stripe.com:443"
	inventory = "checkout:inventory.shop.svc:7000"
	uid       = "11111111-2222-3333-4444-555555555555"
)

// cloudFake is the cloud's side, behind real HTTP.
type cloudFake struct {
	cloudv1connect.UnimplementedReplayServiceHandler
	url string

	mu         sync.Mutex
	down       bool
	starts     int
	started    *cloudv1.StartReplayRequest
	startErr   error
	ends       []*cloudv1.EndReplayRequest
	status     report.Status
	testConfig string
	phases     []string
	parts      map[string]report.Part
}

func (c *cloudFake) Start(_ context.Context, r *cloudv1.StartReplayRequest) (*cloudv1.StartReplayResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.startErr != nil {
		return nil, c.startErr
	}
	c.starts++
	c.started = r
	meta := snapshot.Meta{ID: "snapshot-id", InTraffic: map[string]*snapshot.Slice{inKey: {}},
		OutTraffic: map[string]*snapshot.Slice{stripe: {}, inventory: {Protocol: "grpc"}}}
	doc, err := json.Marshal(meta)
	return &cloudv1.StartReplayResponse{Token: fmt.Sprintf("token-%d", c.starts), Snapshot: doc, TestConfig: []byte(c.testConfig)}, err
}

func (c *cloudFake) End(_ context.Context, r *cloudv1.EndReplayRequest) (*cloudv1.EndReplayResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.starts == 0 {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("no such replay"))
	}
	c.ends = append(c.ends, r)
	out := report.Report{ID: r.Id, Status: c.status}
	switch {
	case r.Discard:
		return &cloudv1.EndReplayResponse{}, nil
	case r.Error != "":
		out.Status, out.Error = report.Error, r.Error
	case r.Canceled != "":
		out.Status, out.Error = report.Canceled, r.Canceled
	}
	doc, err := json.Marshal(out)
	return &cloudv1.EndReplayResponse{Report: doc}, err
}

func (c *cloudFake) Publish(_ context.Context, r *cloudv1.PublishRequest) (*cloudv1.PublishResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range r.Events {
		c.phases = append(c.phases, e.GetPhase().GetName()+" "+e.GetPhase().GetState())
	}
	return &cloudv1.PublishResponse{}, nil
}

func (c *cloudFake) PutPart(_ context.Context, r *cloudv1.PutPartRequest) (*cloudv1.PutPartResponse, error) {
	part, err := report.ParsePart(r.Name, r.Part)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parts[r.Name] = part
	return &cloudv1.PutPartResponse{}, err
}

var errKilled = errors.New("the operator is killed here")

// world is a cluster and a cloud. What controllers of Kubernetes and our webhook do,
// it does when it is asked to.
type world struct {
	t     *testing.T
	c     client.WithWatch
	cloud *cloudFake
	api   cloudv1connect.ReplayServiceClient
	now   time.Time
	from  time.Time // of the Reconciler
	// key is the replay that passes are about.
	key types.NamespacedName
	// writes counts changes by the operator; the one numbered killAt, before or after it
	// has happened, is its last one of that pass.
	writes, killAt int
	killAfter      bool
	dead           bool
	// unrouted pods do not get what the webhook gives.
	unrouted bool
	events   chan string
	jobs     int
}

func newWorld(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, appsv1.AddToScheme, batchv1.AddToScheme, rbacv1.AddToScheme, v1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{t: t, now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), events: make(chan string, 10_000),
		key:   types.NamespacedName{Namespace: "shop", Name: "pr-42"},
		cloud: &cloudFake{status: report.Passed, parts: map[string]report.Part{}, testConfig: `{"id":"standard","cluster":{"logsCollected":true}}`}}
	mux := http.NewServeMux()
	mux.Handle(cloudv1connect.NewReplayServiceHandler(w.cloud))
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.cloud.mu.Lock()
		down := w.cloud.down
		w.cloud.mu.Unlock()
		if down {
			http.Error(rw, "no route", http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	w.cloud.url = server.URL
	api, err := cloud.New(cloud.Options{URL: server.URL, Key: "operator-key"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	w.api = api.Replays
	w.c = fake.NewClientBuilder().WithScheme(scheme).
		WithStatusSubresource(&v1.TrafficReplay{}).WithObjects(objects...).
		WithIndex(&corev1.Event{}, "involvedObject.uid", func(o client.Object) []string { return []string{string(o.(*corev1.Event).InvolvedObject.UID)} }).
		Build()
	return w
}

// write is asked about each change by the operator.
func (w *world) write(do func() error) error {
	if w.dead {
		return errKilled
	}
	w.writes++
	if w.writes != w.killAt {
		return do()
	}
	w.dead = true
	if w.killAfter {
		if err := do(); err != nil {
			return err
		}
	}
	return errKilled
}

func (w *world) client() client.Client {
	return interceptor.NewClient(w.c, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if o.GetUID() == "" {
				o.SetUID(types.UID("uid-" + o.GetName()))
			}
			o.SetCreationTimestamp(metav1.NewTime(w.now))
			return w.write(func() error {
				err := c.Create(ctx, o, opts...)
				if _, ok := o.(*batchv1.Job); ok && err == nil {
					w.jobs++
				}
				return err
			})
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			return w.write(func() error { return c.Delete(ctx, o, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			return w.write(func() error { return c.Patch(ctx, o, p, opts...) })
		},
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			return w.write(func() error { return w.apply(ctx, c, o, opts) })
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
			return w.write(func() error { return c.SubResource(sub).Update(ctx, o, opts...) })
		},
	})
}

// apply is server-side apply of one field manager, which here owns one annotation. The
// fake API server's own takes away what the applied object leaves out (the selector).
func (w *world) apply(ctx context.Context, c client.Client, o runtime.ApplyConfiguration, opts []client.ApplyOption) error {
	var options client.ApplyOptions
	options.ApplyOptions(opts)
	if options.FieldManager != "speedscale-replay" {
		w.t.Errorf("applied by field manager %q", options.FieldManager)
	}
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	applied := &metav1.PartialObjectMetadata{}
	if err := json.Unmarshal(text, applied); err != nil {
		return err
	}
	there := replay.Object(applied.Kind)
	if err := c.Get(ctx, client.ObjectKeyFromObject(applied), there); err != nil || there.GetUID() != applied.UID {
		return apierrors.NewConflict(schema.GroupResource{Resource: applied.Kind}, applied.Name, errors.New("uid mismatch"))
	}
	return c.Patch(ctx, there, client.RawPatch(types.MergePatchType, text))
}

// pass is one of a new operator, which knows nothing of the one before.
func (w *world) pass() (reconcile.Result, error) {
	w.dead = false
	r := &replay.Reconciler{
		Client: w.client(), Cloud: w.api, CloudURL: w.cloud.url, PublicURL: "https://cloud.example.com", Instance: "this-one", Timeout: 20 * time.Minute,
		Config: resource.Config{Cluster: "prod", LogLevel: "info", Images: resource.Images{Registry: "r", Tag: "1"}},
		Events: note.Recorder{To: &events.FakeRecorder{Events: w.events}}, Now: func() time.Time { return w.now }, From: w.from, Logger: slog.New(slog.DiscardHandler),
	}
	return r.Reconcile(w.t.Context(), reconcile.Request{NamespacedName: w.key})
}

// until makes passes, with what the cluster does in between, until done.
func (w *world) until(what string, done func() bool) {
	w.t.Helper()
	for range 100 {
		if done() {
			return
		}
		if _, err := w.pass(); err != nil && !errors.Is(err, errKilled) {
			w.t.Logf("pass: %v", err)
		}
		w.cluster()
		w.now = w.now.Add(time.Second)
	}
	r := w.get()
	w.t.Fatalf("%s: not after 100 passes; status %+v", what, r.Status)
}

// get returns the replay, nil where it is gone.
func (w *world) get() *v1.TrafficReplay {
	w.t.Helper()
	r := &v1.TrafficReplay{}
	err := w.c.Get(w.t.Context(), w.key, r)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) ready() metav1.Condition {
	w.t.Helper()
	if c := w.get().Status.Condition(v1.ConditionReady); c != nil {
		return *c
	}
	return metav1.Condition{}
}

func (w *world) ended() bool {
	r := w.get()
	return r.Status.FinishedTime != nil && !r.Status.Active
}

func (w *world) in(reason string) func() bool {
	return func() bool { return w.ready().Reason == reason }
}

func list[T client.ObjectList](w *world, l T) T {
	w.t.Helper()
	if err := w.c.List(w.t.Context(), l, client.InNamespace("shop")); err != nil {
		w.t.Fatal(err)
	}
	return l
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil && !apierrors.IsNotFound(err) {
		w.t.Fatal(err)
	}
}

// cluster does what Kubernetes does with Deployments and Jobs, and our webhook with
// pods.
func (w *world) cluster() {
	w.t.Helper()
	ctx := w.t.Context()
	for _, d := range list(w, &appsv1.DeploymentList{}).Items {
		pods := &corev1.PodList{}
		w.must(w.c.List(ctx, pods, client.InNamespace("shop"), client.MatchingLabels(d.Spec.Selector.MatchLabels)))
		fresh := false
		for _, p := range pods.Items {
			if p.Annotations[annotation.Replay] == d.Spec.Template.Annotations[annotation.Replay] {
				fresh = true
				continue
			}
			w.must(w.c.Delete(ctx, &p))
		}
		if !fresh {
			w.must(w.c.Create(ctx, w.podOf(&d, len(pods.Items))))
		}
		if d.Status.ReadyReplicas == 0 {
			d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.ReadyReplicas = 1, 1, 1
			w.must(w.c.Status().Update(ctx, &d))
		}
	}
	for _, j := range list(w, &batchv1.JobList{}).Items {
		switch {
		case j.Status.Ready == nil:
			j.Status.Ready = new(*j.Spec.Completions)
		case len(j.Status.Conditions) == 0:
			j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
		default:
			continue
		}
		w.must(w.c.Status().Update(ctx, &j))
	}
}

// podOf is a ready pod of a Deployment's template.
func (w *world) podOf(d *appsv1.Deployment, n int) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: *d.Spec.Template.ObjectMeta.DeepCopy(), Spec: d.Spec.Template.Spec, Status: corev1.PodStatus{
		Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
	}}
	p.Namespace, p.Name = d.Namespace, fmt.Sprintf("%s-%d-%d", d.Name, w.now.Unix(), n)
	text := p.Annotations[annotation.Replay]
	if s, err := stamp.ParseReplay(text); err == nil && !w.unrouted {
		p.Labels[annotation.ReplayID], p.Labels[annotation.ReplayTarget] = s.ID, s.Target
	}
	return p
}

// checkout is the workload, as its owner wrote it.
func checkout() *appsv1.Deployment {
	return &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "checkout", UID: "checkout-uid", Labels: map[string]string{"team": "payments"}},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(1)),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "checkout"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "checkout"}, Annotations: map[string]string{"owner": "payments"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "checkout:1", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}}}},
			},
		},
		Status: appsv1.DeploymentStatus{Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1},
	}
}

// trafficReplay is what the API server stores, after defaults.
func trafficReplay(change func(*v1.TrafficReplay)) *v1.TrafficReplay {
	r := &v1.TrafficReplay{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "pr-42", UID: uid, Generation: 1, Finalizers: []string{v1.Finalizer},
			CreationTimestamp: metav1.NewTime(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)),
		},
		Spec: v1.TrafficReplaySpec{
			SnapshotID: "latest", TestConfigID: "standard", Mode: v1.ModeFullReplay, Cleanup: v1.CleanupInventory, BuildTag: "pr-42",
			Workloads: []v1.Workload{{
				Ref:   &v1.WorkloadRef{Kind: "Deployment", Name: "checkout"},
				Tests: []string{"*"}, Mocks: []string{"stripe", inventory},
			}},
		},
	}
	if change != nil {
		change(r)
	}
	return r
}
