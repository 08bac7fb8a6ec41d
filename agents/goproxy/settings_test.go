package goproxy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/agents/goproxy"
	"github.com/speedscale/speedscale/traffic"
)

func read(env map[string]string) (goproxy.Settings, error) {
	return goproxy.ReadSettings(agent.NewVars(func(name string) string { return env[name] }))
}

func TestSettingsByDefault(t *testing.T) {
	s, err := read(map[string]string{"APP_LABEL": "cart"})
	if err != nil {
		t.Fatal(err)
	}
	if s.Mode != config.ModeTransparent || s.InListen != ":4143" || s.OutListen != ":4140" ||
		s.HealthListen != ":4144" || s.MetricsListen != ":4145" || s.Forwarder != "speedscale-forwarder.speedscale.svc:80" || s.DNSPort != 4153 {
		t.Errorf("settings are %+v", s)
	}
}

func TestSettingsOfDualMode(t *testing.T) {
	s, err := read(map[string]string{
		"APP_LABEL": "cart", "PROXY_TYPE": "dual", "PROXY_PROTOCOL": "tcp:socks",
		"REVERSE_PROXY_HOST": "app", "REVERSE_PROXY_PORT": "8080", "PROXY_MAPPINGS": "5433=db:5432,127.64.1.2:443=api.example:443",
		"TLS_OUT_UNWRAP": "true", "TLS_CERT_DIR": "/certs", "CAPTURE_MEMORY": "32Mi",
		"REPLAY_RESPONDER": "responder:80", "REPLAY_MOCKS": "cart:api.example:443,cart:grpc.example:443=h2", "METRICS_HTTP_ENABLE": "false",
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.Reverse != "app:8080" || s.OutListen != "127.0.0.1:4140" || s.TLS.CACert != "/certs/tls.crt" || s.MemoryBudget != 32<<20 || s.MetricsListen != "" {
		t.Errorf("settings are %+v", s)
	}
	if d := cmp.Diff(&config.Route{Responder: "responder:80", Mocks: append(mocks("cart:api.example:443"), config.Mock{Key: "cart:grpc.example:443", ALPN: "h2"}), Default: config.RouteRefuse}, s.Route); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]config.Mapping{{Listen: "127.0.0.1:5433", Upstream: "db:5432"}, {Listen: "127.64.1.2:443", Upstream: "api.example:443"}}, s.Mappings); d != "" {
		t.Error(d)
	}
}

// TestSettingsOfAReplay: the CA is there for mocked hosts, though TLS of others stays
// closed.
func TestSettingsOfAReplay(t *testing.T) {
	s, err := read(map[string]string{
		"APP_LABEL": "cart", "TLS_CERT_DIR": "/certs", "REPLAY_ID": "r1", "REPLAY_DEFAULT": "passthrough",
		"REPLAY_RESPONDER": "responder:8080", "REPLAY_MOCKS": "cart:api.example:443",
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.TLS.Out || s.TLS.CACert != "/certs/tls.crt" || s.TLS.CAKey != "/certs/tls.key" || s.Route.Default != config.RoutePassthrough {
		t.Errorf("settings are %+v", s)
	}
	if d := cmp.Diff(map[string]string{traffic.TagReplay: "r1"}, s.Tags); d != "" {
		t.Error(d)
	}
}

func TestWrongSettingsAreAllNamed(t *testing.T) {
	_, err := read(map[string]string{
		"PROXY_TYPE": "sideways", "PROXY_IN_PORT": "70000", "TLS_OUT_UNWRAP": "maybe", "TLS_IN_UNWRAP": "true",
		"TLS_IN_PUBLIC_KEY": "/tls.crt", "REPLAY_MOCKS": "nothing", "CAPTURE_MEMORY": "much", "DRAIN_TIMEOUT": "soon", "PROXY_MAPPINGS": "10.0.0.1:443=api.example:443",
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, name := range []string{
		"APP_LABEL", "PROXY_TYPE", "PROXY_IN_PORT", "TLS_OUT_UNWRAP", "TLS_IN_PRIVATE_KEY",
		"REPLAY_RESPONDER", "CAPTURE_MEMORY", "DRAIN_TIMEOUT", "PROXY_MAPPINGS",
	} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not named in %v", name, err)
		}
	}
}

func TestNewRefusesWrongConfig(t *testing.T) {
	for name, change := range map[string]func(*config.Proxy){
		"mode \"x\"":            func(c *config.Proxy) { c.Mode = "x" },
		"reverse address":       func(c *config.Proxy) { c.Reverse = "app" },
		"max body":              func(c *config.Proxy) { c.MaxBody = 9 << 20 },
		"filter":                func(c *config.Proxy) { c.Filter = []byte("{") },
		"mock \"x\"":            func(c *config.Proxy) { c.Route = &config.Route{Default: "refuse", Mocks: mocks("x")} },
		"route default \"any\"": func(c *config.Proxy) { c.Route = &config.Route{Default: "any"} },
		"TLS out needs a CA":    func(c *config.Proxy) { c.TLS.Out = true },
		"listening for \"in\"":  func(c *config.Proxy) { c.InListen = "192.0.2.1:1" },
		"no address to listen":  func(c *config.Proxy) { c.InListen = "" },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := reverse("127.0.0.1:1")
			change(&cfg)
			p, err := goproxy.New(cfg, goproxy.Options{})
			if err == nil {
				p.Close()
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), name) {
				t.Errorf("error is %v", err)
			}
		})
	}
}
