package kube

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestCluster is the story of one cluster, from the installation to the end.
func TestCluster(t *testing.T) {
	c := newCluster(t)
	// By its first pod, the network plugin makes tables on the node that stay.
	c.kubectl("run", "first", "--image=docker.io/speedscale-test/servers:1", "--image-pull-policy=Never", "--restart=Never", "--command", "--", "true")
	c.kubectl("wait", "pod/first", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=3m")
	c.kubectl("delete", "pod", "first", "--timeout=3m")
	before := machine{objects: c.objects(), rules: c.packetFilter()}
	seen, unseen := observe(c)
	c.run("install", install)
	c.run("workloads", workloads)
	c.run("network policies", func(c *cluster) {
		if unseen != nil {
			c.Skipf("SKIPPED: connections cannot be seen: %v", unseen)
		}
		networkPolicies(c, seen)
	})
	c.run("cloud elsewhere", elsewhere)
	c.run("checks", checks)
	c.run("certificates healed", certificatesHealed)
	c.run("Pod Security", podSecurity)
	c.run("least rights", leastRights)
	c.run("more room", moreRoom)
	c.run("uninstall", func(c *cluster) { uninstall(c, before) })
	c.run("namespace deleted first", func(c *cluster) { namespaceDeletedFirst(c, before) })
}

// workloads is about what is done with them.
func workloads(c *cluster) {
	dependencies(c)
	web := openShop(c, "shop")
	inWeb := func(test func(*shop)) func(*cluster) { return func(c *cluster) { test(&shop{c, web.ns}) } }
	c.run("side by side", func(c *cluster) {
		c.sideBySide([]part{
			// The longest first.
			{"argo rollouts", argoRollouts},
			{"loop", inWeb(loop)},
			{"tokens", tokens},
			{"demo", demo},
			{"kubectl plugin", kubectlPlugin},
			{"capture", capture},
			{"outbound TLS", outboundTLS},
			{"Kubernetes API", kubeAPI},
			{"kinds", kinds},
			{"restricted pods", restrictedPods},
			{"quota", quota},
			{"limit range", limitRange},
			{"policy engine", policyEngine},
			{"host network", hostNetwork},
			{"ambient mesh", ambient},
			{"authorities that are not there", authoritiesNotThere},
			{"termination", termination},
			{"node traffic", nodeTraffic},
			{"tap", tap},
		})
	})
	c.putTestConfig(pair)
	c.putTestConfig(slow)
	// These need the snapshot of loop, or take something away from everybody, or change the
	// installation.
	for _, p := range []part{{"replays", replays}, {"faults", inWeb(faults)}, {"upgrade", upgrade}, {"switches", switches}} {
		c.run(p.name, p.test)
	}
}

// sideBySide runs what leaves the others alone, and waits more than it works.
func (c *cluster) sideBySide(parts []part) {
	c.Helper()
	for _, p := range parts {
		c.run(p.name, func(c *cluster) {
			c.Parallel()
			p.test(c)
		})
	}
}

// part is one of the story.
type part struct {
	name string
	test func(*cluster)
}

// install has the pods that the documentation shows, and no others, within a minute; a
// second time it changes none of them.
func install(c *cluster) {
	began := time.Now()
	c.install()
	want := []string{
		"java-client 1/1 Running", "java-server 2/2 Running",
		"speedscale-forwarder 1/1 Running", "speedscale-inspector 1/1 Running", "speedscale-operator 1/1 Running",
	}
	c.eventually("the pods are not those that are documented", func() bool { return slices.Equal(want, c.pods("speedscale")) })
	c.Logf("all pods are ready after %v", time.Since(began).Round(time.Second))
	server := c.kubectl("-n", "speedscale", "get", "pods", "-l", "app=java-server", "-o", "jsonpath={.items[0].metadata.name}")
	if got := c.kubectl("-n", "speedscale", "get", "pods", server, "-o", "jsonpath={.spec.containers[*].name}"); got != "speedscale-goproxy java-server" {
		c.Errorf("containers are %q", got)
	}
	names := func() string { return c.kubectl("get", "pods", "-A", "-o", "name") }
	first := names()
	c.install()
	if diff := cmp.Diff(first, names()); diff != "" {
		c.Errorf("a second installation changes pods (-first +second):\n%s", diff)
	}
}

// record is what is looked at of a pair.
type record struct {
	Cluster, Namespace, Service, Direction, Command, Location, Status string
	TS                                                                string
	NetworkAddress                                                    string `json:"network_address"`
}

// traffic returns what the cloud has of a service.
func (c *cluster) traffic(service string) (list []record, text string) {
	c.Helper()
	text, err := c.output(speedctl, "get", "traffic", "--service", service, "-o", "json", "-q")
	if err == nil {
		list, err = records(text)
	}
	if err != nil {
		c.Fatal(err)
	}
	return list, text
}

// tryTraffic is traffic of a cloud that may be away.
func (c *cluster) tryTraffic(service string) ([]record, error) {
	text, err := c.output(speedctl, "get", "traffic", "--service", service, "-o", "json", "-q")
	if err != nil {
		return nil, err
	}
	return records(text)
}

func records(text string) (list []record, err error) {
	for line := range strings.Lines(text) {
		var r record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return nil, fmt.Errorf("%w: %s", err, line)
		}
		list = append(list, r)
	}
	return list, nil
}

// demo proves that the JVM trusts the sidecar: java-server's calls to its HTTPS
// dependency are in the cloud, in clear text but masked.
func demo(c *cluster) {
	var in, out int
	c.eventually("java-server is not captured on both sides", func() bool {
		in, out = 0, 0
		list, text := c.traffic("java-server")
		if strings.Contains(text, "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.") {
			c.Fatalf("a token is not masked:\n%s", text)
		}
		for _, r := range list {
			switch {
			case r.Direction == "IN" && r.Status == "200":
				in++
			case r.Direction == "OUT" && r.NetworkAddress == "catalog.speedscale-demo.svc:443" && r.Status == "200" && strings.HasPrefix(r.Location, "/launches"):
				out++
			}
		}
		return in > 3 && out > 3
	})
	c.Logf("java-server: %d pairs in, %d out", in, out)
}

// capture injects an app by an annotation, sees its traffic masked in the cloud, and
// takes the sidecar away again.
func capture(c *cluster) {
	c.apply("app", "app.yaml")
	c.rollout("app", "deployment/app")
	address := c.clusterIP("app", "app")
	if got := c.containers("app", "app"); got != "speedscale-goproxy app" {
		c.Errorf("containers are %q", got)
	}
	const requests, secret = 20, "s3cr3t-of-the-test"
	for i := range requests {
		r, err := http.NewRequestWithContext(c.Context(), http.MethodGet, fmt.Sprintf("http://%s/orders/%d", address, i), nil)
		if err != nil {
			c.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+secret)
		// The node may hear of a Service's pod a moment after the pod is ready.
		c.eventually("the app does not answer", func() bool {
			res, err := http.DefaultClient.Do(r)
			if err == nil {
				res.Body.Close()
			}
			return err == nil
		})
	}
	var list []record
	c.eventually("not all requests are in the cloud", func() bool {
		var text string
		if list, text = c.traffic("app"); strings.Contains(text, secret) {
			c.Fatalf("the secret is not masked:\n%s", text)
		}
		return len(list) >= requests
	})
	seven := func(r record) bool { return r.Location == "/orders/7" }
	if len(list) != requests || !slices.ContainsFunc(list, seven) {
		c.Errorf("%d pairs of %d: %v", len(list), requests, list)
	}
	for _, r := range list {
		if r.Cluster != "e2e" || r.Namespace != "app" || r.Direction != "IN" {
			c.Fatalf("a pair is %+v", r)
		}
	}

	if out, err := c.try("kubectl", "-n", "app", "annotate", "deployment", "app", "sidecar.speedscale.com/proxy-typ=dual"); err == nil || !strings.Contains(out, "nearest is sidecar.speedscale.com/proxy-type") {
		c.Errorf("a wrong annotation: %v\n%s", err, out)
	}
	c.kubectl("-n", "app", "annotate", "deployment", "app", "sidecar.speedscale.com/inject-", "sidecar.speedscale.com/capture-node-traffic-")
	c.eventually("the sidecar stays", func() bool { return c.containers("app", "app") == "app" })
	if got := c.kubectl("-n", "app", "get", "deployment", "app", "-o", "jsonpath={.spec.template.metadata}"); got != `{"labels":{"app":"app"}}` {
		c.Errorf("the template keeps %s", got)
	}
}
