package command_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/speedscale/speedscale/cloud/auth"
	"github.com/speedscale/speedscale/cloud/server"
)

// apiServer is one with nothing in it but the Deployment web, which notes what it is asked to change.
type apiServer struct {
	*httptest.Server
	version string
	denied  string // a resource that the user may not create
	// operator is a namespace that has one, "" for none.
	operator  string
	noDefault bool // no storage class is the default
	// undefined says that it has no definition of TrafficReplay.
	undefined bool
	// invalid is the answer to a new TrafficReplay.
	invalid string
	// objects are more of them, by path; "" is one that the user may not read.
	objects map[string]string

	mu      sync.Mutex
	changes []string
}

func newAPIServer(t *testing.T) *apiServer {
	a := &apiServer{version: "v1.37.2"}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch {
	case r.URL.Path == "/version":
		fmt.Fprintf(w, `{"gitVersion": %q}`, a.version)
	case strings.HasSuffix(r.URL.Path, "/selfsubjectaccessreviews"):
		body, _ := io.ReadAll(r.Body)
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
		review, ok := object.(*authorizationv1.SelfSubjectAccessReview)
		if !ok {
			http.Error(w, fmt.Sprint(err), http.StatusBadRequest)
			return
		}
		review.Status.Allowed = review.Spec.ResourceAttributes.Resource != a.denied
		json.NewEncoder(w).Encode(review)
	case r.URL.Path == "/apis/apps/v1/namespaces/default/deployments/web" && r.Method == http.MethodGet:
		fmt.Fprint(w, `{"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "web", "namespace": "default"}}`)
	case r.URL.Path == "/apis/apps/v1/deployments" && a.operator != "":
		fmt.Fprintf(w, `{"kind": "DeploymentList", "apiVersion": "apps/v1", "items": [{"metadata": {"name": "speedscale-operator", "namespace": %q}}]}`, a.operator)
	case r.URL.Path == "/apis/apps/v1/deployments":
		fmt.Fprint(w, `{"kind": "DeploymentList", "apiVersion": "apps/v1", "items": []}`)
	case r.URL.Path == "/apis/apps/v1/statefulsets":
		fmt.Fprint(w, `{"kind": "StatefulSetList", "apiVersion": "apps/v1", "items": []}`)
	case r.URL.Path == "/api/v1/persistentvolumeclaims":
		fmt.Fprint(w, `{"kind": "PersistentVolumeClaimList", "apiVersion": "v1", "items": []}`)
	case r.URL.Path == "/api/v1/persistentvolumes":
		fmt.Fprint(w, `{"kind": "PersistentVolumeList", "apiVersion": "v1", "items": []}`)
	case r.URL.Path == "/apis/storage.k8s.io/v1/storageclasses":
		fmt.Fprintf(w, `{"kind": "StorageClassList", "apiVersion": "storage.k8s.io/v1", "items": [
			{"metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "%v"}}}]}`, !a.noDefault)
	case strings.HasSuffix(r.URL.Path, "/secrets") && r.Method == http.MethodGet:
		fmt.Fprint(w, `{"kind": "SecretList", "apiVersion": "v1", "items": []}`)
	case a.undefined && strings.HasPrefix(r.URL.Path, "/apis/speedscale.com/"):
		http.NotFound(w, r)
	case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/trafficreplays"):
		w.WriteHeader(http.StatusUnprocessableEntity)
		fmt.Fprintf(w, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Invalid", "code": 422, "message": %q}`, a.invalid)
	case a.objects[r.URL.Path] != "" && r.Method == http.MethodGet:
		fmt.Fprint(w, a.objects[r.URL.Path])
	default:
		if r.Method != http.MethodGet {
			a.mu.Lock()
			a.changes = append(a.changes, r.Method+" "+r.URL.Path)
			a.mu.Unlock()
		}
		if r.Method == http.MethodPatch && a.objects[r.URL.Path] != "" {
			fmt.Fprint(w, a.objects[r.URL.Path])
			return
		}
		reason, code := "NotFound", http.StatusNotFound
		if _, there := a.objects[r.URL.Path]; there {
			reason, code = "Forbidden", http.StatusForbidden
		}
		w.WriteHeader(code)
		kind, name := path.Split(r.URL.Path)
		fmt.Fprintf(w, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": %q, "code": %d, "message": %q, "details": {"kind": %q, "name": %q}}`,
			reason, code, reason, path.Base(kind), name)
	}
}

func (a *apiServer) kubeconfig(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "c",
		"clusters": [{"name": "c", "cluster": {"server": %q}}], "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}], "users": [{"name": "u", "user": {}}]}`, a.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func (r *remote) newKey(t *testing.T, scopes ...string) string {
	t.Helper()
	_, key, err := r.cloud.Keyring().Create(t.Context(), "test", scopes, 0)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestBadInputChangesNothing: what is wrong is named, and nothing is made in the cluster.
func TestBadInputChangesNothing(t *testing.T) {
	r := startRemote(t)
	r.push(t)
	url, read, control := r.cloud.URL(), r.newKey(t, auth.ScopeRead), r.newKey(t, auth.ScopeControl)
	for _, c := range []struct {
		args   string
		change func(*apiServer)
		code   int
		want   []string
	}{
		{"install", func(a *apiServer) { a.version = "v1.29.3" }, 1, []string{"Kubernetes v1.29.3: want 1.30 or newer"}},
		{"upgrade", func(a *apiServer) { a.version = "v1.29.3" }, 1, []string{"Kubernetes v1.29.3: want 1.30 or newer"}},
		{"check --pre", func(a *apiServer) { a.version = "v1.29.3" }, 1, []string{"FAIL the cluster's version is supported", "v1.29.3"}},
		{"install", func(a *apiServer) { a.denied = "clusterroles" }, 5, []string{"you may not create clusterroles.rbac.authorization.k8s.io", "hint: ask an administrator"}},
		{"check --pre", func(a *apiServer) { a.denied = "clusterroles" }, 1, []string{"you may not create clusterroles"}},
		{"install", func(a *apiServer) { a.noDefault = true }, 2, []string{"no storage class is the cluster's default", "hint: --cloud-set persistence.storageClass=NAME"}},
		{"check --pre", func(a *apiServer) { a.noDefault = true }, 1, []string{"no storage class is the cluster's default"}},
		{"install", func(a *apiServer) { a.operator = "tools" }, 2, []string{`an operator is in namespace "tools" already`, "hint: -n tools"}},
		{"upgrade", func(a *apiServer) { a.operator = "tools" }, 2, []string{`an operator is in namespace "tools" already`, "hint: -n tools"}},
		{"upgrade", func(a *apiServer) { a.operator = "speedscale" }, 2, []string{`the operator in namespace "speedscale" is of no release`}},
		{"check --pre", func(a *apiServer) { a.operator = "tools" }, 1, []string{`an operator is in namespace "tools" already`}},
		{"install --set logLevel=loud", nil, 2, []string{"speedscale-operator", "logLevel"}},
		{"install --cloud-set service.port=0", nil, 2, []string{"speedscale-cloud", "port"}},
		{"install --app-url " + url, nil, 2, []string{"--app-url needs a key"}},
		{"install --app-url " + url + " --api-key " + auth.NewKey(), nil, 5, []string{"--app-url", url, "not known here"}},
		{"install --app-url " + url + " --api-key " + read, nil, 5, []string{"has the scope read"}},
		{"install --app-ca ca.pem", nil, 2, []string{"--app-ca is for the cloud that --app-url names"}},
		{"install --app-url " + url + " --api-key " + control + " --app-ca /none/ca.pem", nil, 2, []string{"/none/ca.pem"}},
		{"upgrade --set-file appCA=/none/ca.pem", nil, 2, []string{`--set-file "appCA=/none/ca.pem"`}},
		{"upgrade", nil, 4, []string{`release "speedscale-operator" in namespace "speedscale"`, "hint: speedctl install"}},
		{"inject deployment/none -n shop", nil, 4, []string{"deployment shop/none"}},
		{"inject deployment/web --set-annotation proxy-typ=x", nil, 2, []string{"proxy-typ"}},
		{"replay deployment/web --snapshot none --yes", nil, 4, []string{`--snapshot "none"`}},
		{"replay deployment/web --snapshot shop --test-config none --yes", func(a *apiServer) {
			a.invalid = `TrafficReplay.speedscale.com "web" is invalid: spec.testConfigID: Invalid value: "none"`
		}, 2, []string{"spec.testConfigID", `"none"`}},
	} {
		a := newAPIServer(t)
		if c.change != nil {
			c.change(a)
		}
		// The cloud is that of the context, as where one is not in the cluster.
		args := append(strings.Fields(c.args), "--kubeconfig", a.kubeconfig(t), "-c", "cloud")
		code, out, said := r.speedctl(t, args...)
		if code != c.code {
			t.Errorf("%s: exit code %d, want %d: %s", c.args, code, c.code, said)
		}
		for _, w := range c.want {
			if !strings.Contains(out+said, w) {
				t.Errorf("%s: %q is missing in %s%s", c.args, w, out, said)
			}
		}
		if len(a.changes) > 0 {
			t.Errorf("%s: it did %v", c.args, a.changes)
		}
	}
}

// TestHintIsOfAnotherKind: it is for what was not found.
func TestHintIsOfAnotherKind(t *testing.T) {
	r := startRemote(t)
	a := newAPIServer(t)
	undefined := newAPIServer(t)
	undefined.undefined = true
	const replays, definition = "hint: -n names another namespace; speedctl get replays lists them", "hint: speedctl install installs it"
	for args, want := range map[string]string{
		"get replays nosuch":      replays,
		"wait replay nosuch":      replays,
		"delete replay nosuch":    replays,
		"why nosuch":              "hint: -n names another namespace; kubectl get pods lists them",
		"why deployment/nosuch":   "hint: -n names another namespace; speedctl get workloads lists them",
		"uninject sts/nosuch":     "hint: -n names another namespace; speedctl get workloads lists them",
		"uninject rollout/tier":   "the cluster has no Argo Rollouts",
		"get replays nosuch -n x": replays,
	} {
		code, _, said := r.speedctl(t, append(strings.Fields(args), "--kubeconfig", a.kubeconfig(t))...)
		if code != 4 || !strings.Contains(said, want) || strings.Count(said, "hint:") != strings.Count(want, "hint:") {
			t.Errorf("%s: exit code %d: %s, want %s", args, code, said, want)
		}
	}
	for _, args := range []string{"get replays nosuch", "get replays", "wait replay nosuch", "delete replay nosuch"} {
		code, _, said := r.speedctl(t, append(strings.Fields(args), "--kubeconfig", undefined.kubeconfig(t))...)
		if code != 4 || !strings.Contains(said, "the definition of TrafficReplay is not installed") || !strings.Contains(said, definition) {
			t.Errorf("%s without the definition: exit code %d: %s", args, code, said)
		}
	}
	code, _, said := r.speedctl(t, "get", "replays", "nosuch", "-A", "--kubeconfig", a.kubeconfig(t))
	if code != 2 || !strings.Contains(said, "a resource cannot be retrieved by name across all namespaces") {
		t.Errorf("by name in all namespaces: exit code %d: %s", code, said)
	}
}

// TestUnreachableCloudIsNamed: its address, and why speedctl means it.
func TestUnreachableCloudIsNamed(t *testing.T) {
	s, err := server.Open(t.Context(), server.Options{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	r := startRemote(t)
	gone := s.URL()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`{"current-context": "team", "contexts": [{"name": "team", "app-url": %q, "apikey": "sp_a_b"}]}`, gone)
	if err := os.WriteFile(filepath.Join(r.home, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"get snapshots":               fmt.Sprintf(`the cloud at %s (context "team", the current one) is not reached`, gone),
		"-c team get reports":         fmt.Sprintf(`the cloud at %s (context "team") is not reached`, gone),
		"-c team get report x --web":  fmt.Sprintf(`the cloud at %s (context "team") is not reached`, gone),
		"-c team infra workloads":     fmt.Sprintf(`the cloud at %s (context "team") is not reached`, gone),
		"-c team create snapshot":     fmt.Sprintf(`the cloud at %s (context "team") is not reached`, gone),
		"-c team get traffic -o json": fmt.Sprintf(`the cloud at %s (context "team") is not reached`, gone),
	} {
		code, _, said := r.speedctl(t, strings.Fields(args)...)
		if code != 1 || !strings.Contains(said, want) {
			t.Errorf("%s: exit code %d, %s", args, code, said)
		}
	}
}
