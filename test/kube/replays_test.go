package kube

import (
	"encoding/json"
	"os"
	"strings"
	"time"

	"github.com/speedscale/speedscale/traffic/report"
)

// pair sends as recorded, from two generators.
const pair = `{"id": "pair", "generator": {"numReplicas": 2}}`

// replays is about what TrafficReplays can say, with the app and the snapshot of loop, and
// the test config slow.
func replays(c *cluster) {
	c.putTestConfig(pair)
	before := c.template("shop", "web")
	c.run("two replays of one workload", twoReplays)
	c.run("several generators", severalGenerators)
	c.run("several workloads", severalWorkloads)
	c.run("requests of others", requestsOfOthers)
	c.run("generator only is no live traffic", generatorOnlyIsNotLive)
	c.run("host aliases", hostAliases)
	if now := c.template("shop", "web"); now != before {
		c.Errorf("the template is\n%s\nand was\n%s", now, before)
	}
}

// applyReplay makes a TrafficReplay in namespace shop.
func (c *cluster) applyReplay(name, spec string) {
	c.Helper()
	path := c.TempDir() + "/" + name + ".yaml"
	manifest := "apiVersion: speedscale.com/v1\nkind: TrafficReplay\nmetadata: {name: " + name + ", namespace: shop}\nspec: " + spec + "\n"
	if err := os.WriteFile(path, []byte(manifest), 0o600); err != nil {
		c.Fatal(err)
	}
	c.kubectl("apply", "-f", path)
}

// ready is the condition Ready of a replay: status, reason and message.
func (c *cluster) ready(name string) string {
	c.Helper()
	return c.kubectl("-n", "shop", "get", "trafficreplay", name, "-o", `jsonpath={range .status.conditions[?(@.type=="Ready")]}{.status} {.reason}: {.message}{end}`)
}

// reportOf waits for a replay's end, and returns its report.
func (c *cluster) reportOf(name string) *report.Report {
	c.Helper()
	if out, err := c.try("kubectl", "-n", "shop", "wait", "trafficreplay/"+name, "--for=condition=Ready", "--timeout=3m"); err != nil {
		c.Fatalf("replay %s does not end: %s\n%s\n%s", name, out, c.ready(name), c.kubectl("get", "pods,events", "-A"))
	}
	text := c.speedctl("get", "report", c.kubectl("-n", "shop", "get", "trafficreplay", name, "-o", "jsonpath={.status.reportID}"), "-o", "json", "-q")
	var r report.Report
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		c.Fatalf("report of %s: %v\n%s", name, err, text)
	}
	return &r
}

// forget deletes replays of the app, and waits until it is as it was.
func (c *cluster) forget(names ...string) {
	c.Helper()
	for _, name := range names {
		c.kubectl("-n", "shop", "delete", "trafficreplay", name, "--timeout=3m")
	}
	c.nothingLeft("shop")
	c.rollout("shop", "deployment/web")
}

// withoutDependencies does something while the Services of the app's dependencies are gone.
func withoutDependencies(c *cluster, do func()) {
	c.Helper()
	c.kubectl("-n", "deps", "delete", "service", "orders", "httpbin")
	defer c.kubectl("-n", "deps", "apply", "-f", "testdata/deps.yaml") // without them the app could not start again
	do()
}

// twoReplays: the second waits for the first, says so, and ends with its own timeout.
func twoReplays(c *cluster) {
	first := c.start("shop", "--test-config", "slow", "--name", "first")
	first.await("generator", "started")
	c.applyReplay("second", `{snapshotID: web, testConfigID: standard, timeout: 10s, workloads: [{ref: {name: web}, tests: ["*"], mocks: ["*"]}]}`)
	c.eventually("the second replay does not say for what it waits", func() bool {
		return strings.HasPrefix(c.ready("second"), `False Waiting: waits for TrafficReplay "first", which has Deployment "web"`)
	})
	c.kubectl("-n", "shop", "wait", "trafficreplay/second", "--for=condition=Ready", "--timeout=60s")
	if got, want := c.ready("second"), `True Error: Error: timeout of 10s: waits for TrafficReplay "first"`; !strings.HasPrefix(got, want) {
		c.Errorf("the second replay ended with %q, want %q", got, want)
	}
	if code := first.end(); code != 0 {
		c.Errorf("the first replay: exit code %d:\n%s", code, strings.Join(first.said, "\n"))
	}
	c.forget("second", "first")
}

// severalGenerators: together they send each recorded request once.
func severalGenerators(c *cluster) {
	c.applyReplay("pair", `{snapshotID: web, testConfigID: pair, workloads: [{ref: {name: web}, tests: ["*"], mocks: ["*"]}]}`)
	c.replayPods("generator generator responder")
	r := c.reportOf("pair")
	if r.Status != report.Passed || r.Requests.Sent != driven || r.Requests.Passed != driven {
		c.Errorf("two generators: %s", describe(r))
	}
	if r.Others != nil {
		c.Errorf("of others there is %+v: %q", r.Others, r.Warnings)
	}
	c.forget("pair")
}

// severalWorkloads: one is mocked, and requests go to another, which is a URL.
func severalWorkloads(c *cluster) {
	withoutDependencies(c, func() {
		c.applyReplay("several", `{snapshotID: web, testConfigID: standard, workloads: [{ref: {name: web}, mocks: [orders, httpbin]}, {customURI: "http://web.shop.svc", tests: ["*"]}]}`)
		r := c.reportOf("several")
		// By the app's own Service, a connection may have led to a pod that was going away.
		closed := r.Requests.Errors
		if r.Requests.Failed > 0 || closed > 2 || r.Requests.Passed+closed != driven || r.Mocks == nil || r.Mocks.Matched < driven-closed || r.Mocks.Missed != 0 {
			c.Errorf("several workloads: %s", describe(r))
		}
		if !strings.Contains(r.Target, "deployment/web") || !strings.Contains(r.Target, "http://web.shop.svc") {
			c.Errorf("the target is %q", r.Target)
		}
	})
	c.forget("several")
}

// keptPairs is how many pairs of the app the cloud has, once there are no more.
func (c *cluster) keptPairs() (n int) {
	c.Helper()
	c.eventually("traffic does not end", func() bool {
		before := n
		n = strings.Count(c.speedctl("get", "traffic", "--service", "web", "--limit", "0", "-o", "json", "-q"), "\n")
		if n != before {
			time.Sleep(3 * time.Second)
		}
		return n == before && n > 0
	})
	return n
}

// requestsOfOthers: the report counts them and warns, and what the sidecars saw of the
// replay is no live traffic.
func requestsOfOthers(c *cluster) {
	before := c.keptPairs()
	r := c.start("shop", "--test-config", "slow", "--name", "visited")
	r.await("generator", "started")
	c.kubectl("-n", "shop", "run", "visitor", "--image=docker.io/speedscale-test/servers:1", "--image-pull-policy=Never", "--restart=Never", "--command", "--",
		"/bin/sh", "-ec", "for n in 1 2 3 4 5 6 7 8 9 10 11 12; do curl -fsS -o /dev/null http://web/healthz; done")
	c.kubectl("-n", "shop", "wait", "pod/visitor", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
	if code := r.end(); code != 0 {
		c.Errorf("exit code %d:\n%s", code, strings.Join(r.said, "\n"))
	}
	const want = "12 requests of others reached the workload during the replay"
	if said := strings.Join(r.said, "\n"); !strings.Contains(said, want) {
		c.Errorf("speedctl does not say %q:\n%s", want, said)
	}
	made := c.reportOf("visited")
	if made.Others == nil || made.Others.Requests != 12 || len(made.Others.From) != 1 || made.Others.From[0].Address != c.kubectl("-n", "shop", "get", "pod", "visitor", "-o", "jsonpath={.status.podIP}") {
		c.Errorf("of others there is %+v: %q", made.Others, made.Warnings)
	}
	c.kubectl("-n", "shop", "delete", "pod", "visitor", "--timeout=60s")
	c.forget("visited")
	if after := c.keptPairs(); after != before {
		c.Errorf("the cloud has %d pairs of the app, and had %d before the replay", after, before)
	}
}

// generatorOnlyIsNotLive: dependencies are real, and the sidecar knows all the same that
// what it sees is of a replay.
func generatorOnlyIsNotLive(c *cluster) {
	before := c.keptPairs()
	c.applyReplay("sent", `{snapshotID: web, testConfigID: standard, mode: generator-only, workloads: [{ref: {name: web}, tests: ["*"]}]}`)
	c.replayPods("collector generator")
	if r := c.reportOf("sent"); r.Status != report.Passed || r.Requests.Passed != driven || r.Mocks != nil {
		c.Errorf("generator only: %s", describe(r))
	}
	c.forget("sent")
	if after := c.keptPairs(); after != before {
		c.Errorf("the cloud has %d pairs of the app, and had %d before the replay", after, before)
	}
}

// hostAliases: the app finds its mocked dependencies, which are on one port and gone from
// DNS, in its hosts file; DNS is not redirected.
func hostAliases(c *cluster) {
	withoutDependencies(c, func() {
		c.applyReplay("aliased", `{snapshotID: web, testConfigID: standard, workloads: [{ref: {name: web}, tests: ["*"], mocks: ["*"], routing: hostalias}]}`)
		var pods string
		c.eventually("no pod has the replay's host aliases", func() bool {
			pods = c.kubectl("-n", "shop", "get", "pods", "-l", "replay.speedscale.com/target", "-o", "yaml")
			return strings.Contains(pods, "orders.deps.svc.cluster.local") && strings.Contains(pods, "httpbin.deps")
		})
		if strings.Contains(pods, "DNS_PORT") {
			c.Errorf("DNS is redirected for the replay:\n%s", pods)
		}
		r := c.reportOf("aliased")
		if r.Status != report.Passed || r.Requests.Passed != driven || r.Mocks == nil || r.Mocks.Matched < driven || r.Mocks.Missed != 0 {
			c.Errorf("host aliases: %s", describe(r))
		}
	})
	c.forget("aliased")
	if pods := c.kubectl("-n", "shop", "get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].spec.hostAliases}"); pods != "" {
		c.Errorf("host aliases are left: %s", pods)
	}
}
