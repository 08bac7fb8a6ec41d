package goproxy

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/traffic"
)

// Settings are what the binary reads from its environment.
type Settings struct {
	config.Proxy
	// Forwarder is the host:port that pairs are sent to; ForwarderCA verifies
	// it (a PEM file; without one the connection is not encrypted), and
	// ForwarderToken is the file whose content proves who we are; a pod's
	// service-account token is read again when it was renewed.
	Forwarder, ForwarderCA, ForwarderToken string
	// MaskHere masks pairs before they leave the process, by the forwarder's rules.
	MaskHere bool
	// DNSPort is where the app's DNS queries are redirected to; 0 where they are not.
	DNSPort int
	// ReverseDNS names addresses by their PTR records.
	ReverseDNS bool
	// PodNetwork says that all sockets of the network namespace belong to one pod, so
	// that they tell whether its app may still connect.
	PodNetwork bool
	// DrainWhole drains until the time-out: where others than the pod have sockets in its
	// network namespace, nothing tells when the app is gone.
	DrainWhole bool
	// Version is shown to people. TelemetryInterval is how often the forwarder is told
	// how the proxy is; 0 is never.
	Version           string
	TelemetryInterval time.Duration
}

// ReadSettings reads everything that the binary is told, and nothing else reads
// the environment. An error names each variable that is wrong.
//
//	PROXY_TYPE            transparent (default), reverse, forward or dual
//	PROXY_PROTOCOL        tcp, http, socks, tcp:http or tcp:socks; checked only,
//	                      since the out port tells the protocols apart itself
//	PROXY_IN_PORT         4143; PROXY_OUT_PORT 4140
//	PROXY_BIND            address of both ports: all by default, in forward and
//	                      dual mode 127.0.0.1 for the out port
//	REVERSE_PROXY_HOST    localhost; REVERSE_PROXY_PORT 80
//	PROXY_MAPPINGS        LPORT=HOST:PORT,…: further outbound ports; the left side may have a
//	                      loopback address, ADDRESS:LPORT
//	APP_LABEL             the service's name; APP_POD_NAME, APP_POD_NAMESPACE, CLUSTER_NAME
//	FORWARDER_ADDR        speedscale-forwarder.speedscale.svc:80; FORWARDER_CA, FORWARDER_TOKEN_FILE
//	TLS_OUT_UNWRAP        false; TLS_CERT_DIR /etc/ssl/speedscale (tls.crt, tls.key);
//	TLS_OUT_CA            PEM files that verify upstreams too
//	TLS_OUT_KUBE_CA       a PEM file that verifies the Kubernetes API server, which is at
//	                      KUBERNETES_SERVICE_HOST
//	TLS_IN_UNWRAP         false; TLS_IN_PUBLIC_KEY, TLS_IN_PRIVATE_KEY
//	TLS_MUTUAL_PUBLIC_KEY, TLS_MUTUAL_PRIVATE_KEY
//	METRICS_HTTP_ENABLE   true; METRICS_HTTP_PORT 4145; HEALTH_HTTP_PORT 4144
//	HOST_RESOLUTION       how addresses that the app connects to are named, in transparent mode:
//	                      smart (default) by its own DNS queries, which are relayed at
//	                      DNS_PORT, 4153; standard by PTR records; none
//	CAPTURE_FILTER        an exclusion filter in JSON; CAPTURE_SAMPLE keeps 1 in n sessions
//	MASK_IN               forwarder (default), or sidecar: before the first byte leaves the pod
//	CAPTURE_MAX_BODY      1Mi; CAPTURE_MEMORY 64Mi
//	HOST_ALIASES          NAME=IP,…; in a replay, the addresses by which mocked hosts are known
//	REPLAY_RESPONDER      host:port; REPLAY_DEFAULT refuse (default) or passthrough
//	REPLAY_ID             the replay that this is part of: what is seen is counted, and not published
//	REPLAY_MOCKS          slice keys, each with =h2 or =http/1.1 where only that was recorded
//	IGNORE_DST_IPS        as initproxy reads it: in a replay no mocked host has one of these addresses
//	POD_NETWORK           false; true where the network namespace is that of one pod:
//	                      after SIGTERM goproxy then goes on while others in it have sockets
//	DRAIN_WHOLE           false; true where sockets do not tell when the app is gone, as with
//	                      hostNetwork: after SIGTERM goproxy goes on for DRAIN_TIMEOUT
//	SPEEDSCALE_VERSION    shown to people; TELEMETRY_INTERVAL 60s, 0 is never
//	CONNECT_TIMEOUT       10s; DRAIN_TIMEOUT 30s; SILENCE_WARNING 60s
func ReadSettings(v *agent.Vars) (Settings, error) {
	s := Settings{Proxy: config.Proxy{
		Mode:           v.Choice("PROXY_TYPE", config.ModeTransparent, config.ModeTransparent, config.ModeReverse, config.ModeForward, config.ModeDual),
		Service:        v.String("APP_LABEL", ""),
		Namespace:      v.String("APP_POD_NAMESPACE", ""),
		Cluster:        v.String("CLUSTER_NAME", ""),
		Resource:       v.String("APP_POD_NAME", ""),
		HostAliases:    v.Pairs("HOST_ALIASES"),
		Filter:         []byte(v.String("CAPTURE_FILTER", "")),
		Sample:         int(v.Int("CAPTURE_SAMPLE", 1, 0, 1<<30)),
		MaxBody:        int(v.Bytes("CAPTURE_MAX_BODY", 1<<20, 0, maxMaxBody)),
		MemoryBudget:   v.Bytes("CAPTURE_MEMORY", DefaultMemoryBudget, 4<<20, 1<<40),
		ConnectTimeout: v.Duration("CONNECT_TIMEOUT", DefaultConnectTimeout),
		DrainTimeout:   v.Duration("DRAIN_TIMEOUT", 30*time.Second),
		SilenceWarning: v.Duration("SILENCE_WARNING", DefaultSilenceWarning),
	}}
	if s.Service == "" {
		v.Missing("APP_LABEL", "it is the service's name in each pair")
	}
	readListeners(v, &s)
	readTLS(v, &s.TLS)
	readRoute(v, &s)
	if id := v.String("REPLAY_ID", ""); id != "" {
		s.Tags = map[string]string{traffic.TagReplay: id}
	}
	s.Forwarder = v.Address("FORWARDER_ADDR", "speedscale-forwarder.speedscale.svc:80")
	s.ForwarderCA = v.String("FORWARDER_CA", "")
	s.ForwarderToken = v.String("FORWARDER_TOKEN_FILE", "")
	s.Version = v.String("SPEEDSCALE_VERSION", "unknown")
	s.TelemetryInterval = v.Interval("TELEMETRY_INTERVAL", config.TelemetryInterval)
	s.PodNetwork = v.Bool("POD_NETWORK", false)
	s.DrainWhole = v.Bool("DRAIN_WHOLE", false)
	s.MaskHere = v.Choice("MASK_IN", "forwarder", "forwarder", "sidecar") == "sidecar"
	return s, v.Err()
}

func readListeners(v *agent.Vars, s *Settings) {
	protocols := []string{"tcp"}
	switch s.Mode {
	case config.ModeTransparent:
		protocols = nil // ignored, as documented
	case config.ModeForward:
		protocols = []string{"http", "socks"}
	case config.ModeDual:
		protocols = []string{"tcp:http", "tcp:socks"}
	case config.ModeReverse:
		protocols = []string{"tcp", "http"}
	}
	if protocols != nil {
		v.Choice("PROXY_PROTOCOL", protocols[0], protocols...)
	}
	resolution := v.Choice("HOST_RESOLUTION", "smart", "smart", "standard", "none")
	if s.Mode == config.ModeTransparent {
		if resolution == "smart" {
			s.DNSPort = v.Port("DNS_PORT", config.ProxyDNSPort)
		}
		s.ReverseDNS = resolution == "standard"
	}
	bind := v.String("PROXY_BIND", "")
	in, out := v.Port("PROXY_IN_PORT", config.ProxyInPort), v.Port("PROXY_OUT_PORT", config.ProxyOutPort)
	if in == out {
		v.Fail("PROXY_OUT_PORT", strconv.Itoa(out), "it is PROXY_IN_PORT too")
	}
	if s.Mode != config.ModeForward {
		s.InListen = net.JoinHostPort(bind, strconv.Itoa(in))
	}
	if s.Mode != config.ModeReverse {
		// An open proxy on all interfaces would serve whoever reaches the pod.
		if bind == "" && s.Mode != config.ModeTransparent {
			bind = "127.0.0.1"
		}
		s.OutListen = net.JoinHostPort(bind, strconv.Itoa(out))
	}
	s.Reverse = net.JoinHostPort(v.String("REVERSE_PROXY_HOST", "localhost"), strconv.Itoa(v.Port("REVERSE_PROXY_PORT", 80)))
	s.HealthListen = net.JoinHostPort("", strconv.Itoa(v.Port("HEALTH_HTTP_PORT", config.ProxyHealthPort)))
	if v.Bool("METRICS_HTTP_ENABLE", true) {
		s.MetricsListen = net.JoinHostPort("", strconv.Itoa(v.Port("METRICS_HTTP_PORT", config.ProxyMetricsPort)))
	}
	mappings := v.Pairs("PROXY_MAPPINGS")
	for local, upstream := range mappings {
		listen, ok := mappingListen(local)
		if !ok {
			v.Fail("PROXY_MAPPINGS", local, "want LPORT=HOST:PORT, or ADDRESS:LPORT=HOST:PORT with a loopback address")
			continue
		}
		if _, err := parseTarget(upstream); err != nil {
			v.Fail("PROXY_MAPPINGS", upstream, err.Error())
			continue
		}
		s.Mappings = append(s.Mappings, config.Mapping{Listen: listen, Upstream: upstream})
	}
	slices.SortFunc(s.Mappings, func(a, b config.Mapping) int { return strings.Compare(a.Listen, b.Listen) })
}

// mappingListen is the address of a mapping: on other addresses than loopback it would
// serve whoever reaches the pod.
func mappingListen(local string) (string, bool) {
	if n, err := strconv.ParseUint(local, 10, 16); err == nil && n > 0 {
		return net.JoinHostPort("127.0.0.1", local), true
	}
	a, err := netip.ParseAddrPort(local)
	return a.String(), err == nil && a.Addr().IsLoopback() && a.Port() > 0
}

func readTLS(v *agent.Vars, t *config.TLS) {
	t.Out = v.Bool("TLS_OUT_UNWRAP", false)
	if t.Out || v.String("REPLAY_RESPONDER", "") != "" {
		dir := v.String("TLS_CERT_DIR", "/etc/ssl/speedscale")
		t.CACert, t.CAKey = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	}
	t.UpstreamCA = v.List("TLS_OUT_CA")
	if t.KubeCA = v.String("TLS_OUT_KUBE_CA", ""); t.KubeCA != "" {
		t.KubeHost = v.String("KUBERNETES_SERVICE_HOST", "")
	}
	if v.Bool("TLS_IN_UNWRAP", false) {
		t.InCert, t.InKey = readPair(v, "TLS_IN_PUBLIC_KEY", "TLS_IN_PRIVATE_KEY", true)
	}
	t.ClientCert, t.ClientKey = readPair(v, "TLS_MUTUAL_PUBLIC_KEY", "TLS_MUTUAL_PRIVATE_KEY", false)
}

// readPair reads the files of a certificate and its key: both or none.
func readPair(v *agent.Vars, public, private string, needed bool) (cert, key string) {
	cert, key = v.String(public, ""), v.String(private, "")
	if cert == "" && (key != "" || needed) {
		v.Missing(public, "the certificate is needed")
	}
	if key == "" && (cert != "" || needed) {
		v.Missing(private, "the certificate's key is needed")
	}
	return cert, key
}

func readRoute(v *agent.Vars, s *Settings) {
	responder := v.Address("REPLAY_RESPONDER", "")
	mocks := v.List("REPLAY_MOCKS")
	def := v.String("REPLAY_DEFAULT", "")
	if responder == "" && len(mocks) == 0 && def == "" {
		return
	}
	if len(mocks) > 0 && responder == "" {
		v.Missing("REPLAY_RESPONDER", "REPLAY_MOCKS needs something that answers for them")
	}
	s.Route = &config.Route{
		Responder: responder,
		Default:   v.Choice("REPLAY_DEFAULT", config.RouteRefuse, config.RouteRefuse, config.RoutePassthrough),
	}
	s.Route.Ignored = v.Prefixes("IGNORE_DST_IPS")
	for _, text := range mocks {
		key, alpn, chosen := strings.Cut(text, "=")
		if chosen && alpn != "h2" && alpn != "http/1.1" {
			v.Fail("REPLAY_MOCKS", text, "want h2 or http/1.1 behind =")
		}
		s.Route.Mocks = append(s.Route.Mocks, config.Mock{Key: key, ALPN: alpn})
	}
	if _, err := newRouting(s.Route); err != nil && len(mocks) > 0 && responder != "" {
		v.Fail("REPLAY_MOCKS", strings.Join(mocks, ","), fmt.Sprint(err))
	}
}
