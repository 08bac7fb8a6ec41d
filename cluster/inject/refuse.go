package inject

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/cluster/annotation"
)

// Reason is why a pod is not injected, in the form of an event's reason.
type Reason string

// Reasons.
const (
	ReasonInjectedBefore Reason = "InjectedBefore"    // with other settings
	ReasonWindows        Reason = "Windows"           // not a Linux pod
	ReasonMesh           Reason = "ServiceMesh"       // of Istio or linkerd
	ReasonHostNetwork    Reason = "HostNetwork"       // rules would be the node's
	ReasonProxyUID       Reason = "ProxyUID"          // goproxy would take the app for itself
	ReasonNameTaken      Reason = "NameTaken"         // by a container, volume or mount
	ReasonPortTaken      Reason = "PortTaken"         // by a container of the app
	ReasonResources      Reason = "Resources"         // two annotations that cannot both hold
	ReasonEnvTaken       Reason = "EnvTaken"          // a variable that an annotation sets
	ReasonNativeSidecar  Reason = "NativeSidecar"     // the cluster is too old for one
	ReasonNotMounted     Reason = "NotMounted"        // a file that an annotation names
	ReasonScraped        Reason = "ScrapeAnnotations" // the pod has some of its own
	ReasonUnrouted       Reason = "Unrouted"          // connections to a mocked host would not come to goproxy
	ReasonWithdrawn      Reason = "Withdrawn"         // the API server refuses such pods with the sidecar
)

// Refused says why a pod cannot have the sidecar.
type Refused struct {
	Workload Workload
	Reason   Reason
	// Text says what is in the way, and what can be done.
	Text string
}

// Error names the workload and what is in the way.
func (r *Refused) Error() string { return fmt.Sprintf("%s is not injected: %s", r.Workload, r.Text) }

func refused(w Workload, reason Reason, format string, args ...any) *Refused {
	return &Refused{w, reason, fmt.Sprintf(format, args...)}
}

// Reserved namespaces hold what the cluster itself needs to run: nothing in them is injected.
func Reserved(namespace string) bool {
	return namespace == "kube-system" || namespace == "kube-node-lease"
}

// refuse looks for what would break the pod, or keep the sidecar from working.
func (p *patch) refuse() error {
	for _, check := range []func() *Refused{p.platform, p.names, p.network, p.ports, p.settled, p.scraped, p.kubeAccess, p.unrouted} {
		if r := check(); r != nil {
			return r
		}
	}
	return nil
}

func (p *patch) platform() *Refused {
	spec := p.pod.Spec
	if spec.OS != nil && spec.OS.Name == corev1.Windows || spec.NodeSelector[corev1.LabelOSStable] == string(corev1.Windows) {
		return refused(p.w, ReasonWindows, "its pods run on Windows, goproxy on Linux")
	}
	if found := mesh(p.pod); found != "" {
		return refused(p.w, ReasonMesh, "it is in a service mesh (%s), which redirects the same connections", found)
	}
	if p.native && !p.o.NativeSidecars {
		return refused(p.w, ReasonNativeSidecar, "goproxy would have to be a native sidecar (its pods end by themselves, or have init containers behind ours), which needs Kubernetes 1.29")
	}
	return nil
}

// mesh says by what a pod is found to be in a mesh. Webhooks are called in the order of
// their configurations' names, so those of meshes have been before ours; a template that
// is looked at before that says that it wants one.
func mesh(pod *corev1.Pod) string {
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		switch c.Name {
		case "istio-proxy", "istio-init", "istio-validation", "linkerd-proxy", "linkerd-init":
			return "container " + c.Name
		}
	}
	for _, key := range []string{"sidecar.istio.io/status", "linkerd.io/proxy-version"} {
		if _, ok := pod.Annotations[key]; ok {
			return "annotation " + key
		}
	}
	if by := pod.Annotations[annotation.Mesh]; by != "" {
		return by
	}
	for _, asks := range []pair{
		{"sidecar.istio.io/inject", "true"}, {"istio.io/dataplane-mode", "ambient"},
		{"linkerd.io/inject", "enabled"}, {"linkerd.io/inject", "ingress"},
	} {
		if pod.Annotations[asks.key] == asks.value || pod.Labels[asks.key] == asks.value {
			return asks.key + "=" + asks.value
		}
	}
	return ""
}

func named(pod *corev1.Pod, name string) bool {
	is := func(c corev1.Container) bool { return c.Name == name }
	return slices.ContainsFunc(pod.Spec.Containers, is) || slices.ContainsFunc(pod.Spec.InitContainers, is)
}

func (p *patch) names() *Refused {
	for _, name := range []string{Goproxy, Initproxy, InitCA} {
		if named(p.pod, name) {
			return refused(p.w, ReasonNameTaken, "it has a container %q that is not ours: rename it", name)
		}
	}
	for _, v := range p.pod.Spec.Volumes {
		if slices.Contains([]string{volumeFiles, volumeCA, volumeTrust, volumeKube}, v.Name) {
			return refused(p.w, ReasonNameTaken, "it has a volume %q that is not ours: rename it", v.Name)
		}
	}
	if !p.ca() {
		return nil
	}
	for _, c := range p.appContainers() {
		for _, m := range c.VolumeMounts {
			if strings.TrimSuffix(m.MountPath, "/") == trustDir {
				return refused(p.w, ReasonNameTaken, "container %q mounts %s, where the CA goes: mount it elsewhere", c.Name, trustDir)
			}
		}
	}
	return nil
}

// network: what redirection in the pod's own network namespace needs, and goproxy, which
// tells the app's sockets from its own by their user.
func (p *patch) network() *Refused {
	if p.transparent() && p.pod.Spec.HostNetwork {
		return refused(p.w, ReasonHostNetwork, "with hostNetwork the redirection of transparent mode would be the node's: use another proxy-type, with which one such pod fits on a node")
	}
	what := "goproxy would take its sockets for its own, and end before it"
	if p.transparent() {
		what = "in transparent mode its connections would pass uncaptured"
	}
	for _, c := range slices.Concat(p.pod.Spec.InitContainers, p.pod.Spec.Containers) {
		if uid := userOf(p.pod, c); uid != nil && *uid == config.ProxyUID {
			return refused(p.w, ReasonProxyUID, "container %q runs as user %d, which is goproxy's: %s", c.Name, *uid, what)
		}
	}
	return nil
}

func userOf(pod *corev1.Pod, c corev1.Container) *int64 {
	if c.SecurityContext != nil && c.SecurityContext.RunAsUser != nil {
		return c.SecurityContext.RunAsUser
	}
	if pod.Spec.SecurityContext != nil {
		return pod.Spec.SecurityContext.RunAsUser
	}
	return nil
}

// ports: containers of a pod share its ports.
func (p *patch) ports() *Refused {
	ours := map[int32]string{config.ProxyHealthPort: "health", int32(p.s.PrometheusPort): "metrics"}
	if p.inbound() {
		ours[int32(p.s.InPort)] = "inbound"
	}
	if p.outbound() {
		ours[int32(p.s.OutPort)] = "outbound"
	}
	if p.transparent() {
		ours[config.ProxyDNSPort] = "DNS"
	}
	for _, c := range slices.Concat(p.pod.Spec.InitContainers, p.pod.Spec.Containers) {
		for _, port := range c.Ports {
			if what, ok := ours[port.ContainerPort]; ok {
				return refused(p.w, ReasonPortTaken, "container %q listens on %d, goproxy's %s port", c.Name, port.ContainerPort, what)
			}
		}
	}
	return nil
}

func (p *patch) scraped() *Refused {
	if !p.s.ScrapeAnnotations {
		return nil
	}
	for _, a := range p.scrape() {
		if own, ok := p.pod.Annotations[a.key]; ok && own != a.value {
			return refused(p.w, ReasonScraped, "its pods have the annotation %s=%q, which leads Prometheus to the app: scrape goproxy's port in another way", a.key, own)
		}
	}
	return nil
}
