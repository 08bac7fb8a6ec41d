package charts_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	acmetav1 "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/speedscale/speedscale/operator/resource"
	"github.com/speedscale/speedscale/test/kube/policy"
)

// network is all that could be connected: our pods as charts and operator make them, and
// what stands for the rest of a cluster and the world.
type network struct {
	names []string
	ends  map[string]policy.End
	// ports are those that each end is asked at.
	ports map[string][]corev1.ContainerPort
}

func (n *network) add(name string, pod *policy.Pod, ports ...corev1.ContainerPort) {
	ip := netip.AddrFrom4([4]byte{198, 18, 1, byte(len(n.names))})
	n.names = append(n.names, name)
	n.ends[name] = policy.End{IP: ip, Pod: pod}
	n.ports[name] = ports
}

func (n *network) pod(name, namespace string, template corev1.PodTemplateSpec) {
	p := &policy.Pod{
		Namespace: namespace, Name: name, Labels: template.Labels,
		NamespaceLabels: map[string]string{corev1.LabelMetadataName: namespace},
	}
	for _, c := range template.Spec.Containers {
		p.Ports = append(p.Ports, c.Ports...)
	}
	n.add(name, p, p.Ports...)
}

// newNetwork has the pods of both charts, and of replays in the release's namespace, where
// the demo is, and in another. In the latter there is also a workload with a sidecar.
func newNetwork(t *testing.T, chart []runtime.Object) *network {
	t.Helper()
	const release, shop = "somewhere", "shop"
	n := &network{ends: map[string]policy.End{}, ports: map[string][]corev1.ContainerPort{}}
	for _, d := range of[*appsv1.Deployment](chart) {
		n.pod(d.Name, d.Namespace, d.Spec.Template)
	}
	for _, s := range of[*appsv1.StatefulSet](chart) {
		n.pod(s.Name, s.Namespace, s.Spec.Template)
	}
	config := resource.Config{Namespace: release}
	for _, o := range slices.Concat(
		resource.ForwarderObjects(config, "", acmetav1.OwnerReference()),
		resource.InspectorObjects(config, acmetav1.OwnerReference()),
		resource.DemoObjects(config, "", acmetav1.OwnerReference()),
	) {
		text, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		var d appsv1.Deployment
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatal(err)
		}
		if d.Kind == "Deployment" {
			n.pod(d.Name, d.Namespace, d.Spec.Template)
		}
	}
	for _, namespace := range []string{release, shop} {
		r := resource.Replay{Config: config, Namespace: namespace, Name: "calm-otter", ID: "id"}
		n.pod("generator."+namespace, namespace, r.GeneratorJob(nil, 1, time.Minute).Spec.Template)
		n.pod("responder."+namespace, namespace, r.ResponderDeployment(nil).Spec.Template)
		n.pod("collector."+namespace, namespace, r.CollectorDeployment("").Spec.Template)
	}
	n.pod("app."+shop, shop, corev1.PodTemplateSpec{})
	outside := func(protocol corev1.Protocol, number int32) corev1.ContainerPort {
		return corev1.ContainerPort{Name: fmt.Sprint(number), Protocol: protocol, ContainerPort: number}
	}
	n.add("outside", nil, outside(corev1.ProtocolUDP, 53), outside(corev1.ProtocolTCP, 53), outside(corev1.ProtocolTCP, 80),
		outside(corev1.ProtocolTCP, 443), outside(corev1.ProtocolTCP, 3128), outside(corev1.ProtocolTCP, 6443), outside(corev1.ProtocolTCP, 9000))
	return n
}

// passes lists what the policies let pass, by the destination, of all connections that
// one of them is about.
func (n *network) passes(t *testing.T, list []runtime.Object) map[string]string {
	t.Helper()
	var policies []networkingv1.NetworkPolicy
	for _, p := range of[*networkingv1.NetworkPolicy](list) {
		policies = append(policies, *p)
	}
	set, err := policy.NewSet(policies)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, to := range n.names {
		for _, port := range n.ports[to] {
			var from []string
			for _, name := range n.names {
				c := policy.Connection{From: n.ends[name], To: n.ends[to], Protocol: port.Protocol, Port: port.ContainerPort}
				in, out := set.Judge(c, networkingv1.PolicyTypeIngress), set.Judge(c, networkingv1.PolicyTypeEgress)
				if name != to && (in.Selected || out.Selected) && in.Allowed() && out.Allowed() {
					from = append(from, name)
				}
			}
			if len(from) > 0 {
				slices.Sort(from)
				found[fmt.Sprintf("%s %s/%s", to, port.Protocol, port.Name)] = strings.Join(from, " ")
			}
		}
	}
	return found
}

func bothCharts(t *testing.T, operator, cloud string) []runtime.Object {
	t.Helper()
	manifests, err := render(load(t, "speedscale-cloud"), cloud)
	if err != nil {
		t.Fatal(err)
	}
	return append(operatorObjects(t, operator), objects(t, manifests)...)
}

// What the policies let pass is what is needed, and nothing else. Pods without a policy
// of ours are open, so they stand where they meet one that has.
func TestNetworkPoliciesLetPassWhatIsNeeded(t *testing.T) {
	const anyone = "app.shop collector.shop collector.somewhere generator.shop generator.somewhere "
	want := map[string]string{
		// The webhooks, for an API server that may be anywhere.
		"speedscale-operator TCP/webhook": anyone + "outside responder.shop responder.somewhere",
		// Sidecars, in any pod that may have one.
		"speedscale-forwarder TCP/bus": anyone + "java-server responder.shop responder.somewhere",
		// Which sidecars see nothing.
		"speedscale-forwarder TCP/health":  "speedscale-operator",
		"speedscale-forwarder TCP/metrics": anyone + "responder.shop responder.somewhere",
		"speedscale-inspector TCP/metrics": anyone + "responder.shop responder.somewhere",
		"speedscale-cloud TCP/api": "collector.shop collector.somewhere generator.shop generator.somewhere responder.shop responder.somewhere " +
			"speedscale-forwarder speedscale-inspector speedscale-operator",
		"java-server TCP/http":              "generator.somewhere java-client",
		"catalog TCP/https":                 "java-server",
		"responder.somewhere TCP/responder": "java-server",
		"outside UDP/53":                    "catalog java-client java-server speedscale-forwarder speedscale-inspector speedscale-operator",
		"outside TCP/53":                    "catalog java-client java-server speedscale-forwarder speedscale-inspector speedscale-operator",
		"outside TCP/6443":                  "speedscale-forwarder speedscale-inspector speedscale-operator",
		"outside TCP/443":                   "speedscale-forwarder speedscale-inspector speedscale-operator",
	}
	list := bothCharts(t, "", "")
	if diff := cmp.Diff(want, newNetwork(t, list).passes(t, list)); diff != "" {
		t.Errorf("(-needed +allowed):\n%s", diff)
	}
}

// What a value changes about that.
func TestNetworkPoliciesFollowTheValues(t *testing.T) {
	const control = "speedscale-forwarder speedscale-inspector speedscale-operator"
	for _, c := range []struct {
		name, operator, cloud string
		want                  map[string]string // "" is nobody
	}{
		{"the API server's port", "networkPolicies: {apiServer: {ports: [6443]}}", "", map[string]string{"outside TCP/443": "", "outside TCP/6443": control}},
		{"the API server's address", "networkPolicies: {apiServer: {to: [{ipBlock: {cidr: 10.0.0.1/32}}]}}", "", map[string]string{"outside TCP/443": "", "outside TCP/6443": ""}},
		{"a cloud elsewhere", "{appUrl: 'https://cloud.example.com', networkPolicies: {apiServer: {ports: [6443]}}}", "", map[string]string{"outside TCP/443": control, "outside TCP/80": ""}},
		{"its port", "appUrl: 'https://cloud.example.com:9000/x'", "", map[string]string{"outside TCP/9000": control}},
		{"its scheme", "appUrl: 'ws://cloud.example.com'", "", map[string]string{"outside TCP/80": control}},
		{"a cloud in this cluster", "appUrl: 'http://speedscale-cloud.speedscale-cloud.svc'", "", map[string]string{"outside TCP/80": ""}},
		{"a proxy", "https_proxy: 'http://proxy.example.com:3128'", "", map[string]string{"outside TCP/3128": control}},
		{"a proxy for http", "http_proxy: 'http://proxy.example.com:9000'", "", map[string]string{"outside TCP/9000": control}},
		{"more", "networkPolicies: {egress: [{ports: [{port: 9000}]}]}", "", map[string]string{"outside TCP/9000": control}},
		{"no metrics", "networkPolicies: {metricsFrom: []}", "", map[string]string{"speedscale-forwarder TCP/metrics": "", "speedscale-inspector TCP/metrics": ""}},
		{"no telemetry", "telemetry: {interval: 0s}", "", map[string]string{"speedscale-forwarder TCP/health": ""}},
		{"telemetry that stays here", "telemetry: {enabled: false}", "", map[string]string{"speedscale-forwarder TCP/health": "speedscale-operator"}},
		{"no demo", "deployDemo: ''", "", map[string]string{"outside UDP/53": control}},
		{"no cloud's policy for a LoadBalancer", "", "service: {type: LoadBalancer}", map[string]string{
			"speedscale-cloud TCP/api": "app.shop collector.shop collector.somewhere generator.shop generator.somewhere outside responder.shop responder.somewhere " + control,
		}},
		{"others", "", "networkPolicies: {from: [{podSelector: {}}]}", map[string]string{
			"speedscale-cloud TCP/api": "collector.shop collector.somewhere generator.shop generator.somewhere responder.shop responder.somewhere " + control,
		}},
		{"more of the cloud", "", "networkPolicies: {egress: [{ports: [{port: 9000}]}]}", map[string]string{"outside TCP/9000": "speedscale-cloud", "outside TCP/443": control}},
	} {
		list := bothCharts(t, c.operator, c.cloud)
		got := newNetwork(t, list).passes(t, list)
		for connection, from := range c.want {
			if got[connection] != from {
				t.Errorf("%s: %s from %q, want %q", c.name, connection, got[connection], from)
			}
		}
	}
	off := bothCharts(t, "networkPolicies: {enabled: false}", "networkPolicies: {enabled: false}")
	if left := of[*networkingv1.NetworkPolicy](off); len(left) > 0 {
		t.Errorf("%d policies are left", len(left))
	}
}
