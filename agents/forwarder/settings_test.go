package forwarder_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/forwarder"
)

func settings(vars map[string]string) (forwarder.Settings, error) {
	return forwarder.ReadSettings(agent.NewVars(func(name string) string { return vars[name] }))
}

func tokenFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestSettings(t *testing.T) {
	token := tokenFile(t)
	s, err := settings(map[string]string{
		"CLUSTER_NAME": "c1", "SPEEDSCALE_API_KEY": "k", "SPEEDSCALE_APP_URL": "https://cloud.example",
		"FORWARDER_TOKEN_FILE": token, "SPEEDSCALE_FILTER_RULE": "standard", "SPEEDSCALE_DLP_CONFIG": "standard",
		"FORWARDER_SPOOL_SIZE": "2Gi", "FORWARDER_SYNC": "always", "METRICS_HTTP_ENABLE": "false",
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.Cluster != "c1" || !slices.Equal(s.Cloud.URLs, []string{"wss://cloud.example"}) || s.Cloud.Token != "k" ||
		s.Filter == nil || s.Masking == nil || s.Spool.MaxBytes != 2<<30 || !s.Spool.SyncAlways || s.Listen != ":8888" ||
		s.HealthListen != ":4144" || s.MetricsListen != "" {
		t.Errorf("got %+v", s)
	}
	if _, err := s.Authenticate("0123456789abcdef"); err != nil {
		t.Error(err)
	}
	for _, wrong := range []string{"", "0123456789abcdeF"} {
		if _, err := s.Authenticate(wrong); err == nil || strings.Contains(err.Error(), "0123") {
			t.Errorf("token %q: %v", wrong, err)
		}
	}
}

func TestWrongSettingsAreAllNamed(t *testing.T) {
	_, err := settings(map[string]string{
		"SPEEDSCALE_APP_URL": "ftp://user:pa55@cloud", "SPEEDSCALE_FILTER_RULE": "{", "SPEEDSCALE_DLP_CONFIG": "{",
		"FORWARDER_TOKEN_FILE": "/none", "FORWARDER_TLS_CERT": "/none", "FORWARDER_SYNC": "never", "CAPTURE_MAX_BODY": "9Mi",
	})
	if _, ok := errors.AsType[*agent.SettingsError](err); !ok {
		t.Fatalf("got %v", err)
	}
	for _, name := range []string{"SPEEDSCALE_API_KEY", "SPEEDSCALE_APP_URL", "SPEEDSCALE_FILTER_RULE", "SPEEDSCALE_DLP_CONFIG",
		"FORWARDER_TOKEN_FILE", "FORWARDER_TLS_CERT", "FORWARDER_SYNC", "CAPTURE_MAX_BODY"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not named in: %v", name, err)
		}
	}
	if strings.Contains(err.Error(), "pa55") {
		t.Errorf("the error holds the password: %v", err)
	}
}
