package kube

import (
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/speedscale/speedscale/traffic/report"
)

const (
	roundsDriven = 5
	driven       = roundsDriven * 6 // requests of testdata/driver.yaml
)

// shop starts third-party servers: an app and its dependencies.
func shop(c *cluster) {
	c.apply("deps", "deps.yaml")
	c.rollout("deps", "deployment/orders")
	c.rollout("deps", "deployment/httpbin")
	c.apply("shop", "shop.yaml")
	c.rollout("shop", "deployment/web")
}

// loop captures the app of shop, and replays two versions of it with its dependencies
// mocked and their Services deleted: the first passes, and the report names the change of
// the second.
func loop(c *cluster) {
	c.speedctl("inject", "deployment/web", "-n", "shop")
	c.eventually("the pods have no sidecar", func() bool { return c.containers("shop", "web") == "speedscale-goproxy nginx speedscale-goproxy nginx" })
	c.kubectl("-n", "shop", "apply", "-f", "testdata/driver.yaml")
	c.kubectl("-n", "shop", "wait", "job/driver", "--for=condition=Complete", "--timeout=60s")
	c.eventually("not all pairs are in the cloud", func() bool {
		in, out := 0, 0
		list, _ := c.traffic("web")
		for _, r := range list {
			switch {
			case r.Direction == "IN":
				in++
			case r.NetworkAddress == "orders.deps:80" || r.NetworkAddress == "httpbin.deps:80":
				out++
			}
		}
		return in >= driven && out >= driven
	})
	c.speedctl("create", "snapshot", "--name", "web", "--service", "web")
	before := c.template("shop", "web")
	remove := func() { c.kubectl("-n", "deps", "delete", "service", "orders", "httpbin") }
	remove()
	r, code := c.replay("shop", "deployment/web", "web")
	if code != 0 || r.Status != report.Passed || r.Requests.Passed != driven {
		c.Errorf("the same version: exit code %d, %s", code, describe(r))
	}
	if r.Mocks == nil || r.Mocks.Matched < driven || r.Mocks.Missed != 0 {
		c.Errorf("mocks of the same version: %+v", r.Mocks)
	}
	if now := c.template("shop", "web"); now != before {
		c.Errorf("the template is\n%s\nand was\n%s", now, before)
	}
	// Without its dependencies the app itself could not start again.
	c.kubectl("-n", "deps", "apply", "-f", "testdata/deps.yaml")
	c.nothingLeft("shop")

	c.kubectl("-n", "shop", "set", "image", "deployment/web", "nginx=docker.io/speedscale-test/web:2")
	c.rollout("shop", "deployment/web")
	remove()
	r, code = c.replay("shop", "deployment/web", "web")
	if code != 3 || r.Status != report.MissedGoals || r.Requests.Failed != roundsDriven {
		c.Errorf("another version: exit code %d, %s", code, describe(r))
	}
	named := func(f report.Failure) bool { return f.URL == "/orders/3" && len(f.Differences) > 0 }
	if !slices.ContainsFunc(r.Failures, named) || strings.Contains(describe(r), "s3cr3t-of-the-test") {
		c.Errorf("the report does not name the change: %s", describe(r))
	}
	c.kubectl("-n", "deps", "apply", "-f", "testdata/deps.yaml")
	c.nothingLeft("shop")
	c.kubectl("-n", "shop", "set", "image", "deployment/web", "nginx=docker.io/speedscale-test/web:1")
	c.rollout("shop", "deployment/web")
}

// nothingLeft waits until nothing of a replay is left in a namespace: no object, no pod
// with its routing, no annotation.
func (c *cluster) nothingLeft(namespace string) {
	c.Helper()
	var left string
	c.eventually("something of a replay is left in "+namespace, func() bool {
		left = c.kubectl("-n", namespace, "get", "pods,jobs,secrets,services,deployments,roles,rolebindings,serviceaccounts", "-o", "name", "-l", "replay.speedscale.com/id")
		return left == ""
	})
	if text := c.kubectl("-n", namespace, "get", "deployments", "-o", "yaml"); strings.Contains(text, "operator.speedscale.com/replay") {
		c.Errorf("an annotation is left:\n%s", text)
	}
}

func (c *cluster) template(namespace, deployment string) string {
	c.Helper()
	return c.kubectl("-n", namespace, "get", "deployment", deployment, "-o", "jsonpath={.spec.template.metadata}")
}

// replay runs a replay with speedctl, and returns its report and speedctl's exit code.
func (c *cluster) replay(namespace, workload, snapshot string, args ...string) (*report.Report, int) {
	c.Helper()
	cmd := exec.CommandContext(c.Context(), speedctl, append([]string{"replay", workload, "-n", namespace, "--snapshot", snapshot, "--yes", "-o", "json"}, args...)...)
	cmd.Env, cmd.Stderr = c.env, os.Stderr
	out, err := cmd.Output()
	var r report.Report
	if jsonErr := json.Unmarshal(out, &r); jsonErr != nil {
		c.Fatalf("replay of %s: %v, %v\n%s\n%s", workload, err, jsonErr, out, c.kubectl("get", "trafficreplays,pods,events", "-A"))
	}
	return &r, cmd.ProcessState.ExitCode()
}

func describe(r *report.Report) string {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}
