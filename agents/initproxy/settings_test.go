package initproxy

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/speedscale/speedscale/agents/agent"
)

func vars(pairs ...string) *agent.Vars {
	m := make(map[string]string)
	for _, p := range pairs {
		name, value, _ := strings.Cut(p, "=")
		m[name] = value
	}
	return agent.NewVars(func(name string) string { return m[name] })
}

func TestReadSettings(t *testing.T) {
	s, err := ReadSettings(vars("IGNORE_DST_IPS=10.1.2.3/8, ::ffff:1.2.3.4,*,fd00::1", "IGNORE_UIDS=5,5,6", "IGNORE_INBOUND_PORTS=1, 65535,",
		"IGNORE_SRC_HOSTS=a.test", "STATUS_HOST_IP=10.0.0.1", "HOST_RESOLUTION=standard", "REPLAY_ID=r1"))
	if err != nil {
		t.Fatal(err)
	}
	want := Settings{
		InPort: 4143, OutPort: 4140, ProxyUID: 2102, OwnPorts: []uint16{4144, 4145},
		IgnoreUIDs: []uint32{5, 6}, IgnoreInPorts: []uint16{1, 65535}, IgnoreSourceHosts: []string{"a.test"},
		IgnoreDestinations: []netip.Prefix{
			netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("1.2.3.4/32"),
			netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0"), netip.MustParsePrefix("fd00::1/128"),
		},
		HostIPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")},
		Replay:  true, TerminationLog: "/dev/termination-log",
	}
	if d := cmp.Diff(want, s, cmpopts.EquateComparable(netip.Prefix{})); d != "" {
		t.Error(d)
	}
}

func TestSettingsErrorsNameTheVariable(t *testing.T) {
	for _, pair := range []string{
		"PROXY_IN_PORT=0", "PROXY_OUT_PORT=70000", "PROXY_OUT_PORT=4143", "PROXY_UID=root", "PROXY_UID=0", "DNS_PORT=x", "HEALTH_HTTP_PORT=-1",
		"METRICS_HTTP_PORT=x", "IGNORE_UIDS=app", "IGNORE_UIDS=4294967295", "IGNORE_INBOUND_PORTS=http", "IGNORE_OUTBOUND_PORTS=0",
		"IGNORE_SRC_IPS=10.0.0", "IGNORE_DST_IPS=10.0.0.0/33", "IGNORE_DST_IPS=::ffff:10.0.0.0/104", "STATUS_HOST_IP=node-1",
		"IGNORE_LOOPBACK=maybe", "HOST_RESOLUTION=clever", "CAPTURE_NODE_TRAFFIC=2",
	} {
		name, _, _ := strings.Cut(pair, "=")
		_, err := ReadSettings(vars(pair))
		if err == nil || !strings.Contains(err.Error(), name+"=") {
			t.Errorf("%s: %v", pair, err)
		}
	}
	if _, err := ReadSettings(vars("IGNORE_LOOPBACK=true", "TRACK_LOOPBACK=true", "IGNORE_UIDS=x")); err == nil ||
		!strings.Contains(err.Error(), "TRACK_LOOPBACK") || !strings.Contains(err.Error(), "IGNORE_UIDS") {
		t.Errorf("not both are named: %v", err)
	}
}

func TestResolve(t *testing.T) {
	s := Settings{IgnoreSourceHosts: []string{"a.test", "no.test"}, IgnoreDestinationHosts: []string{"a.test"}}
	lookup := func(_ context.Context, _, host string) ([]netip.Addr, error) {
		if host != "a.test" {
			return nil, errors.New("no such host")
		}
		return []netip.Addr{netip.MustParseAddr("::ffff:198.18.0.1"), netip.MustParseAddr("fd00::1")}, nil
	}
	if got := s.resolve(t.Context(), lookup); len(got) != 1 || got[0] != "no.test" {
		t.Errorf("unresolved %q", got)
	}
	want := []netip.Prefix{netip.MustParsePrefix("198.18.0.1/32"), netip.MustParsePrefix("fd00::1/128")}
	for _, got := range [][]netip.Prefix{s.IgnoreSources, s.IgnoreDestinations} {
		if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); d != "" {
			t.Error(d)
		}
	}
}

// TestProxyComesFirst: whatever else is set, goproxy's own connections are let
// through before anything is redirected; otherwise they would never end.
func TestProxyComesFirst(t *testing.T) {
	s, err := ReadSettings(vars("IGNORE_UIDS=1", "TRACK_LOOPBACK=true", "PROXY_UID=77"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules(s) {
		if r.chain == outbound {
			if got := r.String(); got != "meta skuid 77 accept" {
				t.Errorf("first outbound rule: %s", got)
			}
			return
		}
	}
	t.Error("no outbound rules")
}

func TestRunArguments(t *testing.T) {
	for args, want := range map[string]string{"--what": "what", "now": `"now"`} {
		var out strings.Builder
		env := &agent.Env{Name: "initproxy", Args: []string{args}, Vars: vars(), Log: slog.New(slog.DiscardHandler)}
		if err := Run(t.Context(), env, &out); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", args, err)
		}
	}
	var out strings.Builder
	env := &agent.Env{Name: "initproxy", Args: []string{"--print"}, Vars: vars("PROXY_IN_PORT=15006"), Log: slog.New(slog.DiscardHandler)}
	if err := Run(t.Context(), env, &out); err != nil || !strings.Contains(out.String(), "redirect to :15006") {
		t.Errorf("%v: %s", err, out.String())
	}
}
