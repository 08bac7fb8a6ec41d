package kube

import (
	"strings"

	"github.com/google/go-cmp/cmp"
)

// machine is what must be equal before and after: the API server's objects, and the
// node's own packet filter rules.
type machine struct{ objects, rules []string }

// uninstall is refused while an app has a sidecar, unless it is told to take it out, and
// leaves nothing but what the user keeps.
func uninstall(c *cluster, before machine) {
	c.namespace("kept")
	c.serve("kept", "app", "{}", false)
	c.speedctl("inject", "deployment/app", "-n", "kept")
	if out, err := c.try(speedctl, "uninstall", "--delete-data", "--yes"); err == nil || !strings.Contains(out, "deployment kept/app") {
		c.Errorf("while an app has a sidecar: %v\n%s", err, out)
	}
	if out, err := c.try(speedctl, "uninstall", "-n", "kept", "--delete-data", "--force", "--yes"); err == nil || !strings.Contains(out, "speedctl uninstall -n speedscale") {
		c.Errorf("of another namespace: %v\n%s", err, out)
	}
	if got := c.pods("speedscale"); len(got) != 5 {
		c.Errorf("after uninstall was refused there are %v", got)
	}
	c.speedctl("uninstall", "--delete-data", "--force")
	if out, err := c.try(speedctl, "inject", "deployment/app", "-n", "kept"); err == nil || !strings.Contains(out, "no operator is installed") {
		c.Errorf("inject without an operator: %v\n%s", err, out)
	}
	if got := c.kubectl("-n", "kept", "get", "deployment", "app", "-o", "yaml"); strings.Contains(got, "speedscale.com") {
		c.Errorf("the app keeps\n%s", got)
	}
	c.eventually("pods with a sidecar stay", func() bool { return c.containers("kept", "app") == "httpbin" })
	c.kubectl("delete", "namespace", "kept", "--timeout=3m")
	c.nothingInstalled(before)
}

// nothingInstalled: what is left of an installation is the namespaces, empty, and the definition
// of TrafficReplays. The test takes these away too.
func (c *cluster) nothingInstalled(before machine) {
	c.Helper()
	for _, namespace := range []string{"speedscale", "speedscale-cloud"} {
		if out := c.kubectl("get", "namespace", namespace, "--ignore-not-found", "-o", "name"); out == "" {
			continue
		}
		// What every namespace has is made anew whenever it is gone.
		var left string
		c.Cleanup(func() {
			if c.Failed() {
				c.Logf("in %s was left at last: %s", namespace, left)
			}
		})
		c.eventually("objects are left in "+namespace, func() bool {
			left = strings.Join(c.objectsIn(namespace), " ")
			return left == "ConfigMap/kube-root-ca.crt ServiceAccount/default"
		})
	}
	c.kubectl("delete", "namespace", "speedscale", "speedscale-cloud", "--ignore-not-found", "--timeout=3m")
	c.kubectl("delete", "crd", "trafficreplays.speedscale.com")
	var diff string
	defer func() {
		if c.Failed() {
			c.Logf("(-before +after):\n%s", diff)
		}
	}()
	c.eventually("objects are left", func() bool { diff = cmp.Diff(before.objects, c.objects()); return diff == "" })
	c.eventually("packet filter rules are left", func() bool { diff = cmp.Diff(before.rules, c.packetFilter()); return diff == "" })
}

// namespaceDeletedFirst, in the middle of a replay: nothing waits for an operator that is gone.
// What a replay has changed is undone by uninstall.
func namespaceDeletedFirst(c *cluster, before machine) {
	c.install("--set", "deployDemo=")
	c.putTestConfig(slow)
	dependencies(c)
	s := openCaptured(c, "unblocked", "1")
	original := s.template()
	s.drive()
	s.eventually("not all pairs are in the cloud", func() bool { return s.asked() >= 2*driven })
	s.speedctl("create", "snapshot", "--name", "web", "--service", "web")
	r := s.start("--test-config", "slow", "--name", "orphan")
	r.await("generator", "started")
	c.kubectl("delete", "namespace", "speedscale", "--timeout=3m")

	// The app's pods are made as ever.
	s.kubectl("delete", "pod", "-l", "app=web", "--timeout=3m")
	s.rollout(s.ns, "deployment/web")
	// Nobody tells speedctl of the replay's end.
	if err := r.cmd.Process.Kill(); err != nil {
		s.Fatal(err)
	}
	r.end()
	c.speedctl("uninstall", "--delete-data", "--force")
	if left := c.kubectl("get", "trafficreplays", "-A", "-o", "name"); left != "" {
		s.Errorf("of replays there is %s", left)
	}
	s.nothingLeft()
	if now := s.template(); strings.Contains(now, "speedscale.com") {
		s.Errorf("the template is\n%s\nand was\n%s", now, original)
	}
	c.eventually("the app's pods are not as they were", func() bool { return c.containers(s.ns, "web") == "nginx nginx" })
	c.kubectl("delete", "namespace", s.ns, "deps", "--timeout=3m")
	c.nothingInstalled(before)
}
