package inspector_test

import (
	"strings"
	"testing"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/inspector"
)

func TestSettings(t *testing.T) {
	env := map[string]string{
		"CLUSTER_NAME": "eu.prod", "SPEEDSCALE_API_KEY": "sp_0a1b_ffff", "SPEEDSCALE_APP_URL": "https://cloud.example.com", "NAMESPACES": "shop, other",
	}
	s, err := inspector.ReadSettings(agent.NewVars(func(name string) string { return env[name] }))
	if err != nil {
		t.Fatal(err)
	}
	if s.KeyID != "0a1b" || s.Cluster != "eu.prod" || s.Instance != "eu.prod" || len(s.Namespaces) != 2 || s.Cloud.URLs[0] != "wss://cloud.example.com" || s.HealthListen != ":4144" {
		t.Errorf("%+v", s)
	}
}

func TestWrongSettingsAreAllNamed(t *testing.T) {
	env := map[string]string{"SPEEDSCALE_API_KEY": "hunter2", "SPEEDSCALE_APP_URL": "ftp://cloud", "SPEEDSCALE_APP_CA": "/none"}
	_, err := inspector.ReadSettings(agent.NewVars(func(name string) string { return env[name] }))
	if err == nil {
		t.Fatal("no error")
	}
	for _, name := range []string{"CLUSTER_NAME", "SPEEDSCALE_API_KEY", "SPEEDSCALE_APP_URL", "SPEEDSCALE_APP_CA"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not named: %v", name, err)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
}
