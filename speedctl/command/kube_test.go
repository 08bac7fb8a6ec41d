package command

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/home"
	"github.com/speedscale/speedscale/speedctl/term"
)

// clusterWithCloud is the kubeconfig of a cluster whose cloud is in the namespace there.
func clusterWithCloud(t *testing.T) (file string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/api/v1/namespaces/there/services/speedscale-cloud":
			fmt.Fprint(w, `{"kind": "Service", "apiVersion": "v1", "spec": {"ports": [{"port": 80}]}}`)
		case "/api/v1/namespaces/there/secrets/speedscale-api-keys":
			fmt.Fprint(w, `{"kind": "Secret", "apiVersion": "v1", "data": {"admin": "c3BfMQ=="}}`)
		default:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}`)
		}
	}))
	t.Cleanup(s.Close)
	file = filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "staging",
		"clusters": [{"name": "c", "cluster": {"server": %q}}], "contexts": [{"name": "staging", "context": {"cluster": "c"}}]}`, s.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestCloudInANamespaceOfItsOwn: the cloud that install put into another namespace than the
// usual one is found by the context that install made, and by that of no other cluster.
func TestCloudInANamespaceOfItsOwn(t *testing.T) {
	file := clusterWithCloud(t)
	for kubeContext, want := range map[string]error{"staging": nil, "production": client.ErrNoCloud} {
		g := &global{World: &term.World{Err: t.Output(), Getenv: func(string) string { return "" }}, kube: newKubeFlags(), home: t.TempDir()}
		*g.kube.KubeConfig = file
		if _, _, err := client.AddCluster(home.Dir(g.home), home.Cluster{Kubeconfig: file, KubeContext: kubeContext, Namespace: "there"}); err != nil {
			t.Fatal(err)
		}
		check := func(what string, c *client.Client, err error) {
			if !errors.Is(err, want) {
				t.Errorf("a context of %s: %s: %v, want %v", kubeContext, what, err, want)
			}
			if err == nil {
				c.Close()
			}
		}
		c, err := g.connectCluster(t.Context(), false)
		check("that of a workload", c, err)
		c, err = g.connect(t.Context())
		check("that of --kubeconfig", c, err)
	}
}

// TestReplayLooksForTheSnapshotInAnotherCloud than the current context's, in which it was
// made: where it looked is said.
func TestReplayLooksForTheSnapshotInAnotherCloud(t *testing.T) {
	file := clusterWithCloud(t)
	g := &global{World: &term.World{Err: t.Output(), Getenv: func(string) string { return "" }}, kube: newKubeFlags(), home: t.TempDir()}
	*g.kube.KubeConfig = file
	dir := home.Dir(g.home)
	if err := dir.Save(&home.Config{CurrentContext: home.Local, Contexts: []home.Context{{Name: home.Local}}}); err != nil {
		t.Fatal(err)
	}
	if hint := g.otherCloud(); hint != "" {
		t.Errorf("a cluster without a context: %s", hint)
	}
	if _, _, err := client.AddCluster(dir, home.Cluster{Kubeconfig: file, KubeContext: "staging", Namespace: "there"}); err != nil {
		t.Fatal(err)
	}
	want := `it was looked for in the cluster's cloud, that of context "staging", and the current context is "local": speedctl config use-context staging`
	if hint := g.otherCloud(); !strings.HasPrefix(hint, want) {
		t.Errorf("got %q, want %q", hint, want)
	}
	cfg, err := dir.Load()
	if err != nil {
		t.Fatal(err)
	}
	cfg.CurrentContext = "staging"
	if err := dir.Save(cfg); err != nil {
		t.Fatal(err)
	}
	if hint := g.otherCloud(); hint != "" {
		t.Errorf("the current context is the cluster's: %s", hint)
	}
}
