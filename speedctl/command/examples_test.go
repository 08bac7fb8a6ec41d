package command_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/auth"
	"github.com/speedscale/speedscale/cloud/client"
	"github.com/speedscale/speedscale/speedctl/command"
	"github.com/speedscale/speedscale/speedctl/term"
	"github.com/speedscale/speedscale/test/ports"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/report"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

// trafficReplay is the one that examples name, which has passed.
const trafficReplay = `{"apiVersion": "speedscale.com/v1", "kind": "TrafficReplay",
	"metadata": {"name": "checkout-x7k2p", "namespace": "shop", "creationTimestamp": "2026-11-01T10:00:00Z"},
	"spec": {"snapshotID": "s", "testConfigID": "standard"},
	"status": {"conditions": [{"type": "MocksReady", "status": "True"}, {"type": "Passed", "status": "True", "reason": "TestSucceeded"},
		{"type": "Ready", "status": "True", "reason": "TestSucceeded"}]}}`

func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return u
}

// TestExamples runs every example of every command's help, but for those that are annotated
// with the reason why not, which it lists.
func TestExamples(t *testing.T) {
	root := command.New(&term.World{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard, Getenv: func(string) string { return "" }})
	ports.Own(t)
	lines := examples(t, root)
	e := newExampleWorld(t)
	known := map[string]bool{}
	for _, line := range lines {
		c, _, err := root.Find(splitShell(line)[1:])
		if err != nil {
			t.Fatal(err)
		}
		for key := range c.Annotations {
			if text, ok := strings.CutPrefix(key, "not-run: "); ok && !slices.Contains(lines, text) && !known[key] {
				t.Errorf("%s: %q is annotated, and no example", c.CommandPath(), text)
				known[key] = true
			}
		}
		reason := c.Annotations["not-run"]
		if reason == "" {
			reason = c.Annotations["not-run: "+line]
		}
		if reason != "" {
			t.Logf("NOT RUN, because %s: %s", reason, line)
			continue
		}
		e.run(t, line)
	}
}

// examples are the lines of all commands: first those that capture, whose traffic others
// want, and last those that take something away.
func examples(t *testing.T, root *cobra.Command) (lines []string) {
	t.Helper()
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Hidden {
			return
		}
		found := 0
		for line := range strings.Lines(c.Example) {
			if line = strings.TrimSpace(line); line != "" {
				found++
				lines = append(lines, line)
			}
		}
		if found == 0 {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(root)
	rank := func(line string) int {
		switch splitShell(line)[1] {
		case "capture":
			return 0
		case "create":
			return 1
		case "delete":
			return 3
		}
		return 2
	}
	slices.Sort(lines)
	lines = slices.Compact(lines)
	slices.SortStableFunc(lines, func(a, b string) int { return rank(a) - rank(b) })
	return lines
}

// exampleWorld is a folder, a cloud and a cluster with what examples name.
type exampleWorld struct {
	*remote
	config []byte
	// replaced stand in examples for what differs from run to run.
	replaced *strings.Replacer
	busy     bool // the ports of examples are taken
	env      map[string]string
}

func newExampleWorld(t *testing.T) *exampleWorld {
	t.Helper()
	r := startRemote(t, "my-cluster")
	e := &exampleWorld{remote: r, env: map[string]string{"SPEEDSCALE_API_KEY": r.cloud.InitialKey(), "NO_COLOR": "1", "PATH": os.Getenv("PATH")}}
	t.Setenv("KUBECONFIG", exampleCluster(t)) // client-go reads the process's own
	t.Chdir(t.TempDir())
	e.listen(t)
	e.fillCluster(t)
	for file, text := range map[string]string{
		"shop":          "#!/bin/sh\nfor i in 1 2 3; do curl -s -o out http://127.0.0.1:4143/orders; curl -s -o out -X POST -d a=1 http://127.0.0.1:4143/orders; done; true\n",
		"shop-new":      "#!/bin/sh\nexec sleep 60\n",
		"daily.yaml":    "id: daily\nrules:\n- {metricName: p95Latency, type: TOO_HIGH, value: 100}\n",
		"checkout.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: checkout, namespace: shop}\nspec: {selector: {matchLabels: {app: checkout}}, template: {metadata: {labels: {app: checkout}}, spec: {containers: [{name: c, image: i}]}}}\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	makeSnapshot(t, "checkout", "local")
	makeSnapshot(t, filepath.Join("snapshots", "checkout"), "checkout")
	makeSnapshot(t, filepath.Join("snapshots", "again"), "checkout-again")
	if err := os.WriteFile("raw.jsonl", traffic.AppendJSON(nil, pair("raw")), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"snapshots/checkout", "snapshots/again"} {
		if code, _, said := r.speedctl(t, "push", "snapshot", dir); code != 0 {
			t.Fatal(said)
		}
	}
	pulled := makeSnapshot(t, "pulled", "pulled")
	if err := os.CopyFS(filepath.Join(r.home, "data", "snapshots", pulled), os.DirFS("pulled")); err != nil {
		t.Fatal(err)
	}
	e.putReport(t, "3f0e6a52-1f5d-4c56-9a53-0d7e3f1f5b8e")
	id, _, err := r.cloud.Keyring().Create(t.Context(), "old", []string{auth.ScopeRead}, 0)
	if err != nil {
		t.Fatal(err)
	}
	e.replaced = strings.NewReplacer("https://speedscale.example.com", r.cloud.URL(), "$KEY", r.cloud.InitialKey(),
		"939b6844-4da9-4d35-9128-7e6c2a95988b", pulled, "k1f3a", id)
	e.addContexts(t)
	return e
}

// addContexts makes the contexts team and local beside that of the cloud.
func (e *exampleWorld) addContexts(t *testing.T) {
	t.Helper()
	file := filepath.Join(e.home, "config.json")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	contexts := config["contexts"].([]any)
	team := maps.Clone(contexts[0].(map[string]any))
	team["name"] = "team"
	config["contexts"] = append(contexts, team, map[string]any{"name": "local", "apikey": "sp_a_b"})
	if e.config, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
}

// listen serves what examples replay against, where its ports are free.
func (e *exampleWorld) listen(t *testing.T) {
	t.Helper()
	for _, port := range []string{"4140", "4143", "15432", "8080"} {
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			e.busy = true
			t.Logf("NOT RUN are examples that listen, because port %s is taken: %v", port, err)
			return
		}
		if port != "8080" {
			l.Close()
			continue
		}
		s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}}
		s.Start()
		t.Cleanup(s.Close)
	}
}

func (e *exampleWorld) fillCluster(t *testing.T) {
	t.Helper()
	web, err := e.kube.AppsV1().Deployments("shop").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	checkout := web.DeepCopy()
	checkout.Name, checkout.ResourceVersion = "checkout", ""
	if _, err := e.kube.AppsV1().Deployments("shop").Create(t.Context(), checkout, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "checkout-5d8c7"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "checkout"}}}}
	if _, err := e.kube.CoreV1().Pods("shop").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func pair(service string) *traffic.RRPair {
	return &traffic.RRPair{
		Uuid: traffic.NewUUID(), Ts: time.Unix(1_700_000_000, 0).UnixNano(), Duration: int64(time.Millisecond),
		Direction: traffic.Direction_DIRECTION_IN, Service: service, L7Protocol: traffic.HTTPProtocol,
		Command: "GET", Location: "/", Status: "200", NetworkAddress: service + ":80",
		Http: &traffic.HTTP{
			Req: &traffic.HTTPRequest{Url: "http://" + service + "/", Uri: "/", Version: "1.1", Method: "GET", Host: service},
			Res: &traffic.HTTPResponse{StatusCode: 200, Version: "1.1"},
		},
	}
}

func makeSnapshot(t *testing.T, dir, name string) (id string) {
	t.Helper()
	w, err := snapshot.Create(dir, snapshot.Meta{Info: snapshot.Info{Name: name}})
	if err != nil {
		t.Fatal(err)
	}
	err = w.Add(pair("checkout"))
	if err == nil {
		_, err = w.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := snapshot.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s.Meta().ID
}

func (e *exampleWorld) putReport(t *testing.T, id string) {
	t.Helper()
	c, err := client.New(client.Options{URL: e.cloud.URL(), Key: e.cloud.InitialKey()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var text bytes.Buffer
	if err := (&report.Report{Version: 1, ID: id, Status: report.Passed, Started: time.Now(), Finished: time.Now()}).WriteJSON(&text); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Reports.Put(t.Context(), &cloudv1.PutReportRequest{Report: text.Bytes()}); err != nil {
		t.Fatal(err)
	}
}

// run runs an example with a configuration of its own, and wants that it works. A replay
// may miss its goals.
func (e *exampleWorld) run(t *testing.T, line string) {
	t.Helper()
	args := splitShell(e.replaced.Replace(line))[1:]
	captured := strings.HasPrefix(line, "speedctl create snapshot") && !slices.Contains(args, "--raw") // from what capture captures
	if e.busy && (captured || args[0] == "capture" || args[0] == "mock" || args[0] == "replay" && slices.Contains(args, "--")) {
		t.Logf("NOT RUN, because a port is taken: %s", line)
		return
	}
	if err := os.WriteFile(filepath.Join(e.home, "config.json"), e.config, 0o600); err != nil {
		t.Fatal(err)
	}
	e.env["SPEEDSCALE_HOME"] = e.home
	if args[0] == "init" {
		e.env["SPEEDSCALE_HOME"] = t.TempDir()
	}
	var stdout, stderr screen // a program that the command starts writes too
	w := &term.World{In: strings.NewReader(""), Out: &stdout, Err: &stderr, Environ: os.Environ(), Getenv: func(name string) string { return e.env[name] }}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	code := command.Execute(ctx, w, args)
	if code != term.ExitOK && (args[0] != "replay" || code != term.ExitMissedGoals) {
		t.Errorf("%s: exit code %d: %s%s", line, code, stdout.String(), stderr.String())
	}
}

// exampleCluster is an API server with what examples name, and its kubeconfig.
func exampleCluster(t *testing.T) (kubeconfig string) {
	t.Helper()
	deployment := `{"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "checkout", "namespace": %q},
		"spec": {"selector": {"matchLabels": {"app": "checkout"}}, "template": {"metadata": {"labels": {"app": "checkout"}}, "spec": {"containers": [{"name": "c"}]}}}}`
	pod := `{"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "checkout-7c9d6b5f4-x2x7k", "namespace": "default"}, "spec": {"containers": [{"name": "c"}]}}`
	objects := map[string]string{
		"/api/v1/namespaces/default/pods/checkout-7c9d6b5f4-x2x7k":                                pod,
		"/apis/speedscale.com/v1/trafficreplays":                                                  `{"kind": "TrafficReplayList", "apiVersion": "speedscale.com/v1", "items": [` + trafficReplay + `]}`,
		"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/speedscale-operator": `{"kind": "MutatingWebhookConfiguration", "apiVersion": "admissionregistration.k8s.io/v1"}`,
	}
	for _, namespace := range []string{"default", "shop"} {
		objects["/api/v1/namespaces/"+namespace] = fmt.Sprintf(`{"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": %q}}`, namespace)
		objects["/apis/apps/v1/namespaces/"+namespace+"/deployments/checkout"] = fmt.Sprintf(deployment, namespace)
		objects["/apis/speedscale.com/v1/namespaces/"+namespace+"/trafficreplays"] = objects["/apis/speedscale.com/v1/trafficreplays"]
		objects["/apis/speedscale.com/v1/namespaces/"+namespace+"/trafficreplays/checkout-x7k2p"] = trafficReplay
	}
	rest := newAPIServer(t)
	deleted := map[string]bool{}
	mux := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		text, ok := objects[r.URL.Path]
		kinds := map[string]string{
			"pods": "PodList", "services": "ServiceList", "deployments": "DeploymentList", "statefulsets": "StatefulSetList", "daemonsets": "DaemonSetList",
			"jobs": "JobList", "cronjobs": "CronJobList", "events": "EventList",
		}
		kind := kinds[r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]]
		version := "v1"
		if path, ok := strings.CutPrefix(r.URL.Path, "/apis/"); ok {
			version = strings.Join(strings.SplitN(path, "/", 3)[:2], "/")
		}
		switch {
		case ok && r.Method == http.MethodDelete:
			deleted[r.URL.Path] = true
			fmt.Fprint(w, `{"kind": "Status", "apiVersion": "v1", "status": "Success"}`)
		case ok && !deleted[r.URL.Path] && r.Method == http.MethodGet:
			fmt.Fprint(w, text)
		case kind != "" && r.Method == http.MethodGet:
			fmt.Fprintf(w, `{"kind": %q, "apiVersion": %q, "items": []}`, kind, version)
		default:
			rest.ServeHTTP(w, r)
		}
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	rest.URL = s.URL
	return rest.kubeconfig(t)
}
