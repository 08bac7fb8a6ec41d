package kube

import (
	"encoding/json"
	"strings"
)

// infra commands the cluster by its inspector, which dials out and gets no other
// commands. It needs the snapshot and the dependencies of loop.
func infra(c *cluster) {
	c.apply("remote", "idle.yaml")
	c.rollout("remote", "deployment/idle")
	if out := c.speedctl("infra", "inspectors"); !strings.Contains(out, "e2e") {
		c.Errorf("inspectors are\n%s", out)
	}
	for _, ref := range []string{"deployment/idle", "statefulset/idle-set", "daemonset/idle-everywhere", "cronjob/idle-yearly"} {
		c.speedctl("infra", "sidecar", "add", ref, "-n", "remote")
	}
	// The template of a Job cannot change any more.
	if out, err := c.try(speedctl, "infra", "sidecar", "add", "job/idle-once", "-n", "remote"); err == nil || !strings.Contains(out, "the pods of a Job are not replaced") {
		c.Errorf("a Job: %v\n%s", err, out)
	}
	c.eventually("the workloads are not injected", func() bool {
		return c.containers("remote", "idle") == "speedscale-goproxy idle" && c.containers("remote", "idle-set") == "speedscale-goproxy idle" &&
			c.containers("remote", "idle-everywhere") == "speedscale-goproxy idle"
	})
	if out := c.speedctl("infra", "workloads", "-n", "remote", "-o", "json"); !json.Valid([]byte(out)) || !strings.Contains(out, "idle-everywhere") {
		c.Errorf("workloads are\n%s", out)
	}
	if out := c.speedctl("infra", "events", "-n", "remote"); !strings.Contains(out, "Started") {
		c.Errorf("events are\n%s", out)
	}
	pod := c.kubectl("-n", "remote", "get", "pods", "-l", "app=idle", "--field-selector=status.phase=Running", "-o", "jsonpath={.items[0].metadata.name}")
	if out := c.speedctl("infra", "logs", pod, "-n", "remote", "--container", "idle"); out != "idle" {
		c.Errorf("the log is %q", out)
	}
	id := c.speedctl("infra", "replay", "-n", "remote", "--snapshot-id", "web", "--test-config-id", "slow", "--test-against", "http://httpbin.deps", "--id-only", "-q")
	c.speedctl("infra", "cancel-replay", id, "-n", "remote")
	c.nothingLeft("remote")
	c.speedctl("infra", "sidecar", "remove", "deployment/idle", "-n", "remote")
	c.eventually("the sidecar stays", func() bool { return c.containers("remote", "idle") == "idle" })
	audit := c.speedctl("infra", "audit")
	for _, command := range []string{"workloads", "events", "logs", "injection", "startReplay", "cancelReplay"} {
		if !strings.Contains(audit, command) {
			c.Errorf("%s is not in the audit record:\n%s", command, audit)
		}
	}
}
