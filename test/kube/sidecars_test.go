package kube

// sidecars is about pods with a sidecar outside of replays: what is captured, and what
// the app is spared.
func sidecars(c *cluster) {
	c.run("in every pod", func(c *cluster) {
		for _, part := range []struct {
			name string
			test func(*cluster)
		}{
			{"outbound TLS", outboundTLS},
			{"kinds", kinds},
			{"restricted pods", restrictedPods},
			{"quota", quota},
			{"host network", hostNetwork},
			{"termination", termination},
			{"node traffic", nodeTraffic},
		} {
			c.run(part.name, func(c *cluster) {
				c.Parallel() // they wait more than they work, in namespaces of their own
				part.test(c)
			})
		}
	})
	c.run("upgrade", upgrade)
}
