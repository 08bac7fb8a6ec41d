package workload_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/workload"
)

// TestServiceWasLedToNothing: a numeric targetPort was changed to goproxy's number, at
// which a pod without a sidecar has nobody.
func TestServiceWasLedToNothing(t *testing.T) {
	s, err := annotation.Parse(map[string]string{annotation.ProxyType: "dual", annotation.ProxyPort: "8080"})
	if err != nil {
		t.Fatal(err)
	}
	services := []corev1.Service{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}},
	}}
	const (
		kubectl = "kubectl -n shop patch "
		wait    = " && kubectl -n shop rollout status deployment/cart && "
		follow  = kubectl + `service cart --type json -p '[{"op":"replace","path":"/spec/ports/0/targetPort","value":"app-8080"}]'`
	)
	dns := corev1.ContainerPort{ContainerPort: 8080, Protocol: corev1.ProtocolUDP, Name: "dns"}
	for name, c := range map[string]struct {
		kind       string
		containers []corev1.Container
		want       string
	}{
		"named":    {workload.Deployment, []corev1.Container{{}, {Ports: []corev1.ContainerPort{dns, {Name: "http", ContainerPort: 8080}}}}, `: ` + strings.Replace(follow, "app-8080", "http", 1)},
		"nameless": {workload.Deployment, []corev1.Container{{}, {Ports: []corev1.ContainerPort{dns, {ContainerPort: 8080}}}}, kubectl + `deployment cart --type json -p '[{"op":"add","path":"/spec/template/spec/containers/1/ports/1/name","value":"app-8080"}]'` + wait + follow},
		"no ports": {workload.Deployment, []corev1.Container{{}}, kubectl + `deployment cart --type json -p '[{"op":"add","path":"/spec/template/spec/containers/0/ports","value":[{"containerPort":8080,"name":"app-8080"}]}]'` + wait + follow},
		"another":  {workload.Deployment, []corev1.Container{{Ports: []corev1.ContainerPort{dns}}}, kubectl + `deployment cart --type json -p '[{"op":"add","path":"/spec/template/spec/containers/0/ports/-","value":{"containerPort":8080,"name":"app-8080"}}]'` + wait + follow},
		"unknown":  {workload.Deployment, []corev1.Container{{}, {}}, `give it the name "app-8080" in the container that listens, and when the pods have it, ` + follow},
		"Rollout":  {workload.ArgoRollout, []corev1.Container{{Ports: []corev1.ContainerPort{{ContainerPort: 8080}}}}, `add "app-8080" at /containers/0/ports/0/name of the pods' spec, and when the pods have it, ` + follow},
	} {
		w := &workload.Workload{Ref: workload.Ref{Kind: c.kind, Namespace: "shop", Name: "cart"}}
		w.Template.Spec.Containers = c.containers
		if got := strings.Join(workload.Uncaptured(w, s, services), "\n"); !strings.HasSuffix(got, c.want) {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, c.want)
		}
	}
}

// TestPolicyOfIngressShutTheSidecarOut: a policy that allows the app's port by number has
// clients dropped once they are led to goproxy's.
func TestPolicyOfIngressShutTheSidecarOut(t *testing.T) {
	from := func(app string) []networkingv1.NetworkPolicyPeer {
		return []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}}}
	}
	rule := func(app string, ports ...intstr.IntOrString) (r networkingv1.NetworkPolicyIngressRule) {
		for i := range ports {
			r.Ports = append(r.Ports, networkingv1.NetworkPolicyPort{Port: &ports[i]})
		}
		if app != "" {
			r.From = from(app)
		}
		return r
	}
	port := intstr.FromInt32
	for name, c := range map[string]struct {
		mode  string
		rules []networkingv1.NetworkPolicyIngressRule
		want  bool
	}{
		"by number":                {"dual", []networkingv1.NetworkPolicyIngressRule{rule("web", port(8080))}, true},
		"by number, transparent":   {"transparent", []networkingv1.NetworkPolicyIngressRule{rule("web", port(8080))}, false},
		"by name":                  {"dual", []networkingv1.NetworkPolicyIngressRule{rule("web", intstr.FromString("http"))}, false},
		"both numbers":             {"dual", []networkingv1.NetworkPolicyIngressRule{rule("web", port(8080), port(4143))}, false},
		"all ports":                {"dual", []networkingv1.NetworkPolicyIngressRule{rule("web")}, false},
		"both for the same":        {"reverse", []networkingv1.NetworkPolicyIngressRule{rule("web", port(8080)), rule("web", port(4143))}, false},
		"goproxy's for others":     {"reverse", []networkingv1.NetworkPolicyIngressRule{rule("web", port(8080)), rule("job", port(4143))}, true},
		"goproxy's for all":        {"reverse", []networkingv1.NetworkPolicyIngressRule{rule("web", port(8080)), rule("", port(4143))}, false},
		"another port":             {"dual", []networkingv1.NetworkPolicyIngressRule{rule("web", port(9090))}, false},
		"nothing comes in, at all": {"dual", nil, false},
	} {
		annotations := map[string]string{annotation.ProxyType: c.mode}
		if c.mode != "transparent" {
			annotations[annotation.ProxyPort] = "8080"
		}
		s, err := annotation.Parse(annotations)
		if err != nil {
			t.Fatal(err)
		}
		policy := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "narrow"},
			Spec: networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}, Ingress: c.rules}}
		w := &workload.Workload{Ref: workload.Ref{Kind: workload.Deployment, Namespace: "shop", Name: "cart"}}
		got, err := workload.Warnings(t.Context(), fake.NewClientset(policy), w, s)
		if err != nil || strings.Contains(strings.Join(got, "\n"), `networkpolicy "narrow"`) != c.want {
			t.Errorf("%s: %q, %v; want one: %v", name, got, err, c.want)
		}
	}
}

// TestHostNetworkNeedsANode: nobody was told that two pods with a sidecar fit on no node.
func TestHostNetworkNeedsANode(t *testing.T) {
	w := &workload.Workload{Ref: workload.Ref{Kind: workload.Deployment, Namespace: "shop", Name: "cart"}}
	w.Template.Spec.HostNetwork = true
	got, err := workload.Warnings(t.Context(), fake.NewClientset(), w, annotation.Sidecar{Type: "forward"})
	if err != nil || !strings.Contains(strings.Join(got, "\n"), "maxSurge 0") {
		t.Errorf("%q, %v", got, err)
	}
}

func TestUncaptured(t *testing.T) {
	parse := func(kv ...string) annotation.Sidecar {
		m := map[string]string{annotation.Inject: "true"}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = kv[i+1]
		}
		s, err := annotation.Parse(m)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	service := func(kind corev1.ServiceType, target intstr.IntOrString) corev1.Service {
		return corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart"}, Spec: corev1.ServiceSpec{Type: kind, Ports: []corev1.ServicePort{{Port: 80, TargetPort: target}}}}
	}
	for name, c := range map[string]struct {
		settings annotation.Sidecar
		service  corev1.Service
		want     string
	}{
		"cluster IP":          {parse(), service(corev1.ServiceTypeClusterIP, intstr.FromInt32(8080)), ""},
		"node port":           {parse(), service(corev1.ServiceTypeNodePort, intstr.FromInt32(8080)), annotation.CaptureNodeTraffic},
		"node port, captured": {parse(annotation.CaptureNodeTraffic, "true"), service(corev1.ServiceTypeNodePort, intstr.FromInt32(8080)), ""},
		"number in dual mode": {parse(annotation.ProxyType, "dual", annotation.ProxyPort, "8080"), service(corev1.ServiceTypeClusterIP, intstr.FromInt32(8080)), `"/spec/ports/0/targetPort","value":"app-8080"`},
		"no target port":      {parse(annotation.ProxyType, "reverse"), service(corev1.ServiceTypeClusterIP, intstr.IntOrString{}), `"value":"app-80"`},
		"name in dual mode":   {parse(annotation.ProxyType, "dual", annotation.ProxyPort, "8080"), service(corev1.ServiceTypeClusterIP, intstr.FromString("http")), ""},
		"another port":        {parse(annotation.ProxyType, "reverse", annotation.ProxyPort, "8080"), service(corev1.ServiceTypeClusterIP, intstr.FromInt32(9090)), ""},
	} {
		got := strings.Join(workload.Uncaptured(&workload.Workload{}, c.settings, []corev1.Service{c.service}), "\n")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestServicesAreThoseOfThePods(t *testing.T) {
	service := func(name, namespace string, selector map[string]string) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Spec: corev1.ServiceSpec{Selector: selector}}
	}
	c := fake.NewClientset(service("cart", "shop", map[string]string{"app": "cart"}), service("other", "shop", map[string]string{"app": "other"}),
		service("outside", "shop", nil), service("cart", "elsewhere", map[string]string{"app": "cart"}))
	found, err := workload.Services(t.Context(), c, get(t, shop()))
	if err != nil || len(found) != 1 || found[0].Name != "cart" || found[0].Namespace != "shop" {
		t.Errorf("%v, %v", found, err)
	}
}
