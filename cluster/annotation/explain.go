package annotation

import (
	"errors"
	"strings"

	"github.com/speedscale/speedscale/agents/config"
)

// Explanation says of an annotation what Parse makes of it.
type Explanation struct {
	Key string
	// Wants is what values it has, and Default the one that it has by itself ("" where
	// it has none).
	Wants, Default string
	// Modes are the values of ProxyType with which it has an effect.
	Modes []string
	// About is what it does, in a sentence.
	About string
}

// Explanations are those of all annotations that owners may write.
func Explanations() []Explanation {
	standard, modes, texts := defaults(), effective(), about()
	var all []Explanation
	for _, s := range settings() {
		e := Explanation{Key: s.key, Wants: s.wants(), Default: s.get(&standard), Modes: modes[s.key], About: texts[s.key]}
		if e.Modes == nil {
			e.Modes = []string{config.ModeTransparent, config.ModeReverse, config.ModeForward, config.ModeDual}
		}
		all = append(all, e)
	}
	return all
}

// wants is what the setting says of a value that no setting takes, except one that
// takes any text.
func (s setting) wants() string {
	err := s.set(&Sidecar{}, "\x00")
	if err == nil {
		return "a text"
	}
	each := ""
	if inner := errors.Unwrap(err); inner != nil {
		err, each = inner, ", or several with commas between them"
	}
	text := err.Error()
	if _, after, ok := strings.Cut(text, "want "); ok {
		text = after
	}
	return text + each
}

func about() map[string]string {
	return map[string]string{
		Inject:                   "Asks for a sidecar in the workload's pods.",
		Ignore:                   "Keeps the operator away from the workload: its new pods have no sidecar, whatever the other annotations say.",
		ManagedBy:                "Leaves the workload to the operator instance of this name: the INSTANCE_ID in the ConfigMap speedscale-operator. Without it every one looks after the workload.",
		InsertInitFirst:          "Puts our init containers before the app's, whose connections are then captured too.",
		CaptureMode:              "How traffic is captured.",
		CaptureNodeTraffic:       "Captures what comes from the node too, such as probes.",
		HostResolution:           "How addresses get names: by the app's own DNS queries (smart), by PTR records (standard), or not at all.",
		ProxyType:                "How connections reach the sidecar: redirected (transparent), by a port in front of the app (reverse), by the app's proxy settings (forward), or the last two (dual). In forward and dual mode the app's containers get HTTP_PROXY and the like where their env has none; of what envFrom or the image's ENV brings, those names are overridden: repeat it in env.",
		ProxyProtocol:            "What the sidecar speaks where it is not transparent; in dual mode inbound and outbound.",
		ProxyHost:                "Host of the app to which inbound connections are passed.",
		ProxyPort:                "Port of the app to which inbound connections are passed.",
		ProxyInPort:              "Port on which the sidecar takes inbound connections.",
		ProxyOutPort:             "Port on which the sidecar takes outbound connections.",
		TLSOut:                   "Opens outbound TLS, so that requests to HTTPS hosts are captured. The app's containers get SSL_CERT_DIR and the like where their env has none; of what envFrom or the image's ENV brings, those names are overridden: repeat it in env.",
		TLSOutCA:                 "Roots that verify hosts with a private CA, beside the public ones.",
		TLSJavaToolOptions:       "Adds the trust store to JAVA_TOOL_OPTIONS of the container's env. What the image's ENV has there is overridden: repeat it in env.",
		TLSJavaToolOptionsValue:  "The whole value of JAVA_TOOL_OPTIONS instead.",
		TLSInSecret:              "Secret with the app's own certificate, which opens inbound TLS.",
		TLSInPrivate:             "Key of the app's own certificate: an entry of the Secret (tls.key), or a file that the app's container has mounted.",
		TLSInPublic:              "The app's own certificate: an entry of the Secret (tls.crt), or a file that the app's container has mounted.",
		TLSMutualSecret:          "Secret with the certificate that is shown to hosts which ask for one.",
		TLSMutualPrivate:         "Key of that certificate: an entry of the Secret (tls.key), or a mounted file.",
		TLSMutualPublic:          "That certificate: an entry of the Secret (tls.crt), or a mounted file.",
		IgnoreSrcIPs:             "Leaves inbound connections from these addresses alone.",
		IgnoreSrcHosts:           "Leaves inbound connections from these hosts alone; they are looked up once, when the pod starts.",
		IgnoreInboundPorts:       "Leaves inbound connections to these ports alone.",
		IgnoreDstIPs:             "Leaves outbound connections to these addresses alone.",
		IgnoreDstHosts:           "Leaves outbound connections to these hosts alone; they are looked up once, when the pod starts.",
		IgnoreOutboundPorts:      "Leaves outbound connections to these ports alone.",
		IgnoreLoopback:           "Leaves the loopback interface alone.",
		TrackLoopback:            "Takes what goes over the loopback interface for inbound.",
		CPULimit:                 "CPU limit of the sidecar; without one the chart's.",
		CPURequest:               "CPU request of the sidecar; without one the chart's.",
		MemoryLimit:              "Memory limit of the sidecar, at least " + LeastMemoryLimit + "; without one the chart's.",
		MemoryRequest:            "Memory request of the sidecar; without one the chart's.",
		KubeAPISupport:           "Captures the app's calls of the Kubernetes API.",
		IstioCNI:                 "Goes together with a mesh.",
		ExtraContainerEnvVars:    "Variables that are added to the app's containers.",
		MountKnownCA:             "Mounts roots over the image's own.",
		PrometheusPort:           "Port on which the sidecar serves its metrics.",
		PrometheusScrapeAnnotate: "Puts prometheus.io annotations on the pods.",
		Diagnostics:              "Writes packets and TLS keys.",
	}
}
