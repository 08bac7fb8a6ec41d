package kube

import (
	"fmt"
	"slices"
	"strings"
)

// termination: whoever calls others after its SIGTERM has no call that fails, and
// those calls are captured.
func termination(c *cluster) {
	const namespace = "termination"
	c.https(namespace)
	c.kubectl("-n", namespace, "apply", "-f", "testdata/termination.yaml")
	apps := []string{"leaves-busy", "leaves-slowly"}
	logs := map[string]chan string{}
	var pods []string
	for _, app := range apps {
		c.rollout(namespace, "deployment/"+app)
		c.calls(namespace, app)
		pod, log := c.pod(namespace, app).Name, make(chan string, 1)
		pods, logs[app] = append(pods, pod), log
		go func() {
			out, err := c.try("kubectl", "-n", namespace, "logs", "-f", pod, "-c", "app")
			if err != nil {
				out += "\n" + err.Error()
			}
			log <- out
		}()
	}
	c.kubectl(append([]string{"-n", namespace, "delete", "pod", "--timeout=3m"}, pods...)...)
	for _, app := range apps {
		n := c.leaving(app, <-logs[app])
		c.eventually("calls after the SIGTERM are not in the cloud", func() bool {
			list, _ := c.traffic(app)
			for i := range n {
				called := func(r record) bool {
					return r.Direction == "OUT" && r.Status == "200" && r.Location == fmt.Sprintf("/leaving/%d", i+1)
				}
				if !slices.ContainsFunc(list, called) {
					return false
				}
			}
			return true
		})
	}
}

// leaving checks the log of an app, and returns how many calls it made after its SIGTERM.
func (c *cluster) leaving(app, log string) (n int) {
	c.Helper()
	lines := strings.Split(log, "\n")
	if _, err := fmt.Sscanf(lines[len(lines)-1], "done %d", &n); err != nil || n < 3 { // one pauses for three seconds, besides what its calls take
		c.Fatalf("%s did not end by itself: %v\n%s", app, err, log)
	}
	for _, line := range lines[:len(lines)-1] {
		if !strings.HasSuffix(line, " 200") {
			c.Errorf("%s: a call failed: %s", app, line)
		}
	}
	c.Logf("%s made %d calls after its SIGTERM", app, n)
	return n
}
