// Package annotation reads the annotations by which the owner of a workload asks for
// a sidecar. Every annotation does what it says or is refused with the reason; none
// is ignored.
package annotation

import (
	"net/netip"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/speedscale/speedscale/agents/config"
)

// Prefix of the annotations that owners write on a workload.
const Prefix = "sidecar.speedscale.com/"

// Annotations that owners write, as documented.
const (
	Inject                   = Prefix + "inject"
	InsertInitFirst          = Prefix + "insert-init-first"
	CaptureMode              = Prefix + "capture-mode"
	CaptureNodeTraffic       = Prefix + "capture-node-traffic"
	HostResolution           = Prefix + "host-resolution"
	ProxyType                = Prefix + "proxy-type"
	ProxyProtocol            = Prefix + "proxy-protocol"
	ProxyHost                = Prefix + "proxy-host"
	ProxyPort                = Prefix + "proxy-port"
	ProxyInPort              = Prefix + "proxy-in-port"
	ProxyOutPort             = Prefix + "proxy-out-port"
	TLSOut                   = Prefix + "tls-out"
	TLSOutCA                 = Prefix + "tls-out-ca"
	TLSJavaToolOptions       = Prefix + "tls-java-tool-options"
	TLSJavaToolOptionsValue  = Prefix + "tls-java-tool-options-value"
	TLSInSecret              = Prefix + "tls-in-secret"
	TLSInPrivate             = Prefix + "tls-in-private"
	TLSInPublic              = Prefix + "tls-in-public"
	TLSMutualSecret          = Prefix + "tls-mutual-secret"
	TLSMutualPrivate         = Prefix + "tls-mutual-private"
	TLSMutualPublic          = Prefix + "tls-mutual-public"
	IgnoreSrcIPs             = Prefix + "ignore-src-ips"
	IgnoreSrcHosts           = Prefix + "ignore-src-hosts"
	IgnoreInboundPorts       = Prefix + "ignore-inbound-ports"
	IgnoreDstIPs             = Prefix + "ignore-dst-ips"
	IgnoreDstHosts           = Prefix + "ignore-dst-hosts"
	IgnoreOutboundPorts      = Prefix + "ignore-outbound-ports"
	IgnoreLoopback           = Prefix + "ignore-loopback"
	TrackLoopback            = Prefix + "track-loopback"
	CPULimit                 = Prefix + "cpu-limit"
	CPURequest               = Prefix + "cpu-request"
	MemoryLimit              = Prefix + "memory-limit"
	MemoryRequest            = Prefix + "memory-request"
	KubeAPISupport           = Prefix + "kube-api-support"
	IstioCNI                 = Prefix + "istio-cni"
	ExtraContainerEnvVars    = Prefix + "extra-container-env-vars"
	MountKnownCA             = Prefix + "mount-known-ca"
	PrometheusPort           = Prefix + "prometheus-port"
	PrometheusScrapeAnnotate = Prefix + "prometheus-enable-scrape-annotations"
	Diagnostics              = Prefix + "diagnostics"
)

// Injected is the label of pods that have a sidecar; its value is "true".
const Injected = Prefix + "injected"

// Labels of pods that take part in a replay.
const (
	// ReplayID is the report's id: on the pods of the workload that have the
	// replay's routing, and on the replay's own pods.
	ReplayID = "replay.speedscale.com/id"
	// ReplayTarget says which workload of the replay a pod belongs to.
	ReplayTarget = "replay.speedscale.com/target"
	// ReplayComponent is collector, generator or responder, on the replay's own pods.
	ReplayComponent = "replay.speedscale.com/component"
)

// Annotations of the operator. Owners write Ignore and ManagedBy; the others are the
// operator's own.
const (
	// Ignore, "true", keeps the operator away from a workload and its new pods.
	Ignore = "operator.speedscale.com/ignore"
	// ManagedBy names the operator instance that changes a workload.
	ManagedBy = "operator.speedscale.com/managed-by"
	// Stamp is written on a pod template so that it rolls out: Sidecar.Hash and a
	// counter.
	Stamp = "operator.speedscale.com/stamp"
	// Settings is on an injected pod: the Hash of what it was injected with.
	Settings = "operator.speedscale.com/settings"
	// ControlPlane is on the operator's pods, and on the Deployments that it makes: a hash of
	// the settings that they are made from.
	ControlPlane = "controlplane.speedscale.com/settings"
	// Refused is why a workload's pods have no sidecar.
	Refused = "operator.speedscale.com/refused"
	// ForwarderCA and UpstreamCA are PEM certificates on an injected pod, which
	// goproxy reads from a volume. They are public.
	ForwarderCA = "operator.speedscale.com/forwarder-ca"
	UpstreamCA  = "operator.speedscale.com/upstream-ca"
	// Mesh is on a pod that its namespace puts into a service mesh, and says by what.
	Mesh = "operator.speedscale.com/mesh"
	// Replay is on the pod template of a workload during a replay: which one it is,
	// and where connections go. The replay controller writes it, and takes it away.
	Replay = "operator.speedscale.com/replay"
)

// Values of HostResolution.
const (
	ResolveSmart    = "smart"    // by the app's own DNS queries
	ResolveStandard = "standard" // by PTR records
	ResolveNone     = "none"
)

// What goproxy requests where neither the workload nor the chart says otherwise, and
// the least memory limit it can work with: it needs some 40 MiB beside capture.
const (
	DefaultCPURequest    = "10m"
	DefaultMemoryRequest = "64Mi"
	LeastMemoryLimit     = "64Mi"
)

// Sidecar is what the annotations of a workload ask for.
type Sidecar struct {
	// Inject asks for a sidecar.
	Inject bool
	// Ignore keeps the operator away, and ManagedBy names the operator instance
	// that looks after the workload ("" where none does yet).
	Ignore    bool
	ManagedBy string

	// InsertInitFirst puts our init containers before the app's, whose connections
	// are then captured too.
	InsertInitFirst bool
	// CaptureNodeTraffic captures what comes from the node too, such as probes
	// (transparent mode).
	CaptureNodeTraffic bool
	// HostResolution is how addresses get names: one of the Resolve constants
	// (transparent mode).
	HostResolution string

	// Type is one of the Mode constants of agents/config.
	Type string
	// Protocol is tcp or http (reverse), http or socks (forward), tcp:http or
	// tcp:socks (dual); "" in transparent mode.
	Protocol string
	// Host and Port are where reverse and dual mode send inbound connections.
	Host string
	Port uint16
	// InPort and OutPort are where goproxy listens.
	InPort, OutPort uint16

	// TLSOut opens outbound TLS.
	TLSOut bool
	// TLSOutCA has roots that verify hosts, beside the public ones.
	TLSOutCA []CASource
	// KubeAPI opens connections to the Kubernetes API too.
	KubeAPI bool
	// JavaToolOptions adds the trust store to JAVA_TOOL_OPTIONS;
	// JavaToolOptionsValue, where it is set, is the whole value instead.
	JavaToolOptions      bool
	JavaToolOptionsValue string
	// TLSIn is the app's own certificate, which opens inbound TLS.
	TLSIn TLSFiles
	// TLSMutual is shown to hosts that ask for a client certificate.
	TLSMutual TLSFiles

	// Connections that are left alone, in transparent mode: by their other end
	// (addresses; names, which are looked up once when the pod starts) and by their
	// destination port.
	IgnoreSources, IgnoreDestinations         []netip.Prefix
	IgnoreSourceHosts, IgnoreDestinationHosts []string
	IgnoreInPorts, IgnoreOutPorts             []uint16
	// IgnoreLoopback leaves the loopback interface alone; TrackLoopback takes what
	// goes over it for inbound. Not both (transparent mode).
	IgnoreLoopback, TrackLoopback bool

	// Resources of goproxy; nil where the workload does not say.
	CPULimit, CPURequest, MemoryLimit, MemoryRequest *resource.Quantity

	// ExtraEnv is added to the app's containers, in this order.
	ExtraEnv []EnvVar

	// PrometheusPort is where goproxy serves its metrics; ScrapeAnnotations puts
	// prometheus.io annotations on the pod.
	PrometheusPort    uint16
	ScrapeAnnotations bool
}

// EnvVar is a variable of a container.
type EnvVar struct{ Name, Value string }

// CASource is a ConfigMap or Secret of the workload's namespace, with the key whose
// value is PEM certificates. It is written KIND/NAME[/KEY]: configmap/corporate-ca.
type CASource struct {
	Kind, Name, Key string
}

// Kinds of a CASource, and its key where none is given.
const (
	KindConfigMap = "configmap"
	KindSecret    = "secret"
	DefaultCAKey  = "ca.crt"
)

// TLSFiles is a certificate and its key: two keys of a Secret in the workload's
// namespace or, without one, absolute paths that a container of the app has mounted.
type TLSFiles struct{ Secret, Public, Private string }

// Set says whether there is a certificate.
func (f TLSFiles) Set() bool { return f != TLSFiles{} }

func defaults() Sidecar {
	return Sidecar{
		HostResolution: ResolveSmart,
		Type:           config.ModeTransparent,
		Host:           "localhost",
		Port:           80,
		InPort:         config.ProxyInPort,
		OutPort:        config.ProxyOutPort,
		PrometheusPort: config.ProxyMetricsPort,
	}
}
