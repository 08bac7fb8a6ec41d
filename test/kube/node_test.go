package kube

import (
	"net"
	"slices"
)

// nodeTraffic: what comes from the node, such as probes, is captured only where the
// workload asks for it.
func nodeTraffic(c *cluster) {
	const namespace = "node-traffic"
	c.namespace(namespace)
	c.serve(namespace, "near-node", injected, false)
	c.kubectl("-n", namespace, "run", "client", "--image=docker.io/speedscale-test/servers:1", "--image-pull-policy=Never", "--grace-period=1", "--command", "--", "sleep", "600")
	c.rollout(namespace, "deployment/near-node")
	c.kubectl("-n", namespace, "wait", "pod/client", "--for=condition=Ready", "--timeout=90s")
	url := func() string {
		return "http://" + net.JoinHostPort(c.podIP(namespace, "near-node"), "18080") + "/anything/"
	}
	locations := func() (list []string) {
		pairs, _ := c.traffic("near-node")
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

	c.kubectl("-n", namespace, "annotate", "deployment", "near-node", "sidecar.speedscale.com/capture-node-traffic=true")
	c.rollout(namespace, "deployment/near-node")
	c.get(url() + "node")
	c.eventually("the node's request is not in the cloud", func() bool { return slices.Contains(locations(), "/anything/node") })
}
