// Package kube has the tests on a real Kubernetes cluster. They run where
// SPEEDSCALE_E2E_VERSION names the version of images that the cluster of KUBECONFIG
// has, such as make cluster-e2e puts on the test node.
package kube

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// cluster is the cluster under test, as a user has it: kubectl and speedctl.
type cluster struct {
	t       *testing.T
	version string
	env     []string
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	version := os.Getenv("SPEEDSCALE_E2E_VERSION")
	if version == "" {
		t.Skip("SKIPPED: SPEEDSCALE_E2E_VERSION is not set: make cluster-e2e runs this on the test node")
	}
	return &cluster{t: t, version: version, env: append(os.Environ(), "SPEEDSCALE_HOME="+t.TempDir())}
}

func (c *cluster) try(name string, args ...string) (string, error) {
	cmd := exec.CommandContext(c.t.Context(), name, args...)
	cmd.Env = c.env
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (c *cluster) must(name string, args ...string) string {
	c.t.Helper()
	out, err := c.try(name, args...)
	if err != nil {
		c.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func (c *cluster) kubectl(args ...string) string { c.t.Helper(); return c.must("kubectl", args...) }
func (c *cluster) speedctl(args ...string) string {
	c.t.Helper()
	return c.must("../../bin/speedctl", args...)
}

// eventually repeats a check for a minute.
func (c *cluster) eventually(what string, done func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(500 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("%s\n%s", what, c.kubectl("get", "pods,events", "-A"))
		}
	}
}

// install installs the cloud and the operator, and removes them after the test.
func (c *cluster) install() {
	c.t.Helper()
	images := "image.registry=docker.io/speedscale,image.pullPolicy=Never,image.tag=" + c.version
	c.speedctl("install", "--set", images, "--set", "clusterName=e2e", "--cloud-set", images, "--cloud-set", "persistence.size=1Gi", "--timeout", "2m")
	c.t.Cleanup(func() {
		if out, err := exec.Command("../../bin/speedctl", "uninstall", "--delete-data").CombinedOutput(); err != nil {
			c.t.Errorf("uninstall: %v\n%s", err, out)
		}
	})
	for _, d := range []string{"deployment/speedscale-operator", "deployment/speedscale-forwarder"} {
		c.eventually(d+" is not made", func() bool { _, err := c.try("kubectl", "-n", "speedscale", "get", d); return err == nil })
		c.kubectl("-n", "speedscale", "rollout", "status", d, "--timeout=2m")
	}
}

// login makes speedctl's context of the cloud in the cluster, by its service address.
func (c *cluster) login() {
	c.t.Helper()
	ip := c.kubectl("-n", "speedscale-cloud", "get", "service", "speedscale-cloud", "-o", "jsonpath={.spec.clusterIP}")
	key := c.kubectl("-n", "speedscale-cloud", "get", "secret", "speedscale-api-keys", "-o", "go-template={{index .data \"admin\" | base64decode}}")
	c.speedctl("init", "--app-url", "http://"+ip, "--api-key", key)
}

// app starts the app, annotated for injection.
func (c *cluster) app() (address string) {
	c.t.Helper()
	text, err := os.ReadFile("testdata/app.yaml")
	if err != nil {
		c.t.Fatal(err)
	}
	file := filepath.Join(c.t.TempDir(), "app.yaml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), "VERSION", c.version)), 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.kubectl("create", "namespace", "app")
	c.t.Cleanup(func() { exec.Command("kubectl", "delete", "namespace", "app").Run() })
	c.kubectl("apply", "-f", file)
	c.kubectl("-n", "app", "rollout", "status", "deployment/app", "--timeout=1m")
	return c.kubectl("-n", "app", "get", "service", "app", "-o", "jsonpath={.spec.clusterIP}")
}

func (c *cluster) containers() string {
	c.t.Helper()
	return c.kubectl("-n", "app", "get", "pods", "--field-selector=status.phase=Running", "-o", "jsonpath={.items[*].spec.containers[*].name}")
}

// TestCapture installs everything, injects an app by an annotation, sees its traffic
// masked in the cloud, and takes all of it away again.
func TestCapture(t *testing.T) {
	c := newCluster(t)
	c.install()
	c.login()
	address := c.app()
	if got := c.containers(); got != "speedscale-goproxy app" {
		t.Errorf("containers are %q", got)
	}
	const requests, secret = 20, "s3cr3t-of-the-test"
	for i := range requests {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://%s/orders/%d", address, i), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+secret)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
	var seen []string
	c.eventually("not all requests are in the cloud", func() bool {
		out := c.speedctl("get", "traffic", "--service", "app", "-o", "json", "-q")
		if strings.Contains(out, secret) {
			t.Fatalf("the secret is not masked:\n%s", out)
		}
		seen = seen[:0]
		for line := range strings.Lines(out) {
			var p struct{ Cluster, Namespace, Service, Direction, Location string }
			if err := json.Unmarshal([]byte(line), &p); err != nil {
				t.Fatalf("%v\n%s", err, line)
			}
			if p.Cluster != "e2e" || p.Namespace != "app" || p.Service != "app" || p.Direction != "IN" {
				t.Fatalf("a pair is %+v", p)
			}
			seen = append(seen, p.Location)
		}
		return len(seen) >= requests
	})
	if !slices.Contains(seen, "/orders/7") || len(seen) != requests {
		t.Errorf("%d pairs of %d: %v", len(seen), requests, seen)
	}

	if out, err := c.try("kubectl", "-n", "app", "annotate", "deployment", "app", "sidecar.speedscale.com/proxy-typ=dual"); err == nil || !strings.Contains(out, "nearest is sidecar.speedscale.com/proxy-type") {
		t.Errorf("a wrong annotation: %v\n%s", err, out)
	}
	c.kubectl("-n", "app", "annotate", "deployment", "app", "sidecar.speedscale.com/inject-", "sidecar.speedscale.com/capture-node-traffic-")
	c.eventually("the sidecar stays", func() bool { return c.containers() == "app" })
	if got := c.kubectl("-n", "app", "get", "deployment", "app", "-o", "jsonpath={.spec.template.metadata}"); got != `{"labels":{"app":"app"}}` {
		t.Errorf("the template keeps %s", got)
	}
}
