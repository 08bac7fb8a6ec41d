package kube

import (
	"os/exec"
	"slices"
	"strings"
	"sync"

	"github.com/speedscale/speedscale/traffic/report"
)

// loop captures the app of a shop, and replays two versions of it with its dependencies
// mocked and their Services deleted: the first passes, and the report names the change of
// the second.
func loop(s *shop) {
	s.speedctl("inject", "deployment/web", "-n", s.ns)
	s.eventually("the pods have no sidecar", func() bool { return s.containers(s.ns, "web") == "speedscale-goproxy nginx speedscale-goproxy nginx" })
	s.drive()
	s.eventually("not all pairs are in the cloud", func() bool {
		in, out := 0, 0
		list, _ := s.traffic("web")
		for _, r := range list {
			switch {
			case r.Direction == "IN":
				in++
			case r.NetworkAddress == "orders.deps:80" || r.NetworkAddress == "httpbin.deps:80":
				out++
			}
		}
		return in >= driven && out >= driven
	})
	s.speedctl("create", "snapshot", "--name", "web", "--service", "web")
	before := s.template()
	restore := s.withoutDependencies()
	r, code := s.replay(s.ns, "deployment/web", "web")
	restore()
	if code != 0 || r.Status != report.Passed || r.Requests.Passed != driven {
		s.Errorf("the same version: exit code %d, %s", code, describe(r))
	}
	if r.Mocks == nil || r.Mocks.Matched < driven || r.Mocks.Missed != 0 {
		s.Errorf("mocks of the same version: %+v", r.Mocks)
	}
	if now := s.template(); now != before {
		s.Errorf("the template is\n%s\nand was\n%s", now, before)
	}
	s.nothingLeft()

	s.kubectl("set", "image", "deployment/web", "nginx=docker.io/speedscale-test/web:2")
	s.rollout(s.ns, "deployment/web")
	dependenciesGone(s.cluster, func() { r, code = s.replay(s.ns, "deployment/web", "web") })
	if code != 3 || r.Status != report.MissedGoals || r.Requests.Failed != roundsDriven {
		s.Errorf("another version: exit code %d, %s", code, describe(r))
	}
	named := func(f report.Failure) bool { return f.URL == "/orders/3" && len(f.Differences) > 0 }
	if !slices.ContainsFunc(r.Failures, named) || strings.Contains(describe(r), "s3cr3t-of-the-test") {
		s.Errorf("the report does not name the change: %s", describe(r))
	}
	s.nothingLeft()
	s.kubectl("set", "image", "deployment/web", "nginx=docker.io/speedscale-test/web:1")
	s.rollout(s.ns, "deployment/web")
}

// withoutDependencies deletes the Services of the apps' dependencies, until restore or the
// end of the test makes them anew, with the addresses that they had: apps of all shops look
// them up when they start, and only then.
func (c *cluster) withoutDependencies() (restore func()) {
	c.Helper()
	var services []string
	for _, name := range []string{"orders", "httpbin"} {
		services = append(services, c.asItIs("-n", "deps", "service", name))
	}
	c.kubectl("-n", "deps", "delete", "service", "orders", "httpbin")
	restore = sync.OnceFunc(func() {
		cmd := exec.Command("kubectl", "create", "-f", "-") // at the test's end its context is over
		cmd.Env, cmd.Stdin = c.env, strings.NewReader(strings.Join(services, "\n"))
		if out, err := cmd.CombinedOutput(); err != nil {
			c.Errorf("the Services of dependencies are not made anew: %v\n%s", err, out)
		}
	})
	c.Cleanup(restore)
	return restore
}
