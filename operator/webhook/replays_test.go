package webhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/api/v1/cloudv1connect"
	cloud "github.com/speedscale/speedscale/cloud/client"
	"github.com/speedscale/speedscale/cluster/annotation"
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/cluster/argo"
	"github.com/speedscale/speedscale/operator/webhook"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

// cloudFake has one snapshot and one test config.
type cloudFake struct {
	cloudv1connect.UnimplementedSnapshotServiceHandler
}

type configsFake struct {
	cloudv1connect.UnimplementedTestConfigServiceHandler
}

func (cloudFake) Get(_ context.Context, r *cloudv1.GetSnapshotRequest) (*cloudv1.GetSnapshotResponse, error) {
	if r.Id != "s1" {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("no snapshot "+r.Id))
	}
	doc, err := json.Marshal(snapshot.Meta{ID: "s1",
		InTraffic:  map[string]*snapshot.Slice{"checkout:checkout:8080": {}, "checkout:checkout:9090": {}},
		OutTraffic: map[string]*snapshot.Slice{"checkout:api.stripe.com:443": {}}})
	return &cloudv1.GetSnapshotResponse{Snapshot: doc}, err
}

func (configsFake) Get(_ context.Context, r *cloudv1.GetTestConfigRequest) (*cloudv1.GetTestConfigResponse, error) {
	if r.Id != "standard" {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("no test config "+r.Id))
	}
	return &cloudv1.GetTestConfigResponse{TestConfig: []byte(`{"id":"standard"}`)}, nil
}

func types(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// replays checks against a cluster with the Deployments checkout, foreign, ignored, the
// StatefulSet cart and the Rollouts search and referring, and a cloud that may be away.
func replays(t *testing.T, away bool) webhook.Replays {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(cloudv1connect.NewSnapshotServiceHandler(cloudFake{}))
	mux.Handle(cloudv1connect.NewTestConfigServiceHandler(configsFake{}))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	if away {
		server.Close()
	}
	api, err := cloud.New(cloud.Options{URL: server.URL, Key: "k"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	deployment := func(name string, notes map[string]string) *appsv1.Deployment {
		return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Annotations: notes}}
	}
	rollout := func(name string, spec map[string]any) *unstructured.Unstructured {
		u := argo.New()
		u.SetNamespace("shop")
		u.SetName(name)
		u.Object["spec"] = spec
		return u
	}
	c := fake.NewClientBuilder().WithScheme(types(t)).WithObjects(
		deployment("checkout", nil), deployment("foreign", map[string]string{annotation.ManagedBy: "blue"}),
		deployment("ignored", map[string]string{annotation.Ignore: "true"}),
		&appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart"}},
		rollout("search", nil), rollout("referring", map[string]any{"workloadRef": map[string]any{"kind": "Deployment", "name": "checkout"}}),
	).Build()
	return webhook.Replays{Client: c, Snapshots: api.Snapshots, TestConfigs: api.TestConfigs, Instance: "test", Timeout: 20 * time.Minute}
}

func trafficReplay(meta, spec string) string {
	return "apiVersion: speedscale.com/v1\nkind: TrafficReplay\nmetadata: {name: pr-42, namespace: shop" + meta + "}\nspec: {" + spec + "}\n"
}

const oneWorkload = "snapshotID: s1, mode: full-replay, workloads: [{ref: {kind: Deployment, name: checkout}, mocks: [stripe]}]"

// mutate returns the object as the API server stores it.
func mutate(t *testing.T, req admission.Request) *v1.TrafficReplay {
	t.Helper()
	handler := admission.WithDefaulter[*v1.TrafficReplay](types(t), replays(t, true))
	o := &v1.TrafficReplay{}
	if err := json.Unmarshal(apply(t, req, handler.Handle(t.Context(), req)), o); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestReplayDefaults(t *testing.T) {
	req := create(t, trafficReplay("", oneWorkload))
	o := mutate(t, req)
	if o.Spec.TestConfigID != "standard" || o.Spec.Timeout.Duration != 20*time.Minute || !cmp.Equal(o.Finalizers, []string{v1.Finalizer}) ||
		!cmp.Equal(o.Spec.Workloads[0].Tests, []string{"*"}) {
		t.Errorf("completed to %+v", o)
	}
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(o, mutate(t, withObject(req, string(text)))); diff != "" {
		t.Errorf("asked again, it changes more:\n%s", diff)
	}
	for name, text := range map[string]string{
		"two workloads": trafficReplay("", "snapshotID: s1, workloads: [{ref: {name: a}}, {ref: {name: b}, tests: [x]}]"),
		"a custom URL":  trafficReplay("", "snapshotID: s1, customURL: 'http://x', workloads: [{ref: {name: a}, mocks: [x]}]"),
		"mocks only":    trafficReplay("", "snapshotID: s1, mode: responder-only, workloads: [{ref: {name: a}, mocks: [x]}]"),
	} {
		if o := mutate(t, create(t, text)); len(o.Spec.Workloads[0].Tests) > 0 {
			t.Errorf("%s: the first workload is sent %v", name, o.Spec.Workloads[0].Tests)
		}
	}
	// Once it is made, the finalizer is the controller's.
	plain := trafficReplay("", oneWorkload)
	if o := mutate(t, update(t, plain, plain)); len(o.Finalizers) > 0 {
		t.Errorf("an update adds the finalizers %v", o.Finalizers)
	}
}

// validate answers a request as the API server asks it.
func validate(t *testing.T, w webhook.Replays, req admission.Request) admission.Response {
	t.Helper()
	return admission.WithValidator[*v1.TrafficReplay](types(t), w).Handle(t.Context(), req)
}

func TestReplaysThatAreTaken(t *testing.T) {
	w := replays(t, false)
	for name, spec := range map[string]string{
		"full":            "snapshotID: s1, testConfigID: standard, workloads: [{ref: {kind: Deployment, name: checkout}, tests: ['8080'], mocks: ['*'], routing: nat}]",
		"host aliases":    "snapshotID: s1, testConfigID: standard, workloads: [{ref: {kind: Deployment, name: checkout}, tests: ['8080'], mocks: ['*'], routing: hostalias}]",
		"two workloads":   "snapshotID: s1, testConfigID: standard, workloads: [{ref: {kind: Deployment, name: checkout}, tests: ['8080']}, {ref: {apiVersion: apps/v1, kind: StatefulSet, name: cart, namespace: shop}, tests: ['9090']}]",
		"mocks elsewhere": "snapshotID: s1, testConfigID: standard, workloads: [{ref: {kind: Deployment, name: checkout}, tests: ['*']}, {ref: {kind: StatefulSet, name: cart}, mocks: ['*']}]",
		"custom URL":      "snapshotID: s1, testConfigID: standard, mode: generator-only, customURL: 'https://new.example.com:8443/'",
		"custom URI":      "snapshotID: s1, testConfigID: standard, workloads: [{customURI: 'http://10.0.0.7', tests: ['*']}]",
		"Argo Rollout":    "snapshotID: s1, testConfigID: standard, workloads: [{ref: {apiVersion: argoproj.io/v1alpha1, kind: Rollout, name: search}, tests: ['*']}]",
		"mocks only":      "snapshotID: s1, testConfigID: standard, mode: responder-only, workloads: [{ref: {kind: Deployment, name: checkout}, mocks: [stripe]}]",
	} {
		if resp := validate(t, w, create(t, trafficReplay("", spec))); !resp.Allowed || len(resp.Warnings) > 0 {
			t.Errorf("%s: %v, warnings %v", name, resp.Result, resp.Warnings)
		}
	}
}

func TestReplaysThatAreRefused(t *testing.T) {
	w := replays(t, false)
	w.Namespaces = []string{"shop"}
	workload := func(text string) string { return "snapshotID: s1, testConfigID: standard, workloads: [" + text + "]" }
	for want, spec := range map[string]string{
		`spec.workloads[0].ref: Invalid value: "gone": there is no deployment "gone" in namespace "shop"`: workload("{ref: {kind: Deployment, name: gone}, tests: ['*']}"),
		`spec.workloads[0].ref: Forbidden: deployment "foreign" is managed by another operator, "blue"`:   workload("{ref: {kind: Deployment, name: foreign}, tests: ['*']}"),
		annotation.Ignore:                  workload("{ref: {kind: Deployment, name: ignored}, tests: ['*']}"),
		"spec.workloads[0].ref.kind":       workload("{ref: {kind: Job, name: checkout}, tests: ['*']}"),
		"spec.workloadRef":                 workload("{ref: {kind: Rollout, name: referring}, tests: ['*']}"),
		`there is no rollout "checkout"`:   workload("{ref: {kind: Rollout, name: checkout}, tests: ['*']}"),
		`Unsupported value: "apps/v1"`:     workload("{ref: {apiVersion: apps/v1, kind: Rollout, name: search}, tests: ['*']}"),
		"apiVersion":                       workload("{ref: {apiVersion: v1, kind: Deployment, name: checkout}, tests: ['*']}"),
		`make it in namespace "other"`:     workload("{ref: {kind: Deployment, name: checkout, namespace: other}, tests: ['*']}"),
		"spec.workloads[1].ref: Duplicate": workload("{ref: {kind: Deployment, name: checkout}, tests: ['8080']}, {ref: {kind: Deployment, name: checkout}, tests: ['9090']}"),
		"spec.workloads[0].customURI":      workload("{customURI: 'http://x/v2', tests: ['*']}"),
		"spec.workloads[1].tests":          workload("{ref: {kind: Deployment, name: checkout}, tests: ['*']}, {ref: {kind: StatefulSet, name: cart}}"),
		`spec.workloads[0].tests[0]: Invalid value: "checkout": "checkout" is in 2 slice keys`: workload("{ref: {kind: Deployment, name: checkout}, tests: [checkout]}"),
		`spec.workloads[0].mocks[0]: Invalid value: "postgres": no slice key contains`:         workload("{ref: {kind: Deployment, name: checkout}, tests: ['*'], mocks: [postgres]}"),
		"is sent to workload 0 already":     workload("{ref: {kind: Deployment, name: checkout}, tests: ['*']}, {ref: {kind: StatefulSet, name: cart}, tests: ['9090']}"),
		"nothing would be sent":             workload("{ref: {kind: Deployment, name: checkout}, mocks: [stripe]}"),
		"all that mode responder-only does": "mode: responder-only, " + workload("{ref: {kind: Deployment, name: checkout}}"),
		"no snapshot s2":                    strings.Replace(workload("{ref: {kind: Deployment, name: checkout}, tests: ['*']}"), "s1", "s2", 1),
		"no test config daily":              strings.Replace(workload("{ref: {kind: Deployment, name: checkout}, tests: ['*']}"), "standard", "daily", 1),
		"spec.customURL":                    "snapshotID: s1, testConfigID: standard, customURL: 'https://x/y?z'",
	} {
		resp := validate(t, w, create(t, trafficReplay("", spec)))
		if resp.Allowed || !strings.Contains(resp.Result.Message, want) {
			t.Errorf("%s: %v, want an error that says %q", spec, resp.Result, want)
		}
	}
	secret := validate(t, w, create(t, trafficReplay("", "snapshotID: s1, testConfigID: standard, customURL: 'https://user:hush@x'")))
	if secret.Allowed || strings.Contains(secret.Result.Message, "hush") || !strings.Contains(secret.Result.Message, "user or password") {
		t.Errorf("a password: %v", secret.Result)
	}
	elsewhere := strings.Replace(trafficReplay("", oneWorkload), "namespace: shop", "namespace: other", 1)
	if resp := validate(t, w, create(t, elsewhere)); resp.Allowed || !strings.Contains(resp.Result.Message, "metadata.namespace") {
		t.Errorf("in a namespace that is not chosen: %v", resp.Result)
	}
}

func TestClusterWithoutArgoRollouts(t *testing.T) {
	w := replays(t, false)
	w.Client = interceptor.NewClient(w.Client.(client.WithWatch), interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return &apimeta.NoKindMatchError{GroupKind: schema.GroupKind{Group: argo.Group, Kind: argo.Kind}, SearchedVersions: []string{argo.Version}}
		},
	})
	resp := validate(t, w, create(t, trafficReplay("", "snapshotID: s1, testConfigID: standard, workloads: [{ref: {kind: Rollout, name: search}, tests: ['*']}]")))
	if want := `spec.workloads[0].ref.kind: Invalid value: "Rollout": the cluster has no Argo Rollouts`; resp.Allowed || !strings.Contains(resp.Result.Message, want) {
		t.Errorf("answered %v, want %q", resp.Result, want)
	}
}

func TestCloudThatIsAwayRefusesNothing(t *testing.T) {
	spec := "snapshotID: s2, testConfigID: daily, workloads: [{ref: {kind: Deployment, name: checkout}, tests: [x]}]"
	resp := validate(t, replays(t, true), create(t, trafficReplay("", spec)))
	if !resp.Allowed || len(resp.Warnings) != 2 {
		t.Errorf("%v, warnings %v", resp.Result, resp.Warnings)
	}
}

// TestTimeoutOfAStartedReplayStays: the generator's Job and the token have been given its
// end, so that more time would end all the same, and say that it had it.
func TestTimeoutOfAStartedReplayStays(t *testing.T) {
	w := replays(t, true)
	in := func(spec, status string) string {
		return trafficReplay("", oneWorkload+spec) + "status: {" + status + "}\n"
	}
	started := "startedTime: '2026-11-23T12:00:00Z'"
	for name, c := range map[string]struct {
		was, now string
		want     bool
	}{
		"started":                  {in(", timeout: 20m", started), in(", timeout: 60m", started), false},
		"written in another way":   {in(", timeout: 60m", started), in(", timeout: 1h", started), true},
		"its ttl":                  {in(", timeout: 20m", started), in(", timeout: 20m, ttlAfterReady: 1h", started), true},
		"waiting":                  {in(", timeout: 20m", ""), in(", timeout: 60m", ""), true},
		"made without the webhook": {in("", started), in(", timeout: 20m", started), true},
	} {
		resp := validate(t, w, update(t, c.was, c.now))
		if resp.Allowed != c.want || !c.want && !strings.Contains(resp.Result.Message, "spec.timeout: Forbidden: it cannot be changed once the replay has started: delete it") {
			t.Errorf("%s: %v", name, resp.Result)
		}
	}
}

func TestReplayUpdates(t *testing.T) {
	w := replays(t, true)
	made := trafficReplay("", oneWorkload+", timeout: 5m")
	for name, c := range map[string]struct {
		now  string
		want bool
	}{
		"timeout and ttl":     {trafficReplay("", oneWorkload+", timeout: 6m, ttlAfterReady: 1h"), true},
		"labels":              {trafficReplay(", labels: {a: b}", oneWorkload+", timeout: 5m"), true},
		"another snapshot":    {strings.Replace(made, "s1", "s2", 1), false},
		"another workload":    {strings.Replace(made, "checkout", "cart", 1), false},
		"cleanup":             {trafficReplay("", oneWorkload+", timeout: 5m, cleanup: none"), false},
		"anything as it goes": {trafficReplay(", deletionTimestamp: '2026-11-23T12:00:00Z', finalizers: [a]", "snapshotID: s9"), true},
	} {
		resp := validate(t, w, update(t, made, c.now))
		if resp.Allowed != c.want || !c.want && !strings.Contains(resp.Result.Message, "spec: Forbidden: only ttlAfterReady") {
			t.Errorf("%s: %v", name, resp.Result)
		}
	}
	gone := create(t, made)
	gone.Operation, gone.OldObject = admissionv1.Delete, gone.Object
	if resp := validate(t, w, gone); !resp.Allowed {
		t.Errorf("it cannot be deleted: %v", resp.Result)
	}
}
