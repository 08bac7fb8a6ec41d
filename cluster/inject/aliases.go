package inject

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/agents/config/hosts"
	"github.com/speedscale/speedscale/cluster/stamp"
)

// clusterDomain is that of Services' names, where mocked names do not show another one.
const clusterDomain = "cluster.local"

// unprivileged is the sysctl that says from which port on any user may listen. It is one
// of Kubernetes' safe ones, which the baseline Pod Security level allows.
const unprivileged = "net.ipv4.ip_unprivileged_port_start"

// aliases says whether mocked hosts are known by host aliases.
func (p *patch) aliases() bool { return p.mocks() && p.o.Replay.HostAliases }

// aliasAddresses gives the mocked names addresses: of no host, where connections to them
// are redirected to goproxy, else loopback ones, on which goproxy listens.
func aliasAddresses(mocks []config.Mock, transparent bool) map[string]netip.Addr {
	prefix := config.ReplayLoopback
	if transparent {
		prefix = config.ReplayAddresses
	}
	return hosts.Addresses(mockedNames(mocks), netip.MustParsePrefix(prefix))
}

func mockedNames(mocks []config.Mock) (names []string) {
	for _, m := range mocks {
		if host, _, _ := stamp.Place(m); !isAddress(host) {
			names = append(names, hosts.Plain(host))
		}
	}
	return names
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// aliased tells goproxy which host is meant by an address or, without redirection, on
// which addresses to listen.
func aliased(v *variables, mocks []config.Mock, transparent bool) {
	addresses := aliasAddresses(mocks, transparent)
	if transparent {
		list(v, "HOST_ALIASES", slices.Sorted(maps.Keys(addresses)), func(name string) string { return name + "=" + addresses[name].String() })
		return
	}
	var mappings []string
	for _, m := range mocks {
		host, port, _ := stamp.Place(m)
		if addr, ok := addresses[hosts.Plain(host)]; ok {
			mappings = append(mappings, netip.AddrPortFrom(addr, port).String()+"="+host+":"+number(port))
		}
	}
	slices.Sort(mappings)
	list(v, "PROXY_MAPPINGS", slices.Compact(mappings), func(m string) string { return m })
}

// hostAliases adds the names of mocked hosts, in all forms in which the app may ask for
// them. The owner's aliases stay, but for those names.
func (p *patch) hostAliases() {
	if !p.aliases() {
		return
	}
	mocks := p.o.Replay.Mocks
	names := mockedNames(mocks)
	byName := make(map[string][]string)
	for form, name := range hosts.Meant(names, p.search(names)) {
		if len(validation.IsDNS1123Subdomain(form)) == 0 {
			byName[name] = append(byName[name], form)
		}
	}
	spec := &p.pod.Spec
	var all []corev1.HostAlias
	ours := make(map[string]bool)
	addresses := aliasAddresses(mocks, p.transparent())
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		slices.Sort(byName[name])
		all = append(all, corev1.HostAlias{IP: addresses[name].String(), Hostnames: byName[name]})
		for _, form := range byName[name] {
			ours[form] = true
		}
	}
	for _, a := range spec.HostAliases {
		a.Hostnames = slices.DeleteFunc(slices.Clone(a.Hostnames), func(h string) bool { return ours[hosts.Plain(h)] })
		if len(a.Hostnames) > 0 {
			all = append(all, a)
		}
	}
	spec.HostAliases = all
	if low := p.lowestPort(); !p.transparent() && low < 1024 {
		if spec.SecurityContext == nil {
			spec.SecurityContext = &corev1.PodSecurityContext{}
		}
		if p.unprivilegedStart() == nil {
			spec.SecurityContext.Sysctls = append(spec.SecurityContext.Sysctls, corev1.Sysctl{Name: unprivileged, Value: number(low)})
		}
	}
}

// search are the domains under which the pod looks up short names: those that the
// kubelet gives it, as far as they can be known here.
func (p *patch) search(names []string) (domains []string) {
	roots := []string{clusterDomain}
	for _, name := range names {
		if _, root, ok := strings.Cut(name, ".svc."); ok && root != "" {
			roots = append(roots, root)
		}
	}
	slices.Sort(roots)
	for _, root := range slices.Compact(roots) {
		domains = append(domains, p.w.Namespace+".svc."+root, "svc."+root, root)
	}
	if c := p.pod.Spec.DNSConfig; c != nil {
		domains = append(domains, c.Searches...)
	}
	return domains
}

// lowestPort is that of the mocks.
func (p *patch) lowestPort() uint16 {
	low := uint16(65535)
	for _, m := range p.o.Replay.Mocks {
		_, port, _ := stamp.Place(m)
		low = min(low, port)
	}
	return low
}

// unprivilegedStart is the value of the sysctl that the owner has set, nil for none.
func (p *patch) unprivilegedStart() *string {
	if c := p.pod.Spec.SecurityContext; c != nil {
		for i := range c.Sysctls {
			if c.Sysctls[i].Name == unprivileged {
				return &c.Sysctls[i].Value
			}
		}
	}
	return nil
}

// unaliased looks for mocked hosts that host aliases would not lead to goproxy.
func (p *patch) unaliased() *Refused {
	const instead = "use routing nat"
	for _, c := range p.appContainers() {
		for _, m := range c.VolumeMounts {
			if m.MountPath == "/etc/hosts" {
				return refused(p.w, ReasonUnrouted, "container %q mounts a file of its own over /etc/hosts, so that host aliases do not reach it: %s", c.Name, instead)
			}
		}
	}
	for _, name := range mockedNames(p.o.Replay.Mocks) {
		if wrong := validation.IsDNS1123Subdomain(name); len(wrong) > 0 || name == "localhost" {
			return refused(p.w, ReasonUnrouted, "the mocked host %q cannot be a host alias: %s", name, instead)
		}
	}
	if p.transparent() {
		return nil
	}
	if p.pod.Spec.HostNetwork {
		return refused(p.w, ReasonUnrouted, "with hostNetwork its loopback addresses, on which goproxy would listen, are the node's: leave the mocks out")
	}
	taken := make(map[int32]string)
	for _, c := range slices.Concat(p.pod.Spec.InitContainers, p.pod.Spec.Containers) {
		for _, port := range c.Ports {
			taken[port.ContainerPort] = c.Name
		}
	}
	ours := []uint16{config.ProxyHealthPort, p.s.PrometheusPort, p.s.InPort, p.s.OutPort}
	for _, m := range p.o.Replay.Mocks {
		host, port, _ := stamp.Place(m)
		name, own := taken[int32(port)]
		switch {
		case isAddress(host):
			return refused(p.w, ReasonUnrouted, "%s is mocked by its address, which without redirection leads to the host itself: it needs transparent mode", m.Key)
		case own:
			return refused(p.w, ReasonUnrouted, "container %q listens on %d, which is the port of the mock %s too: without redirection goproxy cannot listen there", name, port, m.Key)
		case slices.Contains(ours, port):
			return refused(p.w, ReasonUnrouted, "the port of the mock %s is one of goproxy's own: choose another one for that by annotation", m.Key)
		}
	}
	if start := p.unprivilegedStart(); start != nil {
		if n, err := strconv.Atoi(*start); err != nil || n > int(p.lowestPort()) {
			return refused(p.w, ReasonUnrouted, "its sysctl %s=%s keeps goproxy from listening on port %d of a mock", unprivileged, *start, p.lowestPort())
		}
	}
	return nil
}
