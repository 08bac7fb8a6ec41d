package inspector_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/speedscale/speedscale/agents/inspector"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/traffic/mask"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is one that only its API's client knows.
type cluster struct {
	kube    *fake.Clientset
	meta    *metadatafake.FakeMetadataClient
	dynamic *dynamicfake.FakeDynamicClient
	options inspector.Options
}

var replays = schema.GroupVersionResource{Group: "speedscale.com", Version: "v1", Resource: "trafficreplays"}

func newCluster(t testing.TB, pods []runtime.Object, objects ...runtime.Object) *cluster {
	t.Helper()
	masker, err := mask.New(mask.Standard(), mask.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	scheme := metadatafake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c := &cluster{
		kube: fake.NewClientset(objects...),
		meta: metadatafake.NewSimpleMetadataClient(scheme, pods...),
		dynamic: dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(),
			map[schema.GroupVersionResource]string{replays: "TrafficReplayList"}),
	}
	c.options = inspector.Options{
		Cluster: "eu.prod", KeyID: "k1", Instance: "green", Version: "1.2.3", Kube: c.kube, Metadata: c.meta, Dynamic: c.dynamic, Masker: masker,
	}
	return c
}

func (c *cluster) run(t testing.TB, command *cloudv1.Command) *cloudv1.CommandResult {
	t.Helper()
	data, err := proto.Marshal(command)
	if err != nil {
		t.Fatal(err)
	}
	return inspector.New(c.options).Execute(t.Context(), data)
}

func output[T any](t testing.TB, r *cloudv1.CommandResult) (v T) {
	t.Helper()
	if r.GetError() != "" {
		t.Fatal(r.GetError())
	}
	if err := json.Unmarshal(r.GetOutput(), &v); err != nil {
		t.Fatalf("%v: %s", err, r.GetOutput())
	}
	return v
}

func refused(t testing.TB, r *cloudv1.CommandResult, wanted ...string) {
	t.Helper()
	for _, w := range wanted {
		if !strings.Contains(r.GetError(), w) {
			t.Errorf("error is %q, want %q in it", r.GetError(), w)
		}
	}
}

func deployment(namespace, name string, annotations map[string]string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: annotations},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: name}}}},
		},
		Status: appsv1.DeploymentStatus{ReadyReplicas: 1},
	}
}

func pod(namespace, name, app string, injected bool, annotations map[string]string) runtime.Object {
	p := &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": app}, Annotations: annotations},
	}
	if injected {
		p.Labels[annotation.Injected] = "true"
	}
	return p
}

func workloads(namespace string) *cloudv1.Command {
	return &cloudv1.Command{Command: &cloudv1.Command_Workloads{Workloads: &cloudv1.ListWorkloads{Namespace: namespace}}}
}

func TestWorkloads(t *testing.T) {
	c := newCluster(t,
		[]runtime.Object{
			pod("shop", "web-1", "web", true, nil),
			pod("shop", "web-2", "web", false, map[string]string{annotation.Refused: "it is in the node's network"}),
			pod("other", "web-3", "web", true, nil),
		},
		deployment("shop", "web", map[string]string{annotation.Inject: "true"}),
		deployment("shop", "wrong", map[string]string{annotation.Inject: "perhaps"}),
		deployment("other", "web", nil),
		&batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "nightly"}})
	web := inspector.Workload{
		Namespace: "shop", Kind: "Deployment", Name: "web", Wanted: 2, Ready: 1, Inject: true, Pods: 2, Injected: 1,
		Refused: "it is in the node's network",
	}
	list := output[[]inspector.Workload](t, c.run(t, workloads("shop")))
	if len(list) != 3 || list[0].Kind != "CronJob" || list[2].Name != "wrong" || !strings.Contains(list[2].Refused, "perhaps") {
		t.Errorf("%+v", list)
	}
	if d := cmp.Diff(web, list[1]); d != "" {
		t.Error(d)
	}
	if all := output[[]inspector.Workload](t, c.run(t, workloads(""))); len(all) != 4 {
		t.Errorf("%d workloads in all namespaces", len(all))
	}
	c.options.Namespaces = []string{"other"}
	if bounded := output[[]inspector.Workload](t, c.run(t, workloads(""))); len(bounded) != 1 || bounded[0].Namespace != "other" {
		t.Errorf("in the one namespace that there is for it: %+v", bounded)
	}
}

func TestEventsAreNewestFirstBoundedAndMasked(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var objects []runtime.Object
	for i := range 5 {
		objects = append(objects, &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint(i)},
			InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "web-1"}, Type: "Warning", Reason: fmt.Sprint("R", i),
			Message: "password=hunter2secret", LastTimestamp: metav1.NewTime(at.Add(time.Duration(i) * time.Second)),
		})
	}
	c := newCluster(t, nil, objects...)
	command := func(limit int32) *cloudv1.Command {
		return &cloudv1.Command{Command: &cloudv1.Command_Events{Events: &cloudv1.ListEvents{Namespace: "shop", Limit: limit}}}
	}
	list := output[[]inspector.Event](t, c.run(t, command(2)))
	if len(list) != 2 || list[0].Reason != "R4" || list[1].Reason != "R3" || list[0].Object != "Pod/web-1" || list[0].Count != 1 {
		t.Errorf("%+v", list)
	}
	if strings.Contains(list[0].Message, "hunter2") {
		t.Errorf("%q", list[0].Message)
	}
	refused(t, c.run(t, command(1001)), "limit 1001: want 1 to 1000")
	c.kube.PrependReactor("list", "events", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("events is forbidden")
	})
	refused(t, c.run(t, command(0)), "events is forbidden")
}

func TestLogsAreBoundedAndMasked(t *testing.T) {
	text := "login password=hunter2secret\n-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA1\n-----END RSA PRIVATE KEY-----\nend\n"
	c := newCluster(t, nil)
	c.kube.PrependReactor("get", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if a.GetSubresource() != "log" {
			return false, nil, nil
		}
		if o := a.(clienttesting.GenericAction).GetValue().(*corev1.PodLogOptions); *o.TailLines != 7 || o.Container != "web" {
			return true, nil, fmt.Errorf("options are %+v", o)
		}
		return true, &runtime.Unknown{Raw: []byte(text)}, nil
	})
	command := &cloudv1.Command{Command: &cloudv1.Command_Logs{Logs: &cloudv1.GetLogs{Namespace: "shop", Pod: "web-1", Container: "web", Lines: 7}}}
	r := c.run(t, command)
	got := string(r.GetOutput())
	if r.GetError() != "" || !strings.Contains(got, "end\n") || strings.Contains(got, "hunter2") || strings.Contains(got, "MIIE") {
		t.Errorf("%q, %s", got, r.GetError())
	}
	text = strings.Repeat("0123456789\n", 200_000) + "end\n"
	got = string(c.run(t, command).GetOutput())
	if len(got) > 1<<20 || !strings.HasSuffix(got, "end\n") || !strings.HasPrefix(got, "[") || !strings.Contains(got[:60], "bytes of older lines are left out]\n0123") {
		t.Errorf("%d bytes: %.80q", len(got), got)
	}
	command.GetLogs().Lines = 10_001
	refused(t, c.run(t, command), "lines 10001: want 1 to 10000")
	command.GetLogs().Lines, command.GetLogs().Pod = 7, ""
	refused(t, c.run(t, command), "the name is empty")
}

func injection(kind, name string, annotations map[string]string) *cloudv1.Command {
	return &cloudv1.Command{Command: &cloudv1.Command_Injection{Injection: &cloudv1.SetInjection{
		Namespace: "shop", Kind: kind, Name: name, Annotations: annotations,
	}}}
}

func TestInjectionPatchesAnnotationsOfTheSidecarOnly(t *testing.T) {
	c := newCluster(t, nil, deployment("shop", "web", map[string]string{"team": "a", annotation.TLSOut: "true"}))
	got := output[inspector.Changed](t, c.run(t, injection("Deployment", "web", map[string]string{annotation.Inject: "true", annotation.TLSOut: ""})))
	if d := cmp.Diff(map[string]string{annotation.Inject: "true"}, got.Annotations); d != "" {
		t.Error(d)
	}
	d, err := c.kube.AppsV1().Deployments("shop").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"team": "a", annotation.Inject: "true"}, d.Annotations); diff != "" {
		t.Error(diff)
	}
	for _, a := range c.kube.Actions() {
		if p, ok := a.(clienttesting.PatchAction); ok {
			want := `{"metadata":{"annotations":{"sidecar.speedscale.com/inject":"true","sidecar.speedscale.com/tls-out":null}}}`
			if string(p.GetPatch()) != want {
				t.Errorf("patch %s, want %s", p.GetPatch(), want)
			}
		}
	}
}

func TestInjectionIsTakenAwayAltogether(t *testing.T) {
	c := newCluster(t, nil, deployment("shop", "web", map[string]string{"team": "a", annotation.Inject: "true", annotation.TLSOut: "true"}))
	got := output[inspector.Changed](t, c.run(t, injection("Deployment", "web", map[string]string{annotation.Prefix + "*": ""})))
	d, err := c.kube.AppsV1().Deployments("shop").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Annotations) != 0 || len(d.Annotations) != 1 || d.Annotations["team"] != "a" {
		t.Errorf("%v, and the workload has %v", got.Annotations, d.Annotations)
	}
	refused(t, c.run(t, injection("Deployment", "web", map[string]string{annotation.Prefix + "*": "x"})), "not be set")
}

func TestInjectionThatIsRefused(t *testing.T) {
	c := newCluster(t, nil, deployment("shop", "web", nil))
	for name, tt := range map[string]struct {
		command *cloudv1.Command
		wanted  []string
	}{
		"another key":   {injection("Deployment", "web", map[string]string{annotation.Ignore: "true"}), []string{annotation.Ignore, "only those that begin with"}},
		"wrong value":   {injection("Deployment", "web", map[string]string{annotation.Inject: "perhaps"}), []string{"deployment shop/web", annotation.Inject, "perhaps"}},
		"no annotation": {injection("Deployment", "web", nil), []string{`"web"`, "no annotations"}},
		"no workload":   {injection("Deployment", "none", map[string]string{annotation.Inject: "true"}), []string{"deployment shop/none", "not found"}},
		"another kind":  {injection("Secret", "web", map[string]string{annotation.Inject: "true"}), []string{`kind "Secret"`}},
		"no name":       {injection("Deployment", "", map[string]string{annotation.Inject: "true"}), []string{"the name is empty"}},
	} {
		t.Run(name, func(t *testing.T) { refused(t, c.run(t, tt.command), tt.wanted...) })
	}
	c.options.Namespaces = []string{"other"}
	refused(t, c.run(t, injection("Deployment", "web", map[string]string{annotation.Inject: "true"})), `namespace "shop" is not one of other`)
	for _, a := range c.kube.Actions() {
		if a.GetVerb() != "get" {
			t.Errorf("%s of %s", a.GetVerb(), a.GetResource().Resource)
		}
	}
}

// TestInjectionThatTheOperatorWouldNotDoIsRefused: the operator does nothing about these, so
// that "its pods are replaced" would be wrong.
func TestInjectionThatTheOperatorWouldNotDoIsRefused(t *testing.T) {
	ignored := deployment("shop", "ignored", map[string]string{annotation.Ignore: "true"})
	foreign := deployment("shop", "foreign", map[string]string{annotation.ManagedBy: "blue"})
	node := deployment("shop", "node", nil)
	node.Spec.Template.Spec.HostNetwork = true
	once := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "once"}}
	c := newCluster(t, nil, ignored, foreign, node, once, deployment("shop", "own", map[string]string{annotation.ManagedBy: "green"}))
	add := map[string]string{annotation.Inject: "true"}
	for ref, wanted := range map[string][]string{
		"Deployment/ignored": {"deployment shop/ignored", annotation.Ignore, "take it away"},
		"Deployment/foreign": {"deployment shop/foreign", annotation.ManagedBy, `"blue"`, "green", "take the annotation away"},
		"Deployment/node":    {"hostNetwork"},
		"Job/once":           {"job shop/once", "not replaced", "its manifest"},
	} {
		kind, name, _ := strings.Cut(ref, "/")
		refused(t, c.run(t, injection(kind, name, add)), wanted...)
		if name != "node" {
			refused(t, c.run(t, injection(kind, name, map[string]string{annotation.Prefix + "*": ""})), wanted...)
		}
	}
	for _, a := range c.kube.Actions() {
		if a.GetVerb() != "get" {
			t.Errorf("%s of %s", a.GetVerb(), a.GetResource().Resource)
		}
	}
	output[inspector.Changed](t, c.run(t, injection("Deployment", "own", add)))
}

// TestInjectionThatWasWithdrawnIsTriedAgain, and it is said of a CronJob that its pods are not
// replaced.
func TestInjectionThatWasWithdrawnIsTriedAgain(t *testing.T) {
	nightly := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "nightly"}}
	nightly.Annotations = map[string]string{annotation.Inject: "true", annotation.Refused: "exceeded quota"}
	nightly.Spec.JobTemplate.Spec.Template.Spec.Containers = []corev1.Container{{Name: "nightly"}}
	c := newCluster(t, nil, nightly)
	got := output[inspector.Changed](t, c.run(t, injection("CronJob", "nightly", map[string]string{annotation.Inject: "true"})))
	if got.Held != "its next run has new pods" {
		t.Errorf("%+v", got)
	}
	j, err := c.kube.BatchV1().CronJobs("shop").Get(t.Context(), "nightly", metav1.GetOptions{})
	if diff := cmp.Diff(map[string]string{annotation.Inject: "true"}, j.Annotations); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestReplays(t *testing.T) {
	c := newCluster(t, nil)
	start := func(spec string) *cloudv1.Command {
		return &cloudv1.Command{Command: &cloudv1.Command_StartReplay{StartReplay: &cloudv1.StartReplay{Namespace: "shop", Name: "r1", Spec: []byte(spec)}}}
	}
	started := output[inspector.Started](t, c.run(t, start(`{"snapshotID":"s1","testConfigID":"standard"}`)))
	if started.Name != "r1" || started.Namespace != "shop" {
		t.Errorf("%+v", started)
	}
	made, err := c.dynamic.Resource(replays).Namespace("shop").Get(t.Context(), "r1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if id, _, _ := unstructured.NestedString(made.Object, "spec", "snapshotID"); id != "s1" || made.GetKind() != "TrafficReplay" {
		t.Errorf("%v", made.Object)
	}
	refused(t, c.run(t, start(`{"snapshotID":"s1"}`)), "TrafficReplay shop/r1", "already exists")
	refused(t, c.run(t, start(`[1]`)), `"r1"`, "spec: want a JSON object")
	cancel := func(name string) *cloudv1.Command {
		return &cloudv1.Command{Command: &cloudv1.Command_CancelReplay{CancelReplay: &cloudv1.CancelReplay{Namespace: "shop", Name: name}}}
	}
	if got := output[inspector.Started](t, c.run(t, cancel("r1"))); got.Name != "r1" {
		t.Errorf("%+v", got)
	}
	refused(t, c.run(t, cancel("r1")), "TrafficReplay shop/r1", "not found")
	const id = "0f8fad5b-d9cb-469f-a165-70867728950e"
	refused(t, c.run(t, cancel(id)), `namespace "shop" has no TrafficReplay whose report is "`+id)
	made.SetUID(id)
	made.SetResourceVersion("")
	if _, err := c.dynamic.Resource(replays).Namespace("shop").Create(t.Context(), made, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := output[inspector.Started](t, c.run(t, cancel(id))); got.Name != "r1" {
		t.Errorf("%+v", got)
	}
}

func TestAnythingElseIsRefused(t *testing.T) {
	i := inspector.New(newCluster(t, nil).options)
	for name, data := range map[string][]byte{
		"nothing":              nil,
		"not a message":        []byte("hello"),
		"a later command":      {0xba, 0x06, 0x00}, // field 103
		"more than is allowed": make([]byte, 1<<20+1),
	} {
		if r := i.Execute(t.Context(), data); r.GetError() == "" || r.GetOutput() != nil {
			t.Errorf("%s: %v", name, r)
		}
	}
}

func TestPanicIsAnAnswer(t *testing.T) {
	c := newCluster(t, nil)
	c.kube.PrependReactor("list", "deployments", func(clienttesting.Action) (bool, runtime.Object, error) { panic("bug") })
	refused(t, c.run(t, workloads("")), "internal error")
}

func FuzzCommandsNeverPanicAndReadNoSecret(f *testing.F) {
	for _, c := range []*cloudv1.Command{
		workloads("shop"), injection("Deployment", "web", map[string]string{annotation.Inject: "true"}),
		{Command: &cloudv1.Command_StartReplay{StartReplay: &cloudv1.StartReplay{Namespace: "a", Name: "b", Spec: []byte("{}")}}},
	} {
		data, err := proto.Marshal(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := newCluster(t, nil, deployment("shop", "web", nil))
		r := inspector.New(c.options).Execute(t.Context(), data)
		if strings.Contains(r.GetError(), "internal error") {
			t.Fatal(r.GetError())
		}
		for _, a := range c.kube.Actions() {
			if a.GetResource().Resource == "secrets" {
				t.Fatal("a Secret was read")
			}
		}
	})
}
