package kube

import (
	"os/exec"
	"strings"

	"github.com/speedscale/speedscale/traffic/report"
)

// argoRollouts has Argo Rollouts installed while the operator runs, and does with a Rollout
// what is done with a Deployment: capture it from afar, replay it, take the sidecar away.
func argoRollouts(c *cluster) {
	const namespace = "progressive"
	if out, err := c.try(speedctl, "inject", "rollout/tier", "-n", "default"); err == nil || !strings.Contains(out, "the cluster has no Argo Rollouts") {
		c.Errorf("before it is installed: %v\n%s", err, out)
	}
	c.installArgo()
	c.apply(namespace, "rollouts.yaml")
	c.healthy(namespace, "tier", "careful", "referring")

	c.speedctl("infra", "sidecar", "add", "tier", "--workload-type", "argorollout", "-n", namespace)
	c.eventually("the pods have no sidecar", func() bool {
		return c.containers(namespace, "tier") == "speedscale-goproxy nginx speedscale-goproxy nginx"
	})
	c.healthy(namespace, "tier")
	for _, list := range [][]string{{"infra", "workloads"}, {"get", "workloads"}} {
		if out := c.speedctl(append(list, "-n", namespace)...); !strings.Contains(out, "Rollout") || !strings.Contains(out, "careful") {
			c.Errorf("%s has no Rollouts:\n%s", strings.Join(list, " "), out)
		}
	}
	c.kubectl("-n", namespace, "apply", "-f", "testdata/driver.yaml")
	c.kubectl("-n", namespace, "wait", "job/driver", "--for=condition=Complete", "--timeout=3m")
	c.eventually("not all pairs are in the cloud", func() bool {
		list, _ := c.traffic("tier")
		n := 0
		for _, r := range list {
			if r.Direction == "IN" || r.NetworkAddress == "httpbin.progressive:80" {
				n++
			}
		}
		return n >= 2*driven
	})
	c.speedctl("create", "snapshot", "--name", "tier", "--service", "tier")

	template := func() string {
		return c.kubectl("-n", namespace, "get", "rollout", "tier", "-o", "jsonpath={.spec.template.metadata}")
	}
	before := template()
	r, code := c.replay(namespace, "rollout/tier", "tier")
	if code != 0 || r.Status != report.Passed || r.Mocks == nil || r.Mocks.Matched < driven {
		c.Errorf("exit code %d, %s", code, describe(r))
	}
	if now := template(); now != before {
		c.Errorf("the template is\n%s\nand was\n%s", now, before)
	}
	c.nothingLeft(namespace)
	c.healthy(namespace, "tier")

	c.steps(namespace)
	c.ofAnotherTemplate(namespace)

	c.speedctl("uninject", "rollout/tier", "-n", namespace)
	c.eventually("the sidecar stays", func() bool { return c.containers(namespace, "tier") == "nginx nginx" })
	if text := c.kubectl("-n", namespace, "get", "rollout", "tier", "-o", "yaml"); strings.Contains(text, "speedscale.com/") {
		c.Errorf("something of ours is left:\n%s", text)
	}
	c.cleanedUp(namespace)
}

// installArgo installs Argo Rollouts, until the part ends.
func (c *cluster) installArgo() {
	c.Helper()
	const manifest = "../../dist/images/argo-rollouts.yaml"
	c.namespace("argo-rollouts")
	c.Cleanup(func() { exec.Command("kubectl", "delete", "-n", "argo-rollouts", "-f", manifest, "--timeout=1m").Run() })
	// What kubectl apply notes of it is longer than an annotation may be.
	c.kubectl("apply", "--server-side", "-n", "argo-rollouts", "-f", manifest)
	c.rollout("argo-rollouts", "deployment/argo-rollouts")
}

// healthy waits for phase Healthy of the newest generation.
func (c *cluster) healthy(namespace string, names ...string) {
	c.Helper()
	for _, name := range names {
		c.eventually("rollout "+name+" is not healthy", func() bool {
			s := c.kubectl("-n", namespace, "get", "rollout", name, "-o", "jsonpath={.metadata.generation} {.status.observedGeneration} {.status.phase}")
			f := strings.Fields(s)
			return len(f) == 3 && f[0] == f[1] && f[2] == "Healthy"
		})
	}
}

// steps: a Rollout that waits for somebody after its first new pod is reported, not forced.
func (c *cluster) steps(namespace string) {
	c.Helper()
	if out := c.speedctl("inject", "rollout/careful", "-n", namespace); !strings.Contains(out, "it is paused: CanaryPauseStep") {
		c.Errorf("inject says\n%s", out)
	}
	c.eventually("at its first step not one of two pods has a sidecar", func() bool {
		got := c.containers(namespace, "careful")
		return strings.Count(got, "speedscale-goproxy") == 1 && strings.Count(got, "idle") == 2
	})
	if out, _ := c.try(speedctl, "why", "rollout/careful", "-n", namespace); !strings.Contains(out, "CanaryPauseStep") {
		c.Errorf("why says\n%s", out)
	}
}

// ofAnotherTemplate: a Rollout whose pods are of a Deployment's template is refused, and
// names the Deployment, which gives its pods the sidecar.
func (c *cluster) ofAnotherTemplate(namespace string) {
	c.Helper()
	const want = `of the template of deployment "template"`
	if out, err := c.try(speedctl, "inject", "rollout/referring", "-n", namespace); err == nil || !strings.Contains(out, want) {
		c.Errorf("inject says %v\n%s", err, out)
	}
	if out, err := c.try("kubectl", "-n", namespace, "annotate", "rollout", "referring", "sidecar.speedscale.com/inject=true"); err == nil || !strings.Contains(out, want) {
		c.Errorf("the webhook says %v\n%s", err, out)
	}
	c.speedctl("inject", "deployment/template", "-n", namespace)
	c.eventually("the Deployment's template gives no sidecar", func() bool { return c.containers(namespace, "referring") == "speedscale-goproxy idle" })
}

// cleanedUp: a replay may end with its workload, where that was made for it.
func (c *cluster) cleanedUp(namespace string) {
	c.Helper()
	if r, code := c.replay(namespace, "rollout/tier", "tier", "--cleanup", "all"); code != 0 {
		c.Errorf("exit code %d, %s", code, describe(r))
	}
	c.eventually("the Rollout stays", func() bool {
		_, err := c.try("kubectl", "-n", namespace, "get", "rollout", "tier")
		return err != nil
	})
	c.nothingLeft(namespace)
}
