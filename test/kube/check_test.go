package kube

import (
	"context"
	"encoding/base64"
	"encoding/json"
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

	"github.com/speedscale/speedscale/cluster/check"
)

// planted is a fault: what a user may do to a cluster, and which checks find it.
type planted struct {
	name string
	ids  []string
	// plant and heal do and undo it; nil where the flags are all there is to it.
	plant, heal func(*cluster)
	flags       []string
}

// namespaceOfFaults has the workloads that faults are about.
const namespaceOfFaults = "faulty"

// checks plants faults one after the other. Each is found by the checks of those names, and
// gone when it is healed; before and after them nothing is found.
func checks(c *cluster) {
	c.namespace(namespaceOfFaults)
	c.serve(namespaceOfFaults, "app", injected, false)
	c.serve(namespaceOfFaults, "held", "{}", false)
	c.rollout(namespaceOfFaults, "deployment/app")
	c.rollout(namespaceOfFaults, "deployment/held")
	c.nothingFound()
	all := slices.Concat(c.faultsOfTheWay(), faultsOfTheInstallation(c), faultsOfTheWebhooks(c), faultsOfPods(c), faultsOfApps())
	for _, f := range all {
		c.run(f.name, f.find)
	}
	if len(all) < 20 {
		c.Errorf("only %d faults", len(all))
	}
	began := time.Now()
	c.speedctl("check", "--wait", "90s", "-q")
	c.Logf("nothing fails %v after the last fault", time.Since(began).Round(time.Second))
	c.nothingFound()
	if out := c.speedctl("check"); !strings.Contains(out, " checks hold") || strings.Contains(out, "    see ") {
		c.Errorf("a healthy installation is\n%s", out)
	}
}

// find plants a fault, finds it, and heals it.
func (f planted) find(c *cluster) {
	if found := c.found(); containsAny(ids(found), f.ids) {
		c.Fatalf("before it is planted: %+v", found)
	}
	healed := f.plant == nil
	if !healed {
		c.Cleanup(func() {
			if !healed {
				f.heal(c)
			}
		})
		f.plant(c)
	}
	var last []check.Result
	for deadline := time.Now().Add(30 * time.Second); ; {
		last = c.found(f.flags...)
		missing := slices.DeleteFunc(slices.Clone(f.ids), func(id string) bool { return slices.Contains(ids(last), id) })
		if len(missing) == 0 {
			break
		}
		if time.Now().After(deadline) {
			c.Fatalf("%q do not find it: %+v", missing, last)
		}
		time.Sleep(200 * time.Millisecond)
	}
	for _, r := range last {
		if slices.Contains(f.ids, r.ID) {
			c.Logf("%s: %s %s: %s", r.ID, r.Status, r.Subject, r.Text)
			if r.Hint == "" || r.Doc == "" {
				c.Errorf("no hint or no address: %+v", r)
			}
		}
	}
	if f.plant != nil {
		f.heal(c)
		healed = true
		c.eventually("it is still found", func() bool { return !containsAny(ids(c.found()), f.ids) })
	}
}

func containsAny(list, words []string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return slices.Contains(list, w) })
}

// found is what speedctl check finds: warnings and failures. Its exit code says whether
// there are failures.
func (c *cluster) found(flags ...string) (list []check.Result) {
	c.Helper()
	cmd := exec.CommandContext(c.Context(), speedctl, append([]string{"check", "-o", "json"}, flags...)...)
	cmd.Env = c.env
	out, err := cmd.Output() // what is not JSON is a failure
	var report check.Report
	if wrong := json.Unmarshal(out, &report); wrong != nil {
		c.Fatalf("speedctl check: %v, %v\n%s", err, wrong, out)
	}
	if (err == nil) != report.Success || report.Success != (report.Count(check.Failed) == 0) {
		c.Errorf("exit code %d, success %v, %d failures", cmd.ProcessState.ExitCode(), report.Success, report.Count(check.Failed))
	}
	for _, r := range report.All() {
		if r.Status == check.Warning || r.Status == check.Failed {
			list = append(list, r)
		}
	}
	return list
}

// nothingFound waits until nothing is: what the sidecars of earlier parts said is forgotten
// after some minutes.
func (c *cluster) nothingFound() {
	c.Helper()
	var found []check.Result
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Second) {
		if found = c.found(); len(found) == 0 {
			return
		}
		if time.Now().After(deadline) {
			c.Fatalf("found in a healthy installation: %+v", found)
		}
	}
}

func ids(results []check.Result) (list []string) {
	for _, r := range results {
		list = append(list, r.ID)
	}
	return list
}

// commands returns what runs kubectl, also while the test ends: what is planted is healed
// whatever happens.
func commands(args ...string) func(*cluster) {
	return func(c *cluster) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context()), 90*time.Second)
		defer cancel()
		if out, err := exec.CommandContext(ctx, "kubectl", args...).CombinedOutput(); err != nil {
			c.Errorf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// patches returns what changes an object by a JSON patch (RFC 6902).
func patches(args []string, patch string) func(*cluster) {
	return commands(append(slices.Clone(args), "--type=json", "-p", patch)...)
}

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
		{name: "webhooks do not answer", ids: []string{"webhook-answers", "webhook-certificate"}, plant: port("health"), heal: port("webhook")},
	}
}

// deleted is an object that is not there, and is made anew as it was.
func (c *cluster) deleted(kind, name, id string) planted {
	c.Helper()
	var object map[string]any
	if err := json.Unmarshal([]byte(c.kubectl("get", kind, name, "-o", "json")), &object); err != nil {
		c.Fatal(err)
	}
	for _, field := range []string{"resourceVersion", "uid", "creationTimestamp"} {
		delete(object["metadata"].(map[string]any), field)
	}
	text, err := json.Marshal(object)
	if err != nil {
		c.Fatal(err)
	}
	return planted{
		name: kind + " deleted", ids: []string{id},
		plant: commands("delete", kind, name),
		heal: func(c *cluster) {
			cmd := exec.Command("kubectl", "create", "-f", "-")
			cmd.Stdin = strings.NewReader(string(text))
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
				commands("-n", "speedscale", "rollout", "status", "deployment/"+app, "--timeout=60s")(c)
			},
		}
	}
	pod := c.pod(namespaceOfFaults, "app")
	image := func(name string) func(*cluster) {
		return commands("-n", namespaceOfFaults, "set", "image", "pod/"+pod.Name, "speedscale-goproxy="+name)
	}
	return []planted{
		homeless("speedscale-forwarder", "forwarder-ready", "forwarder-endpoints"),
		homeless("speedscale-inspector", "inspector-ready"),
		{
			name: "operator scaled to nothing", ids: []string{"operator-ready"},
			plant: commands("-n", "speedscale", "scale", "deployment", "speedscale-operator", "--replicas=0"),
			heal: func(c *cluster) {
				commands("-n", "speedscale", "scale", "deployment", "speedscale-operator", "--replicas=1")(c)
				commands("-n", "speedscale", "rollout", "status", "deployment/speedscale-operator", "--timeout=60s")(c)
			},
		},
		{
			name: "sidecar of another version", ids: []string{"sidecar-version", "sidecar-ready"},
			plant: image("docker.io/speedscale/goproxy:planted"), heal: image(pod.Spec.Containers[0].Image),
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
