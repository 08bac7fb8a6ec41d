package generator

import (
	"context"
	"maps"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	// reachLimit bounds the wait for all targets in a cluster.
	reachLimit = 10 * time.Second
	reachEvery = 100 * time.Millisecond
	// dialLimit is soon over: what was dropped may be let through the next time.
	dialLimit = time.Second
)

// reach waits until the targets in a cluster take connections: nodes and the DNS learn of
// a Service and its pods a moment after these are ready, and until then refuse what comes,
// drop it, or do not know the name (Kubernetes, "Virtual IPs and Service Proxies"). A
// target that goes on so is sent the requests all the same, and the report says what
// became of them.
func (s *Settings) reach(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	hosts := map[string]bool{}
	for _, target := range append(slices.Collect(maps.Values(s.Targets)), s.Target) {
		if target != nil && target.Hostname() != "" && target.Port() != "" {
			hosts[target.Host] = true
		}
	}
	var waiting sync.WaitGroup // for all at once: one that never answers takes the whole time
	for host := range hosts {
		waiting.Go(func() {
			for !reached(ctx, host) {
				select {
				case <-ctx.Done():
					return
				case <-time.After(reachEvery):
				}
			}
		})
	}
	waiting.Wait()
}

// reached says that somebody takes connections at host:port.
func reached(ctx context.Context, host string) bool {
	c, err := (&net.Dialer{Timeout: dialLimit}).DialContext(ctx, "tcp", host)
	if err != nil {
		return false
	}
	c.Close()
	return true
}
