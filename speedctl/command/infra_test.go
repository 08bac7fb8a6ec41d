package command_test

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	metadatafake "k8s.io/client-go/metadata/fake"

	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/agents/inspector"
	"github.com/speedscale/speedscale/cloud/auth"
	"github.com/speedscale/speedscale/cloud/server"
	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/speedctl/command"
	"github.com/speedscale/speedscale/speedctl/term"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/mask"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

// remote is a cloud that speedctl has a context of, and a cluster behind an inspector.
type remote struct {
	home  string
	cloud *server.Server
	kube  *fake.Clientset
	// bus is where the cloud's is, and key that of the clusters, with its id.
	bus, id, key string
}

func startRemote(t *testing.T, clusters ...string) *remote {
	t.Helper()
	s, err := server.Open(t.Context(), server.Options{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	r := &remote{home: t.TempDir(), cloud: s, kube: fake.NewClientset(&appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec:       appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}},
	}, &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "e1"}, Type: "Warning", Reason: "Unhealthy", Message: "Readiness probe failed",
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "web-1"}, LastTimestamp: metav1.NewTime(time.Unix(1, 0)),
	})}
	id, key, err := s.Keyring().Create(t.Context(), "operator", []string{auth.ScopeControl, auth.ScopeIngest}, 0)
	if err != nil {
		t.Fatal(err)
	}
	r.bus, r.id, r.key = strings.Replace(s.URL(), "http", "ws", 1), id, key
	for _, cluster := range clusters {
		r.inspect(t, cluster, r.bus, id, key)
	}
	if code, _, said := r.speedctl(t, "init", "--app-url", s.URL(), "--api-key", s.InitialKey()); code != 0 {
		t.Fatal(said)
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		_, out, _ := r.speedctl(t, "infra", "inspectors", "-o", "json")
		if strings.Count(out, `"name"`) == len(clusters) {
			return r
		}
		if time.Now().After(deadline) {
			t.Fatalf("clusters are %s", out)
		}
	}
}

func (r *remote) inspect(t *testing.T, cluster, url, id, key string) {
	t.Helper()
	masker, err := mask.New(mask.Standard(), mask.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	scheme := metadatafake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	replays := schema.GroupVersionResource{Group: "speedscale.com", Version: "v1", Resource: "trafficreplays"}
	dynamic := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{replays: "TrafficReplayList"})
	if _, err := dynamic.Resource(replays).Namespace("shop").Create(t.Context(), object(t, trafficReplay), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	i := inspector.New(inspector.Options{
		Cluster: cluster, KeyID: id, Version: "v1", Masker: masker, Kube: r.kube, Metadata: metadatafake.NewSimpleMetadataClient(scheme),
		Dynamic: dynamic,
	})
	conn, err := bus.Connect(t.Context(), bus.ConnectOptions{URLs: []string{url}, Token: key})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- i.Run(ctx, conn) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		conn.Close()
	})
}

// speedctl runs a command line.
func (r *remote) speedctl(t *testing.T, args ...string) (code int, out, said string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	w := &term.World{In: strings.NewReader(""), Out: &stdout, Err: &stderr, Getenv: func(name string) string {
		return map[string]string{"SPEEDSCALE_HOME": r.home, "NO_COLOR": "1"}[name]
	}}
	code = command.Execute(t.Context(), w, args)
	return code, stdout.String(), stderr.String()
}

func TestInfraCommandsACluster(t *testing.T) {
	r := startRemote(t, "prod")
	for _, c := range []struct {
		args string
		code int
		want []string // in what it prints or says
	}{
		{"infra inspectors", 0, []string{"CLUSTER", "prod", "v1"}},
		{"infra workloads -n shop", 0, []string{"shop", "Deployment/web", "0/1", "no"}},
		{"infra workloads --cluster staging", 4, []string{`cluster "staging"`, "not connected", "prod", "hint: speedctl infra inspectors"}},
		{"infra events -n shop", 0, []string{"Unhealthy", "Pod/web-1", "Readiness probe failed"}},
		{"infra events --limit 5000", 1, []string{"limit 5000"}},
		{"infra logs web-1", 2, []string{"-n is not given", "-n NAMESPACE"}},
		{"infra logs web-1 -n shop", 0, []string{"fake logs"}},
		{"infra sidecar add web -n shop --tls-out", 0, []string{"sidecar added to deployment shop/web"}},
		{"infra sidecar add web -n shop --set-annotation proxy-typ=x", 1, []string{"proxy-typ"}},
		{"infra sidecar add job/web -n shop", 1, []string{"job shop/web", "not replaced"}},
		{"infra sidecar add secret/web -n shop", 2, []string{`kind "secret"`}},
		{"infra replay -n shop", 2, []string{"want a workload or --test-against"}},
		{"infra replay -n shop --test-against http://web --mode full-replay", 2, []string{"--mode is for a replay against a workload", "nothing is mocked"}},
		{"infra replay -n shop --test-against http://web --cleanup all", 2, []string{"--cleanup is for a replay against a workload"}},
		{"infra replay -n shop --test-against http://web --mock-only db", 2, []string{"--mock-only is for a replay against a workload"}},
		{"infra replay -n shop --test-against http://web --workload-type daemonset", 2, []string{"--workload-type is for a replay against a workload"}},
		{"infra replay web -n shop --snapshot-id none", 4, []string{"none"}},
		{"infra cancel-replay none -n shop", 1, []string{`TrafficReplay shop/none`}},
	} {
		code, out, said := r.speedctl(t, strings.Fields(c.args)...)
		if code != c.code {
			t.Errorf("%s: exit code %d, want %d: %s", c.args, code, c.code, said)
		}
		for _, w := range c.want {
			if !strings.Contains(out+said, w) {
				t.Errorf("%s: %q is missing in %s%s", c.args, w, out, said)
			}
		}
	}
	d, err := r.kube.AppsV1().Deployments("shop").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil || d.Annotations[annotation.Inject] != "true" || d.Annotations[annotation.TLSOut] != "true" {
		t.Errorf("annotations are %v, %v", d.Annotations, err)
	}
	if code, _, said := r.speedctl(t, "infra", "sidecar", "remove", "deployment/web", "-n", "shop"); code != 0 {
		t.Error(said)
	}
	if d, err = r.kube.AppsV1().Deployments("shop").Get(t.Context(), "web", metav1.GetOptions{}); err != nil || len(d.Annotations) != 0 {
		t.Errorf("annotations are %v, %v", d.Annotations, err)
	}
	code, out, said := r.speedctl(t, "infra", "audit", "-o", "json", "--limit", "1")
	var entries []struct {
		Cluster, Outcome string
		Command          map[string]any
	}
	if err := json.Unmarshal([]byte(out), &entries); err != nil || code != 0 {
		t.Fatalf("%v: %s%s", err, out, said)
	}
	if len(entries) != 1 || entries[0].Cluster != "prod" || entries[0].Outcome != "done" || entries[0].Command["injection"] == nil {
		t.Errorf("%+v", entries)
	}
}

// push puts a snapshot of one request to web into the cloud.
func (r *remote) push(t *testing.T) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "snapshot")
	w, err := snapshot.Create(dir, snapshot.Meta{Info: snapshot.Info{Name: "shop"}})
	if err != nil {
		t.Fatal(err)
	}
	err = w.Add(&traffic.RRPair{
		Uuid: traffic.NewUUID(), Ts: time.Unix(1_700_000_000, 0).UnixNano(), Duration: int64(time.Millisecond),
		Direction: traffic.Direction_DIRECTION_IN, Service: "web", L7Protocol: traffic.HTTPProtocol,
		Command: "GET", Location: "/", Status: "200", NetworkAddress: "web:80",
		Http: &traffic.HTTP{
			Req: &traffic.HTTPRequest{Url: "http://web/", Uri: "/", Version: "1.1", Method: "GET", Host: "web"},
			Res: &traffic.HTTPResponse{StatusCode: 200, Version: "1.1"},
		},
	})
	if err == nil {
		_, err = w.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
	if code, _, said := r.speedctl(t, "push", "snapshot", dir); code != 0 {
		t.Fatal(said)
	}
}

func TestInfraStartsAndCancelsAReplay(t *testing.T) {
	r := startRemote(t, "prod")
	r.push(t)
	for _, target := range [][]string{{"deployment/web"}, {"--test-against", "http://web.staging", "--mode", "generator-only", "--no-mocks"}} {
		code, out, said := r.speedctl(t, slices.Concat([]string{"infra", "replay", "-n", "shop", "--timeout", "5m"}, target)...)
		name := regexp.MustCompile(`TrafficReplay shop/(\S+) started`).FindStringSubmatch(out)
		if code != 0 || name == nil {
			t.Fatalf("%v: exit code %d: %s%s", target, code, out, said)
		}
		if code, _, said := r.speedctl(t, "infra", "cancel-replay", name[1], "-n", "shop"); code != 0 || !strings.Contains(said, name[1]) {
			t.Errorf("%v: exit code %d: %s", target, code, said)
		}
	}
	if code, _, said := r.speedctl(t, "infra", "replay", "deployment/web", "-n", "shop", "--mode", "all"); code != 2 || !strings.Contains(said, `mode "all"`) {
		t.Errorf("exit code %d: %s", code, said)
	}
}

func TestInfraWantsAClusterWhereThereAreSeveral(t *testing.T) {
	r := startRemote(t, "prod", "staging")
	code, _, said := r.speedctl(t, "infra", "workloads")
	if code != 2 || !strings.Contains(said, "prod, staging") || !strings.Contains(said, "--cluster") {
		t.Errorf("exit code %d: %s", code, said)
	}
	if code, _, said := r.speedctl(t, "infra", "workloads", "--cluster", "staging"); code != 0 {
		t.Errorf("exit code %d: %s", code, said)
	}
}

func TestInfraWithoutAnInspector(t *testing.T) {
	r := startRemote(t)
	code, _, said := r.speedctl(t, "infra", "workloads")
	if code != 4 || !strings.Contains(said, "no cluster has an inspector") || !strings.Contains(said, "dashboardAccess") {
		t.Errorf("exit code %d: %s", code, said)
	}
}
