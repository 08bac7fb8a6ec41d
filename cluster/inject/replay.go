package inject

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/stamp"
)

// routing tells goproxy of the replay that the pod takes part in. What is not mocked
// stays real.
func routing(r *stamp.Replay, transparent bool) (v variables) {
	v.set("REPLAY_ID", r.ID)
	v.set("REPLAY_DEFAULT", config.RoutePassthrough)
	if len(r.Mocks) > 0 {
		v.set("REPLAY_RESPONDER", r.Responder)
	}
	list(&v, "REPLAY_MOCKS", r.Mocks, func(m config.Mock) string {
		if m.ALPN != "" {
			return m.Key + "=" + m.ALPN
		}
		return m.Key
	})
	if r.HostAliases {
		aliased(&v, r.Mocks, transparent)
	}
	return v
}

// ignored tells goproxy what initproxy is told, so that no mocked host has an address
// at which connections pass by.
func (p *patch) ignored(v *variables) {
	if p.mocks() {
		list(v, "IGNORE_DST_IPS", p.s.IgnoreDestinations, netip.Prefix.String)
	}
}

// routed says whether the sidecar that a pod has routes as the replay says.
func routed(pod *corev1.Pod, r *stamp.Replay) bool {
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if c.Name != Goproxy {
			continue
		}
		kind := env(&c, "PROXY_TYPE")
		for _, want := range routing(r, kind != nil && kind.Value == config.ModeTransparent) {
			if is := env(&c, want.Name); is == nil || is.Value != want.Value {
				return false
			}
		}
		return pod.Labels[annotation.ReplayID] == r.ID && pod.Labels[annotation.ReplayTarget] == r.Target
	}
	return false
}

// unrouted looks for mocked hosts to which connections would not come to goproxy: the
// app would reach the real ones, without anybody noticing.
func (p *patch) unrouted() *Refused {
	if !p.mocks() {
		return nil
	}
	if p.aliases() {
		if r := p.unaliased(); r != nil || !p.transparent() {
			return r
		}
	}
	if !p.outbound() {
		return refused(p.w, ReasonUnrouted, "outbound connections do not go through goproxy with %s=%q, so that nothing can be mocked: use another one, or a replay without mocks", annotation.ProxyType, p.s.Type)
	}
	if !p.transparent() {
		return nil
	}
	for _, m := range p.o.Replay.Mocks {
		host, port, _ := stamp.Place(m)
		if p.aliases() && !isAddress(host) {
			continue // its address is no other host's
		}
		if key := p.ignoredBy(host, port); key != "" {
			return refused(p.w, ReasonUnrouted, "%s leaves connections to %s alone, which the replay mocks: take it out of the annotation, or the mock out of the replay", key, m.Key)
		}
	}
	return nil
}

// ignoredBy is the annotation for which a destination is not redirected, "" for none.
// The addresses of a name are goproxy's to look after (see ignored).
func (p *patch) ignoredBy(host string, port uint16) string {
	addr, err := netip.ParseAddr(host)
	within := func(r netip.Prefix) bool { return r.Bits() == 0 || err == nil && r.Contains(addr.Unmap()) }
	loopback := strings.EqualFold(host, "localhost") || err == nil && addr.Unmap().IsLoopback()
	same := func(name string) bool { return strings.EqualFold(name, host) }
	switch {
	case slices.Contains(p.s.IgnoreOutPorts, port):
		return annotation.IgnoreOutboundPorts
	case slices.ContainsFunc(p.s.IgnoreDestinations, within):
		return annotation.IgnoreDstIPs
	case slices.ContainsFunc(p.s.IgnoreDestinationHosts, same):
		return annotation.IgnoreDstHosts
	case loopback && p.s.IgnoreLoopback:
		return annotation.IgnoreLoopback
	case loopback && p.s.TrackLoopback:
		return annotation.TrackLoopback
	}
	return ""
}

// ownProxy refuses containers that go to mocked hosts by a proxy of their own, or
// around any.
func (p *patch) ownProxy(c *corev1.Container) *Refused {
	if !p.mocks() {
		return nil
	}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"} {
		for _, name := range []string{name, strings.ToLower(name)} {
			if env(c, name) != nil {
				return refused(p.w, ReasonUnrouted, "container %q has the variable %s, so that its connections to mocked hosts may not come to goproxy: use %s=%q", c.Name, name, annotation.ProxyType, config.ModeTransparent)
			}
		}
	}
	return nil
}
