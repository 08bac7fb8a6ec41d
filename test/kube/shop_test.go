package kube

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/speedscale/speedscale/traffic/report"
)

const (
	roundsDriven = 5
	driven       = roundsDriven * 6 // requests of testdata/driver.yaml
)

// shop is a namespace with deployment web: nginx, whose dependencies are in namespace deps.
type shop struct {
	*cluster
	ns string
}

// dependencies starts what the apps of all shops call.
func dependencies(c *cluster) {
	c.Helper()
	c.apply("deps", "deps.yaml")
	c.rollout("deps", "deployment/orders")
	c.rollout("deps", "deployment/httpbin")
}

// openShop starts the app, which has no sidecar.
func openShop(c *cluster, namespace string) *shop {
	c.Helper()
	c.apply(namespace, "shop.yaml")
	c.rollout(namespace, "deployment/web")
	return &shop{c, namespace}
}

// openCaptured starts a version of the app with a sidecar; the flags are inject's.
func openCaptured(c *cluster, namespace, version string, flags ...string) *shop {
	c.Helper()
	c.namespace(namespace)
	manifests := strings.ReplaceAll(c.speedctl(append([]string{"inject", "-q", "-f", "testdata/shop.yaml"}, flags...)...), "speedscale-test/web:1", "speedscale-test/web:"+version)
	c.stdin(manifests, "kubectl", "-n", namespace, "apply", "-f", "-")
	c.rollout(namespace, "deployment/web")
	return &shop{c, namespace}
}

// inShops runs parts side by side, each with a captured app of its own, on which nothing is
// left afterwards.
func inShops(c *cluster, parts []shopPart) {
	for i, p := range parts {
		c.run(p.name, func(c *cluster) {
			c.Parallel()
			var flags []string
			if p.answers {
				flags, p.test = []string{"--capture-node-traffic"}, answering(p.test)
			}
			s := openCaptured(c, fmt.Sprintf("shop-%d", i), cmp.Or(p.version, "1"), flags...)
			before := s.template()
			p.test(s)
			if p.deleted {
				return
			}
			if now := s.template(); now != before {
				c.Errorf("the template is\n%s\nand was\n%s", now, before)
			}
		})
	}
}

type shopPart struct {
	name    string
	test    func(*shop)
	version string // of the app, "1" where it is ""
	deleted bool   // the shop, by the test
	answers bool   // the app, all along
}

// kubectl runs it in the shop's namespace.
func (s *shop) kubectl(args ...string) string {
	s.Helper()
	return s.cluster.kubectl(append([]string{"-n", s.ns}, args...)...)
}

// template is what the app's pods have from it: annotations and labels.
func (s *shop) template() string {
	s.Helper()
	return s.kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.template.metadata}")
}

// nothingLeft waits until nothing of a replay is left on the app.
func (s *shop) nothingLeft() { s.Helper(); s.cluster.nothingLeft(s.ns) }

// drive sends all requests of driver.yaml to the app.
func (s *shop) drive() {
	s.Helper()
	s.kubectl("delete", "job", "driver", "--ignore-not-found")
	s.kubectl("apply", "-f", "testdata/driver.yaml")
	s.kubectl("wait", "job/driver", "--for=condition=Complete", "--timeout=3m")
}

// applyReplay makes a TrafficReplay.
func (s *shop) applyReplay(name, spec string) {
	s.Helper()
	s.stdin("apiVersion: speedscale.com/v1\nkind: TrafficReplay\nmetadata: {name: "+name+"}\nspec: "+spec+"\n", "kubectl", "-n", s.ns, "apply", "-f", "-")
}

// ready is the condition Ready of a replay: status, reason and message.
func (s *shop) ready(name string) string {
	s.Helper()
	return s.kubectl("get", "trafficreplay", name, "-o", `jsonpath={range .status.conditions[?(@.type=="Ready")]}{.status} {.reason}: {.message}{end}`)
}

// reportOf waits for a replay's end, and returns its report.
func (s *shop) reportOf(name string) *report.Report {
	s.Helper()
	if out, err := s.try("kubectl", "-n", s.ns, "wait", "trafficreplay/"+name, "--for=condition=Ready", "--timeout=5m"); err != nil {
		s.Fatalf("replay %s does not end: %s\n%s\n%s", name, out, s.ready(name), s.cluster.kubectl("get", "pods,events", "-A"))
	}
	return s.report(s.kubectl("get", "trafficreplay", name, "-o", "jsonpath={.status.reportID}"))
}

// report of an id, which is that of its TrafficReplay.
func (c *cluster) report(id string) *report.Report {
	c.Helper()
	text, err := c.output(speedctl, "get", "report", id, "-o", "json", "-q")
	var r report.Report
	if err == nil {
		err = json.Unmarshal([]byte(text), &r)
	}
	if err != nil {
		c.Fatalf("report %s: %v\n%s", id, err, text)
	}
	return &r
}

// onlyRouted waits until no pod of the app is left from before the replay: the node may go
// on sending requests to one that ends.
func (s *shop) onlyRouted() {
	s.Helper()
	s.eventually("pods without the replay's routing are still there", func() bool {
		return s.kubectl("get", "pods", "-l", "app=web,!replay.speedscale.com/target", "-o", "name") == ""
	})
}

// forget deletes replays of the app, and waits until it is as it was.
func (s *shop) forget(names ...string) {
	s.Helper()
	for _, name := range names {
		s.kubectl("delete", "trafficreplay", name, "--timeout=3m")
	}
	s.nothingLeft()
	s.rollout(s.ns, "deployment/web")
}

// replayPods waits until the pods of a replay are those of the named components, and have
// the names that the documentation shows.
func (s *shop) replayPods(components string) {
	s.Helper()
	name := regexp.MustCompile(`^pod/speedscale-(collector|generator|responder)-[a-z]+-[a-z]+-[a-z0-9-]+$`)
	s.eventually("the pods of the replay are not "+components, func() bool {
		names := s.kubectl("get", "pods", "-o", "name", "-l", "replay.speedscale.com/component")
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

// running is a replay that speedctl follows.
type running struct {
	c     *cluster
	cmd   *exec.Cmd
	lines chan string
	said  []string
}

// start starts a replay of the app with the snapshot of loop.
func (s *shop) start(args ...string) *running {
	s.Helper()
	r := &running{c: s.cluster, lines: make(chan string, 10_000)}
	r.cmd = exec.CommandContext(s.Context(), speedctl, append([]string{"replay", "deployment/web", "-n", s.ns, "--snapshot", "web", "--yes"}, args...)...)
	r.cmd.Env = s.env
	out, in := io.Pipe()
	r.cmd.Stdout, r.cmd.Stderr = in, in
	if err := r.cmd.Start(); err != nil {
		s.Fatal(err)
	}
	go func() {
		defer close(r.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			r.lines <- lines.Text()
		}
	}()
	go func() { r.cmd.Wait(); in.Close() }()
	return r
}

// await waits for a line with all of the words.
func (r *running) await(words ...string) {
	r.c.Helper()
	found := r.read(func(line string) bool {
		return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) })
	})
	if !found {
		r.c.Fatalf("speedctl ended without %q:\n%s", words, strings.Join(r.said, "\n"))
	}
}

// end waits for speedctl's end, and returns its exit code.
func (r *running) end() int {
	r.c.Helper()
	r.read(func(string) bool { return false })
	return r.cmd.ProcessState.ExitCode()
}

// read reads on to a line that is wanted, or to the end.
func (r *running) read(wanted func(line string) bool) (found bool) {
	r.c.Helper()
	limit := time.After(4 * time.Minute)
	for {
		select {
		case line, ok := <-r.lines:
			if !ok {
				return false
			}
			if r.said = append(r.said, line); wanted(line) {
				return true
			}
		case <-limit:
			r.c.Fatalf("speedctl goes on, and has said:\n%s\n%s", strings.Join(r.said, "\n"), r.c.kubectl("get", "trafficreplays,pods,events", "-A"))
		}
	}
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

// nothingLeft waits until nothing of a replay is left in a namespace: no object, no pod
// with its routing, no annotation.
func (c *cluster) nothingLeft(namespace string) {
	c.Helper()
	c.eventually("something of a replay is left in "+namespace, func() bool {
		return c.kubectl("-n", namespace, "get", "pods,jobs,secrets,services,deployments,roles,rolebindings,serviceaccounts", "-o", "name", "-l", "replay.speedscale.com/id") == ""
	})
	if text := c.kubectl("-n", namespace, "get", "deployments", "-o", "yaml"); strings.Contains(text, "operator.speedscale.com/replay") {
		c.Errorf("an annotation is left:\n%s", text)
	}
}

func describe(r *report.Report) string {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}
