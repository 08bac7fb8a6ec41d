// Package config is the contract between those who start agents (operator and
// speedctl) and the agents: names, keys and versioned settings, no logic.
package config

import (
	"net/netip"
	"time"
)

// Modes of the proxy, as documented for sidecar.speedscale.com/proxy-type.
const (
	ModeTransparent = "transparent"
	ModeReverse     = "reverse"
	ModeForward     = "forward"
	ModeDual        = "dual"
)

// Ports of the proxy, as documented.
const (
	ProxyInPort      = 4143
	ProxyOutPort     = 4140
	ProxyHealthPort  = 4144
	ProxyMetricsPort = 4145
	ProxyDNSPort     = 4153
	ProxyUID         = 2102
)

// ProxyFlushTime is what the proxy is left of a pod's grace period once it has drained,
// to send what it captured: DRAIN_TIMEOUT is the rest.
const ProxyFlushTime = 2 * time.Second

// TelemetryInterval is how often agents send telemetry where nothing else is said
// (TELEMETRY_INTERVAL).
const TelemetryInterval = time.Minute

// QuietAfter is how long after its start a direction of the proxy that saw nothing is
// worth a word.
const QuietAfter = time.Minute

// ReplayAddresses are what names of mocked hosts that do not resolve are given as their
// addresses: reserved ones (RFC 1112, section 4), which no host has.
const ReplayAddresses = "240.0.0.0/4"

// ReplayLoopback are what they are given where nothing redirects connections to the
// proxy: it listens on them itself.
const ReplayLoopback = "127.64.0.0/10"

// Commands of the proxy's binary, for the pod around it.
const (
	ProxyCommandCA   = "ca"   // make the CA, and what apps need to trust it
	ProxyCommandWait = "wait" // DURATION: until the proxy is ready
)

// Proxy is everything that goproxy is told. The binary reads it from the
// environment (agents/goproxy/settings.go), speedctl builds it in process.
type Proxy struct {
	// Mode is one of the Mode constants.
	Mode string
	// InListen and OutListen are host:port; empty leaves that side out.
	// HealthListen and MetricsListen too.
	InListen, OutListen, HealthListen, MetricsListen string
	// Reverse is where inbound connections go in reverse and dual mode (host:port).
	Reverse string
	// Mappings are further listeners for outbound connections to a fixed place.
	Mappings []Mapping

	// Service, Namespace, Cluster and Resource are recorded in each pair.
	Service, Namespace, Cluster, Resource string
	// Tags are added to each pair's tags.
	Tags map[string]string

	TLS TLS

	// HostAliases answer for names that the resolver does not know: host → IP
	// (or host:port → IP:port).
	HostAliases map[string]string

	// MaxBody is in bytes, each way; at most 8 MiB.
	MaxBody int
	// MemoryBudget is in bytes, for all of capture together.
	MemoryBudget int64
	// Filter is the exclusion filter in JSON; conditions that need only the
	// head of a request are applied by the proxy.
	Filter []byte
	// Sample keeps 1 in n sessions; 0 and 1 keep all.
	Sample int

	// Route says what a replay does with outbound connections; nil outside one.
	Route *Route

	// ConnectTimeout bounds a dial to an upstream (10 s when 0).
	ConnectTimeout time.Duration
	// DrainTimeout bounds how long connections live after SIGTERM.
	DrainTimeout time.Duration
	// SilenceWarning is after how long a direction that saw nothing says so.
	SilenceWarning time.Duration
}

// Mapping relays a listener to one place, recorded as outbound.
type Mapping struct {
	Listen   string
	Upstream string
}

// TLS is what the proxy may open.
type TLS struct {
	// Out intercepts outbound TLS with leaves of the CA below.
	Out bool
	// CACert and CAKey are PEM files. Where they do not exist and MakeCA is
	// set, the proxy makes a CA and writes the certificate only.
	CACert, CAKey string
	MakeCA        bool
	// UpstreamCA are PEM files whose roots verify upstreams, beside the system's.
	UpstreamCA []string
	// KubeCA is a PEM file with the roots of the Kubernetes API server, which has the
	// address KubeHost: they verify it alone. "" treats it like any other host.
	KubeCA, KubeHost string
	// InCert and InKey are the app's own certificate, to open inbound TLS.
	InCert, InKey string
	// ClientCert and ClientKey are shown to upstreams that ask for one.
	ClientCert, ClientKey string
}

// What telemetry and metrics call TLS connections of which the installation's check warns.
// All but those of TLSStaleFile were relayed unopened.
const (
	TLSUnusableFile   = "unusable_file"               // a file above is missing or wrong
	TLSStaleFile      = "stale_file"                  // it became so, and they were opened with what was in it before
	TLSUnverifiedHost = "unverified_host"             // the host's certificate is not trusted, or not for that name
	TLSRejectedCert   = "rejected_client_certificate" // the host does not take ClientCert
)

// What a replay does with an outbound connection.
const (
	RouteMock        = "mock"        // to the responder
	RoutePassthrough = "passthrough" // to the real host
	RouteRefuse      = "refuse"      // nowhere
)

// Route sends outbound connections to the responder in a replay.
type Route struct {
	// Responder is host:port. Each connection to it starts with a PROXY
	// protocol v2 header (see package proxyproto).
	Responder string
	// Mocks are what the responder answers for.
	Mocks []Mock
	// Default is what happens to hosts that are not mocked: RoutePassthrough
	// or RouteRefuse.
	Default string
	// Search are the domains under which the app's resolver looks up short names
	// (resolv.conf(5)): a mock stands for its host in all forms of its name.
	Search []string
	// Ignored are addresses to which connections are not redirected to the proxy: no
	// name of a mocked host may lead there.
	Ignored []netip.Prefix
}

// Mock is a host that the responder stands for.
type Mock struct {
	// Key is the slice key, service:host:port.
	Key string `json:"key"`
	// ALPN is the protocol (RFC 7301: h2 or http/1.1) that was recorded, and is
	// chosen again where the client offers it; empty is the client's preference.
	ALPN string `json:"alpn,omitempty"`
}
