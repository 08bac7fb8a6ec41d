package annotation

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/speedscale/speedscale/agents/config"
)

// protocols are the values of ProxyProtocol in a mode, the default first. Transparent
// mode has none.
func protocols(mode string) []string {
	switch mode {
	case config.ModeReverse:
		return []string{"http", "tcp"}
	case config.ModeForward:
		return []string{"http", "socks"}
	case config.ModeDual:
		return []string{"tcp:http", "tcp:socks"}
	}
	return []string{""}
}

// effective says in which modes annotations have an effect; those that are not here
// have one in all.
func effective() map[string][]string {
	const transparent, reverse, forward, dual = config.ModeTransparent, config.ModeReverse, config.ModeForward, config.ModeDual
	modes := make(map[string][]string)
	for _, key := range []string{
		CaptureNodeTraffic, HostResolution, IgnoreSrcIPs, IgnoreSrcHosts, IgnoreInboundPorts,
		IgnoreDstIPs, IgnoreDstHosts, IgnoreOutboundPorts, IgnoreLoopback, TrackLoopback,
	} {
		modes[key] = []string{transparent}
	}
	modes[ProxyProtocol] = []string{reverse, forward, dual}
	modes[ProxyHost] = []string{reverse, dual}
	modes[ProxyPort] = []string{reverse, dual}
	for _, key := range []string{ProxyInPort, TLSInSecret, TLSInPrivate, TLSInPublic} {
		modes[key] = []string{transparent, reverse, dual}
	}
	for _, key := range []string{ProxyOutPort, TLSOut} {
		modes[key] = []string{transparent, forward, dual}
	}
	return modes
}

// combinations returns what is wrong with settings taken together.
func combinations(s Sidecar) (problems []Problem) {
	set := s.Annotations()
	values := make(map[string]string)
	for _, setting := range settings() {
		values[setting.key] = setting.get(&s)
	}
	fail := func(key, format string, args ...any) {
		problems = append(problems, Problem{key, values[key], fmt.Sprintf(format, args...)})
	}
	for key, modes := range effective() {
		if _, ok := set[key]; ok && !slices.Contains(modes, s.Type) {
			fail(key, "it has no effect with %s=%q, only with %s", ProxyType, s.Type, strings.Join(modes, ", "))
		}
	}
	if want := protocols(s.Type); s.Protocol != "" && want[0] != "" && !slices.Contains(want, s.Protocol) {
		fail(ProxyProtocol, "want one of %s with %s=%q", strings.Join(want, ", "), ProxyType, s.Type)
	}
	if s.IgnoreLoopback && s.TrackLoopback {
		fail(TrackLoopback, "%s is true too, and only one of them can be", IgnoreLoopback)
	}
	if !s.TLSOut {
		for _, key := range []string{TLSOutCA, KubeAPISupport, TLSJavaToolOptions, TLSJavaToolOptionsValue, TLSMutualSecret, TLSMutualPrivate, TLSMutualPublic} {
			if _, ok := set[key]; ok {
				fail(key, `it has no effect without %s="true"`, TLSOut)
			}
		}
	}
	tlsFiles(s.TLSIn, TLSInSecret, TLSInPublic, TLSInPrivate, fail)
	tlsFiles(s.TLSMutual, TLSMutualSecret, TLSMutualPublic, TLSMutualPrivate, fail)
	ports(s, fail)
	limits(s, fail)
	return problems
}

type failure func(key, format string, args ...any)

// tlsFiles: with a Secret both values are keys of it, without one both are paths.
func tlsFiles(f TLSFiles, secret, public, private string, fail failure) {
	for _, file := range []struct{ key, value, other, otherKey string }{
		{public, f.Public, f.Private, private},
		{private, f.Private, f.Public, public},
	} {
		path := strings.HasPrefix(file.value, "/")
		switch {
		case file.value == "":
		case f.Secret != "" && path:
			fail(file.key, "want a key of the Secret that %s names", secret)
		case f.Secret == "" && !path:
			fail(file.key, "want the absolute path of a file, or a key of a Secret that %s names", secret)
		case f.Secret == "" && file.other == "":
			fail(file.key, "without %s it needs %s too", secret, file.otherKey)
		}
	}
}

// ports of goproxy differ from each other, and reverse mode does not send to itself.
func ports(s Sidecar, fail failure) {
	taken := map[uint16]string{config.ProxyHealthPort: "goproxy's health port", config.ProxyDNSPort: "goproxy's DNS port"}
	for _, p := range []struct {
		key  string
		port uint16
	}{{ProxyInPort, s.InPort}, {ProxyOutPort, s.OutPort}, {PrometheusPort, s.PrometheusPort}} {
		if owner, ok := taken[p.port]; ok {
			fail(p.key, "%d is %s", p.port, owner)
		}
		taken[p.port] = p.key
	}
	ip := net.ParseIP(s.Host)
	here := s.Host == "localhost" || ip != nil && ip.IsLoopback()
	if reverse := s.Type == config.ModeReverse || s.Type == config.ModeDual; reverse && here {
		if owner, ok := taken[s.Port]; ok {
			fail(ProxyPort, "%s is %s: want the port on which the app listens", strconv.Itoa(int(s.Port)), owner)
		}
	}
}

// limits are not below requests, and goproxy can work within its memory.
func limits(s Sidecar, fail failure) {
	if least := resource.MustParse(LeastMemoryLimit); s.MemoryLimit != nil && s.MemoryLimit.Cmp(least) < 0 {
		fail(MemoryLimit, "want at least %s", LeastMemoryLimit)
	}
	// 64m of memory, a slip for 64Mi, is a twentieth of a byte.
	if least := resource.MustParse("1Mi"); s.MemoryRequest != nil && s.MemoryRequest.Cmp(least) < 0 {
		fail(MemoryRequest, "want at least 1Mi")
	}
	for _, p := range []struct {
		request, limit *resource.Quantity
		key, limitKey  string
	}{{s.CPURequest, s.CPULimit, CPURequest, CPULimit}, {s.MemoryRequest, s.MemoryLimit, MemoryRequest, MemoryLimit}} {
		if p.request != nil && p.limit != nil && p.request.Cmp(*p.limit) > 0 {
			fail(p.key, "it is more than %s, %s", p.limitKey, p.limit)
		}
	}
}
