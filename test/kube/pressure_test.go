package kube

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// namesAway stops the node's DNS for a minute, in which something else is done. An app with a
// sidecar does no worse than one without: both fail by name, neither by address.
func (c *cluster) namesAway(meanwhile func()) {
	c.Helper()
	const namespace, plain, captured = "names", "names-plain", "names-injected"
	dns, err := nodeProcess("coredns")
	if err != nil {
		c.Logf("SKIPPED: the cluster's DNS cannot be stopped: %v", err)
		meanwhile()
		return
	}
	c.namespace(namespace)
	c.serve(namespace, "target", "{}", false)
	c.rollout(namespace, "deployment/target")
	c.manifest(namespace, "names.yaml", plain, "{}")
	c.manifest(namespace, "names.yaml", captured, injected)
	for _, app := range []string{plain, captured} {
		c.rollout(namespace, "deployment/"+app)
		c.calls(namespace, app)
	}
	if got := c.containers(namespace, captured); got != "speedscale-goproxy curl" {
		c.Fatalf("containers are %q", got)
	}
	since := time.Now().UTC().Format(time.RFC3339)
	minute := time.After(time.Minute)
	if err := dns.Signal(syscall.SIGSTOP); err != nil {
		c.Fatal(err)
	}
	defer dns.Signal(syscall.SIGCONT)
	meanwhile()
	<-minute
	if err := dns.Signal(syscall.SIGCONT); err != nil {
		c.Fatal(err)
	}
	before, after := c.failuresByName(namespace, plain, since), c.failuresByName(namespace, captured, since)
	c.Logf("calls by name that failed: %d without a sidecar, %d with one", before, after)
	// Each such call takes its two seconds, so that both made about as many.
	if before < 10 || after > before+3 {
		c.Errorf("calls by name that failed: %d without a sidecar, %d with one", before, after)
	}
}

// failuresByName counts them in the log of an app that finds names again. Calls by address
// do not fail.
func (c *cluster) failuresByName(namespace, app, since string) (n int) {
	c.Helper()
	c.eventually(app+" does not find names again", func() bool {
		return strings.Contains(c.kubectl("-n", namespace, "logs", "deployment/"+app, "-c", "curl", "--since=2s"), "name 200")
	})
	for line := range strings.Lines(c.kubectl("-n", namespace, "logs", "deployment/"+app, "-c", "curl", "--since-time="+since)) {
		switch kind, status, _ := strings.Cut(strings.TrimSpace(line), " "); {
		case status == "200":
		case kind == "name":
			n++
		default:
			c.Errorf("%s failed by address: %s", app, line)
		}
	}
	return n
}

// nodeProcess is a component of the test node.
func nodeProcess(name string) (*os.Process, error) {
	pid, err := os.ReadFile(nodeState() + "/pid/" + name)
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(pid)))
	if err != nil {
		return nil, err
	}
	return os.FindProcess(n)
}

// nodeState is the folder of the test node.
func nodeState() string {
	if state := os.Getenv("KUBENODE_STATE"); state != "" {
		return state
	}
	return "/var/lib/kubenode"
}

const (
	pressedRequests = 3000
	pressedBody     = 100_000 // all of them are more than capture may keep
)

// press sends an app more than its sidecar can keep while nobody takes it: all requests
// are answered, and what was not captured is counted.
func (c *cluster) press(namespace, app string) {
	c.Helper()
	url := fmt.Sprintf("http://%s/bytes/%d", c.clusterIP(namespace, app), pressedBody)
	ctx, cancel := context.WithTimeout(c.Context(), 2*time.Minute)
	defer cancel()
	web := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	var left, bad atomic.Int64
	left.Store(pressedRequests)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if n, err := fetch(ctx, web, url); err != nil || n != pressedBody {
					bad.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := bad.Load(); n > 0 {
		c.Errorf("%d of %d requests were not answered", n, pressedRequests)
	}
	// A body of which a chunk was dropped is counted in bytes, once it is looked at.
	counted := regexp.MustCompile(`(?m)^speedscale_goproxy_lost_bytes_total\{direction="in",reason="[a-z_-]+"\} [1-9].*$`)
	var lost string
	c.eventually("nothing is counted as lost", func() bool {
		lost = counted.FindString(c.metrics(namespace, app))
		return lost != ""
	})
	c.Logf("%d requests of %d bytes were answered; %s", pressedRequests, pressedBody, lost)
	for _, s := range c.pod(namespace, app).Status.ContainerStatuses {
		if s.RestartCount > 0 {
			c.Errorf("container %s of %s was restarted", s.Name, app)
		}
	}
}

func fetch(ctx context.Context, web *http.Client, url string) (int64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	res, err := web.Do(r)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	return io.Copy(io.Discard, res.Body)
}
