package collector

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/speedscale/speedscale/agents/agent"
)

// Settings are what the binary reads from its environment.
type Settings struct {
	// AppURL is the cloud, Token the replay's, and Roots verify the cloud; nil means
	// the system's.
	AppURL, Token string
	Roots         *x509.CertPool
	// ReplayID is the report's, SnapshotID the snapshot that is replayed, and
	// Component the name of the part.
	ReplayID, SnapshotID, Component string
	// Namespaces and Selector say which pods; Sidecar is Options.Sidecar.
	Namespaces []string
	Selector   string
	Sidecar    bool
	// HealthListen and MetricsListen are host:port.
	HealthListen, MetricsListen string
}

// ReadSettings reads everything that the binary is told, and nothing else reads the
// environment. An error names each variable that is wrong.
//
//	SPEEDSCALE_APP_URL     the cloud, https://HOST; SPEEDSCALE_APP_CA a PEM file that verifies it
//	SPEEDSCALE_API_KEY     the replay's token
//	REPLAY_ID, SNAPSHOT_ID what is replayed
//	COMPONENT              collector
//	COLLECT_NAMESPACES     namespaces of the workload's pods, between commas
//	COLLECT_SELECTOR       label selector of the workload's pods
//	COLLECT_SIDECAR        true follows the log of the sidecar too
//	HEALTH_HTTP_PORT       4144; METRICS_HTTP_PORT 4145
func ReadSettings(v *agent.Vars) (Settings, error) {
	needed := func(name, why string) string {
		s := v.String(name, "")
		if s == "" {
			v.Missing(name, why)
		}
		return s
	}
	s := Settings{
		AppURL:        needed("SPEEDSCALE_APP_URL", "it says where the cloud is, https://HOST"),
		Token:         needed("SPEEDSCALE_API_KEY", "the cloud takes events of known replays only"),
		ReplayID:      needed("REPLAY_ID", "it says whose events these are"),
		SnapshotID:    needed("SNAPSHOT_ID", "its rules say what is masked"),
		Component:     v.String("COMPONENT", "collector"),
		Namespaces:    v.List("COLLECT_NAMESPACES"),
		Selector:      needed("COLLECT_SELECTOR", "without it every pod would be the workload's"),
		Sidecar:       v.Bool("COLLECT_SIDECAR", false),
		HealthListen:  net.JoinHostPort("", fmt.Sprint(v.Port("HEALTH_HTTP_PORT", 4144))),
		MetricsListen: net.JoinHostPort("", fmt.Sprint(v.Port("METRICS_HTTP_PORT", 4145))),
	}
	if u, err := url.Parse(s.AppURL); s.AppURL != "" && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http") {
		v.Fail("SPEEDSCALE_APP_URL", "…", "want https://HOST")
	}
	if len(s.Namespaces) == 0 {
		v.Missing("COLLECT_NAMESPACES", "it says where the workload's pods are")
	}
	for _, namespace := range s.Namespaces {
		if problems := validation.IsDNS1123Label(namespace); len(problems) > 0 {
			v.Fail("COLLECT_NAMESPACES", namespace, strings.Join(problems, ", "))
		}
	}
	if _, err := labels.Parse(s.Selector); err != nil {
		v.Fail("COLLECT_SELECTOR", s.Selector, err.Error())
	}
	s.Roots = v.Roots("SPEEDSCALE_APP_CA")
	return s, v.Err()
}
