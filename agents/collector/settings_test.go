package collector_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/collector"
)

func TestSettings(t *testing.T) {
	env := map[string]string{
		"SPEEDSCALE_APP_URL": "https://cloud", "SPEEDSCALE_API_KEY": "k", "REPLAY_ID": "r", "SNAPSHOT_ID": "s",
		"COLLECT_NAMESPACES": "shop,back-office", "COLLECT_SELECTOR": "app in (web,api)",
	}
	got, err := collector.ReadSettings(agent.NewVars(func(name string) string { return env[name] }))
	if err != nil {
		t.Fatal(err)
	}
	want := collector.Settings{
		AppURL: "https://cloud", Token: "k", ReplayID: "r", SnapshotID: "s", Component: "collector",
		Namespaces: []string{"shop", "back-office"}, Selector: "app in (web,api)", HealthListen: ":4144", MetricsListen: ":4145",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestWrongSettingsAreAllNamed(t *testing.T) {
	env := map[string]string{
		"SPEEDSCALE_APP_URL": "ftp://user:hunter2@cloud", "COLLECT_NAMESPACES": "Shop", "COLLECT_SELECTOR": "=", "SPEEDSCALE_APP_CA": "/none",
	}
	_, err := collector.ReadSettings(agent.NewVars(func(name string) string { return env[name] }))
	if err == nil {
		t.Fatal("no error")
	}
	for _, name := range []string{"SPEEDSCALE_APP_URL", "SPEEDSCALE_API_KEY", "REPLAY_ID", "SNAPSHOT_ID", "COLLECT_NAMESPACES", "COLLECT_SELECTOR", "SPEEDSCALE_APP_CA"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not named: %v", name, err)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
}
