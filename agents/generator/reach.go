package generator

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/url"
	"slices"
	"syscall"
	"time"
)

const (
	// reachLimit bounds the wait for all targets in a cluster.
	reachLimit = 10 * time.Second
	reachEvery = 100 * time.Millisecond
)

// reach waits until the targets in a cluster do not refuse connections any more: nodes
// learn of a Service's pods a moment after these are ready, and refuse what comes before
// (Kubernetes, "Virtual IPs and Service Proxies"). A target that goes on refusing is sent
// the requests all the same, and the report says what became of them.
func (s *Settings) reach(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	targets := slices.Collect(maps.Values(s.Targets))
	if s.Target != nil {
		targets = append(targets, s.Target)
	}
	for _, target := range targets {
		for refuses(ctx, target) {
			select {
			case <-ctx.Done():
				return
			case <-time.After(reachEvery):
			}
		}
	}
}

// refuses says that nobody listens at a target that has a host and a port.
func refuses(ctx context.Context, target *url.URL) bool {
	if target.Hostname() == "" || target.Port() == "" {
		return false
	}
	c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", target.Host)
	if err == nil {
		c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}
