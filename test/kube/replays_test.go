package kube

import (
	"errors"
	"strings"
	"time"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/traffic/report"
)

const (
	// pair sends as recorded, from two generators.
	pair = `{"id": "pair", "generator": {"numReplicas": 2}}`
	// slow sends for long enough to do things meanwhile.
	slow      = `{"id": "slow", "generator": {"stages": [{"duration": "20s", "arrivals": {"rate": 20}}]}, "cluster": {"logsCollected": true}}`
	slowSends = 20 * 20
)

// replays is about what replays can say, and what happens to them, with the snapshot of loop.
func replays(c *cluster) {
	c.run("side by side", func(c *cluster) {
		c.sideBySide([]part{{"infra", infra}, {"demo", replayDemo}, {"other kinds", otherKinds}})
		inShops(c, []shopPart{
			{name: "two replays of one workload", test: twoReplays},
			{name: "several generators", test: severalGenerators},
			{name: "secret that is not there", test: secretNotThere},
			{name: "requests of others", test: requestsOfOthers},
			{name: "generator only", test: generatorOnlyIsNotLive},
			{name: "responder only", test: responderOnly},
			{name: "custom URL", test: customURL},
			{name: "responder lost", test: responderLost},
			{name: "rights of a pipeline", test: pipelineRights},
			{name: "screen to the verdict", test: func(s *shop) { screenToVerdict(s, "80", "24") }, version: "2"},
			{name: "wide screen to the verdict", test: func(s *shop) { screenToVerdict(s, "140", "40") }, version: "2"},
			{name: "screen of one that is canceled", test: screenCanceled},
			{name: "replay deleted midway", test: replayDeleted, answers: true},
			{name: "workload edited by its owner", test: workloadEdited, answers: true},
			{name: "namespace deleted midway", test: namespaceDeleted, deleted: true},
		})
	})
}

// twoReplays: the second waits for the first, says so, and ends with its own timeout.
func twoReplays(s *shop) {
	first := s.start("--test-config", "slow", "--name", "first")
	first.await("generator", "started")
	s.applyReplay("second", `{snapshotID: web, testConfigID: standard, timeout: 10s, workloads: [{ref: {name: web}, tests: ["*"], mocks: ["*"]}]}`)
	s.eventually("the second replay does not say for what it waits", func() bool {
		return strings.HasPrefix(s.ready("second"), `False Waiting: waits for TrafficReplay "first", which has Deployment "web"`)
	})
	if out, err := s.try("kubectl", "-n", s.ns, "patch", "trafficreplay", "first", "--type=merge", "-p", `{"spec":{"timeout":"1h"}}`); err == nil || !strings.Contains(out, "spec.timeout: Forbidden") {
		s.Errorf("the timeout of a replay that runs: %v\n%s", err, out)
	}
	s.kubectl("wait", "trafficreplay/second", "--for=condition=Ready", "--timeout=3m")
	if got, want := s.ready("second"), `True Error: Error: timeout of 10s: waits for TrafficReplay "first"`; !strings.HasPrefix(got, want) {
		s.Errorf("the second replay ended with %q, want %q", got, want)
	}
	if code := first.end(); code != 0 {
		s.Errorf("the first replay: exit code %d:\n%s", code, strings.Join(first.said, "\n"))
	}
	s.forget("second", "first")
	// The revision before is the replay's, of which no pod could be made without the operator.
	s.kubectl("rollout", "undo", "deployment/web")
	if now := s.template(); strings.Contains(now, annotation.Replay) {
		s.Errorf("a rollback brings the replay back:\n%s", now)
	}
}

// secretNotThere: the replay says so soon, and the workload is not restarted for it.
func secretNotThere(s *shop) {
	generation := func() string { return s.kubectl("get", "deployment", "web", "-o", "jsonpath={.metadata.generation}") }
	before := generation()
	s.applyReplay("mistyped", `{snapshotID: web, testConfigID: standard, secretRefs: [{name: jwt-kee}], workloads: [{ref: {name: web}, tests: ["*"], mocks: ["*"]}]}`)
	s.kubectl("wait", "trafficreplay/mistyped", "--for=condition=Ready", "--timeout=3m")
	if got, want := s.ready("mistyped"), `spec.secretRefs[0].name: there is no Secret "jwt-kee" in namespace "`+s.ns+`"`; !strings.HasPrefix(got, "True Error") || !strings.Contains(got, want) {
		s.Errorf("the replay ended with %q, want %q", got, want)
	}
	if now := generation(); now != before {
		s.Errorf("the workload was changed: its generation was %s and is %s", before, now)
	}
	s.forget("mistyped")
}

// severalGenerators: together they send each recorded request once.
func severalGenerators(s *shop) {
	s.applyReplay("pair", `{snapshotID: web, testConfigID: pair, workloads: [{ref: {name: web}, tests: ["*"], mocks: ["*"]}]}`)
	s.replayPods("generator generator responder")
	r := s.reportOf("pair")
	if r.Status != report.Passed || r.Requests.Sent != driven || r.Requests.Passed != driven {
		s.Errorf("two generators: %s", describe(r))
	}
	if r.Others != nil {
		s.Errorf("of others there is %+v: %q", r.Others, r.Warnings)
	}
	s.forget("pair")
}

// keptPairs is how many pairs of this shop's app the cloud has, once there are no more.
func (s *shop) keptPairs() (n int) {
	s.Helper()
	s.eventually("traffic does not end", func() bool {
		before := n
		text, err := s.output(speedctl, "get", "traffic", "--service", "web", "--limit", "0", "-o", "json", "-q")
		list, wrong := records(text)
		if err = errors.Join(err, wrong); err != nil {
			s.Fatal(err)
		}
		n = 0
		for _, r := range list {
			if r.Namespace == s.ns {
				n++
			}
		}
		if n != before {
			time.Sleep(3 * time.Second)
		}
		return n == before && n >= 2*driven
	})
	return n
}

// requestsOfOthers: the report counts them and warns, and what the sidecars saw of the
// replay is no live traffic.
func requestsOfOthers(s *shop) {
	s.drive()
	before := s.keptPairs()
	r := s.start("--test-config", "slow", "--name", "visited")
	r.await("generator", "started")
	s.onlyRouted()
	s.kubectl("run", "visitor", "--image=docker.io/speedscale-test/servers:1", "--image-pull-policy=Never", "--restart=Never", "--command", "--",
		"/bin/sh", "-ec", "for n in 1 2 3 4 5 6 7 8 9 10 11 12; do curl -fsS --retry 10 --retry-connrefused --retry-delay 1 -o /dev/null http://web/healthz; done")
	s.kubectl("wait", "pod/visitor", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=3m")
	if code := r.end(); code != 0 {
		s.Errorf("exit code %d:\n%s", code, strings.Join(r.said, "\n"))
	}
	const want = "12 requests of others reached the workload during the replay"
	if said := strings.Join(r.said, "\n"); !strings.Contains(said, want) {
		s.Errorf("speedctl does not say %q:\n%s", want, said)
	}
	made := s.reportOf("visited")
	if made.Others == nil || made.Others.Requests != 12 || len(made.Others.From) != 1 || made.Others.From[0].Address != s.kubectl("get", "pod", "visitor", "-o", "jsonpath={.status.podIP}") {
		s.Errorf("of others there is %+v: %q", made.Others, made.Warnings)
	}
	s.kubectl("delete", "pod", "visitor", "--timeout=3m")
	s.forget("visited")
	if after := s.keptPairs(); after != before {
		s.Errorf("the cloud has %d pairs of the app, and had %d before the replay", after, before)
	}
}

// generatorOnlyIsNotLive: dependencies are real, and the sidecar knows all the same that
// what it sees is of a replay.
func generatorOnlyIsNotLive(s *shop) {
	s.drive()
	before := s.keptPairs()
	s.applyReplay("sent", `{snapshotID: web, testConfigID: standard, mode: generator-only, workloads: [{ref: {name: web}, tests: ["*"]}]}`)
	s.replayPods("collector generator")
	if r := s.reportOf("sent"); r.Status != report.Passed || r.Requests.Passed != driven || r.Mocks != nil {
		s.Errorf("generator only: %s", describe(r))
	}
	s.forget("sent")
	if after := s.keptPairs(); after != before {
		s.Errorf("the cloud has %d pairs of the app, and had %d before the replay", after, before)
	}
}

// responderOnly mocks until it is deleted, and has a report where one is asked for.
func responderOnly(s *shop) {
	s.applyReplay("mocked", `{snapshotID: web, testConfigID: standard, mode: responder-only, needsReport: true, workloads: [{ref: {name: web}, mocks: ["*"]}]}`)
	id := s.kubectl("get", "trafficreplay", "mocked", "-o", "jsonpath={.metadata.uid}")
	s.kubectl("wait", "trafficreplay/mocked", "--for=condition=MocksReady", "--timeout=3m")
	s.replayPods("collector responder")
	s.onlyRouted()
	s.drive()
	s.forget("mocked")
	if r := s.report(id); r.Mocks == nil || r.Mocks.Matched < driven || r.Mocks.Missed != 0 || r.Requests.Sent != 0 {
		s.Errorf("responder only: %s", describe(r))
	}
}

// responderLost: a replay whose mocks are gone says so, and not that the app is at fault.
func responderLost(s *shop) {
	r := s.start("--test-config", "slow", "--name", "unmocked")
	r.await("generator", "started")
	s.kubectl("delete", "pod", "-l", "replay.speedscale.com/component=responder", "--wait=false")
	code := r.end()
	if got := s.ready("unmocked"); code == 0 || !strings.HasPrefix(got, "True Error") || !strings.Contains(got, "the responder failed while requests were sent") {
		s.Errorf("exit code %d, the replay ended with %q:\n%s", code, got, strings.Join(r.said, "\n"))
	}
	s.forget("unmocked")
}

// customURL is sent everything, and no workload is restarted for it.
func customURL(s *shop) {
	before := s.kubectl("get", "pods", "-l", "app=web", "-o", "name")
	s.applyReplay("by-url", `{snapshotID: web, testConfigID: standard, customURL: "http://web.`+s.ns+`.svc"}`)
	s.replayPods("generator")
	if r := s.reportOf("by-url"); r.Status != report.Passed || r.Requests.Passed != driven || r.Target != "http://web."+s.ns+".svc" {
		s.Errorf("custom URL: %s", describe(r))
	}
	if now := s.kubectl("get", "pods", "-l", "app=web", "-o", "name"); now != before {
		s.Errorf("the app's pods are %s, and were %s", now, before)
	}
	s.forget("by-url")
}

// otherKinds: a StatefulSet and a DaemonSet that were made for a replay each end with it.
func otherKinds(c *cluster) {
	const namespace = "shop-kinds"
	c.apply(namespace, "shop-kinds.yaml")
	for _, workload := range []string{"statefulset/web", "daemonset/web"} {
		c.rollout(namespace, workload)
		r, code := c.replay(namespace, workload, "web", "--cleanup", "all")
		if code != 0 || r.Status != report.Passed || r.Requests.Passed != driven || r.Mocks == nil || r.Mocks.Matched < driven {
			c.Errorf("%s: exit code %d, %s", workload, code, describe(r))
		}
		c.eventually(workload+" stays", func() bool {
			return c.kubectl("-n", namespace, "get", workload, "--ignore-not-found", "-o", "name") == ""
		})
		c.nothingLeft(namespace)
	}
}

// dependenciesGone is about two apps whose mocked dependencies are on one port and gone from
// DNS. One finds them in its hosts file. The other is mocked only, and the requests go to a
// URL, which is its own. Something else is done meanwhile.
func dependenciesGone(c *cluster, meanwhile func()) {
	aliased := openCaptured(c, "shop-aliased", "1")
	several := openCaptured(c, "shop-several", "1")
	restore := c.withoutDependencies()
	// Its pods stay as they are for the replay until it is deleted.
	aliased.applyReplay("aliased", `{snapshotID: web, testConfigID: standard, cleanup: none, workloads: [{ref: {name: web}, tests: ["*"], mocks: ["*"], routing: hostalias}]}`)
	several.applyReplay("several", `{snapshotID: web, testConfigID: standard, workloads: [{ref: {name: web}, mocks: [orders, httpbin]}, {customURI: "http://web.shop-several.svc", tests: ["*"]}]}`)
	meanwhile()
	aliased.hostAliases()
	several.severalWorkloads()
	restore()
	several.forget("several")
	aliased.forget("aliased")
	if pods := aliased.kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].spec.hostAliases}"); pods != "" {
		c.Errorf("host aliases are left: %s", pods)
	}
}

// hostAliases: DNS is not redirected.
func (s *shop) hostAliases() {
	s.Helper()
	var pods string
	s.eventually("no pod has the replay's host aliases", func() bool {
		pods = s.kubectl("get", "pods", "-l", "replay.speedscale.com/target", "-o", "yaml")
		return strings.Contains(pods, "orders.deps.svc.cluster.local") && strings.Contains(pods, "httpbin.deps")
	})
	if strings.Contains(pods, "DNS_PORT") {
		s.Errorf("DNS is redirected for the replay:\n%s", pods)
	}
	r := s.reportOf("aliased")
	if r.Status != report.Passed || r.Requests.Passed != driven || r.Mocks == nil || r.Mocks.Matched < driven || r.Mocks.Missed != 0 {
		s.Errorf("host aliases: %s", describe(r))
	}
}

func (s *shop) severalWorkloads() {
	s.Helper()
	r := s.reportOf("several")
	// By the app's own Service, a connection may have led to a pod that was going away.
	closed := r.Requests.Errors
	if r.Requests.Failed > 0 || closed > 2 || r.Requests.Passed+closed != driven || r.Mocks == nil || r.Mocks.Matched < driven-closed || r.Mocks.Missed != 0 {
		s.Errorf("several workloads: %s", describe(r))
	}
	if !strings.Contains(r.Target, "deployment/web") || !strings.Contains(r.Target, "http://web.shop-several.svc") {
		s.Errorf("the target is %q", r.Target)
	}
}
