package kube

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/speedscale/speedscale/test/kube/policy"
)

// watched is what kubectl prints: a pod of ours, the app that had its address before, and a
// pod that is on the host's network.
const watched = `
{"type":"ADDED","object":{"metadata":{"uid":"1","name":"old","namespace":"app","creationTimestamp":"1970-01-01T00:01:00Z","labels":{"app":"app"}},"status":{"podIPs":[{"ip":"198.18.0.5"},{"ip":"fd00::5"}]}}}
{"type":"ADDED","object":{"metadata":{"uid":"2","name":"c","namespace":"speedscale-cloud","creationTimestamp":"1970-01-01T00:02:00Z"},"status":{}}}
{"type":"MODIFIED","object":{"metadata":{"uid":"2","name":"c","namespace":"speedscale-cloud","creationTimestamp":"1970-01-01T00:02:00Z","labels":{"app":"cloud"}},
 "spec":{"containers":[{"name":"c","ports":[{"name":"api","containerPort":8080},{"name":"health","containerPort":4144}],"readinessProbe":{"httpGet":{"port":"health"}}}]},
 "status":{"podIPs":[{"ip":"198.18.0.5"}]}}}
{"type":"DELETED","object":{"metadata":{"uid":"1","name":"old","namespace":"app","creationTimestamp":"1970-01-01T00:01:00Z","labels":{"app":"app"}},"status":{"podIPs":[{"ip":"198.18.0.5"}]}}}
{"type":"ADDED","object":{"metadata":{"uid":"3","name":"node","namespace":"speedscale","creationTimestamp":"1970-01-01T00:01:00Z"},"spec":{"hostNetwork":true},"status":{"podIPs":[{"ip":"198.18.255.1"}]}}}
{"type":"ADDED","object":{"metadata":{"uid":"4","name":"f","namespace":"speedscale","creationTimestamp":"1970-01-01T00:01:00Z","labels":{"app":"forwarder"}},"status":{"podIPs":[{"ip":"198.18.0.6"}]}}}
{"type":"ADDED","obj`

func watch(t *testing.T) *observer {
	t.Helper()
	o := &observer{connections: map[connection]bool{}, pods: map[netip.Addr][]*corev1.Pod{}}
	if err := o.readPods(strings.NewReader(watched)); err != nil {
		t.Fatal(err)
	}
	return o
}

// An address is that of different pods at different times.
func TestPodAt(t *testing.T) {
	o := watch(t)
	for _, c := range []struct {
		addr   string
		second int64
		want   string
	}{
		{"198.18.0.5", 59, ""}, {"198.18.0.5", 60, "old"}, {"198.18.0.5", 119, "old"}, {"198.18.0.5", 120, "c"}, {"198.18.0.5", 1000, "c"},
		{"fd00::5", 1000, "old"}, {"198.18.255.1", 1000, ""}, {"198.18.0.9", 1000, ""},
	} {
		got := ""
		if p := o.podAt(netip.MustParseAddr(c.addr), c.second); p != nil {
			got = p.Name
		}
		if got != c.want {
			t.Errorf("%s at %d is %q, want %q", c.addr, c.second, got, c.want)
		}
	}
}

func TestTestify(t *testing.T) {
	var p networkingv1.NetworkPolicy
	if err := yaml.UnmarshalStrict([]byte(`
metadata: {name: cloud, namespace: speedscale-cloud}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
  ingress:
  - ports: [{port: api}]
    from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: speedscale}}, podSelector: {matchLabels: {app: forwarder}}}, {ipBlock: {cidr: 10.0.0.0/8}}]
`), &p); err != nil {
		t.Fatal(err)
	}
	set, err := policy.NewSet([]networkingv1.NetworkPolicy{p})
	if err != nil {
		t.Fatal(err)
	}
	o := watch(t)
	for _, c := range []struct {
		from, to string
		port     uint16
	}{
		{"198.18.0.6", "198.18.0.5", 8080},   // what is needed, from a pod without a policy
		{"198.18.0.6", "198.18.0.5", 9},      // another port
		{"198.18.0.5", "192.0.2.1", 443},     // egress
		{"198.18.0.1", "198.18.0.5", 4144},   // the kubelet
		{"198.18.0.1", "198.18.0.5", 8080},   // the node, but not the kubelet
		{"192.0.2.1", "198.18.0.5", 4144},    // a probe's port, but not the node
		{"198.18.0.5", "198.18.0.5", 8080},   // itself
		{"192.0.2.1", "192.0.2.2", 443},      // others
		{"198.18.255.1", "192.0.2.2", 10250}, // a pod on the host's network is the node
	} {
		o.connections[connection{netip.MustParseAddr(c.from), netip.MustParseAddr(c.to), corev1.ProtocolTCP, c.port, 200}] = true
	}
	got := testify(o, set, map[netip.Addr]bool{netip.MustParseAddr("198.18.0.1"): true})
	want := []string{
		"no policy is about it: egress: speedscale/forwarder → speedscale-cloud/cloud TCP/8080",
		"no policy is about it: egress: speedscale/forwarder → speedscale-cloud/cloud TCP/9",
		"not allowed: egress: speedscale-cloud/cloud → 192.0.2.1 TCP/443",
		"not allowed: ingress: 192.0.2.1 → speedscale-cloud/cloud TCP/4144",
		"not allowed: ingress: 198.18.0.1 → speedscale-cloud/cloud TCP/8080",
		"not allowed: ingress: speedscale/forwarder → speedscale-cloud/cloud TCP/9",
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(got.wrong))); diff != "" {
		t.Errorf("wrong (-want +got):\n%s", diff)
	}
	used := []bool{got.used[set.Rules()[0].String()], got.used[set.Rules()[1].String()]}
	if !slices.Equal(used, []bool{true, false}) || got.judged != 5 || len(got.allowed) != 1 {
		t.Errorf("rules used %v, %d judged, allowed %v", used, got.judged, got.allowed)
	}
}
