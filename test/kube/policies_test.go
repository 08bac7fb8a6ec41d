package kube

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/test/kube/policy"
)

// ourNamespaces are those whose pods have policies; replays' pods have none.
var ourNamespaces = []string{"speedscale", "speedscale-cloud", "speedscale-demo"}

// networkPolicies evaluates the policies against all connections that were opened since
// the test began, since not every network enforces them: each that one of our pods made
// or got is allowed, and each rule was needed.
func networkPolicies(c *cluster, seen *observer) {
	c.scrape()
	if err := seen.stop(); err != nil {
		c.Fatal(err)
	}
	var list networkingv1.NetworkPolicyList
	if err := json.Unmarshal([]byte(c.kubectl("get", "networkpolicies", "-A", "-o", "json")), &list); err != nil {
		c.Fatal(err)
	}
	set, err := policy.NewSet(list.Items)
	if err != nil {
		c.Fatal(err)
	}
	w := testify(seen, set, c.nodeAddresses())
	c.Logf("%d connections of our pods, of %d: %s", w.judged, len(seen.connections), strings.Join(slices.Sorted(maps.Keys(w.allowed)), ", "))
	for _, text := range slices.Sorted(maps.Keys(w.wrong)) {
		c.Error(text)
	}
	for _, r := range set.Rules() {
		ours := slices.Contains(ourNamespaces, strings.Split(r.Policy, "/")[0])
		// Names whose answer fits into a datagram never ask by TCP.
		dnsByTCP := r.Port != nil && r.Port.Port.IntVal == 53 && *r.Port.Protocol == corev1.ProtocolTCP
		if ours && !dnsByTCP && !w.used[r.String()] {
			c.Errorf("nobody needed %s", r)
		}
	}
}

// replayDemo replays what java-server got, under the demo's policies.
func replayDemo(c *cluster) {
	c.speedctl("create", "snapshot", "--name", "demo", "--service", "java-server", "--start", "40s")
	r, code := c.replay("speedscale", "deployment/java-server", "demo")
	if code != 0 && code != 3 || r.Requests.Sent == 0 || r.Mocks == nil || r.Mocks.Matched == 0 {
		c.Errorf("the demo's replay: exit code %d, %s", code, describe(r))
	}
	// What has ended stays until its owner deletes it, also when all is uninstalled.
	c.kubectl("-n", "speedscale", "delete", "trafficreplays", "--all", "--timeout=3m")
	c.nothingLeft("speedscale")
}

// scrape reads metrics from a pod of another namespace, as Prometheus does.
func (c *cluster) scrape() {
	c.Helper()
	c.namespace("scrape")
	var urls []string
	c.eventually("forwarder and inspector have not one ready pod each", func() bool {
		urls = strings.Fields(c.kubectl("-n", "speedscale", "get", "pods", "-l", "app in (speedscale-forwarder,speedscale-inspector)", "--field-selector=status.phase=Running",
			"-o", `jsonpath={range .items[?(@.status.containerStatuses[0].ready==true)]}http://{.status.podIP}:4145/metrics {end}`))
		return len(urls) == 2
	})
	c.kubectl(append([]string{"-n", "scrape", "run", "scrape", "--image=docker.io/speedscale-test/servers:1", "--image-pull-policy=Never", "--restart=Never",
		"--command", "--", "curl", "-fsS"}, urls...)...)
	c.kubectl("-n", "scrape", "wait", "pod/scrape", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=3m")
	if text := c.kubectl("-n", "scrape", "logs", "scrape"); strings.Count(text, "# TYPE go_goroutines ") != 2 {
		c.Errorf("metrics are\n%s", text)
	}
}

// testimony is what connections say of policies.
type testimony struct {
	// judged counts the connections of our pods.
	judged int
	// used are the rules that allowed one, allowed the connections that one is about, and
	// wrong is what should not be.
	used, allowed, wrong map[string]bool
}

func testify(seen *observer, set *policy.Set, node map[netip.Addr]bool) testimony {
	t := testimony{used: map[string]bool{}, allowed: map[string]bool{}, wrong: map[string]bool{}}
	for s := range seen.connections {
		from, to := seen.podAt(s.from, s.second), seen.podAt(s.to, s.second)
		switch {
		case !ours(from) && !ours(to), s.from == s.to: // a pod always reaches itself
		case from == nil && node[s.from] && probed(to, int32(s.port)): // the kubelet
		default:
			t.judged++
			link := policy.Connection{From: end(s.from, from), To: end(s.to, to), Protocol: s.protocol, Port: int32(s.port)}
			text := fmt.Sprintf("%s → %s %s/%d", party(from, s.from), party(to, s.to), s.protocol, s.port)
			t.hear(set.Judge(link, networkingv1.PolicyTypeIngress), to, "ingress: "+text)
			t.hear(set.Judge(link, networkingv1.PolicyTypeEgress), from, "egress: "+text)
		}
	}
	return t
}

// hear notes what the policies of a pod say of a connection.
func (t testimony) hear(v policy.Verdict, own *corev1.Pod, text string) {
	switch {
	case !v.Allowed():
		t.wrong["not allowed: "+text] = true
	case ours(own) && !v.Selected && own.Labels[annotation.ReplayComponent] == "":
		t.wrong["no policy is about it: "+text] = true
	}
	for _, r := range v.By {
		t.used[r.String()], t.allowed[text] = true, true
	}
}

func ours(p *corev1.Pod) bool { return p != nil && slices.Contains(ourNamespaces, p.Namespace) }

func end(ip netip.Addr, p *corev1.Pod) policy.End {
	if p == nil {
		return policy.End{IP: ip}
	}
	pod := &policy.Pod{
		Namespace: p.Namespace, Name: p.Name, Labels: p.Labels,
		// The label that every namespace has; ours select by no other.
		NamespaceLabels: map[string]string{corev1.LabelMetadataName: p.Namespace},
	}
	for _, container := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		pod.Ports = append(pod.Ports, container.Ports...)
	}
	return policy.End{IP: ip, Pod: pod}
}

// party names an end by what it is, not by which of several.
func party(p *corev1.Pod, ip netip.Addr) string {
	if p == nil {
		return ip.String()
	}
	for _, label := range []string{annotation.ReplayComponent, "app", "job-name"} {
		if name := p.Labels[label]; name != "" {
			return p.Namespace + "/" + name
		}
	}
	return p.Namespace + "/" + p.Name
}

// nodeAddresses are those of this machine, which is the node.
func (c *cluster) nodeAddresses() map[netip.Addr]bool {
	c.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		c.Fatal(err)
	}
	all := map[netip.Addr]bool{}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			all[p.Addr()] = true
		}
	}
	return all
}

// probed says whether the kubelet asks at a port of a pod; it is the node, and what passes
// between a pod and its node is always allowed.
func probed(p *corev1.Pod, number int32) bool {
	for _, container := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		for _, probe := range []*corev1.Probe{container.StartupProbe, container.ReadinessProbe, container.LivenessProbe} {
			if probe == nil {
				continue
			}
			switch {
			case probe.HTTPGet != nil && is(probe.HTTPGet.Port, container, number),
				probe.TCPSocket != nil && is(probe.TCPSocket.Port, container, number),
				probe.GRPC != nil && probe.GRPC.Port == number:
				return true
			}
		}
	}
	return false
}

func is(port intstr.IntOrString, container corev1.Container, number int32) bool {
	return port.Type == intstr.Int && port.IntVal == number || slices.ContainsFunc(container.Ports, func(p corev1.ContainerPort) bool {
		return p.Name == port.StrVal && p.ContainerPort == number
	})
}
