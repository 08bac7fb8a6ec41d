package manager

import (
	"cmp"
	"crypto/x509"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/config"
	operatorresource "github.com/speedscale/speedscale/operator/resource"
	"github.com/speedscale/speedscale/traffic/filter"
	"github.com/speedscale/speedscale/traffic/mask"
)

// Settings are what the operator reads from its environment.
type Settings struct {
	// Control is the control plane.
	Control operatorresource.Config
	// Instance is this operator's name in the annotation managed-by.
	Instance string
	// Sidecar has the settings of what is injected.
	Sidecar Sidecar
	// Replays has the settings of TrafficReplays.
	Replays Replays
}

// Sidecar is the chart's value sidecar.
type Sidecar struct {
	// Resources of goproxy, where a workload does not say otherwise.
	Resources corev1.ResourceRequirements `json:"resources"`
	// UpstreamCAs are PEM certificates that verify the hosts of opened connections,
	// beside the public ones.
	UpstreamCAs string `json:"upstreamCAs"`
	// MaskIn is forwarder or sidecar: where pairs are masked.
	MaskIn string `json:"maskIn"`
}

const defaultSpool = "1Gi"

// ReadSettings reads everything that the operator is told, and nothing else reads
// the environment. An error names each variable that is wrong.
//
//	POD_NAMESPACE          the operator's own
//	SETTINGS_HASH          another one whenever the others are, on all that the operator makes
//	CLUSTER_NAME           the cluster's name in what is captured
//	INSTANCE_ID            this operator's name where a cluster has several; CLUSTER_NAME
//	IMAGE_REGISTRY, IMAGE_TAG  images are IMAGE_REGISTRY/component:IMAGE_TAG
//	IMAGE_PULL_POLICY      Always, IfNotPresent or Never; IMAGE_PULL_SECRETS names between commas
//	SCHEDULING             JSON of resource.Scheduling, of all pods that the operator makes
//	LOG_LEVEL              info, for the operator and all that it makes
//	API_KEY_SECRET_NAME    a Secret with SPEEDSCALE_API_KEY and, without the next, SPEEDSCALE_APP_URL
//	API_KEY_HASH           another one whenever that Secret is, which restarts the pods that read it
//	SPEEDSCALE_APP_URL     the cloud, and SPEEDSCALE_API_KEY, which opens it with the scope control
//	SPEEDSCALE_FILTER_RULE, SPEEDSCALE_DLP_CONFIG  as the forwarder reads them
//	SPEEDSCALE_PUBLIC_URL  the cloud, as people reach it; SPEEDSCALE_APP_URL without it
//	SPEEDSCALE_APP_CA      a PEM file that verifies the cloud; the system's roots without it
//	APP_CA_CONFIG_MAP      the ConfigMap that this file is from, in its entry of the file's name
//	HTTP_PROXY, HTTPS_PROXY, NO_PROXY  the way to the cloud
//	TELEMETRY_INTERVAL     60s, how often agents say how they are; 0 is never
//	WITH_TELEMETRY         true; false keeps that in the cluster
//	WITH_INSPECTOR         true has an inspector, whose settings are INSPECTOR_CONFIG, JSON of resource.InspectorConfig
//	DEPLOY_DEMO            java, or empty for no demo
//	SIDECAR_CONFIG         JSON of Sidecar; FORWARDER_CONFIG JSON of resource.ForwarderConfig
//	NAMESPACE_SELECTOR     where replays can run; everywhere without it
//	REPLAY_TIMEOUT         20m, of replays that do not say one
//	GENERATOR_CONFIG, RESPONDER_CONFIG, COLLECTOR_CONFIG  JSON of resource.ComponentConfig
func ReadSettings(v *agent.Vars) (Settings, error) {
	needed := func(name, why string) string {
		s := v.String(name, "")
		if s == "" {
			v.Missing(name, why)
		}
		return s
	}
	s := Settings{Control: operatorresource.Config{
		Namespace:         needed("POD_NAMESPACE", "it is where the operator keeps its objects"),
		SettingsHash:      v.String("SETTINGS_HASH", ""),
		Cluster:           needed("CLUSTER_NAME", "it is the cluster's name in what is captured"),
		LogLevel:          v.String("LOG_LEVEL", "info"),
		APIKeySecret:      needed("API_KEY_SECRET_NAME", "the Secret has the key that opens the cloud"),
		APIKeyHash:        v.String("API_KEY_HASH", ""),
		AppURL:            v.String("SPEEDSCALE_APP_URL", ""),
		FilterRule:        v.String("SPEEDSCALE_FILTER_RULE", ""),
		DLPConfig:         v.String("SPEEDSCALE_DLP_CONFIG", ""),
		Cloud:             readCloud(v),
		TelemetryInterval: v.Interval("TELEMETRY_INTERVAL", config.TelemetryInterval),
		WithTelemetry:     v.Bool("WITH_TELEMETRY", true),
		Demo:              v.String("DEPLOY_DEMO", ""),
		WithInspector:     v.Bool("WITH_INSPECTOR", false),
		Images: operatorresource.Images{
			Registry:    needed("IMAGE_REGISTRY", "images are IMAGE_REGISTRY/component:IMAGE_TAG"),
			Tag:         needed("IMAGE_TAG", "images are IMAGE_REGISTRY/component:IMAGE_TAG"),
			PullPolicy:  corev1.PullPolicy(v.Choice("IMAGE_PULL_POLICY", "IfNotPresent", "Always", "IfNotPresent", "Never")),
			PullSecrets: v.List("IMAGE_PULL_SECRETS"),
		},
	}}
	if demo := s.Control.Demo; demo != "" && demo != operatorresource.DemoJava {
		v.Fail("DEPLOY_DEMO", demo, "want java, or nothing for no demo")
	}
	// The forwarder would not start with wrong rules, and the one before is gone by then. An
	// operator that does not start leaves it, and the operator before, as they are.
	if _, err := filter.ParseSetting(s.Control.FilterRule); err != nil {
		v.Fail("SPEEDSCALE_FILTER_RULE", s.Control.FilterRule, err.Error())
	}
	if _, err := mask.ParseSetting(s.Control.DLPConfig); err != nil {
		v.Fail("SPEEDSCALE_DLP_CONFIG", s.Control.DLPConfig, err.Error())
	}
	s.Instance = cmp.Or(v.String("INSTANCE_ID", ""), s.Control.Cluster)
	s.Control.Instance = s.Instance
	readJSON(v, "SIDECAR_CONFIG", &s.Sidecar)
	switch s.Sidecar.MaskIn {
	case "", "forwarder", "sidecar":
	default:
		v.Fail("SIDECAR_CONFIG", s.Sidecar.MaskIn, "want forwarder or sidecar for maskIn")
	}
	if pem := s.Sidecar.UpstreamCAs; pem != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(pem)) {
		v.Fail("SIDECAR_CONFIG", "upstreamCAs", "want certificates in PEM form")
	}
	readJSON(v, "SCHEDULING", &s.Control.Scheduling)
	readJSON(v, "INSPECTOR_CONFIG", &s.Control.Inspector)
	readJSON(v, "FORWARDER_CONFIG", &s.Control.Forwarder)
	spool := &s.Control.Forwarder.Spool
	if spool.Size.IsZero() {
		spool.Size = resource.MustParse(defaultSpool)
	}
	if spool.Size.Value() < 1<<20 {
		v.Fail("FORWARDER_CONFIG", spool.Size.String(), "want at least 1Mi for spool.size")
	}
	readReplays(v, &s)
	return s, v.Err()
}

func readJSON(v *agent.Vars, name string, into any) {
	text := v.String(name, "")
	if text == "" {
		return
	}
	if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
		v.Fail(name, text, err.Error())
	}
}
