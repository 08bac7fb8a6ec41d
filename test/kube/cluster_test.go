// Package kube has the tests on a real Kubernetes cluster. They run where
// SPEEDSCALE_E2E_VERSION names the version of images that the cluster of KUBECONFIG
// has, such as make cluster-e2e puts on the test node.
package kube

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// cluster is the cluster under test, as a user has it: kubectl and speedctl.
type cluster struct {
	*testing.T
	version string
	env     []string
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	version := os.Getenv("SPEEDSCALE_E2E_VERSION")
	if version == "" {
		t.Skip("SKIPPED: SPEEDSCALE_E2E_VERSION is not set: make cluster-e2e runs this on the test node")
	}
	return &cluster{T: t, version: version, env: append(os.Environ(), "SPEEDSCALE_HOME="+t.TempDir())}
}

// run is a part of the story, which later parts need.
func (c *cluster) run(name string, part func(c *cluster)) {
	c.Helper()
	if !c.Run(name, func(t *testing.T) { part(&cluster{T: t, version: c.version, env: c.env}) }) && name == "install" {
		c.FailNow()
	}
}

func (c *cluster) try(name string, args ...string) (string, error) {
	cmd := exec.CommandContext(c.Context(), name, args...)
	cmd.Env = c.env
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// output is what a command prints, without its notes on stderr, which its error has.
func (c *cluster) output(name string, args ...string) (string, error) {
	cmd := exec.CommandContext(c.Context(), name, args...)
	cmd.Env = c.env
	out, err := cmd.Output()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, failed.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}

func (c *cluster) must(name string, args ...string) string {
	c.Helper()
	out, err := c.try(name, args...)
	if err != nil {
		c.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// stdin runs a command that reads a text.
func (c *cluster) stdin(text, name string, args ...string) {
	c.Helper()
	cmd := exec.CommandContext(c.Context(), name, args...)
	cmd.Env, cmd.Stdin = c.env, strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		c.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func (c *cluster) kubectl(args ...string) string { c.Helper(); return c.must("kubectl", args...) }

const speedctl = "../../bin/speedctl"

func (c *cluster) speedctl(args ...string) string { c.Helper(); return c.must(speedctl, args...) }

// eventually repeats a check for three minutes: more and more seldom, since each time
// costs what the programs under test need too.
func (c *cluster) eventually(what string, done func() bool) {
	c.Helper()
	wait := 250 * time.Millisecond
	for deadline := time.Now().Add(3 * time.Minute); !done(); time.Sleep(wait) {
		if time.Now().After(deadline) {
			c.Fatalf("%s\n%s", what, c.kubectl("get", "pods,events", "-A"))
		}
		wait = min(wait*5/4, 2*time.Second)
	}
}

// install installs the cloud, the operator and the demo, or upgrades them: the images of
// speedctl's version. What earlier parts gave is forgotten.
func (c *cluster) install(args ...string) {
	c.Helper()
	const images = "image.registry=docker.io/speedscale,image.pullPolicy=Never"
	// A small node has room for several replays.
	const small = "replayComponents.generator.resources.requests.cpu=10m,replayComponents.responder.resources.requests.cpu=10m"
	c.speedctl(append([]string{"install", "--reset-values", "--set", images, "--set", "clusterName=e2e,networkPolicies.apiServer.ports={6443}", "--set", small,
		"--cloud-set", images, "--cloud-set", "persistence.size=1Gi", "--timeout", "2m"}, args...)...)
}

// apply applies a file of testdata, in a namespace of its own.
func (c *cluster) apply(namespace, file string) {
	c.Helper()
	text, err := os.ReadFile("testdata/" + file)
	if err != nil {
		c.Fatal(err)
	}
	c.namespace(namespace)
	path := c.TempDir() + "/" + file
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(text), "VERSION", c.version)), 0o600); err != nil {
		c.Fatal(err)
	}
	c.kubectl("-n", namespace, "apply", "-f", path)
}

// namespace makes one that is deleted with the end of the test, and is gone some time later.
func (c *cluster) namespace(name string) {
	c.Helper()
	c.kubectl("wait", "namespace", name, "--for=delete", "--timeout=3m")
	c.kubectl("create", "namespace", name)
	c.Cleanup(func() { exec.Command("kubectl", "delete", "namespace", name, "--wait=false").Run() })
}

// asItIs returns an object, so that it can be made anew.
func (c *cluster) asItIs(args ...string) string {
	c.Helper()
	var object map[string]any
	if err := json.Unmarshal([]byte(c.kubectl(append([]string{"get", "-o", "json"}, args...)...)), &object); err != nil {
		c.Fatal(err)
	}
	for _, field := range []string{"resourceVersion", "uid", "creationTimestamp"} {
		delete(object["metadata"].(map[string]any), field)
	}
	text, err := json.Marshal(object)
	if err != nil {
		c.Fatal(err)
	}
	return string(text)
}

func (c *cluster) rollout(namespace, workload string) {
	c.Helper()
	c.kubectl("-n", namespace, "rollout", "status", workload, "--timeout=3m")
}

func (c *cluster) clusterIP(namespace, service string) string {
	c.Helper()
	return c.kubectl("-n", namespace, "get", "service", service, "-o", "jsonpath={.spec.clusterIP}")
}

// containers of the running pods of an app.
func (c *cluster) containers(namespace, app string) string {
	c.Helper()
	return c.kubectl("-n", namespace, "get", "pods", "-l", "app="+app, "--field-selector=status.phase=Running", "-o", "jsonpath={.items[*].spec.containers[*].name}")
}

// pods lists a namespace's pods as kubectl does, without their suffixes: name, ready and status.
func (c *cluster) pods(namespace string) []string {
	c.Helper()
	var list []string
	for line := range strings.Lines(c.kubectl("-n", namespace, "get", "pods", "--no-headers")) {
		f := strings.Fields(line)
		name := strings.Split(f[0], "-")
		list = append(list, fmt.Sprintf("%s %s %s", strings.Join(name[:len(name)-2], "-"), f[1], f[2]))
	}
	slices.Sort(list)
	return list
}

// objects lists what the API server has, but for what changes by itself.
func (c *cluster) objects() []string {
	c.Helper()
	changing := regexp.MustCompile(`^events|^leases\.|\.metrics\.k8s\.io$`)
	return c.listed("{{.kind}} {{.metadata.namespace}}/{{.metadata.name}}", changing, []string{"--verbs=list"}, "-A")
}

// objectsIn lists what a namespace has, but for events.
func (c *cluster) objectsIn(namespace string) []string {
	c.Helper()
	changing := regexp.MustCompile(`^events|\.metrics\.k8s\.io$`)
	return c.listed("{{.kind}}/{{.metadata.name}}", changing, []string{"--namespaced", "--verbs=list"}, "-n", namespace)
}

// listed lists objects of all kinds but those that are left out. A kind that goes away at
// this moment, or a server of an API that is away for it, fails all of it, so it is repeated.
func (c *cluster) listed(format string, without *regexp.Regexp, which []string, scope ...string) (list []string) {
	c.Helper()
	var failed error
	c.eventually("objects cannot be listed", func() bool {
		var kinds, objects string
		if kinds, failed = c.output("kubectl", append([]string{"api-resources", "-o", "name"}, which...)...); failed == nil {
			wanted := slices.DeleteFunc(strings.Fields(kinds), without.MatchString)
			objects, failed = c.output("kubectl", append([]string{"get", strings.Join(wanted, ","), "-o", "go-template={{range .items}}" + format + "\n{{end}}"}, scope...)...)
		}
		list = strings.Split(objects, "\n")
		return failed == nil
	})
	slices.Sort(list)
	return slices.Compact(list)
}

// packetFilter lists the node's own rules, sorted; none where they cannot be read.
func (c *cluster) packetFilter() []string {
	c.Helper()
	out, err := c.try("nft", "list", "ruleset")
	if err != nil {
		c.Logf("SKIPPED: packet filter rules cannot be compared: %v: %s", err, out)
		return nil
	}
	out = regexp.MustCompile(`counter packets \d+ bytes \d+`).ReplaceAllString(out, "counter")
	// kube-proxy empties the chain of a Service that is gone, and deletes it when it writes rules the next time,
	// which without a change to a Service may be an hour later.
	out = regexp.MustCompile(`(?m)^\s*chain \S+ \{\n\s*\}\n`).ReplaceAllString(out, "")
	var list []string
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); line != "" {
			list = append(list, line)
		}
	}
	slices.Sort(list)
	return list
}
