package kube

import (
	"bufio"
	"context"

	"io"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/client"
)

// slow is a test config that sends for long enough to do things meanwhile.
const slow = `{"id": "slow", "generator": {"stages": [{"duration": "20s", "arrivals": {"rate": 20}}]}, "cluster": {"logsCollected": true}}`

// faults is about what may go wrong during a replay of the app of loop. Whatever it is, the
// app answers all along, and nothing of ours is left on it.
func faults(c *cluster) {
	c.putTestConfig(slow)
	p := c.probe("http://" + c.clusterIP("shop", "web") + "/healthz")
	before := c.template("shop", "web")
	c.run("pipeline and names away", pipelineAway)
	c.run("operator killed in every phase", operatorKilled)
	c.run("replay deleted midway", replayDeleted)
	c.run("workload edited by its owner", workloadEdited)
	c.run("workload scaled while the webhook is away", scaledWithoutWebhook)
	p.stop(c)
	if now := c.template("shop", "web"); now != before {
		c.Errorf("the template is\n%s\nand was\n%s", now, before)
	}
	c.run("webhook unreachable", webhookUnreachable)
	c.run("namespace deleted midway", namespaceDeleted)
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

// running is a replay that speedctl follows.
type running struct {
	c     *cluster
	cmd   *exec.Cmd
	lines chan string
	said  []string
}

// start starts a replay of the app of loop.
func (c *cluster) start(namespace string, args ...string) *running {
	c.Helper()
	r := &running{c: c, lines: make(chan string, 10_000)}
	r.cmd = exec.CommandContext(c.Context(), speedctl, append([]string{"replay", "deployment/web", "-n", namespace, "--snapshot", "web", "--yes"}, args...)...)
	r.cmd.Env = c.env
	out, in := io.Pipe()
	r.cmd.Stdout, r.cmd.Stderr = in, in
	if err := r.cmd.Start(); err != nil {
		c.Fatal(err)
	}
	go func() {
		defer close(r.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			r.lines <- s.Text()
		}
	}()
	go func() { r.cmd.Wait(); in.Close() }()
	return r
}

// await waits for a line with all of the words.
func (r *running) await(words ...string) {
	r.c.Helper()
	limit := time.After(2 * time.Minute)
	for {
		select {
		case line, ok := <-r.lines:
			if !ok {
				r.c.Fatalf("speedctl ended without %q:\n%s", words, strings.Join(r.said, "\n"))
			}
			r.said = append(r.said, line)
			if containsAll(line, words) {
				return
			}
		case <-limit:
			r.c.Fatalf("speedctl did not say %q:\n%s\n%s", words, strings.Join(r.said, "\n"), r.c.kubectl("get", "trafficreplays,pods,events", "-A"))
		}
	}
}

func containsAll(line string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(line, w) {
			return false
		}
	}
	return true
}

// end waits for speedctl's end, and returns its exit code.
func (r *running) end() int {
	r.c.Helper()
	limit := time.After(3 * time.Minute)
	for {
		select {
		case line, ok := <-r.lines:
			if !ok {
				return r.cmd.ProcessState.ExitCode()
			}
			r.said = append(r.said, line)
		case <-limit:
			r.c.Fatalf("speedctl does not end:\n%s", strings.Join(r.said, "\n"))
		}
	}
}

func (c *cluster) killOperator() {
	c.Helper()
	c.kubectl("-n", "speedscale", "delete", "pod", "-l", "app=speedscale-operator", "--grace-period=0", "--force")
}

// pipelineAway takes forwarder and cloud away for more than a minute, and in the end the
// node's DNS too. The apps do not notice that what
// is captured cannot be sent, and nothing of it is lost where it fits into the sidecar's
// memory; what does not is counted. A forwarder that starts without the cloud has no
// masking rules, and takes nothing.
func pipelineAway(c *cluster) {
	const namespace = "pressed"
	c.namespace(namespace)
	c.serve(namespace, "pressed", `{sidecar.speedscale.com/inject: "true", sidecar.speedscale.com/capture-node-traffic: "true"}`, false)
	c.rollout(namespace, "deployment/pressed")
	scale := func(replicas string) error {
		return exec.Command("kubectl", "-n", "speedscale-cloud", "scale", "statefulset", "speedscale-cloud", "--replicas="+replicas).Run()
	}
	list, _ := c.traffic("web")
	c.Cleanup(func() { scale("1") })
	if err := scale("0"); err != nil {
		c.Fatal(err)
	}
	c.kubectl("-n", "speedscale-cloud", "wait", "pod", "-l", "app.kubernetes.io/name=speedscale-cloud", "--for=delete", "--timeout=60s")
	c.kubectl("-n", "speedscale", "delete", "pod", "-l", "app=speedscale-forwarder", "--timeout=60s")
	c.kubectl("-n", "shop", "delete", "job", "driver", "--ignore-not-found")
	c.kubectl("-n", "shop", "apply", "-f", "testdata/driver.yaml")
	c.kubectl("-n", "shop", "wait", "job/driver", "--for=condition=Complete", "--timeout=60s")
	c.namesAway(func() { c.press(namespace, "pressed") })
	if err := scale("1"); err != nil {
		c.Fatal(err)
	}
	c.kubectl("-n", "speedscale-cloud", "rollout", "status", "statefulset/speedscale-cloud", "--timeout=90s")
	c.rollout("speedscale", "deployment/speedscale-forwarder")
	want := len(list) + 2*driven // in and out
	c.eventually("what was captured meanwhile is not in the cloud", func() bool {
		list, err := c.tryTraffic("web")
		return err == nil && len(list) >= want
	})
	var lost string
	c.eventually("the cloud does not know what the sidecar could not keep", func() bool {
		out, err := c.try(speedctl, "create", "snapshot", "--name", "pressed", "--service", "pressed", "-o", "json")
		lost = out
		return err == nil && strings.Contains(out, `"losses"`)
	})
	c.Logf("of the app that was pressed: %s", lost)
}

// operatorKilled: the one that comes next goes on where the other stopped.
func operatorKilled(c *cluster) {
	r := c.start("shop", "--test-config", "slow", "--ttl", "1s", "--name", "killed")
	for _, phase := range []string{"prepare", "responder", "workload", "generator"} {
		r.await(phase, "started")
		c.killOperator()
	}
	if code := r.end(); code != 0 {
		c.Errorf("exit code %d:\n%s", code, strings.Join(r.said, "\n"))
	}
	c.nothingLeft("shop")
	c.eventually("the replay outlives its time", func() bool {
		_, err := c.try("kubectl", "-n", "shop", "get", "trafficreplay", "killed")
		return err != nil
	})
}

// replayPods waits until the pods of a replay are those of the named components, and have
// the names that the documentation shows.
func (c *cluster) replayPods(components string) {
	c.Helper()
	name := regexp.MustCompile(`^pod/speedscale-(collector|generator|responder)-[a-z]+-[a-z]+-[a-z0-9-]+$`)
	c.eventually("the pods of the replay are not "+components, func() bool {
		names := c.kubectl("-n", "shop", "get", "pods", "-o", "name", "-l", "replay.speedscale.com/component")
		var found []string
		for line := range strings.Lines(names) {
			if m := name.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
				found = append(found, m[1])
			}
		}
		slices.Sort(found)
		return strings.Join(found, " ") == components
	})
}

// replayDeleted: it is canceled.
func replayDeleted(c *cluster) {
	r := c.start("shop", "--test-config", "slow", "--name", "deleted")
	r.await("generator", "started")
	c.replayPods("collector generator responder")
	c.kubectl("-n", "shop", "delete", "trafficreplay", "deleted", "--timeout=90s")
	if code := r.end(); code == 0 {
		c.Errorf("a replay that was deleted ends well:\n%s", strings.Join(r.said, "\n"))
	}
	c.nothingLeft("shop")
}

// workloadEdited: what its owner and an autoscaler change meanwhile stays.
func workloadEdited(c *cluster) {
	r := c.start("shop", "--test-config", "slow")
	r.await("workload", "done")
	c.kubectl("-n", "shop", "annotate", "deployment", "web", "team=payments")
	c.kubectl("-n", "shop", "apply", "-f", "testdata/autoscaler.yaml")
	c.eventually("the autoscaler does not scale", func() bool {
		return c.kubectl("-n", "shop", "get", "deployment", "web", "-o", "jsonpath={.spec.replicas}") == "3"
	})
	c.kubectl("-n", "shop", "patch", "deployment", "web", "--type=json", "-p", `[{"op":"add","path":"/spec/template/metadata/labels/tier","value":"front"}]`)
	r.end() // the verdict may be any: pods were replaced while requests were sent
	c.nothingLeft("shop")
	got := c.kubectl("-n", "shop", "get", "deployment", "web", "-o", "jsonpath={.metadata.annotations.team} {.spec.replicas} {.spec.template.metadata.labels.tier}")
	if got != "payments 3 front" {
		c.Errorf("of the owner's edits there is %q", got)
	}
	c.kubectl("-n", "shop", "delete", "hpa", "web")
	c.kubectl("-n", "shop", "patch", "deployment", "web", "--type=json", "-p", `[{"op":"remove","path":"/spec/template/metadata/labels/tier"}]`)
	c.kubectl("-n", "shop", "scale", "deployment", "web", "--replicas=2")
	c.rollout("shop", "deployment/web")
}

// scaledWithoutWebhook: a pod that has no routing gets no request of the replay, so that
// real servers in the mocked dependencies' places count no connection.
func scaledWithoutWebhook(c *cluster) {
	r := c.start("shop", "--test-config", "slow")
	r.await("generator", "started")
	c.kubectl("-n", "speedscale", "scale", "deployment", "speedscale-operator", "--replicas=0")
	c.kubectl("-n", "speedscale", "wait", "pod", "-l", "app=speedscale-operator", "--for=delete", "--timeout=60s")
	since := time.Now().UTC().Format(time.RFC3339)
	c.kubectl("-n", "shop", "scale", "deployment", "web", "--replicas=3")
	time.Sleep(5 * time.Second) // requests are sent meanwhile
	for _, dependency := range []string{"orders", "httpbin"} {
		log := c.kubectl("-n", "deps", "logs", "deployment/"+dependency, "--since-time="+since)
		for line := range strings.Lines(log) {
			if strings.Contains(line, "/orders/") || strings.Contains(line, "base64") {
				c.Errorf("%s, which is mocked, answered: %s", dependency, line)
			}
		}
	}
	c.kubectl("-n", "speedscale", "scale", "deployment", "speedscale-operator", "--replicas=1")
	r.end()
	c.kubectl("-n", "shop", "scale", "deployment", "web", "--replicas=2")
	c.nothingLeft("shop")
	c.rollout("shop", "deployment/web")
}

// webhookUnreachable: pods start uninjected, and are found afterwards.
func webhookUnreachable(c *cluster) {
	c.kubectl("-n", "speedscale", "scale", "deployment", "speedscale-operator", "--replicas=0")
	c.kubectl("-n", "speedscale", "wait", "pod", "-l", "app=speedscale-operator", "--for=delete", "--timeout=60s")
	c.apply("late", "idle.yaml")
	for _, w := range []string{"deployment/idle", "statefulset/idle-set", "cronjob/idle-yearly"} {
		c.kubectl("-n", "late", "annotate", w, "sidecar.speedscale.com/inject=true")
	}
	c.rollout("late", "deployment/idle")
	if got := c.containers("late", "idle"); got != "idle" {
		c.Errorf("without an operator the containers are %q", got)
	}
	c.kubectl("-n", "speedscale", "scale", "deployment", "speedscale-operator", "--replicas=1")
	c.eventually("pods without a sidecar are not found", func() bool {
		stamp := c.kubectl("-n", "late", "get", "cronjob", "idle-yearly", "-o", "jsonpath={.spec.jobTemplate.spec.template.metadata.annotations}")
		return c.containers("late", "idle") == "speedscale-goproxy idle" && c.containers("late", "idle-set") == "speedscale-goproxy idle" &&
			strings.Contains(stamp, "operator.speedscale.com/stamp")
	})
}

// namespaceDeleted: nothing of ours keeps a namespace from being deleted.
func namespaceDeleted(c *cluster) {
	r := c.start("shop", "--test-config", "slow")
	r.await("generator", "started")
	began := time.Now()
	c.kubectl("delete", "namespace", "shop", "--timeout=90s")
	c.Logf("the namespace was gone after %v", time.Since(began).Round(time.Second))
	if code := r.end(); code == 0 {
		c.Errorf("a replay whose namespace was deleted ends well:\n%s", strings.Join(r.said, "\n"))
	}
}
