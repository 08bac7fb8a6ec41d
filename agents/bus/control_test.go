package bus_test

import (
	"strings"
	"testing"

	"github.com/speedscale/speedscale/agents/bus"
)

func TestClusterSubjectIsOneTokenPerName(t *testing.T) {
	for name, want := range map[string]string{
		"my-cluster": "control.cluster.k1.my-cluster",
		"eu.prod":    "control.cluster.k1.eu%2Eprod",
		"*":          "control.cluster.k1.%2A",
		"a > b":      "control.cluster.k1.a%20%3E%20b",
		"ü%":         "control.cluster.k1.%C3%BC%25",
	} {
		if got := bus.ClusterSubject("k1", name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func TestKeyID(t *testing.T) {
	if id, err := bus.KeyID("sp_0a1b_ffff"); err != nil || id != "0a1b" {
		t.Errorf("%q, %v", id, err)
	}
	for _, wrong := range []string{"", "sp_", "sp__x", "hunter2", "sp_a_b_c"} {
		if _, err := bus.KeyID(wrong); err == nil || wrong != "" && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}
