package kube

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/client"
)

// faults take the operator, the webhook, the forwarder or the cloud away from everybody, some
// of them during a replay of the app of loop. It answers all along, and nothing of ours is
// left on it.
func faults(s *shop) {
	s.speedctl("inject", "deployment/web", "-n", s.ns, "--capture-node-traffic")
	before := s.settings()
	answering(func(s *shop) {
		s.runIn("pipeline and names away", pipelineAway)
		s.runIn("operator killed in every phase", operatorKilled)
		s.runIn("webhook away", withoutWebhook)
	})(s)
	if now := s.settings(); now != before {
		s.Errorf("the template is\n%s\nand was\n%s", now, before)
	}
}

// settings are the template but for the counter of its stamp, which is raised where pods were
// made while no operator was there.
func (s *shop) settings() string {
	s.Helper()
	return regexp.MustCompile(`count\\":\d+`).ReplaceAllString(s.template(), "")
}

// runIn runs a part with the shop.
func (s *shop) runIn(name string, part func(*shop)) {
	s.Helper()
	s.run(name, func(c *cluster) { part(&shop{c, s.ns}) })
}

// answering is a part during which the app answers all along, through its sidecar, which has to
// capture what comes from the node.
func answering(part func(*shop)) func(*shop) {
	return func(s *shop) {
		if s.kubectl("get", "deployment", "web", "-o", `jsonpath={.metadata.annotations.sidecar\.speedscale\.com/capture-node-traffic}`) != "true" {
			s.Fatal("what asks from the node goes around the sidecar")
		}
		url := "http://" + s.clusterIP(s.ns, "web") + "/healthz"
		s.reach(url)
		p := s.probe(url)
		part(s)
		p.stop(s.cluster)
	}
}

func (c *cluster) putTestConfig(document string) {
	c.Helper()
	key := c.kubectl("-n", "speedscale-cloud", "get", "secret", "speedscale-api-keys", "-o", `go-template={{index .data "admin" | base64decode}}`)
	cl, err := client.New(client.Options{URL: "http://" + c.clusterIP("speedscale-cloud", "speedscale-cloud"), Key: key})
	if err != nil {
		c.Fatal(err)
	}
	defer cl.Close()
	if _, err := cl.TestConfigs.Put(c.Context(), &cloudv1.PutTestConfigRequest{TestConfig: []byte(document)}); err != nil {
		c.Fatal(err)
	}
}

// prober asks an app all the time whether it answers.
type prober struct {
	cancel     context.CancelFunc
	done       sync.WaitGroup
	asked      atomic.Int64
	mu         sync.Mutex
	unanswered []string
}

func (c *cluster) probe(url string) *prober {
	ctx, cancel := context.WithCancel(c.Context())
	p := &prober{cancel: cancel}
	web := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	p.done.Go(func() {
		for ctx.Err() == nil {
			p.ask(ctx, web, url)
			time.Sleep(50 * time.Millisecond)
		}
	})
	return p
}

func (p *prober) ask(ctx context.Context, web *http.Client, url string) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		panic(err) // the address is the test's own
	}
	res, err := web.Do(r)
	p.asked.Add(1)
	text := ""
	switch {
	case ctx.Err() != nil:
	case err != nil:
		text = err.Error()
	case res.StatusCode != http.StatusOK:
		text = res.Status
	}
	if err == nil {
		io.Copy(io.Discard, res.Body) // what matters is the status
		res.Body.Close()
	}
	if text != "" {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.unanswered = append(p.unanswered, time.Now().Format(time.TimeOnly)+" "+text)
	}
}

func (p *prober) stop(c *cluster) {
	c.Helper()
	p.cancel()
	p.done.Wait()
	c.Logf("the app was asked %d times", p.asked.Load())
	if len(p.unanswered) > 0 {
		c.Errorf("%d requests were not answered, such as %s", len(p.unanswered), strings.Join(p.unanswered[:min(5, len(p.unanswered))], "; "))
	}
}

func (c *cluster) killOperator() {
	c.Helper()
	c.kubectl("-n", "speedscale", "delete", "pod", "-l", "app=speedscale-operator", "--grace-period=0", "--force")
}

// crashOperator ends its process as a crash does: it releases no lease, and says nothing to
// anybody. Where this machine is not the node, its pod is deleted.
func (c *cluster) crashOperator() {
	c.Helper()
	c.rollout("speedscale", "deployment/speedscale-operator")
	id := c.kubectl("-n", "speedscale", "get", "pods", "-l", "app=speedscale-operator", "--field-selector=status.phase=Running", "-o", "jsonpath={.items[*].status.containerStatuses[0].containerID}")
	_, id, _ = strings.Cut(id, "://")
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		c.Fatal(err)
	}
	for _, path := range groups {
		text, err := os.ReadFile(path) // it may have ended
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err == nil && id != "" && strings.Contains(string(text), id) && syscall.Kill(pid, syscall.SIGKILL) == nil {
			return
		}
	}
	c.Logf("container %q does not run on this machine: its pod is deleted", id)
	c.killOperator()
}

// asked is how many pairs of the app the cloud has of what driver.yaml asks, 0 while it is away.
func (c *cluster) asked() (n int) {
	list, err := c.tryTraffic("web")
	if err != nil {
		return 0
	}
	for _, r := range list {
		if r.Location != "/healthz" {
			n++
		}
	}
	return n
}

// pipelineAway takes forwarder and cloud away for more than a minute, and in the end the
// node's DNS too. The apps do not notice that what is captured cannot be sent, and nothing of
// it is lost where it fits into the sidecar's memory; what does not is counted. A forwarder
// that starts without the cloud has no masking rules, and takes nothing.
func pipelineAway(s *shop) {
	const namespace = "pressed"
	s.namespace(namespace)
	s.serve(namespace, "pressed", `{sidecar.speedscale.com/inject: "true", sidecar.speedscale.com/capture-node-traffic: "true"}`, false)
	s.rollout(namespace, "deployment/pressed")
	scale := func(replicas string) error {
		return exec.Command("kubectl", "-n", "speedscale-cloud", "scale", "statefulset", "speedscale-cloud", "--replicas="+replicas).Run()
	}
	before := s.asked()
	if before == 0 {
		s.Fatal("the cloud has nothing of the app")
	}
	s.Cleanup(func() { scale("1") })
	if err := scale("0"); err != nil {
		s.Fatal(err)
	}
	s.cluster.kubectl("-n", "speedscale-cloud", "wait", "pod", "-l", "app.kubernetes.io/name=speedscale-cloud", "--for=delete", "--timeout=3m")
	s.cluster.kubectl("-n", "speedscale", "delete", "pod", "-l", "app=speedscale-forwarder", "--timeout=3m")
	s.drive()
	s.namesAway(func() { s.press(namespace, "pressed") })
	if err := scale("1"); err != nil {
		s.Fatal(err)
	}
	s.cluster.kubectl("-n", "speedscale-cloud", "rollout", "status", "statefulset/speedscale-cloud", "--timeout=3m")
	s.rollout("speedscale", "deployment/speedscale-forwarder")
	s.eventually("what was captured meanwhile is not in the cloud", func() bool { return s.asked() >= before+2*driven }) // in and out
	var lost string
	s.eventually("the cloud does not know what the sidecar could not keep", func() bool {
		out, err := s.try(speedctl, "create", "snapshot", "--name", "pressed", "--service", "pressed", "-o", "json")
		lost = out
		return err == nil && strings.Contains(out, `"losses"`)
	})
	s.Logf("of the app that was pressed: %s", lost)
}

// operatorKilled: the one that comes next goes on where the other stopped. Most are told to
// end, and one is not.
func operatorKilled(s *shop) {
	r := s.start("--test-config", "slow", "--ttl", "1s", "--name", "killed")
	s.kubectl("wait", "trafficreplay/killed", "--for=create", "--timeout=1m")
	s.killOperator() // before it has said anything
	id := s.kubectl("get", "trafficreplay", "killed", "-o", "jsonpath={.metadata.uid}")
	for _, phase := range []string{"prepare", "responder", "workload"} {
		r.await(phase, "started")
		s.killOperator()
	}
	r.await("generator", "started")
	s.crashOperator()
	r.await("report", "started")
	s.killOperator()
	if code := r.end(); code != 0 {
		s.Errorf("exit code %d:\n%s", code, strings.Join(r.said, "\n"))
	}
	s.killOperator() // while it cleans up
	if r := s.report(id); r.Requests.Sent > slowSends {
		s.Errorf("some requests were sent twice: %s", describe(r))
	}
	s.nothingLeft()
	s.eventually("the replay outlives its time", func() bool {
		_, err := s.try("kubectl", "-n", s.ns, "get", "trafficreplay", "killed")
		return err != nil
	})
}

// replayDeleted: it is canceled.
func replayDeleted(s *shop) {
	r := s.start("--test-config", "slow", "--name", "deleted")
	r.await("generator", "started")
	s.replayPods("collector generator responder")
	for _, pod := range s.beyondRestricted(s.ns) {
		if strings.HasPrefix(pod, "speedscale-") {
			s.Errorf("a pod of the replay is not restricted: %s", pod)
		}
	}
	s.kubectl("delete", "trafficreplay", "deleted", "--timeout=3m")
	if code := r.end(); code == 0 {
		s.Errorf("a replay that was deleted ends well:\n%s", strings.Join(r.said, "\n"))
	}
	s.nothingLeft()
}

// workloadEdited: what its owner and an autoscaler change meanwhile stays.
func workloadEdited(s *shop) {
	r := s.start("--test-config", "slow", "--name", "edited")
	// The autoscaler's first look comes some 15 s after it was made.
	r.await("responder", "started")
	s.kubectl("apply", "-f", "testdata/autoscaler.yaml")
	r.await("workload", "done")
	s.kubectl("annotate", "deployment", "web", "team=payments")
	s.kubectl("patch", "deployment", "web", "--type=json", "-p", `[{"op":"add","path":"/spec/template/metadata/labels/tier","value":"front"}]`)
	s.eventually("the autoscaler does not scale", func() bool {
		return s.kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.replicas}") == "3"
	})
	if ready := s.ready("edited"); strings.HasPrefix(ready, "True") {
		s.Errorf("the edits came when the replay was over: %s", ready)
	}
	s.kubectl("delete", "hpa", "web") // which would scale again what was scaled back
	r.end()                           // the verdict may be any: pods were replaced while requests were sent
	s.nothingLeft()
	got := s.kubectl("get", "deployment", "web", "-o", "jsonpath={.metadata.annotations.team} {.spec.replicas} {.spec.template.metadata.labels.tier}")
	if got != "payments 3 front" {
		s.Errorf("of the owner's edits there is %q", got)
	}
	s.kubectl("patch", "deployment", "web", "--type=json", "-p", `[{"op":"remove","path":"/spec/template/metadata/labels/tier"}]`)
	s.kubectl("scale", "deployment", "web", "--replicas=2")
	s.rollout(s.ns, "deployment/web")
}

// withoutWebhook: during a replay the workload is scaled, and other apps start, while nobody
// answers at the webhooks.
func withoutWebhook(s *shop) {
	s.startEarly()
	r := s.start("--test-config", "slow")
	r.await("generator", "started")
	since := time.Now().UTC().Format(time.RFC3339)
	s.cluster.kubectl("-n", "speedscale", "scale", "deployment", "speedscale-operator", "--replicas=0")
	s.cluster.kubectl("-n", "speedscale", "wait", "pod", "-l", "app=speedscale-operator", "--for=delete", "--timeout=3m")
	s.scaleWithoutRouting()
	s.startLate()
	s.cluster.kubectl("-n", "speedscale", "scale", "deployment", "speedscale-operator", "--replicas=1")
	if code := r.end(); code != 0 && code != 3 {
		s.Errorf("exit code %d:\n%s", code, strings.Join(r.said, "\n"))
	}
	s.nobodyAsked(since)
	s.kubectl("scale", "deployment", "web", "--replicas=2")
	s.nothingLeft()
	s.lateAreFound()
	s.rollout(s.ns, "deployment/web")
}

// scaleWithoutRouting: no pod is made that has no routing.
func (s *shop) scaleWithoutRouting() {
	s.Helper()
	s.kubectl("scale", "deployment", "web", "--replicas=3")
	s.eventually("it is not said why there is no third pod", func() bool {
		notes := s.kubectl("get", "events", "--field-selector=reason=FailedCreate,involvedObject.kind=ReplicaSet", "-o", "jsonpath={.items[*].message}")
		return strings.Contains(notes, "replayed.sidecar.speedscale.com")
	})
	for _, pod := range s.staying(s.ns, "app=web,!replay.speedscale.com/target") {
		s.Errorf("pod %s has no routing", pod.Name)
	}
}

// nobodyAsked: real servers in the mocked dependencies' places had no request of the replay.
func (s *shop) nobodyAsked(since string) {
	s.Helper()
	for _, dependency := range []string{"orders", "httpbin"} {
		served := func(flags ...string) (lines []string) {
			for line := range strings.Lines(s.cluster.kubectl(append([]string{"-n", "deps", "logs", "deployment/" + dependency}, flags...)...)) {
				if strings.Contains(line, "/orders/") || strings.Contains(line, "base64") {
					lines = append(lines, line)
				}
			}
			return lines
		}
		if len(served()) == 0 {
			s.Errorf("the log of %s does not tell who asks", dependency)
		}
		if now := served("--since-time=" + since); len(now) > 0 {
			s.Errorf("%s, which is mocked, answered:\n%s", dependency, strings.Join(now, ""))
		}
	}
}

// startEarly starts apps that have their sidecar before the webhooks are away.
func (c *cluster) startEarly() {
	c.Helper()
	c.namespace("late")
	for _, app := range []string{"early", "leaving"} {
		c.serve("late", app, injected, false)
		c.rollout("late", "deployment/"+app)
	}
}

// startLate starts pods without a sidecar, which are found once the webhooks are back: of an
// app that has one, and of those that ask for one meanwhile. Another app asks for none any more.
func (c *cluster) startLate() {
	c.Helper()
	c.kubectl("-n", "late", "scale", "deployment", "early", "--replicas=2")
	c.kubectl("-n", "late", "annotate", "deployment", "leaving", "sidecar.speedscale.com/inject-")
	c.kubectl("-n", "late", "apply", "-f", "testdata/idle.yaml")
	for _, w := range []string{"deployment/idle", "statefulset/idle-set", "daemonset/idle-everywhere", "cronjob/idle-yearly"} {
		c.kubectl("-n", "late", "annotate", w, "sidecar.speedscale.com/inject=true")
	}
	c.rollout("late", "deployment/idle")
	c.rollout("late", "deployment/early")
	if got := c.containers("late", "idle"); got != "idle" {
		c.Errorf("without an operator the containers are %q", got)
	}
	if got := c.containers("late", "early"); strings.Count(got, "httpbin") != 2 || strings.Count(got, "speedscale-goproxy") != 1 {
		c.Errorf("of one pod from before and one that was made without an operator the containers are %q", got)
	}
}

func (c *cluster) lateAreFound() {
	c.Helper()
	c.eventually("pods without a sidecar are not found", func() bool {
		stamp := c.kubectl("-n", "late", "get", "cronjob", "idle-yearly", "-o", "jsonpath={.spec.jobTemplate.spec.template.metadata.annotations}")
		return c.containers("late", "idle") == "speedscale-goproxy idle" && c.containers("late", "idle-set") == "speedscale-goproxy idle" &&
			c.containers("late", "idle-everywhere") == "speedscale-goproxy idle" &&
			c.containers("late", "early") == "speedscale-goproxy httpbin speedscale-goproxy httpbin" && c.containers("late", "leaving") == "httpbin" &&
			strings.Contains(stamp, "operator.speedscale.com/stamp")
	})
}

// namespaceDeleted: nothing of ours keeps a namespace from being deleted.
func namespaceDeleted(s *shop) {
	r := s.start("--test-config", "slow")
	r.await("generator", "started")
	began := time.Now()
	s.cluster.kubectl("delete", "namespace", s.ns, "--timeout=3m")
	s.Logf("the namespace was gone after %v", time.Since(began).Round(time.Second))
	if code := r.end(); code == 0 {
		s.Errorf("a replay whose namespace was deleted ends well:\n%s", strings.Join(r.said, "\n"))
	}
}
