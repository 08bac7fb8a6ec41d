package policy_test

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/speedscale/speedscale/test/kube/policy"
)

func set(t *testing.T, text string) (*policy.Set, error) {
	t.Helper()
	var list []networkingv1.NetworkPolicy
	for doc := range strings.SplitSeq(text, "---\n") {
		var p networkingv1.NetworkPolicy
		if err := yaml.UnmarshalStrict([]byte(doc), &p); err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return policy.NewSet(list)
}

func end(ip, namespace string, labels ...string) policy.End {
	e := policy.End{IP: netip.MustParseAddr(ip)}
	if namespace == "" {
		return e
	}
	e.Pod = &policy.Pod{
		Namespace: namespace, Name: ip, Labels: map[string]string{},
		NamespaceLabels: map[string]string{"project": namespace},
		Ports: []corev1.ContainerPort{
			{Name: "web", ContainerPort: 8080}, {Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolUDP},
		},
	}
	for _, l := range labels {
		k, v, _ := strings.Cut(l, "=")
		e.Pod.Labels[k] = v
	}
	return e
}

// example is the policy that the Kubernetes documentation explains.
const example = `
metadata: {name: test-network-policy, namespace: default}
spec:
  podSelector: {matchLabels: {role: db}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from:
    - ipBlock: {cidr: 172.17.0.0/16, except: [172.17.1.0/24]}
    - namespaceSelector: {matchLabels: {project: myproject}}
    - podSelector: {matchLabels: {role: frontend}}
    ports: [{protocol: TCP, port: 6379}]
  egress:
  - to: [{ipBlock: {cidr: 10.0.0.0/24}}]
    ports: [{protocol: TCP, port: 5978}]
`

func TestJudge(t *testing.T) {
	const head = "metadata: {name: p, namespace: default}\n"
	db, frontend := end("10.1.0.1", "default", "role=db"), end("10.1.0.2", "default", "role=frontend")
	other := end("10.1.0.3", "default")
	mine, foreign := end("10.1.0.4", "myproject"), end("10.1.0.5", "foreign", "role=frontend")
	const in, out = networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress
	const tcp, udp = corev1.ProtocolTCP, corev1.ProtocolUDP
	for _, c := range []struct {
		name, policies string
		direction      networkingv1.PolicyType
		from, to       policy.End
		protocol       corev1.Protocol
		port           int32
		want           bool
	}{
		{"a pod of the namespace", example, in, frontend, db, tcp, 6379, true},
		{"another port", example, in, frontend, db, tcp, 6380, false},
		{"another protocol", example, in, frontend, db, udp, 6379, false},
		{"a pod without the label", example, in, other, db, tcp, 6379, false},
		{"any pod of a chosen namespace", example, in, mine, db, tcp, 6379, true},
		{"a podSelector means the policy's own namespace", example, in, foreign, db, tcp, 6379, false},
		{"a block", example, in, end("172.17.0.9", ""), db, tcp, 6379, true},
		{"a block written as IPv6", example, in, end("::ffff:172.17.0.9", ""), db, tcp, 6379, true},
		{"except", example, in, end("172.17.1.9", ""), db, tcp, 6379, false},
		{"outside", example, in, end("172.18.0.9", ""), db, tcp, 6379, false},
		{"egress to a block", example, out, db, end("10.0.0.7", ""), tcp, 5978, true},
		{"egress to another", example, out, db, end("10.0.1.7", ""), tcp, 5978, false},
		{"egress to another port", example, out, db, end("10.0.0.7", ""), tcp, 5979, false},
		{"a pod that is not selected", example, in, mine, other, tcp, 1, true},
		{"a pod of another namespace is not selected", example, in, mine, end("10.1.0.8", "foreign", "role=db"), tcp, 1, true},
		{"a pod reaches itself", example, out, db, db, tcp, 1, true},
		{"what is no pod is not selected", example, out, end("10.9.9.9", ""), db, tcp, 1, true},

		{"deny all ingress", head + "spec: {podSelector: {}, policyTypes: [Ingress]}", in, frontend, db, tcp, 1, false},
		{"deny all ingress leaves egress", head + "spec: {podSelector: {}, policyTypes: [Ingress]}", out, frontend, db, tcp, 1, true},
		{"allow all ingress", head + "spec: {podSelector: {}, policyTypes: [Ingress], ingress: [{}]}", in, end("1.2.3.4", ""), db, tcp, 1, true},
		{"deny all egress", head + "spec: {podSelector: {}, policyTypes: [Egress]}", out, frontend, db, tcp, 1, false},
		{"allow all egress", head + "spec: {podSelector: {}, policyTypes: [Egress], egress: [{}]}", out, frontend, end("1.2.3.4", ""), udp, 1, true},
		{"without policyTypes it is of ingress", head + "spec: {podSelector: {}}", in, frontend, db, tcp, 1, false},
		{"without policyTypes and egress rules, not of egress", head + "spec: {podSelector: {}}", out, frontend, db, tcp, 1, true},
		{"without policyTypes, egress by its rules", head + "spec: {podSelector: {}, egress: [{ports: [{port: 1}]}]}", out, frontend, db, tcp, 2, false},
		{"egress rules count for policyTypes Egress only", head + "spec: {podSelector: {}, policyTypes: [Ingress], egress: [{ports: [{port: 1}]}]}", out, frontend, db, tcp, 2, true},

		{"both selectors in one peer, namespace only", head + "spec: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {project: myproject}}, podSelector: {matchLabels: {role: frontend}}}]}]}", in, mine, db, tcp, 1, false},
		{"both selectors in one peer, both", head + "spec: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {project: foreign}}, podSelector: {matchLabels: {role: frontend}}}]}]}", in, foreign, db, tcp, 1, true},
		{"an empty namespaceSelector is all namespaces", head + "spec: {podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}", in, foreign, db, tcp, 1, true},
		{"but only pods", head + "spec: {podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}", in, end("1.2.3.4", ""), db, tcp, 1, false},
		{"expressions", head + "spec: {podSelector: {matchExpressions: [{key: role, operator: In, values: [db]}]}}", in, frontend, db, tcp, 1, false},
		{"expressions that mean others", head + "spec: {podSelector: {matchExpressions: [{key: role, operator: NotIn, values: [db]}]}}", in, frontend, db, tcp, 1, true},

		{"TCP is the default", head + "spec: {podSelector: {}, ingress: [{ports: [{port: 53}]}]}", in, frontend, db, udp, 53, false},
		{"a protocol without a port", head + "spec: {podSelector: {}, ingress: [{ports: [{protocol: UDP}]}]}", in, frontend, db, udp, 9, true},
		{"a range", head + "spec: {podSelector: {}, ingress: [{ports: [{port: 32000, endPort: 32768}]}]}", in, frontend, db, tcp, 32768, true},
		{"behind a range", head + "spec: {podSelector: {}, ingress: [{ports: [{port: 32000, endPort: 32768}]}]}", in, frontend, db, tcp, 32769, false},
		{"before a range", head + "spec: {podSelector: {}, ingress: [{ports: [{port: 32000, endPort: 32768}]}]}", in, frontend, db, tcp, 31999, false},
		{"a name", head + "spec: {podSelector: {}, ingress: [{ports: [{port: web}]}]}", in, frontend, db, tcp, 8080, true},
		{"a name's other port", head + "spec: {podSelector: {}, ingress: [{ports: [{port: web}]}]}", in, frontend, db, tcp, 53, false},
		{"a name's other protocol", head + "spec: {podSelector: {}, ingress: [{ports: [{port: dns}]}]}", in, frontend, db, tcp, 53, false},
		{"a name in egress is the other end's", head + "spec: {podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: dns, protocol: UDP}]}]}", out, frontend, db, udp, 53, true},
		{"a name means nothing where there is no pod", head + "spec: {podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: web}]}]}", out, frontend, end("1.2.3.4", ""), tcp, 8080, false},

		{"policies add up", example + "---\n" + head + "spec: {podSelector: {}, ingress: [{ports: [{port: 1}]}]}", in, other, db, tcp, 1, true},
		{"and neither allows more", example + "---\n" + head + "spec: {podSelector: {}, ingress: [{ports: [{port: 1}]}]}", in, other, db, tcp, 2, false},
	} {
		s, err := set(t, c.policies)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		v := s.Judge(policy.Connection{From: c.from, To: c.to, Protocol: c.protocol, Port: c.port}, c.direction)
		if v.Allowed() != c.want {
			t.Errorf("%s: allowed %v, want %v: %+v", c.name, v.Allowed(), c.want, v)
		}
	}
}

// Each peer at each port is a rule of its own, and a verdict names those that allow.
func TestRules(t *testing.T) {
	s, err := set(t, example)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Rules()) != 4 {
		t.Errorf("rules are %v", s.Rules())
	}
	v := s.Judge(policy.Connection{From: end("10.1.0.2", "default", "role=frontend"), To: end("10.1.0.1", "default", "role=db"), Protocol: corev1.ProtocolTCP, Port: 6379}, networkingv1.PolicyTypeIngress)
	if len(v.By) != 1 || v.By[0].String() != "default/test-network-policy: from pods role=frontend at TCP/6379" {
		t.Errorf("allowed by %v", v.By)
	}
}

func TestNewSetRefuses(t *testing.T) {
	for spec, want := range map[string]string{
		"{podSelector: {}, policyTypes: [Both]}":                                                                   `"Both"`,
		"{podSelector: {matchExpressions: [{key: a, operator: Like}]}}":                                            "podSelector",
		"{podSelector: {}, ingress: [{from: [{}]}]}":                                                               "no selector",
		"{podSelector: {}, ingress: [{from: [{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}]}]}":                   "both",
		"{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.0.0.0}}]}]}":                                         "10.0.0.0",
		"{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]}]}":                "11.0.0.0/16",
		"{podSelector: {}, egress: [{ports: [{port: web, endPort: 9}]}]}":                                          "endPort 9",
		"{podSelector: {}, egress: [{ports: [{port: 10, endPort: 9}]}]}":                                           "endPort 9",
		"{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: a, operator: X}]}}]}]}": `"X"`,
	} {
		_, err := set(t, "metadata: {name: p, namespace: ns}\nspec: "+spec)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `"ns/p"`) {
			t.Errorf("%s: %v, want an error that names ns/p and %s", spec, err, want)
		}
	}
}
