// Package inject puts the sidecar into a pod. It is a pure function, which the
// operator's webhook and speedctl share: from a pod, what its workload asks for and the
// cluster's settings to the pod as it should be, or the reason why not.
package inject

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/stamp"
)

// Containers and volumes of an injected pod.
const (
	Goproxy   = "speedscale-goproxy"      // relays and captures
	Initproxy = "speedscale-initproxy"    // sets the rules of transparent mode
	InitCA    = "speedscale-initproxy-ca" // makes the CA

	volumeFiles = "speedscale-goproxy" // what only our containers read: token, certificates
	volumeCA    = "speedscale-ca"      // the CA with its key, for goproxy only
	volumeTrust = "speedscale-trust"   // what the app's containers read
)

// ForwarderAudience is for whom a pod's service-account token is good.
const ForwarderAudience = "speedscale-forwarder"

// Options are the cluster's settings.
type Options struct {
	// GoproxyImage has the binary /goproxy, and the usual roots where Go looks for
	// them; InitproxyImage has /initproxy.
	GoproxyImage, InitproxyImage string
	// PullPolicy of both; "" is the cluster's default.
	PullPolicy corev1.PullPolicy
	// Forwarder is the host:port that goproxy sends to, and ForwarderCA the PEM
	// certificates that verify it.
	Forwarder, ForwarderCA string
	// Cluster is the cluster's name in what is captured.
	Cluster string
	// LogLevel is debug, info, warn or error; "" is info.
	LogLevel string
	// Version is the sidecar's, as people are shown it; "" is not known. Telemetry is how
	// often it says how it is, as TELEMETRY_INTERVAL has it; "" is goproxy's own default.
	Version, Telemetry string
	// UpstreamCA has PEM roots that verify the hosts of intercepted connections,
	// beside the public ones; "" has none. At most 128 KiB: pods carry it.
	UpstreamCA string
	// MaskInSidecar masks before the first byte leaves the pod.
	MaskInSidecar bool
	// Resources of goproxy, where neither the workload says otherwise nor its
	// pods' QoS class (of which see Pod).
	Resources corev1.ResourceRequirements
	// NativeSidecars says that the API server knows init containers with
	// restartPolicy Always (Kubernetes 1.29).
	NativeSidecars bool
	// Replay is the one that the pod takes part in, nil for none. Its sidecar routes
	// outbound connections as the replay says, and only a pod whose sidecar does has
	// the replay's labels.
	Replay *stamp.Replay
}

// maxUpstreamCA keeps a pod's annotations below the API server's 256 KiB.
const maxUpstreamCA = 128 << 10

func (o Options) check() error {
	var errs []error
	if o.GoproxyImage == "" || o.InitproxyImage == "" {
		errs = append(errs, fmt.Errorf("images %q of goproxy and %q of initproxy: want both", o.GoproxyImage, o.InitproxyImage))
	}
	if _, port, err := net.SplitHostPort(o.Forwarder); err != nil || port == "" {
		errs = append(errs, fmt.Errorf("forwarder %q: want host:port", o.Forwarder))
	}
	if !x509.NewCertPool().AppendCertsFromPEM([]byte(o.ForwarderCA)) {
		errs = append(errs, errors.New("forwarder's CA: want PEM certificates"))
	}
	switch {
	case o.UpstreamCA == "":
	case len(o.UpstreamCA) > maxUpstreamCA:
		errs = append(errs, fmt.Errorf("upstream CAs: %d bytes, want at most %d", len(o.UpstreamCA), maxUpstreamCA))
	case !x509.NewCertPool().AppendCertsFromPEM([]byte(o.UpstreamCA)):
		errs = append(errs, errors.New("upstream CAs: want PEM certificates"))
	}
	return errors.Join(errs...)
}

// Workload is what a pod belongs to.
type Workload struct{ Kind, Name, Namespace string }

// String returns the workload as messages name it.
func (w Workload) String() string {
	return fmt.Sprintf("%s %s/%s", strings.ToLower(w.Kind), w.Namespace, w.Name)
}

// Injected says whether a pod has our sidecar.
func Injected(pod *corev1.Pod) bool {
	return pod.Labels[annotation.Injected] == "true" && named(pod, Goproxy)
}

// Pod returns a copy of the pod with the sidecar; the pod itself stays as it is. One
// that has the sidecar already is returned as it is. Where it would break the pod, or
// an annotation cannot do what it says, the error is a *Refused; any other error is
// about the options.
//
// goproxy is the first of the pod's containers. It is a native sidecar instead, an init
// container with restartPolicy Always, in pods that end by themselves (of Jobs: they
// would never end with a container that does not), and where connections of the app's
// init containers or native sidecars go through it.
//
// The pod keeps its QoS class. Under Guaranteed, requests are the limits. Under
// BestEffort there are none: a request would save our container from eviction and give
// the pod a class that its owner, or a quota, did not mean; annotations that set
// resources are the owner's word, and win.
func Pod(pod *corev1.Pod, w Workload, s annotation.Sidecar, o Options) (*corev1.Pod, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("options of injection: %w", err)
	}
	if w.Name == "" {
		return nil, errors.New("the workload has no name, under which its traffic would be recorded")
	}
	if Injected(pod) {
		return again(pod, w, s, o.Replay)
	}
	p := newPatch(pod.DeepCopy(), w, s, o)
	if err := p.refuse(); err != nil {
		return nil, err
	}
	if err := p.apps(); err != nil {
		return nil, err
	}
	goproxy, err := p.goproxy()
	if err != nil {
		return nil, err
	}
	p.volumes()
	p.hostAliases()
	p.insert(goproxy)
	p.metadata()
	return p.pod, nil
}

// again is for pods that come a second time: the API server asks webhooks again when
// others changed the pod after them.
func again(pod *corev1.Pod, w Workload, s annotation.Sidecar, r *stamp.Replay) (*corev1.Pod, error) {
	if was := pod.Annotations[annotation.Settings]; was != s.Hash() {
		return nil, refused(w, ReasonInjectedBefore, "it has the sidecar already, with other settings (%s, not %s): take it out of the template", was, s.Hash())
	}
	if found := mesh(pod); found != "" {
		return nil, refused(w, ReasonMesh, "it is in a service mesh (%s), which redirects the same connections", found)
	}
	if r != nil && !routed(pod, r) {
		return nil, refused(w, ReasonInjectedBefore, "it has the sidecar already, without the routing of replay %s: take it out of the template", r.Name)
	}
	return pod.DeepCopy(), nil
}

// patch is the work on one pod.
type patch struct {
	pod *corev1.Pod
	w   Workload
	s   annotation.Sidecar
	o   Options

	// hash is that of the settings as the workload has them.
	hash string
	// qos is the pod's class before it is changed.
	qos corev1.PodQOSClass
	// native makes goproxy a native sidecar. Our init containers go before the
	// init container with the index at; those from there on find goproxy running.
	native bool
	at     int
}

func newPatch(pod *corev1.Pod, w Workload, s annotation.Sidecar, o Options) *patch {
	p := &patch{pod: pod, w: w, s: s, o: o, qos: qosClass(pod), at: len(pod.Spec.InitContainers), hash: s.Hash()}
	switch {
	case !p.mocks() || !p.transparent():
	case p.aliases():
		p.s.HostResolution = annotation.ResolveNone // DNS stays the pod's own
	default:
		// The names of mocked hosts have to be known, and may not resolve any more.
		p.s.HostResolution = annotation.ResolveSmart
	}
	ends := pod.Spec.RestartPolicy != "" && pod.Spec.RestartPolicy != corev1.RestartPolicyAlways
	for i, c := range pod.Spec.InitContainers {
		if isNative(c) {
			p.at = i
			break
		}
	}
	if s.InsertInitFirst {
		p.at = 0
	}
	p.native = ends || p.at < len(pod.Spec.InitContainers)
	return p
}

func isNative(c corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

func (p *patch) transparent() bool { return p.s.Type == config.ModeTransparent }

// mocks says whether the pod takes part in a replay in which hosts are mocked.
func (p *patch) mocks() bool { return p.o.Replay != nil && len(p.o.Replay.Mocks) > 0 }

// ca says whether goproxy needs a CA that the app trusts.
func (p *patch) ca() bool { return p.s.TLSOut || p.mocks() }

// inbound and outbound say which directions go through goproxy.
func (p *patch) inbound() bool  { return p.s.Type != config.ModeForward }
func (p *patch) outbound() bool { return p.s.Type != config.ModeReverse }

// insert puts our containers in their places. The rules are set last: a native goproxy
// listens by then, so that no connection is refused in between.
func (p *patch) insert(goproxy corev1.Container) {
	var init []corev1.Container
	if p.ca() {
		init = append(init, p.initCA())
	}
	spec := &p.pod.Spec
	if p.native {
		goproxy.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
		init = append(init, goproxy)
	} else {
		spec.Containers = append([]corev1.Container{goproxy}, spec.Containers...)
	}
	if p.transparent() {
		init = append(init, p.initproxy())
	}
	init = append(init, spec.InitContainers[p.at:]...)
	spec.InitContainers = append(spec.InitContainers[:p.at:p.at], init...)
}

// defaultContainer is what kubectl logs and exec look at: without it, the first.
const defaultContainer = "kubectl.kubernetes.io/default-container"

func (p *patch) metadata() {
	meta := &p.pod.ObjectMeta
	if meta.Labels == nil {
		meta.Labels = make(map[string]string)
	}
	if meta.Annotations == nil {
		meta.Annotations = make(map[string]string)
	}
	meta.Labels[annotation.Injected] = "true"
	meta.Annotations[annotation.Settings] = p.hash
	meta.Annotations[annotation.ForwarderCA] = p.o.ForwarderCA
	if p.upstreamCA() {
		meta.Annotations[annotation.UpstreamCA] = p.o.UpstreamCA
	}
	if !p.native && meta.Annotations[defaultContainer] == "" && len(p.pod.Spec.Containers) > 1 {
		meta.Annotations[defaultContainer] = p.pod.Spec.Containers[1].Name
	}
	if r := p.o.Replay; r != nil {
		meta.Labels[annotation.ReplayID] = r.ID
		meta.Labels[annotation.ReplayTarget] = r.Target
	}
	if p.s.ScrapeAnnotations {
		for _, a := range p.scrape() {
			meta.Annotations[a.key] = a.value
		}
	}
}

type pair struct{ key, value string }

// scrape are the annotations by which Prometheus' usual configuration finds a pod.
func (p *patch) scrape() []pair {
	return []pair{
		{"prometheus.io/scrape", "true"},
		{"prometheus.io/port", number(p.s.PrometheusPort)},
		{"prometheus.io/path", "/metrics"},
	}
}
