package kube

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/speedscale/speedscale/cluster/annotation"
)

// faultsOfTheWay are between speedctl and the API server, which is told by a proxy.
func (c *cluster) faultsOfTheWay() []planted {
	closed := httptest.NewServer(nil)
	closed.Close()
	old := c.proxy(func(res *http.Response) {
		if res.Request.URL.Path != "/version" {
			return
		}
		res.Body.Close()
		text := `{"major":"1","minor":"29","gitVersion":"v1.29.0"}`
		res.Body, res.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
		res.Header.Set("Content-Length", strconv.Itoa(len(text)))
	})
	ahead := c.proxy(func(res *http.Response) {
		res.Header.Set("Date", time.Now().Add(3*time.Minute).UTC().Format(http.TimeFormat))
	})
	return []planted{
		{name: "no API server", ids: []string{"api-reachable"}, flags: []string{"--kubeconfig", c.kubeconfig(closed.URL)}},
		{name: "old cluster", ids: []string{"api-version"}, flags: []string{"--kubeconfig", old}},
		{name: "clocks apart", ids: []string{"api-clock"}, flags: []string{"--kubeconfig", ahead}},
		{name: "rights missing", ids: []string{"install-rights"}, flags: []string{"--pre", "--as", "nobody", "--as-group", "system:authenticated"}},
		{name: "wrong API key", ids: []string{"cloud-key"}, flags: []string{"--api-key", "wrong"}},
	}
}

// proxy passes requests to the API server and changes the answers. It returns a
// kubeconfig that leads to it.
func (c *cluster) proxy(change func(*http.Response)) string {
	c.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		c.Fatal(err)
	}
	config.NextProtos = []string{"http/1.1"} // port-forwarding takes a connection over
	transport, err := rest.TransportFor(config)
	if err != nil {
		c.Fatal(err)
	}
	to, err := url.Parse(config.Host)
	if err != nil {
		c.Fatal(err)
	}
	s := httptest.NewServer(&httputil.ReverseProxy{
		Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ModifyResponse: func(res *http.Response) error { change(res); return nil },
	})
	c.Cleanup(s.Close)
	return c.kubeconfig(s.URL)
}

func (c *cluster) kubeconfig(server string) string {
	c.Helper()
	path := c.TempDir() + "/kubeconfig"
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: x
clusters: [{name: x, cluster: {server: %q}}]
contexts: [{name: x, context: {cluster: x, user: x}}]
users: [{name: x, user: {}}]`, server)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		c.Fatal(err)
	}
	return path
}

func faultsOfTheInstallation(c *cluster) []planted {
	crd := []string{"patch", "crd", "trafficreplays.speedscale.com"}
	metrics := []string{"patch", "apiservice", "v1beta1.metrics.k8s.io"}
	const buildTag = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/buildTag"
	field := c.kubectl("get", "crd", "trafficreplays.speedscale.com", "-o", "jsonpath={.spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.buildTag}")
	cloud := []string{"-n", "speedscale-cloud", "patch", "service", "speedscale-cloud"}
	return []planted{
		{
			name: "definition not served", ids: []string{"replay-definition"},
			plant: patches(crd, `[{"op":"replace","path":"/spec/versions/0/served","value":false}]`),
			heal:  patches(crd, `[{"op":"replace","path":"/spec/versions/0/served","value":true}]`),
		}, {
			name: "definition old", ids: []string{"replay-definition-version"},
			plant: patches(crd, `[{"op":"remove","path":"`+buildTag+`"}]`),
			heal:  patches(crd, `[{"op":"add","path":"`+buildTag+`","value":`+field+`}]`),
		}, {
			name: "two operators", ids: []string{"operator-single"},
			plant: func(c *cluster) {
				commands("-n", namespaceOfFaults, "create", "deployment", "second", "--image=x", "--replicas=0")(c)
				commands("-n", namespaceOfFaults, "label", "deployment", "second", "controlplane.speedscale.com/component=operator")(c)
			},
			heal: commands("-n", namespaceOfFaults, "delete", "deployment", "second", "--ignore-not-found"),
		}, {
			name: "cloud unreachable", ids: []string{"cloud-reachable"},
			plant: patches(cloud, `[{"op":"add","path":"/spec/selector/fault","value":"planted"}]`),
			heal:  commands(append(slices.Clone(cloud), "--type=merge", "-p", `{"spec":{"selector":{"fault":null}}}`)...),
		}, {
			name: "no metrics API", ids: []string{"metrics-api"},
			plant: patches(metrics, `[{"op":"replace","path":"/spec/service/name","value":"planted"}]`),
			heal:  patches(metrics, `[{"op":"replace","path":"/spec/service/name","value":"metrics-server"}]`),
		},
	}
}

func faultsOfTheWebhooks(c *cluster) []planted {
	service := []string{"-n", "speedscale", "patch", "service", "speedscale-operator"}
	mutating := []string{"patch", "mutatingwebhookconfiguration", "speedscale-operator"}
	policy := func(value string) func(*cluster) {
		return patches(mutating, `[{"op":"replace","path":"/webhooks/1/failurePolicy","value":"`+value+`"}]`)
	}
	bundle := func(value string) func(*cluster) {
		return patches(mutating, `[{"op":"replace","path":"/webhooks/0/clientConfig/caBundle","value":"`+value+`"}]`)
	}
	port := func(value string) func(*cluster) {
		return patches(service, `[{"op":"replace","path":"/spec/ports/0/targetPort","value":"`+value+`"}]`)
	}
	trusted := c.kubectl("get", "mutatingwebhookconfiguration", "speedscale-operator", "-o", "jsonpath={.webhooks[0].clientConfig.caBundle}")
	return []planted{
		c.deleted("mutatingwebhookconfiguration", "speedscale-operator", "webhook-registered"),
		c.deleted("validatingwebhookconfiguration", "speedscale-operator-replay", "webhook-replay-registered"),
		{name: "apps wait for the operator", ids: []string{"webhook-policy"}, plant: policy("Fail"), heal: policy("Ignore")},
		{
			name: "no pod behind the webhooks", ids: []string{"webhook-endpoints"},
			plant: patches(service, `[{"op":"add","path":"/spec/selector/fault","value":"planted"}]`),
			heal:  commands(append(slices.Clone(service), "--type=merge", "-p", `{"spec":{"selector":{"fault":null}}}`)...),
		},
		{
			name: "caBundle of another CA", ids: []string{"webhook-ca-bundle"},
			plant: bundle(base64.StdEncoding.EncodeToString([]byte(c.authority("foreign").pem()))), heal: bundle(trusted),
		},
		{
			name: "webhooks do not answer", ids: []string{"webhook-answers", "webhook-certificate"},
			// The API server's connection to the pod that is there outlives the change of a port.
			plant: func(c *cluster) {
				port("health")(c)
				commands("-n", "speedscale", "delete", "pod", "-l", "app=speedscale-operator", "--timeout=3m")(c)
			},
			heal: port("webhook"),
		},
	}
}

// deleted is an object that is not there, and is made anew as it was.
func (c *cluster) deleted(kind, name, id string) planted {
	c.Helper()
	manifest := c.asItIs(kind, name)
	return planted{
		name: kind + " deleted", ids: []string{id},
		plant: commands("delete", kind, name),
		heal: func(c *cluster) {
			cmd := exec.Command("kubectl", "create", "-f", "-")
			cmd.Stdin = strings.NewReader(manifest)
			if out, err := cmd.CombinedOutput(); err != nil {
				c.Errorf("%s %s is not made anew: %v\n%s", kind, name, err, out)
			}
		},
	}
}

// faultsOfPods are about pods of ours that do not run.
func faultsOfPods(c *cluster) []planted {
	node := c.kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
	// A node that takes no pods has the next one wait.
	homeless := func(app string, ids ...string) planted {
		return planted{
			name: app + " not scheduled", ids: ids,
			plant: func(c *cluster) {
				commands("cordon", node)(c)
				commands("-n", "speedscale", "delete", "pod", "-l", "app="+app, "--grace-period=0", "--force")(c)
			},
			heal: func(c *cluster) {
				commands("uncordon", node)(c)
				commands("-n", "speedscale", "rollout", "status", "deployment/"+app, "--timeout=3m")(c)
			},
		}
	}
	pod := c.pod(namespaceOfFaults, "app")
	image := func(name string) func(*cluster) {
		return commands("-n", namespaceOfFaults, "set", "image", "pod/"+pod.Name, "speedscale-goproxy="+name)
	}
	trust := func(certificate string) func(*cluster) {
		return commands("-n", namespaceOfFaults, "annotate", "--overwrite", "pod", pod.Name, annotation.ForwarderCA+"="+certificate)
	}
	return []planted{
		homeless("speedscale-forwarder", "forwarder-ready", "forwarder-endpoints"),
		homeless("speedscale-inspector", "inspector-ready"),
		{
			name: "operator scaled to nothing", ids: []string{"operator-ready"},
			plant: commands("-n", "speedscale", "scale", "deployment", "speedscale-operator", "--replicas=0"),
			heal: func(c *cluster) {
				commands("-n", "speedscale", "scale", "deployment", "speedscale-operator", "--replicas=1")(c)
				commands("-n", "speedscale", "rollout", "status", "deployment/speedscale-operator", "--timeout=3m")(c)
			},
		},
		{
			name: "sidecar of another version", ids: []string{"sidecar-version", "sidecar-ready"},
			plant: image("docker.io/speedscale/goproxy:planted"), heal: image(pod.Spec.Containers[0].Image),
		},
		{
			name: "sidecar of another certificate", ids: []string{"sidecar-trust"},
			plant: func(c *cluster) {
				other, err := base64.StdEncoding.DecodeString(c.kubectl("get", "mutatingwebhookconfiguration", "speedscale-operator", "-o", "jsonpath={.webhooks[0].clientConfig.caBundle}"))
				if err != nil {
					c.Fatal(err)
				}
				trust(string(other))(c)
			},
			heal: trust(pod.Annotations[annotation.ForwarderCA]),
		},
	}
}

func faultsOfApps() []planted {
	in := func(args ...string) func(*cluster) {
		return commands(append([]string{"-n", namespaceOfFaults}, args...)...)
	}
	all := func(steps ...func(*cluster)) func(*cluster) {
		return func(c *cluster) {
			for _, step := range steps {
				step(c)
			}
		}
	}
	empty := func(name string, annotations ...string) func(*cluster) {
		return all(in("create", "deployment", name, "--image=x", "--replicas=0"), in(append([]string{"annotate", "deployment", name}, annotations...)...))
	}
	gone := func(things ...string) func(*cluster) {
		return in(append([]string{"delete", "--ignore-not-found", "--wait=false"}, things...)...)
	}
	manifest := func(text string) func(*cluster) {
		return func(c *cluster) { c.stdin(text, "kubectl", "-n", namespaceOfFaults, "apply", "-f", "-") }
	}
	const inject = "sidecar.speedscale.com/inject"
	return []planted{
		{
			name: "pods older than the annotation", ids: []string{"workload-captured"},
			plant: all(in("rollout", "pause", "deployment/held"), in("annotate", "deployment", "held", inject+"=true")),
			heal:  all(in("annotate", "deployment", "held", inject+"-"), in("rollout", "resume", "deployment/held")),
		}, {
			name: "sidecar refused", ids: []string{"workload-withdrawn"},
			plant: func(c *cluster) { c.serve(namespaceOfFaults, "host", injected, true) },
			heal:  gone("deployment/host", "service/host"),
		}, {
			name: "left to another operator", ids: []string{"workload-managed-by"},
			plant: empty("left", inject+"=true", "operator.speedscale.com/managed-by=blue"), heal: gone("deployment/left"),
		}, {
			name: "autoscaler counts the sidecar", ids: []string{"workload-autoscaler"},
			plant: all(empty("scaled", inject+"=true"), manifest(`
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: scaled}
spec:
  maxReplicas: 2
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: scaled}
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]`)),
			heal: gone("hpa/scaled", "deployment/scaled"),
		}, {
			name: "network policy", ids: []string{"workload-network-policy"},
			plant: manifest(`
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: shut}
spec: {podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 443}]}]}`),
			heal: gone("networkpolicy/shut"),
		},
	}
}
