package forwarder

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strings"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/broker"
	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/traffic/filter"
	"github.com/speedscale/speedscale/traffic/mask"
)

// Settings are what the binary reads from its environment.
type Settings struct {
	Options
	// HealthListen and MetricsListen are host:port; empty leaves one out.
	HealthListen, MetricsListen string
}

// ReadSettings reads everything that the binary is told, and nothing else reads
// the environment. An error names each variable that is wrong.
//
//	CLUSTER_NAME           recorded in each pair
//	SPEEDSCALE_API_KEY     opens the cloud's bus (scope ingest)
//	SPEEDSCALE_APP_URL     the cloud: https://HOST, or a wss, tls, ws or nats URL of its bus
//	SPEEDSCALE_APP_CA      a PEM file that verifies the cloud; the system's roots without it
//	SPEEDSCALE_FILTER_RULE standard, or an exclusion filter in JSON; the cloud's without it
//	SPEEDSCALE_DLP_CONFIG  standard, or masking rules in JSON; the cloud's without it
//	FORWARDER_LISTEN       :8888, for proxies
//	FORWARDER_TOKEN_AUDIENCE  proxies prove themselves by service-account tokens for this
//	                       audience, which the Kubernetes API server's keys verify; or:
//	FORWARDER_TOKEN_FILE   the file whose content proxies prove themselves by
//	KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT  the API server, as in every pod
//	FORWARDER_TLS_CERT, FORWARDER_TLS_KEY  PEM files; without them proxies are not encrypted
//	FORWARDER_SPOOL        /var/lib/speedscale/forwarder
//	FORWARDER_SPOOL_SIZE   1Gi
//	FORWARDER_SYNC         each-second or always: when acknowledged batches outlive a loss of power
//	FORWARDER_DATA         true; false sends no pairs to the cloud: they are counted and dropped
//	TELEMETRY_INTERVAL     60s, how often the cloud is told how forwarder and sidecars are; 0 is never
//	WITH_TELEMETRY         true; false keeps that from the cloud, and has it at /telemetry only
//	SPEEDSCALE_VERSION     shown to people
//	CAPTURE_MAX_BODY       1Mi, as the proxies have it
//	HEALTH_HTTP_PORT       4144; METRICS_HTTP_ENABLE true; METRICS_HTTP_PORT 4145
//	HTTPS_PROXY, NO_PROXY  the way to the cloud
func ReadSettings(v *agent.Vars) (Settings, error) {
	s := Settings{Options: Options{
		Cluster: v.String("CLUSTER_NAME", ""),
		Listen:  v.Address("FORWARDER_LISTEN", ":8888"),
		Filter:  readFilter(v),
		Masking: readMasking(v),
		MaxBody: int(v.Bytes("CAPTURE_MAX_BODY", 1<<20, 0, 8<<20)),
		DataOff: !v.Bool("FORWARDER_DATA", true),
		Telemetry: Telemetry{
			Interval: v.Interval("TELEMETRY_INTERVAL", config.TelemetryInterval),
			Local:    !v.Bool("WITH_TELEMETRY", true),
			Version:  v.String("SPEEDSCALE_VERSION", "unknown"),
		},
		Spool: broker.StoreOptions{
			Dir:        v.String("FORWARDER_SPOOL", "/var/lib/speedscale/forwarder"),
			MaxBytes:   v.Bytes("FORWARDER_SPOOL_SIZE", DefaultSpoolBytes, 1<<20, 1<<50),
			SyncAlways: v.Choice("FORWARDER_SYNC", "each-second", "each-second", "always") == "always",
		},
	}}
	if audience := v.String("FORWARDER_TOKEN_AUDIENCE", ""); audience != "" {
		s.Authenticate = readPodTokens(v, audience)
	} else {
		s.Authenticate = readToken(v)
	}
	s.TLS = readCertificate(v)
	s.Cloud = bus.ReadCloud(v, "the cloud takes pairs from known keys only")
	s.Cloud.Name = "forwarder " + s.Cluster
	s.HealthListen = port(v.String("HEALTH_HTTP_PORT", "4144"))
	if v.Bool("METRICS_HTTP_ENABLE", true) {
		s.MetricsListen = port(v.String("METRICS_HTTP_PORT", "4145"))
	}
	return s, v.Err()
}

func port(p string) string { return net.JoinHostPort("", p) }

func readFilter(v *agent.Vars) *filter.Filter {
	s := v.String("SPEEDSCALE_FILTER_RULE", "")
	f, err := filter.ParseSetting(s)
	if err != nil {
		v.Fail("SPEEDSCALE_FILTER_RULE", s, err.Error())
	}
	return f
}

func readMasking(v *agent.Vars) *mask.Config {
	s := v.String("SPEEDSCALE_DLP_CONFIG", "")
	c, err := mask.ParseSetting(s)
	if err != nil {
		v.Fail("SPEEDSCALE_DLP_CONFIG", s, err.Error())
	}
	return c
}

func readToken(v *agent.Vars) func(string) (broker.Permissions, error) {
	file := v.String("FORWARDER_TOKEN_FILE", "")
	if file == "" {
		v.Missing("FORWARDER_TOKEN_FILE", "proxies have to prove themselves by the token in that file, or by their own for FORWARDER_TOKEN_AUDIENCE")
		return nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		v.Fail("FORWARDER_TOKEN_FILE", file, err.Error())
		return nil
	}
	token := strings.TrimSpace(string(data))
	if len(token) < minToken {
		v.Fail("FORWARDER_TOKEN_FILE", file, "a token of at least 16 characters")
	}
	return TokenAuthentication(token)
}

const minToken = 16

// TokenAuthentication lets the bearers of one token publish.
func TokenAuthentication(token string) func(string) (broker.Permissions, error) {
	want := sha256.Sum256([]byte(token))
	return func(given string) (broker.Permissions, error) {
		got := sha256.Sum256([]byte(given))
		if token == "" || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			return broker.Permissions{}, errors.New("unknown token")
		}
		return ProxyPermissions("proxy"), nil
	}
}

func readCertificate(v *agent.Vars) *tls.Config {
	cert, key := v.String("FORWARDER_TLS_CERT", ""), v.String("FORWARDER_TLS_KEY", "")
	if cert == "" && key == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		v.Fail("FORWARDER_TLS_CERT", cert, err.Error())
		return nil
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
}
