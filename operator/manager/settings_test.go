package manager_test

import (
	"strings"
	"testing"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/operator/manager"
	"github.com/speedscale/speedscale/traffic/filter"
)

func read(vars map[string]string) (manager.Settings, error) {
	all := map[string]string{
		"POD_NAMESPACE": "speedscale", "CLUSTER_NAME": "prod", "API_KEY_SECRET_NAME": "key",
		"IMAGE_REGISTRY": "registry.example/speedscale", "IMAGE_TAG": "v1",
		"SPEEDSCALE_API_KEY": "k", "SPEEDSCALE_APP_URL": "https://cloud.example",
	}
	for name, value := range vars {
		all[name] = value
	}
	return manager.ReadSettings(agent.NewVars(func(name string) string { return all[name] }))
}

func TestSettings(t *testing.T) {
	s, err := read(nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.Instance != "prod" || s.Control.Forwarder.Spool.Size.String() != "1Gi" || s.Control.Images.Of("goproxy") != "registry.example/speedscale/goproxy:v1" {
		t.Errorf("defaults are %+v", s)
	}
	s, err = read(map[string]string{
		"INSTANCE_ID":      "blue",
		"SIDECAR_CONFIG":   `{"resources":{"requests":{"memory":"96Mi"}},"maskIn":"sidecar"}`,
		"FORWARDER_CONFIG": `{"spool":{"size":"8Gi","persistent":true,"storageClass":"fast"},"resources":{"limits":{"cpu":2}}}`,
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.Instance != "blue" || s.Control.Instance != "blue" || s.Sidecar.Resources.Requests.Memory().String() != "96Mi" || s.Sidecar.MaskIn != "sidecar" ||
		s.Control.Forwarder.Spool.StorageClass != "fast" || s.Control.Forwarder.Resources.Limits.Cpu().String() != "2" {
		t.Errorf("settings are %+v", s)
	}
}

func TestWrongSettingsAreNamed(t *testing.T) {
	for want, vars := range map[string]map[string]string{
		"POD_NAMESPACE":       {"POD_NAMESPACE": ""},
		"SPEEDSCALE_API_KEY":  {"SPEEDSCALE_API_KEY": ""},
		"SPEEDSCALE_APP_URL":  {"SPEEDSCALE_APP_URL": "cloud"},
		"REPLAY_TIMEOUT":      {"REPLAY_TIMEOUT": "soon"},
		"RESPONDER_CONFIG":    {"RESPONDER_CONFIG": `{"resource":{}}`},
		"CLUSTER_NAME":        {"CLUSTER_NAME": " "},
		"API_KEY_SECRET_NAME": {"API_KEY_SECRET_NAME": ""},
		"IMAGE_TAG":           {"IMAGE_TAG": ""},
		"IMAGE_PULL_POLICY":   {"IMAGE_PULL_POLICY": "Sometimes"},
		"maskIn":              {"SIDECAR_CONFIG": `{"maskIn":"cloud"}`},
		"upstreamCAs":         {"SIDECAR_CONFIG": `{"upstreamCAs":"none"}`},
		"resource":            {"SIDECAR_CONFIG": `{"resource":{}}`},
		"spool.size":          {"FORWARDER_CONFIG": `{"spool":{"size":"1k"}}`},
		"FORWARDER_CONFIG":    {"FORWARDER_CONFIG": `{"spool":`},
	} {
		if _, err := read(vars); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want an error that names %s", vars, err, want)
		}
	}
}

// TestRulesThatTheForwarderWouldNotTake: it is recreated, so that nothing would take traffic
// once it does not start.
func TestRulesThatTheForwarderWouldNotTake(t *testing.T) {
	for _, name := range []string{"SPEEDSCALE_FILTER_RULE", "SPEEDSCALE_DLP_CONFIG"} {
		for _, wrong := range []string{"standrad", `{"nothing":"known"}`} {
			if _, err := read(map[string]string{name: wrong}); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s=%s: %v, want an error that names it", name, wrong, err)
			}
		}
	}
	for name, rules := range map[string][]string{
		"SPEEDSCALE_FILTER_RULE": {"standard", string(filter.Standard().JSON())},
		"SPEEDSCALE_DLP_CONFIG":  {"standard", `{"id":"ours","discoverPatterns":true}`},
	} {
		for _, right := range rules {
			if _, err := read(map[string]string{name: right}); err != nil {
				t.Errorf("%s=%s: %v", name, right, err)
			}
		}
	}
}
