package initproxy

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/config"
)

// Settings say what is redirected. They are read from the environment, whose
// names follow the annotations under sidecar.speedscale.com.
type Settings struct {
	// InPort and OutPort are goproxy's (PROXY_IN_PORT, PROXY_OUT_PORT).
	InPort, OutPort uint16
	// ProxyUID is goproxy's user, whose own connections are left alone (PROXY_UID).
	ProxyUID uint32
	// DNSPort is the port of goproxy's DNS relay on 127.0.0.1 and ::1, to which
	// DNS queries go; 0 leaves them alone (HOST_RESOLUTION other than smart).
	DNSPort uint16
	// OwnPorts are further ports of goproxy, which are reached without it
	// (HEALTH_HTTP_PORT, METRICS_HTTP_PORT).
	OwnPorts []uint16

	// IgnoreUIDs are users whose connections are left alone (IGNORE_UIDS).
	IgnoreUIDs []uint32
	// IgnoreInPorts and IgnoreOutPorts are destination ports that are left
	// alone (IGNORE_INBOUND_PORTS, IGNORE_OUTBOUND_PORTS).
	IgnoreInPorts, IgnoreOutPorts []uint16
	// IgnoreSources and IgnoreDestinations are the other ends of inbound and
	// outbound connections that are left alone (IGNORE_SRC_IPS, IGNORE_DST_IPS).
	IgnoreSources, IgnoreDestinations []netip.Prefix
	// IgnoreSourceHosts and IgnoreDestinationHosts are names that Resolve turns
	// into addresses of the two above, once (IGNORE_SRC_HOSTS, IGNORE_DST_HOSTS).
	IgnoreSourceHosts, IgnoreDestinationHosts []string

	// IgnoreLoopback leaves connections over the loopback interface alone;
	// TrackLoopback treats them as inbound, as kubectl port-forward needs it.
	// With neither they are outbound: another container of the pod is a
	// dependency like others (IGNORE_LOOPBACK, TRACK_LOOPBACK).
	IgnoreLoopback, TrackLoopback bool
	// HostIPs are the node's addresses (STATUS_HOST_IP, with commas between them).
	HostIPs []netip.Prefix
	// CaptureNode captures the connections of the node (probes of the kubelet, and
	// clients that come through it) like others (CAPTURE_NODE_TRAFFIC).
	CaptureNode bool
	// Replay says that the pod takes part in a replay (REPLAY_ID), so that it must not
	// start without rules.
	Replay bool
	// TerminationLog is the file of the container's termination message
	// (TERMINATION_LOG; /dev/termination-log, Kubernetes' default).
	TerminationLog string
	// NodeIPs are where connections of the node come from that are left alone.
	NodeIPs []netip.Prefix
}

// ReadSettings reads the settings from the environment. Its error names every
// variable that is wrong.
func ReadSettings(v *agent.Vars) (Settings, error) {
	s := Settings{
		InPort:                 uint16(v.Port("PROXY_IN_PORT", config.ProxyInPort)),
		OutPort:                uint16(v.Port("PROXY_OUT_PORT", config.ProxyOutPort)),
		ProxyUID:               uint32(v.Int("PROXY_UID", config.ProxyUID, 1, maxUID)),
		OwnPorts:               []uint16{uint16(v.Port("HEALTH_HTTP_PORT", config.ProxyHealthPort)), uint16(v.Port("METRICS_HTTP_PORT", config.ProxyMetricsPort))},
		IgnoreUIDs:             uids(v, "IGNORE_UIDS"),
		IgnoreInPorts:          ports(v, "IGNORE_INBOUND_PORTS"),
		IgnoreOutPorts:         ports(v, "IGNORE_OUTBOUND_PORTS"),
		IgnoreSources:          v.Prefixes("IGNORE_SRC_IPS"),
		IgnoreDestinations:     v.Prefixes("IGNORE_DST_IPS"),
		IgnoreSourceHosts:      list(v, "IGNORE_SRC_HOSTS"),
		IgnoreDestinationHosts: list(v, "IGNORE_DST_HOSTS"),
		IgnoreLoopback:         v.Bool("IGNORE_LOOPBACK", false),
		TrackLoopback:          v.Bool("TRACK_LOOPBACK", false),
	}
	if v.Choice("HOST_RESOLUTION", "smart", "smart", "standard", "none") == "smart" {
		s.DNSPort = uint16(v.Port("DNS_PORT", config.ProxyDNSPort))
	}
	s.HostIPs = v.Prefixes("STATUS_HOST_IP")
	s.CaptureNode = v.Bool("CAPTURE_NODE_TRAFFIC", false)
	s.Replay = v.String("REPLAY_ID", "") != ""
	s.TerminationLog = v.String("TERMINATION_LOG", "/dev/termination-log")
	if s.InPort == s.OutPort {
		v.Fail("PROXY_OUT_PORT", strconv.Itoa(int(s.OutPort)), "want a port other than PROXY_IN_PORT")
	}
	if s.IgnoreLoopback && s.TrackLoopback {
		v.Fail("TRACK_LOOPBACK", "true", "IGNORE_LOOPBACK is true too, and only one of them can be")
	}
	return s, v.Err()
}

// resolver looks up the addresses of a host: LookupNetIP of a net.Resolver.
type resolver func(ctx context.Context, network, host string) ([]netip.Addr, error)

// resolve looks up the ignored hosts, once. Those that cannot be resolved are
// returned: they are captured, which the caller says.
func (s *Settings) resolve(ctx context.Context, lookup resolver) (unresolved []string) {
	for _, l := range []struct {
		hosts []string
		to    *[]netip.Prefix
	}{{s.IgnoreSourceHosts, &s.IgnoreSources}, {s.IgnoreDestinationHosts, &s.IgnoreDestinations}} {
		for _, host := range l.hosts {
			addrs, err := lookup(ctx, "ip", host)
			if err != nil || len(addrs) == 0 {
				unresolved = append(unresolved, host)
				continue
			}
			for _, a := range addrs {
				*l.to = append(*l.to, prefixOf(a))
			}
		}
	}
	return unresolved
}

func prefixOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	return netip.PrefixFrom(a, a.BitLen())
}

// list reads values with commas between them.
func list(v *agent.Vars, name string) (values []string) {
	for value := range strings.SplitSeq(v.String(name, ""), ",") {
		if value = strings.TrimSpace(value); value != "" && !slices.Contains(values, value) {
			values = append(values, value)
		}
	}
	return values
}

// maxUID is the highest user id; 2^32-1 means none.
const maxUID = 1<<32 - 2

func uids(v *agent.Vars, name string) (ids []uint32) {
	for _, value := range list(v, name) {
		id, err := strconv.ParseUint(value, 10, 32)
		if err != nil || id > maxUID {
			v.Fail(name, value, "want user ids (numbers) with commas between them")
			continue
		}
		ids = append(ids, uint32(id))
	}
	return ids
}

func ports(v *agent.Vars, name string) (found []uint16) {
	for _, value := range list(v, name) {
		p, err := strconv.ParseUint(value, 10, 16)
		if err != nil || p == 0 {
			v.Fail(name, value, "want ports within 1 and 65535 with commas between them")
			continue
		}
		found = append(found, uint16(p))
	}
	return found
}
