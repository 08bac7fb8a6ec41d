package kube

import (
	"net"
	"slices"
	"strconv"
	"time"
)

// nodeTraffic: what comes from the node, such as probes, is captured only where the
// workload asks for it.
func nodeTraffic(c *cluster) {
	const namespace = "node-traffic"
	name := "near-" + strconv.FormatInt(time.Now().Unix(), 36) // the cloud keeps what was captured of another run
	c.namespace(namespace)
	c.serve(namespace, name, injected, false)
	c.kubectl("-n", namespace, "run", "client", "--image=docker.io/speedscale-test/servers:1", "--image-pull-policy=Never", "--grace-period=1", "--command", "--", "sleep", "600")
	c.rollout(namespace, "deployment/"+name)
	c.kubectl("-n", namespace, "wait", "pod/client", "--for=condition=Ready", "--timeout=3m")
	url := func() string {
		return "http://" + net.JoinHostPort(c.podIP(namespace, name), "18080") + "/anything/"
	}
	locations := func() (list []string) {
		pairs, _ := c.traffic(name)
		for _, r := range pairs {
			list = append(list, r.Location)
		}
		return list
	}
	c.get(url() + "node")
	c.kubectl("-n", namespace, "exec", "client", "--", "curl", "-fsS", url()+"pod")
	var seen []string
	c.eventually("another pod's request is not in the cloud", func() bool {
		seen = locations()
		return slices.Contains(seen, "/anything/pod")
	})
	if len(seen) != 1 {
		c.Errorf("captured were %q", seen)
	}

	c.kubectl("-n", namespace, "annotate", "deployment", name, "sidecar.speedscale.com/capture-node-traffic=true")
	c.rollout(namespace, "deployment/"+name)
	c.get(url() + "node")
	c.eventually("the node's request is not in the cloud", func() bool { return slices.Contains(locations(), "/anything/node") })
}
