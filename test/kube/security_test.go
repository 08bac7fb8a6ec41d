package kube

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
)

const (
	injected = `{sidecar.speedscale.com/inject: "true"}`
	dual     = `{sidecar.speedscale.com/inject: "true", sidecar.speedscale.com/proxy-type: dual, sidecar.speedscale.com/proxy-port: "18080"}`
)

// serve starts the app of testdata/security.yaml.
func (c *cluster) serve(namespace, name, annotations string, hostNetwork bool) {
	c.Helper()
	onHost := "false"
	if hostNetwork {
		onHost = "true"
	}
	c.manifest(namespace, "security.yaml", name, annotations, "HOSTNETWORK", onHost)
}

// manifest applies a file of testdata in which NAME and ANNOTATIONS stand, and further
// words with what they stand for.
func (c *cluster) manifest(namespace, file, name, annotations string, words ...string) {
	c.Helper()
	text, err := os.ReadFile("testdata/" + file)
	if err != nil {
		c.Fatal(err)
	}
	manifest := strings.NewReplacer(append(words, "ANNOTATIONS", annotations, "NAME", name)...).Replace(string(text))
	path := c.TempDir() + "/" + name + ".yaml"
	if err := os.WriteFile(path, []byte(manifest), 0o600); err != nil {
		c.Fatal(err)
	}
	c.kubectl("-n", namespace, "apply", "-f", path)
}

// reach waits until a Service leads to a pod that answers.
func (c *cluster) reach(url string) {
	c.Helper()
	c.eventually(url+" is not there", func() bool {
		_, err := c.try("curl", "-fsS", "-m", "5", url)
		return err == nil
	})
}

// restrictedPods: rules need NET_ADMIN, which such a namespace allows to nobody; dual mode
// does without.
func restrictedPods(c *cluster) {
	const namespace = "restricted"
	c.namespace(namespace)
	c.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
	c.serve(namespace, "walled", "{}", false)
	c.serve(namespace, "walled-new", injected, false)
	c.serve(namespace, "walled-dual", dual, false)
	c.kubectl("-n", namespace, "apply", "-f", "testdata/job.yaml")
	c.rollout(namespace, "deployment/walled")
	url := "http://" + c.clusterIP(namespace, "walled") + "/status/200"
	c.reach(url)
	p := c.probe(url)
	c.kubectl("-n", namespace, "annotate", "deployment", "walled", "sidecar.speedscale.com/inject=true")

	c.rollout(namespace, "deployment/walled-dual")
	if got := c.containers(namespace, "walled-dual"); got != "speedscale-goproxy httpbin" {
		c.Errorf("in dual mode containers are %q", got)
	}
	c.reach("http://" + c.clusterIP(namespace, "walled-dual") + "/anything/dual")
	c.eventually("dual mode captures nothing", func() bool {
		list, _ := c.traffic("walled-dual")
		for _, r := range list {
			if r.Direction == "IN" && r.Location == "/anything/dual" {
				return true
			}
		}
		return false
	})
	// A Service that leads to the app's port by its number is changed as it is printed.
	c.kubectl("-n", namespace, "expose", "deployment", "walled-dual", "--name=walled-number", "--port=80", "--target-port=18080")
	out, _ := c.try(speedctl, "why", "deployment/walled-dual", "-n", namespace)
	command := regexp.MustCompile(`kubectl -n restricted patch service walled-number --type json -p '[^']*'`).FindString(out)
	if command == "" {
		c.Fatalf("speedctl why has no command that changes the Service:\n%s", out)
	}
	c.must("sh", "-c", command)
	c.reach("http://" + c.clusterIP(namespace, "walled-number") + "/anything/by-number")
	c.eventually("what comes by the changed Service is not captured", func() bool {
		c.reach("http://" + c.clusterIP(namespace, "walled-number") + "/anything/by-number")
		list, _ := c.traffic("walled-dual")
		for _, r := range list {
			if r.Direction == "IN" && r.Location == "/anything/by-number" {
				return true
			}
		}
		return false
	})
	// What the app calls goes by the proxy's variables.
	c.kubectl("-n", namespace, "exec", "deployment/walled-dual", "-c", "httpbin", "--", "curl", "-fsS", "http://walled/anything/called")
	c.called("walled-dual", "/anything/called")
	for _, app := range []string{"walled", "walled-new"} {
		c.withdrawn(namespace, app, "violates PodSecurity")
	}
	// The template of a Job stays, and its pod is let in without.
	c.kubectl("-n", namespace, "wait", "job/walled-job", "--for=condition=Complete", "--timeout=3m")
	if got := c.kubectl("-n", namespace, "get", "job", "walled-job", "-o", `jsonpath={.metadata.annotations.operator\.speedscale\.com/refused}`); !strings.Contains(got, "violates PodSecurity") {
		c.Errorf("the Job says %q", got)
	}
	p.stop(c)
}

// podSecurity: of all pods of ours, those with the rules of transparent mode only need more than
// the restricted level allows. That their other containers do not is seen where the mode has
// none, in restrictedPods.
func podSecurity(c *cluster) {
	for _, namespace := range ourNamespaces {
		for _, pod := range c.beyondRestricted(namespace) {
			if !strings.HasPrefix(pod, "java-server-") || !strings.HasSuffix(pod, ": unrestricted capabilities, runAsNonRoot != true, runAsUser=0") {
				c.Errorf("in namespace %s not restricted: %s", namespace, pod)
			}
		}
	}
}

// beyondRestricted is what the API server says of a namespace's pods that do not meet the
// restricted level of Pod Security.
func (c *cluster) beyondRestricted(namespace string) (pods []string) {
	c.Helper()
	out := c.kubectl("label", "--dry-run=server", "--overwrite", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
	for line := range strings.Lines(out) {
		pod, found := strings.CutPrefix(strings.TrimSpace(line), "Warning: ")
		if found && !strings.HasPrefix(pod, "existing pods in namespace") {
			pods = append(pods, pod)
		}
	}
	return pods
}

// quota: the app's own pods fit in, also two during a rollout; those with a sidecar do not.
func quota(c *cluster) {
	const namespace = "quota"
	c.namespace(namespace)
	c.serve(namespace, "thrifty", "{}", false)
	c.rollout(namespace, "deployment/thrifty")
	c.kubectl("-n", namespace, "create", "quota", "memory", "--hard=requests.memory=90Mi")
	url := "http://" + c.clusterIP(namespace, "thrifty") + "/status/200"
	c.reach(url)
	p := c.probe(url)
	c.kubectl("-n", namespace, "annotate", "deployment", "thrifty", "sidecar.speedscale.com/inject=true")
	c.withdrawn(namespace, "thrifty", "exceeded quota")
	c.kubectl("-n", namespace, "rollout", "restart", "deployment/thrifty")
	c.withdrawn(namespace, "thrifty", "exceeded quota")
	p.stop(c)
}

// limitRange allows no container what goproxy asks for.
func limitRange(c *cluster) {
	const namespace = "limit-range"
	c.namespace(namespace)
	c.stdin(`{"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "small", "namespace": "limit-range"},
		"spec": {"limits": [{"type": "Container", "max": {"memory": "48Mi"}}]}}`, "kubectl", "apply", "-f", "-")
	c.refusedBy(namespace, "small", "48Mi")
}

// policyEngine: a policy of the cluster's owner refuses pods with our sidecar.
func policyEngine(c *cluster) {
	const namespace, policy = "policy", "no-sidecars.e2e.test"
	c.namespace(namespace)
	c.Cleanup(func() {
		exec.Command("kubectl", "delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", policy).Run()
	})
	c.kubectl("apply", "-f", "testdata/policy.yaml")
	// The API server takes a policy up some time after it was stored.
	c.eventually("the policy refuses nothing", func() bool {
		out, err := c.try("kubectl", "-n", namespace, "run", "speedscale-goproxy", "--image=docker.io/speedscale-test/servers:1", "--dry-run=server")
		return err != nil && strings.Contains(out, "nobody listens in here")
	})
	c.refusedBy(namespace, "governed", "nobody listens in here")
}

// refusedBy: an app goes on without a sidecar where the API server refuses pods with one.
func (c *cluster) refusedBy(namespace, app, reason string) {
	c.Helper()
	c.serve(namespace, app, "{}", false)
	c.rollout(namespace, "deployment/"+app)
	url := "http://" + c.clusterIP(namespace, app) + "/status/200"
	c.reach(url)
	p := c.probe(url)
	c.kubectl("-n", namespace, "annotate", "deployment", app, "sidecar.speedscale.com/inject=true")
	c.withdrawn(namespace, app, reason)
	p.stop(c)
}

// withdrawn waits until an app runs without a sidecar, with the reason on the workload
// and in an event.
func (c *cluster) withdrawn(namespace, app, reason string) {
	c.Helper()
	deployment := func(path string) string {
		return c.kubectl("-n", namespace, "get", "deployment", app, "-o", "jsonpath={"+path+"}")
	}
	c.eventually(app+" does not say why it has no sidecar", func() bool {
		return strings.Contains(deployment(`.metadata.annotations.operator\.speedscale\.com/refused`), reason)
	})
	c.rollout(namespace, "deployment/"+app)
	c.eventually(app+" has other pods", func() bool { return c.containers(namespace, app) == "httpbin" })
	if got := deployment(".spec.template.metadata"); strings.Contains(got, "speedscale.com") {
		c.Errorf("the template of %s keeps %s", app, got)
	}
	c.told(namespace, app, "SidecarWithdrawn", reason)
	c.why(namespace, app, reason)
}

// why asks speedctl about an app.
func (c *cluster) why(namespace, app, reason string) {
	c.Helper()
	if out, _ := c.try(speedctl, "why", "deployment/"+app, "-n", namespace); !strings.Contains(out, reason) {
		c.Errorf("speedctl why %s says\n%s", app, out)
	}
}

// told waits for an event about a Deployment.
func (c *cluster) told(namespace, app, reason, text string) {
	c.Helper()
	c.eventually("there is no event "+reason+" about "+app, func() bool {
		notes := c.kubectl("-n", namespace, "get", "events", "--field-selector=reason="+reason+",involvedObject.kind=Deployment,involvedObject.name="+app, "-o", "jsonpath={.items[*].message}")
		return strings.Contains(notes, text)
	})
}

// ambient: a namespace's pods are in a mesh by its label, of which only the API server knows.
func ambient(c *cluster) {
	const namespace = "ambient"
	c.namespace(namespace)
	c.kubectl("label", "namespace", namespace, "istio.io/dataplane-mode=ambient")
	c.serve(namespace, "meshed", injected, false)
	c.rollout(namespace, "deployment/meshed")
	if got := c.containers(namespace, "meshed"); got != "httpbin" {
		c.Errorf("in a mesh containers are %q", got)
	}
	c.why(namespace, "meshed", "istio.io/dataplane-mode")
}

// authoritiesNotThere: an app starts without what its annotations name, and why says so.
func authoritiesNotThere(c *cluster) {
	const namespace = "authorities"
	c.namespace(namespace)
	c.serve(namespace, "trusting", `{sidecar.speedscale.com/inject: "true", sidecar.speedscale.com/tls-out: "true", sidecar.speedscale.com/tls-out-ca: configmap/authorities}`, false)
	c.rollout(namespace, "deployment/trusting")
	c.reach("http://" + c.clusterIP(namespace, "trusting") + "/status/200")
	if got := c.containers(namespace, "trusting"); got != "speedscale-goproxy httpbin" {
		c.Errorf("containers are %q", got)
	}
	c.why(namespace, "trusting", "authorities")
}

// hostNetwork: rules would be the node's.
func hostNetwork(c *cluster) {
	const namespace = "host-network"
	c.namespace(namespace)
	c.serve(namespace, "neighbour", injected, true)
	c.rollout(namespace, "deployment/neighbour")
	pod := c.pod(namespace, "neighbour")
	if len(pod.Spec.Containers) != 1 || len(pod.Spec.InitContainers) != 0 {
		c.Errorf("containers are %v and %v", pod.Spec.InitContainers, pod.Spec.Containers)
	}
	const reason = "with hostNetwork the redirection of transparent mode would be the node's"
	if got := pod.Annotations["operator.speedscale.com/refused"]; !strings.Contains(got, reason) {
		c.Errorf("the pod says %q", got)
	}
	c.reach("http://" + c.clusterIP(namespace, "neighbour") + "/status/200")
	c.told(namespace, "neighbour", "SidecarNotInjected", reason)
	c.kubectl("-n", namespace, "run", "alone", "--image=docker.io/speedscale-test/servers:1", "--image-pull-policy=Never", "--grace-period=1", "--annotations=sidecar.speedscale.com/inject=true",
		"--overrides", `{"apiVersion": "v1", "spec": {"hostNetwork": true}}`, "--command", "--", "sleep", "600")
	c.eventually("there is no event about a pod by itself", func() bool {
		return strings.Contains(c.kubectl("-n", namespace, "describe", "pod", "alone"), "SidecarNotInjected")
	})
	c.why(namespace, "neighbour", reason)

	// In dual mode the scheduler knows the sidecar's ports.
	c.kubectl("-n", namespace, "delete", "deployment", "neighbour", "--wait=true")
	c.serve(namespace, "host-dual", dual, true)
	c.rollout(namespace, "deployment/host-dual")
	if got := c.containers(namespace, "host-dual"); got != "speedscale-goproxy httpbin" {
		c.Errorf("in dual mode containers are %q", got)
	}
	for _, port := range []string{"4140", "4143", "4144", "4145"} {
		ports := c.kubectl("-n", namespace, "get", "pods", "-l", "app=host-dual", "-o", "jsonpath={.items[0].spec.containers[0].ports[*].hostPort}")
		if !strings.Contains(ports, port) {
			c.Errorf("the sidecar has the node's ports %s, and not %s", ports, port)
		}
	}
	c.why(namespace, "host-dual", "maxSurge 0")
}
