// Package kubenode tests the node on the machine that it runs on: it comes up, does
// what a cluster does for pods, and goes without a trace.
package kubenode

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// state is where the node is, as by default.
const state = "/var/lib/kubenode"

// node is a running node.
type node struct {
	t *testing.T
	// env is the environment of what talks to the node.
	env []string
	// bin has the node's programs.
	bin string
}

// TestNode has a node with both IP versions, and one with IPv4 that crashes.
func TestNode(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("NOT TESTED: the node needs root")
	}
	if out, err := exec.Command("ip", "link", "show", "kube0").CombinedOutput(); err == nil {
		t.Fatalf("a node runs on this machine: end it with \"kubenode down\" first\n%s", out)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	for ipv6, crash := range map[string]bool{"1": false, "0": true} {
		t.Run("KUBENODE_IPV6="+ipv6, func(t *testing.T) {
			env := append(os.Environ(), "KUBENODE_STATE="+state, "KUBENODE_CACHE="+filepath.Join(cache, "kubenode"), "KUBENODE_IPV6="+ipv6)
			n := node{t: t, env: append(env, "KUBECONFIG="+state+"/kubeconfig"), bin: filepath.Join(cache, "kubenode/bin")}
			n.kubenode("build")
			before := machine(t)
			t.Cleanup(func() { n.kubenode("down") })
			n.kubenode("up")
			n.testPods()
			if crash {
				n.kill("kubelet", "containerd", "kube-proxy")
			}
			n.kubenode("down")
			diff(t, before, machine(t))
			if _, err := os.Stat(state); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the node's folder is still there: %v", err)
			}
		})
	}
}

// TestRulesOfEarlierRuns has the rules of CNI plugins, of the kubelet and of kube-proxy
// removed in a network of its own, and the owner's rules and kernel settings kept.
func TestRulesOfEarlierRuns(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("NOT TESTED: packet filter rules need root")
	}
	out, err := exec.Command("unshare", "--net", "testdata/earlier-runs.sh", t.TempDir()).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if before, after, ok := strings.Cut(string(out), "---\n"); !ok || before != after || !strings.Contains(after, "dport 22") {
		t.Errorf("before and after:\n%s", out)
	}
}

// testPods starts pods and asks them.
func (n node) testPods() {
	t := n.t
	image := filepath.Join(t.TempDir(), "probe.tar")
	root := t.TempDir()
	build := exec.Command("go", "build", "-buildvcs=false", "-o", filepath.Join(root, "probe"), "./probe")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	n.kubenode("image", "--user", "2100:2100", root, "kubenode/probe:1", image, "/probe")
	n.kubenode("load", image)
	n.kubectl("apply", "-f", "testdata/probe.yaml")
	n.kubectl("wait", "--for=condition=Ready", "--timeout=60s", "-A", "pod", "--all")
	t.Log(n.kubectl("get", "nodes,pods", "-A", "-o", "wide"))
	families, err := os.ReadFile(state + "/families")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("families: %s", families)

	want := func(what string, got, want answer) {
		t.Helper()
		t.Logf("%s: %+v", what, got)
		if got != want {
			t.Errorf("%s: got %+v, want %+v", what, got, want)
		}
	}
	want("by the service's name", n.get("http://probe.kube-system/"), answer{Host: "server", Family: 4})
	want("by the pod's name", n.get("http://"+strings.ReplaceAll(n.podIP("server", 0), ".", "-")+".kube-system.pod.cluster.local:8080/"), answer{Host: "server", Family: 4})
	want("by a host port", n.get("http://198.18.255.1:18080/"), answer{Host: "server", Family: 4})
	if strings.Contains(string(families), "IPv6") {
		want("by the pod's second address", n.get("http://["+n.podIP("server", 1)+"]:8080/"), answer{Host: "server", Family: 6})
		n.kubectl("apply", "-f", "testdata/probe6.yaml")
		n.eventually(func() error {
			_, err := n.try(n.bin+"/kubectl", "exec", "client", "--", "/probe", "get", "http://probe6.kube-system/")
			return err
		})
		want("by the name of a service with an IPv6 address", n.get("http://probe6.kube-system/"), answer{Host: "server", Family: 6})
	}
	n.testNames()

	var passedOn answer
	n.eventually(func() error {
		return json.Unmarshal([]byte(n.kubectl("get", "--raw", "/apis/probe.kubenode.test/v1/whoami")), &passedOn)
	})
	want("by the aggregation layer", passedOn, answer{Host: "server", Family: 4, Certificate: "front-proxy-client", User: "admin"})
	n.eventually(func() error {
		_, err := n.try(n.bin+"/kubectl", "-n", "kube-system", "top", "pod", "server")
		return err
	})
	n.testAudit()
}

// testNames asks the node's DNS for a name that a test gives it.
func (n node) testNames() {
	if err := os.WriteFile(state+"/hosts", []byte(n.podIP("server", 0)+" shop.test\n"), 0o644); err != nil {
		n.t.Fatal(err)
	}
	n.eventually(func() error {
		_, err := n.try(n.bin+"/kubectl", "exec", "client", "--", "/probe", "get", "http://shop.test:8080/")
		return err
	})
	if _, err := n.try(n.bin+"/kubectl", "exec", "client", "--", "/probe", "get", "http://nobody.test/"); err == nil || !strings.Contains(err.Error(), "no such host") {
		n.t.Errorf("a name that nobody has: %v", err)
	}
}

// testAudit reads who asked for what, in which the node itself has no part.
func (n node) testAudit() {
	log, err := os.ReadFile(state + "/log/audit.log")
	if err != nil {
		n.t.Fatal(err)
	}
	type event struct {
		Verb string
		User struct {
			Username string
			Groups   []string
		}
		ObjectRef struct{ Resource, Subresource, Name string }
	}
	users, pods := map[string]int{}, map[string]int{}
	for line := range strings.Lines(string(log)) {
		var e event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			n.t.Fatalf("%v in %s", err, line)
		}
		users[e.User.Username]++
		if e.Verb == "create" && e.ObjectRef.Resource == "pods" && e.ObjectRef.Subresource == "" {
			pods[e.User.Username+" "+e.ObjectRef.Name]++
		}
		if slices.Contains(e.User.Groups, "system:nodes") || strings.HasPrefix(e.User.Username, "system:kube-") {
			n.t.Errorf("the audit log has the node's own %s", line)
		}
	}
	n.t.Logf("audit log: events by user %v", users)
	if want := map[string]int{"admin client": 1, "admin server": 1}; !maps.Equal(pods, want) {
		n.t.Errorf("the audit log has pods %v, want %v", pods, want)
	}
}

// answer is that of the probe.
type answer struct {
	Host        string
	Family      int
	Certificate string
	User        string
}

func (n node) get(url string) answer {
	n.t.Helper()
	var a answer
	if err := json.Unmarshal([]byte(n.kubectl("exec", "client", "--", "/probe", "get", url)), &a); err != nil {
		n.t.Fatal(err)
	}
	return a
}

func (n node) podIP(pod string, i int) string {
	n.t.Helper()
	ips := strings.Fields(n.kubectl("-n", "kube-system", "get", "pod", pod, "-o", "jsonpath={.status.podIPs[*].ip}"))
	if i >= len(ips) {
		n.t.Fatalf("pod %s has addresses %v, want more than %d", pod, ips, i)
	}
	return ips[i]
}

// kill ends components so that they cannot clean up.
func (n node) kill(components ...string) {
	for _, c := range components {
		pid, err := os.ReadFile(state + "/pid/" + c)
		if err != nil {
			n.t.Fatal(err)
		}
		if out, err := exec.Command("kill", "-9", strings.TrimSpace(string(pid))).CombinedOutput(); err != nil {
			n.t.Fatalf("%v\n%s", err, out)
		}
	}
}

func (n node) eventually(check func() error) {
	n.t.Helper()
	var err error
	for range 60 {
		if err = check(); err == nil {
			return
		}
		time.Sleep(500 * time.Millisecond)
	}
	n.t.Fatal(err)
}

func (n node) kubenode(args ...string) {
	n.t.Helper()
	start := time.Now()
	out, err := n.try("./kubenode", args...)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Logf("kubenode %s: %.1f s\n%s", args[0], time.Since(start).Seconds(), out)
}

func (n node) kubectl(args ...string) string {
	n.t.Helper()
	out, err := n.try(n.bin+"/kubectl", args...)
	if err != nil {
		n.t.Fatal(err)
	}
	return out
}

func (n node) try(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = n.env
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", filepath.Base(name), strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out), nil
}

// machine lists what a node could leave behind.
func machine(t *testing.T) map[string]string {
	t.Helper()
	seen := map[string]string{}
	for what, command := range map[string]string{
		"packet filter": "nft list ruleset",
		"links":         "ip -o link | awk '{print $2}'",
		"addresses":     "ip -o addr | awk '{print $2, $4}'",
		"routes":        "ip route; ip -6 route",
		"mounts":        "awk '{print $1, $2}' /proc/mounts",
		"namespaces":    "ls /run/netns 2>/dev/null || true",
		"groups":        "find /sys/fs/cgroup -name 'kubepods*'",
		"sysctls":       "sysctl -a 2>/dev/null | grep -E '^(kernel.panic|vm.|net.ipv[46].(ip_forward|conf.all.forwarding))'",
		"processes":     "readlink /proc/[0-9]*/exe | grep -E '/kubenode/bin/|^/(probe|pause)$' || true",
		"runtime":       "find /run/containerd /var/lib/cni /var/lib/kubelet /var/log/containers 2>/dev/null || true",
	} {
		out, err := exec.Command("bash", "-c", command).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		if what != "packet filter" {
			slices.Sort(lines)
		}
		seen[what] = strings.Join(lines, "\n")
	}
	return seen
}

func diff(t *testing.T, before, after map[string]string) {
	t.Helper()
	for _, what := range slices.Sorted(maps.Keys(before)) {
		if before[what] != after[what] {
			t.Errorf("%s before:\n%s\nand after:\n%s", what, before[what], after[what])
			continue
		}
		t.Logf("%s are as before (%d lines)", what, strings.Count(before[what]+"\n", "\n"))
	}
}
