package annotation_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/speedscale/speedscale/cluster/annotation"
)

// annotations reads "name=value" under the prefix of the sidecar.
func annotations(pairs ...string) map[string]string {
	m := make(map[string]string)
	for _, p := range pairs {
		name, value, _ := strings.Cut(p, "=")
		if !strings.Contains(name, "/") {
			name = annotation.Prefix + name
		}
		m[name] = value
	}
	return m
}

var equal = cmp.Options{
	cmpopts.EquateComparable(netip.Prefix{}),
	cmp.Comparer(func(a, b resource.Quantity) bool { return a.Cmp(b) == 0 }),
}

func TestDefaults(t *testing.T) {
	got, err := annotation.Parse(map[string]string{"other.example.com/inject": "maybe"})
	if err != nil {
		t.Fatal(err)
	}
	want := annotation.Sidecar{
		HostResolution: "smart", Type: "transparent", Host: "localhost", Port: 80,
		InPort: 4143, OutPort: 4140, PrometheusPort: 4145,
	}
	if d := cmp.Diff(want, got, equal); d != "" {
		t.Error(d)
	}
}

func TestParse(t *testing.T) {
	quantity := func(s string) *resource.Quantity { return new(resource.MustParse(s)) }
	all := netip.MustParsePrefix
	for name, tt := range map[string]struct {
		pairs []string
		want  func(*annotation.Sidecar)
	}{
		"transparent": {
			[]string{
				"inject=true", "insert-init-first=true", "capture-mode=proxy", "capture-node-traffic=true", "host-resolution=none",
				"ignore-src-ips=10.1.2.3/8, ::ffff:1.2.3.4,", "ignore-dst-ips=*", "ignore-src-hosts=A.example.com,b", "ignore-dst-hosts=c",
				"ignore-inbound-ports=1,65535,1", "ignore-outbound-ports= 5432 ", "track-loopback=true", "kube-api-support=false",
				"operator.speedscale.com/ignore=true", "operator.speedscale.com/managed-by=prod-1", "operator.speedscale.com/stamp=x",
			},
			func(s *annotation.Sidecar) {
				s.Inject, s.InsertInitFirst, s.CaptureNodeTraffic, s.HostResolution, s.TrackLoopback = true, true, true, "none", true
				s.Ignore, s.ManagedBy = true, "prod-1"
				s.IgnoreSources = []netip.Prefix{all("10.0.0.0/8"), all("1.2.3.4/32")}
				s.IgnoreDestinations = []netip.Prefix{all("0.0.0.0/0"), all("::/0")}
				s.IgnoreSourceHosts, s.IgnoreDestinationHosts = []string{"a.example.com", "b"}, []string{"c"}
				s.IgnoreInPorts, s.IgnoreOutPorts = []uint16{1, 65535}, []uint16{5432}
			},
		},
		"reverse": {
			[]string{"proxy-type=reverse", "proxy-port=8080", "proxy-host=127.0.0.1", "proxy-in-port=15006", "tls-in-private=/certs/key.pem", "tls-in-public=/certs/cert.pem"},
			func(s *annotation.Sidecar) {
				s.Type, s.Protocol, s.Host, s.Port, s.InPort = "reverse", "http", "127.0.0.1", 8080, 15006
				s.TLSIn = annotation.TLSFiles{Public: "/certs/cert.pem", Private: "/certs/key.pem"}
			},
		},
		"forward": {
			[]string{"proxy-type=forward", "proxy-protocol=socks", "proxy-out-port=3128", "prometheus-port=9102", "prometheus-enable-scrape-annotations=true"},
			func(s *annotation.Sidecar) {
				s.Type, s.Protocol, s.OutPort, s.PrometheusPort, s.ScrapeAnnotations = "forward", "socks", 3128, 9102, true
			},
		},
		"tls": {
			[]string{
				"proxy-type=dual", "tls-out=true", "tls-out-ca=configmap/ca, secret/other/roots.pem", "tls-java-tool-options=true",
				"tls-in-secret=server", "tls-mutual-secret=client", "tls-mutual-public=client.crt",
			},
			func(s *annotation.Sidecar) {
				s.Type, s.Protocol, s.TLSOut, s.JavaToolOptions = "dual", "tcp:http", true, true
				s.TLSOutCA = []annotation.CASource{{Kind: "configmap", Name: "ca", Key: "ca.crt"}, {Kind: "secret", Name: "other", Key: "roots.pem"}}
				s.TLSIn = annotation.TLSFiles{Secret: "server", Public: "tls.crt", Private: "tls.key"}
				s.TLSMutual = annotation.TLSFiles{Secret: "client", Public: "client.crt", Private: "tls.key"}
			},
		},
		"resources": {
			[]string{"cpu-limit=2", "cpu-request=0.01", "memory-limit=1Gi", "memory-request=64Mi", "extra-container-env-vars= A=b c\n\nD_1==\n"},
			func(s *annotation.Sidecar) {
				s.CPULimit, s.CPURequest, s.MemoryLimit, s.MemoryRequest = quantity("2"), quantity("10m"), quantity("1024Mi"), quantity("64Mi")
				s.ExtraEnv = []annotation.EnvVar{{Name: "A", Value: "b c"}, {Name: "D_1", Value: "="}}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := annotation.Parse(annotations(tt.pairs...))
			if err != nil {
				t.Fatal(err)
			}
			want, err := annotation.Parse(nil)
			if err != nil {
				t.Fatal(err)
			}
			tt.want(&want)
			if d := cmp.Diff(want, got, equal); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		pairs string // with ; between them
		key   string // the one that is refused
		says  string
	}{
		{"inject=yes", "inject", `want "true" or "false"`},
		{"Inject=true", "Inject", "the nearest is sidecar.speedscale.com/inject"},
		{"ignore-source-ips=*", "ignore-source-ips", "sidecar.speedscale.com/ignore-src-ips"},
		{"capture-mode=ebpf", "capture-mode", `only "proxy"`},
		{"host-resolution=clever", "host-resolution", "smart, standard, none"},
		{"host-resolution=", "host-resolution", "empty"},
		{"proxy-type=tproxy", "proxy-type", "transparent, reverse, forward, dual"},
		{"proxy-protocol=http", "proxy-protocol", `no effect with sidecar.speedscale.com/proxy-type="transparent"`},
		{"proxy-type=forward;proxy-protocol=tcp", "proxy-protocol", "http, socks"},
		{"proxy-type=reverse;proxy-protocol=tcp:http", "proxy-protocol", "http, tcp"},
		{"proxy-type=dual;proxy-protocol=socks", "proxy-protocol", "tcp:http, tcp:socks"},
		{"proxy-port=8080", "proxy-port", "no effect"},
		{"proxy-type=forward;proxy-host=app", "proxy-host", "no effect"},
		{"proxy-type=reverse;proxy-host=app:80", "proxy-host", "without a port"},
		{"proxy-type=forward;proxy-in-port=15006", "proxy-in-port", "no effect"},
		{"proxy-type=reverse;proxy-out-port=15001", "proxy-out-port", "no effect"},
		{"proxy-in-port=0", "proxy-in-port", "within 1 and 65535"},
		{"proxy-in-port=http", "proxy-in-port", "within 1 and 65535"},
		{"proxy-in-port=4144", "proxy-in-port", "health port"},
		{"proxy-in-port=4140", "proxy-out-port", "4140 is sidecar.speedscale.com/proxy-in-port"},
		{"prometheus-port=4153", "prometheus-port", "DNS port"},
		{"proxy-type=reverse;proxy-port=4143", "proxy-port", "want the port on which the app listens"},
		{"proxy-type=reverse;proxy-port=4143;proxy-host=::1", "proxy-port", "want the port on which the app listens"},
		{"proxy-type=reverse;tls-out=true", "tls-out", "no effect"},
		{"tls-out-ca=configmap/ca", "tls-out-ca", `without sidecar.speedscale.com/tls-out="true"`},
		{"kube-api-support=true", "kube-api-support", `without sidecar.speedscale.com/tls-out="true"`},
		{"tls-out=true;tls-out-ca=ca", "tls-out-ca", "configmap/NAME"},
		{"tls-out=true;tls-out-ca=configmap/Big", "tls-out-ca", "configmap/NAME"},
		{"tls-java-tool-options=true", "tls-java-tool-options", "tls-out"},
		{"tls-java-tool-options-value=-Dx", "tls-java-tool-options-value", "tls-out"},
		{"tls-mutual-secret=client", "tls-mutual-secret", "tls-out"},
		{"tls-in-secret=server_1", "tls-in-secret", "name of an object"},
		{"tls-in-private=tls.key", "tls-in-private", "absolute path"},
		{"tls-in-private=/a/../key;tls-in-public=/cert", "tls-in-private", "without . or .."},
		{"tls-in-private=/key", "tls-in-private", "it needs sidecar.speedscale.com/tls-in-public too"},
		{"tls-in-secret=s;tls-in-public=/cert", "tls-in-public", "a key of the Secret"},
		{"proxy-type=forward;tls-in-secret=s", "tls-in-secret", "no effect"},
		{"ignore-src-ips=10.0.0.300", "ignore-src-ips", `"10.0.0.300": want an IP address`},
		{"ignore-src-ips=::ffff:10.0.0.0/104", "ignore-src-ips", "want an IP address"},
		{"ignore-dst-ips=,", "ignore-dst-ips", "empty"},
		{"ignore-dst-hosts=10.0.0.1", "ignore-dst-hosts", "name of a host"},
		{"ignore-inbound-ports=80,http", "ignore-inbound-ports", `"http"`},
		{"proxy-type=dual;ignore-outbound-ports=5432", "ignore-outbound-ports", "no effect"},
		{"proxy-type=dual;capture-node-traffic=true", "capture-node-traffic", "no effect"},
		{"ignore-loopback=true;track-loopback=true", "track-loopback", "only one of them"},
		{"cpu-limit=fast", "cpu-limit", "want a quantity"},
		{"cpu-limit=-1", "cpu-limit", "want a quantity"},
		{"cpu-limit=1;cpu-request=2", "cpu-request", "more than sidecar.speedscale.com/cpu-limit, 1"},
		{"memory-limit=32Mi", "memory-limit", "at least 64Mi"},
		{"memory-request=64m", "memory-request", "at least 1Mi"},
		{"istio-cni=true", "istio-cni", "mesh"},
		{"mount-known-ca=true", "mount-known-ca", "own roots"},
		{"diagnostics=true", "diagnostics", "never written"},
		{"extra-container-env-vars=A", "extra-container-env-vars", "NAME=VALUE"},
		{"extra-container-env-vars=A=1\nA=2", "extra-container-env-vars", "twice"},
		{"operator.speedscale.com/ignore=no", "operator.speedscale.com/ignore", `want "true"`},
	} {
		_, err := annotation.Parse(annotations(strings.Split(tt.pairs, ";")...))
		e, ok := errors.AsType[*annotation.Error](err)
		if !ok || len(e.Problems) == 0 {
			t.Errorf("%s: %v, want an error", tt.pairs, err)
			continue
		}
		key := tt.key
		if !strings.Contains(key, "/") {
			key = annotation.Prefix + key
		}
		if e.Problems[0].Key != key || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %s and %q", tt.pairs, err, key, tt.says)
		}
	}
}

// TestErrorNamesAll: one error has every annotation that is wrong, and is not longer
// for a long value.
func TestErrorNamesAll(t *testing.T) {
	_, err := annotation.Parse(annotations("injct=true", "proxy-type="+strings.Repeat("x", 10_000), "cpu-limit=-1"))
	e, ok := errors.AsType[*annotation.Error](err)
	if !ok || len(e.Problems) != 3 || !slices.IsSortedFunc(e.Problems, func(a, b annotation.Problem) int { return strings.Compare(a.Key, b.Key) }) {
		t.Fatal(err)
	}
	for _, want := range []string{"injct", "proxy-type", "cpu-limit"} {
		if !strings.Contains(err.Error(), annotation.Prefix+want+"=") {
			t.Errorf("%q is not named: %v", want, err)
		}
	}
	if len(err.Error()) > 1000 {
		t.Errorf("the error has %d bytes", len(err.Error()))
	}
}

func TestHash(t *testing.T) {
	hash := func(pairs ...string) string {
		t.Helper()
		s, err := annotation.Parse(annotations(pairs...))
		if err != nil {
			t.Fatal(err)
		}
		return s.Hash()
	}
	same := [][]string{
		{"inject=true"},
		{"inject=true", "proxy-type=transparent", "host-resolution=smart", "proxy-in-port=4143", "capture-mode=proxy"},
		{"operator.speedscale.com/managed-by=other"},
		{"operator.speedscale.com/stamp=other"},
	}
	for _, pairs := range same {
		// The value itself is fixed: a release that changed it would restart every app.
		if got := hash(pairs...); got != "e3b0c44298" {
			t.Errorf("%q: %s", pairs, got)
		}
	}
	seen := map[string]string{}
	for _, pairs := range []string{
		"inject=true", "tls-out=true", "memory-limit=1Gi", "memory-limit=2Gi", "ignore-dst-ips=10.0.0.0/8", "ignore-src-ips=10.0.0.0/8",
		"extra-container-env-vars=A=1\nB=2", "extra-container-env-vars=B=2\nA=1", "proxy-type=reverse", "proxy-type=forward",
	} {
		h := hash(pairs)
		if other, ok := seen[h]; ok {
			t.Errorf("%q and %q have one hash", pairs, other)
		}
		seen[h] = pairs
	}
	if a, b := hash("memory-limit=1Gi", "cpu-limit=1000m"), hash("cpu-limit=1", "memory-limit=1024Mi"); a != b {
		t.Errorf("one setting in two spellings has hashes %s and %s", a, b)
	}
}
