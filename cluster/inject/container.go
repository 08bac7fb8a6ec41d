package inject

import (
	"cmp"
	"net/netip"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/cluster/annotation"
)

// startLimit is how long the app's containers wait for goproxy at most.
const startLimit = 30 * time.Second

// goproxy is the container that relays. The kubelet starts containers in their order
// and, until a container's postStart hook has returned, not the next one; so the hook
// waits for goproxy to be ready. A startupProbe does the same for native sidecars only,
// and would keep the app from starting for as long as goproxy is not ready: the hook
// gives up after startLimit, and the app starts.
func (p *patch) goproxy() (corev1.Container, error) {
	environment, mounts, err := p.goproxyEnv()
	if err != nil {
		return corev1.Container{}, err
	}
	return corev1.Container{
		Name:            Goproxy,
		Image:           p.o.GoproxyImage,
		ImagePullPolicy: p.o.PullPolicy,
		Command:         []string{"/goproxy"},
		Ports:           p.goproxyPorts(),
		Env:             environment,
		Resources:       p.resources(),
		VolumeMounts:    mounts,
		Lifecycle: &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{
			Exec: &corev1.ExecAction{Command: []string{"/goproxy", config.ProxyCommandWait, startLimit.String()}},
		}},
		ReadinessProbe:  probe("/readyz", 5, 3),
		LivenessProbe:   probe("/healthz", 10, 6), // patient: its end is that of the app's connections
		SecurityContext: restricted(),
	}, nil
}

func probe(path string, period, failures int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
			Path: path, Port: intstr.FromInt32(config.ProxyHealthPort), Scheme: corev1.URISchemeHTTP,
		}},
		PeriodSeconds: period, TimeoutSeconds: 5, SuccessThreshold: 1, FailureThreshold: failures,
	}
}

// restricted is a security context of the restricted Pod Security level.
func restricted() *corev1.SecurityContext {
	return &corev1.SecurityContext{
		RunAsNonRoot:             new(true),
		RunAsUser:                new(int64(config.ProxyUID)),
		RunAsGroup:               new(int64(config.ProxyUID)),
		ReadOnlyRootFilesystem:   new(true),
		AllowPrivilegeEscalation: new(false),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

// goproxyPorts names the inbound port as the app's was, so that Services find it. With
// hostNetwork all ports are the node's, and named for the scheduler, which puts no second
// pod there that needs one of them: its goproxy could not listen, while that of the first
// would answer for it, and take the traffic of its app.
func (p *patch) goproxyPorts() (ports []corev1.ContainerPort) {
	add := func(name string, port uint16) {
		ports = append(ports, corev1.ContainerPort{Name: name, ContainerPort: int32(port), Protocol: corev1.ProtocolTCP})
	}
	if p.inbound() {
		names := p.movePorts()
		if len(names) == 0 {
			names = []string{"proxy-in"}
		}
		for _, name := range names {
			add(name, p.s.InPort)
		}
	}
	// The metrics port is served always, and named where somebody asked for it:
	// Prometheus may look at every port that is named.
	host := p.pod.Spec.HostNetwork
	if p.s.ScrapeAnnotations || p.s.PrometheusPort != config.ProxyMetricsPort || host {
		add("proxy-metrics", p.s.PrometheusPort)
	}
	if host {
		add("proxy-health", config.ProxyHealthPort)
		if p.outbound() {
			add("proxy-out", p.s.OutPort)
		}
		for i := range ports {
			ports[i].HostPort = ports[i].ContainerPort
		}
	}
	return ports
}

// variables are the environment of one of our containers.
type variables []corev1.EnvVar

func (v *variables) set(name, value string) { *v = append(*v, corev1.EnvVar{Name: name, Value: value}) }

func (v *variables) setTrue(name string, on bool) {
	if on {
		v.set(name, "true")
	}
}

// list sets a variable to values with commas between them, where there are any.
func list[T any](v *variables, name string, values []T, text func(T) string) {
	var parts []string
	for _, value := range values {
		parts = append(parts, text(value))
	}
	if len(parts) > 0 {
		v.set(name, strings.Join(parts, ","))
	}
}

func (v *variables) field(name, path string) {
	*v = append(*v, corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{
		FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path},
	}})
}

// shared are the variables that goproxy and initproxy must agree on. All names in _PORT
// that either reads are set: the kubelet would set DNS_PORT=tcp://… for a Service named
// dns, and so for others.
func (p *patch) shared() (v variables) {
	v.set("LOG_LEVEL", cmp.Or(p.o.LogLevel, "info"))
	v.set("PROXY_IN_PORT", number(p.s.InPort))
	v.set("PROXY_OUT_PORT", number(p.s.OutPort))
	v.set("HEALTH_HTTP_PORT", number(config.ProxyHealthPort))
	v.set("METRICS_HTTP_PORT", number(p.s.PrometheusPort))
	if p.transparent() {
		v.set("HOST_RESOLUTION", p.s.HostResolution)
		if p.s.HostResolution == annotation.ResolveSmart {
			v.set("DNS_PORT", number(config.ProxyDNSPort))
		}
	}
	return v
}

func number(port uint16) string { return strconv.Itoa(int(port)) }

// goproxyEnv returns goproxy's environment, and its mounts, which go with it.
func (p *patch) goproxyEnv() ([]corev1.EnvVar, []corev1.VolumeMount, error) {
	v := p.shared()
	v.set("APP_LABEL", p.w.Name)
	v.field("APP_POD_NAME", "metadata.name")
	v.field("APP_POD_NAMESPACE", "metadata.namespace")
	if p.o.Cluster != "" {
		v.set("CLUSTER_NAME", p.o.Cluster)
	}
	v.set("FORWARDER_ADDR", p.o.Forwarder)
	v.set("FORWARDER_CA", filesDir+"/"+fileForwarderCA)
	v.set("FORWARDER_TOKEN_FILE", filesDir+"/"+fileToken)
	v.set("PROXY_TYPE", p.s.Type)
	if !p.transparent() {
		v.set("PROXY_PROTOCOL", p.s.Protocol)
	}
	v.set("REVERSE_PROXY_HOST", p.s.Host)
	v.set("REVERSE_PROXY_PORT", number(p.s.Port))
	v.set("DRAIN_TIMEOUT", p.drainTimeout().String())
	// As a native sidecar it is told to end after the app.
	v.setTrue("DRAIN_WHOLE", p.pod.Spec.HostNetwork && !p.native)
	v.setTrue("POD_NETWORK", !p.pod.Spec.HostNetwork)
	if p.o.MaskInSidecar {
		v.set("MASK_IN", "sidecar")
	}
	if p.o.Version != "" {
		v.set("SPEEDSCALE_VERSION", p.o.Version)
	}
	if p.o.Telemetry != "" {
		v.set("TELEMETRY_INTERVAL", p.o.Telemetry)
	}
	if budget := p.captureMemory(); budget != "" {
		v.set("CAPTURE_MEMORY", budget)
	}
	mounts := []corev1.VolumeMount{{Name: volumeFiles, MountPath: filesDir, ReadOnly: true}}
	if r := p.o.Replay; r != nil {
		v = append(v, routing(r, p.transparent())...)
		p.ignored(&v)
	}
	v.setTrue("TLS_OUT_UNWRAP", p.s.TLSOut)
	if p.ca() {
		v.set("TLS_CERT_DIR", caDir)
		mounts = append(mounts, corev1.VolumeMount{Name: volumeCA, MountPath: caDir, ReadOnly: true})
	}
	if p.s.KubeAPI {
		v.set("TLS_OUT_KUBE_CA", filesDir+"/"+fileKubeCA)
	}
	list(&v, "TLS_OUT_CA", p.upstreamFiles(), func(name string) string { return filesDir + "/" + name })
	if p.s.TLSIn.Set() {
		v.set("TLS_IN_UNWRAP", "true")
	}
	for _, f := range p.certificates() {
		v.set(f.publicVar, f.public)
		v.set(f.privateVar, f.private)
		if f.TLSFiles.Secret != "" {
			continue
		}
		for _, path := range []string{f.public, f.private} {
			var r *Refused
			if mounts, r = p.mountOf(mounts, path); r != nil {
				return nil, nil, r
			}
		}
	}
	return v, mounts, nil
}

// drainTimeout leaves goproxy time to flush within the pod's grace period.
func (p *patch) drainTimeout() time.Duration {
	grace := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if own := p.pod.Spec.TerminationGracePeriodSeconds; own != nil {
		grace = *own
	}
	return max(time.Duration(grace)*time.Second-config.ProxyFlushTime, time.Second)
}

// initCA makes the CA, before anything of the pod needs it.
func (p *patch) initCA() corev1.Container {
	var v variables
	v.set("LOG_LEVEL", cmp.Or(p.o.LogLevel, "info"))
	v.set("TLS_CERT_DIR", caDir)
	v.set("TLS_TRUST_DIR", trustOutDir)
	c := corev1.Container{
		Name:            InitCA,
		Image:           p.o.GoproxyImage,
		ImagePullPolicy: p.o.PullPolicy,
		Command:         []string{"/goproxy", config.ProxyCommandCA},
		Env:             v,
		Resources:       p.resources(),
		VolumeMounts: []corev1.VolumeMount{
			{Name: volumeCA, MountPath: caDir},
			{Name: volumeTrust, MountPath: trustOutDir},
		},
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		SecurityContext:          restricted(),
	}
	p.kubeCA(&c)
	return c
}

// initproxy sets the rules of transparent mode. It is the only container that needs
// more than the restricted Pod Security level: NET_ADMIN, and to be root, since a
// capability that is added counts for no other user.
func (p *patch) initproxy() corev1.Container {
	security := restricted()
	security.RunAsNonRoot, security.RunAsUser, security.RunAsGroup = new(false), new(int64(0)), new(int64(0))
	security.Capabilities.Add = []corev1.Capability{"NET_ADMIN"}
	v, s := p.shared(), p.s
	if r := p.o.Replay; r != nil {
		v.set("REPLAY_ID", r.ID) // without rules the pod must not start then
	}
	v.field("STATUS_HOST_IP", "status.hostIPs")
	v.setTrue("CAPTURE_NODE_TRAFFIC", s.CaptureNodeTraffic)
	v.setTrue("IGNORE_LOOPBACK", s.IgnoreLoopback)
	v.setTrue("TRACK_LOOPBACK", s.TrackLoopback)
	itself := func(v string) string { return v }
	list(&v, "IGNORE_SRC_IPS", s.IgnoreSources, netip.Prefix.String)
	list(&v, "IGNORE_SRC_HOSTS", s.IgnoreSourceHosts, itself)
	list(&v, "IGNORE_INBOUND_PORTS", s.IgnoreInPorts, number)
	list(&v, "IGNORE_DST_IPS", s.IgnoreDestinations, netip.Prefix.String)
	list(&v, "IGNORE_DST_HOSTS", s.IgnoreDestinationHosts, itself)
	list(&v, "IGNORE_OUTBOUND_PORTS", s.IgnoreOutPorts, number)
	return corev1.Container{
		Name:                     Initproxy,
		Image:                    p.o.InitproxyImage,
		ImagePullPolicy:          p.o.PullPolicy,
		Command:                  []string{"/initproxy"},
		Env:                      v,
		Resources:                p.resources(),
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		SecurityContext:          security,
	}
}
