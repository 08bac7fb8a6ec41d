package annotation

import "strings"

// Documentation is what an owner wants to know of an annotation.
type Documentation struct {
	Key string
	// Text says in a sentence what it does.
	Text string
	// Values says what it takes, and Default what stands where it is not there; empty
	// means nothing, or that it depends.
	Values, Default string
	// Modes are the values of ProxyType with which it has an effect; all where there
	// are none.
	Modes []string
}

// Reference documents all annotations that owners write, in the order in which they are
// best read.
func Reference() []Documentation {
	var list []Documentation
	standard := defaults()
	for _, s := range settings() {
		list = append(list, Documentation{
			Key: s.key, Text: about()[s.key], Values: values(s), Default: s.get(&standard), Modes: effective()[s.key],
		})
	}
	return list
}

// values says what an annotation takes, as its refusal of what nobody means does.
func values(s setting) string {
	var into Sidecar
	err := s.set(&into, "\x00")
	if err == nil {
		return "any text"
	}
	_, text, _ := strings.Cut(err.Error(), "want ")
	if text == "" {
		text = err.Error()
	}
	return text
}

// about has a sentence for each annotation.
func about() map[string]string {
	return map[string]string{
		Inject:                   "Asks for a sidecar.",
		Ignore:                   "Keeps the operator away from the workload, whatever else it says.",
		ManagedBy:                "Names the operator instance that looks after the workload, where there are several.",
		InsertInitFirst:          "Puts our init containers before the app's, so that what those send is captured too.",
		CaptureMode:              "How traffic is captured.",
		CaptureNodeTraffic:       "Captures what comes from the node too, such as probes.",
		HostResolution:           "How addresses of outbound connections get names: smart by the app's own DNS queries, standard by reverse look-ups, none not at all.",
		ProxyType:                "How connections get to the sidecar: transparent by packet filter rules; reverse by its Service; forward by proxy variables; dual by both.",
		ProxyProtocol:            "What is spoken to the sidecar: tcp or http in reverse mode, http or socks in forward mode, tcp:http or tcp:socks in dual mode.",
		ProxyHost:                "Where the sidecar sends inbound connections.",
		ProxyPort:                "The port on which the app listens, where the sidecar sends inbound connections.",
		ProxyInPort:              "The port on which the sidecar takes inbound connections.",
		ProxyOutPort:             "The port on which it takes outbound ones.",
		TLSOut:                   "Opens the app's own TLS connections, with certificates of a CA that is made in the pod and dies with it.",
		TLSOutCA:                 "More roots by which the sidecar verifies hosts, such as a private CA's, with commas between them.",
		TLSJavaToolOptions:       "Adds a trust store to JAVA_TOOL_OPTIONS, so that JVMs trust the pod's CA.",
		TLSJavaToolOptionsValue:  "The whole value of JAVA_TOOL_OPTIONS instead.",
		TLSInSecret:              "Secret with the app's own certificate, which opens inbound TLS.",
		TLSInPrivate:             "The key: an entry of that Secret (tls.key), or without a Secret the path of a file that the app has mounted.",
		TLSInPublic:              "The certificate, likewise (tls.crt).",
		TLSMutualSecret:          "Secret with the certificate that is shown to hosts which ask for one.",
		TLSMutualPrivate:         "The key of it, as for " + short(TLSInPrivate) + ".",
		TLSMutualPublic:          "The certificate itself, as for " + short(TLSInPublic) + ".",
		IgnoreSrcIPs:             "Leaves connections from these addresses alone.",
		IgnoreSrcHosts:           "Leaves connections from these hosts alone, which are looked up once, when the pod starts.",
		IgnoreInboundPorts:       "Leaves connections to these ports of the pod alone.",
		IgnoreDstIPs:             "Leaves connections to these addresses alone.",
		IgnoreDstHosts:           "Leaves connections to these hosts alone, which are looked up once, when the pod starts.",
		IgnoreOutboundPorts:      "Leaves connections to these ports of others alone.",
		IgnoreLoopback:           "Leaves what stays within the pod alone.",
		TrackLoopback:            "Takes what stays within the pod for inbound, such as a reverse proxy's in another container.",
		CPULimit:                 "CPU limit of the sidecar.",
		CPURequest:               "CPU request of the sidecar; the chart's sidecar.resources otherwise.",
		MemoryLimit:              "Memory limit of the sidecar, at least " + LeastMemoryLimit + ".",
		MemoryRequest:            "Memory request of the sidecar; the chart's sidecar.resources otherwise.",
		KubeAPISupport:           "Has clients of the Kubernetes API trust the pod's CA beside the cluster's, so that their calls are captured.",
		IstioCNI:                 "Would take Istio's rules into account.",
		ExtraContainerEnvVars:    "Variables that the app's containers get on top.",
		MountKnownCA:             "Would put the CA in the place of the image's roots.",
		PrometheusPort:           "The port on which the sidecar serves its metrics.",
		PrometheusScrapeAnnotate: "Puts prometheus.io annotations on the pod, so that it is scraped.",
		Diagnostics:              "Would write packets and TLS keys.",
	}
}

func short(key string) string { return strings.TrimPrefix(key, Prefix) }
