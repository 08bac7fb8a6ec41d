package replay_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/operator/replay"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

func meta(in, out []string) *snapshot.Meta {
	m := &snapshot.Meta{InTraffic: map[string]*snapshot.Slice{}, OutTraffic: map[string]*snapshot.Slice{}}
	for _, key := range in {
		m.InTraffic[key] = &snapshot.Slice{}
	}
	for _, key := range out {
		m.OutTraffic[key] = &snapshot.Slice{}
	}
	return m
}

func TestTargets(t *testing.T) {
	m := meta([]string{inKey, otherIn}, []string{stripe, inventory})
	m.OutTraffic[inventory].Protocol = "grpc"
	all := []v1.Mock{{Key: stripe}, {Key: inventory, ALPN: "h2"}}
	for name, c := range map[string]struct {
		spec v1.TrafficReplaySpec
		want []v1.Target
	}{
		"each its own": {
			v1.TrafficReplaySpec{Workloads: []v1.Workload{{Tests: []string{"8080"}, Mocks: []string{"stripe", "*"}}, {Tests: []string{otherIn, "9090"}}}},
			[]v1.Target{{Tests: []string{inKey}, Mocks: all}, {Tests: []string{otherIn}}}},
		"custom URL gets all": {
			v1.TrafficReplaySpec{CustomURL: "http://x", Workloads: []v1.Workload{{Tests: []string{"8080"}, Mocks: []string{"*"}}}},
			[]v1.Target{{Mocks: all}, {Tests: []string{inKey, otherIn}}}},
		"nothing is sent": {
			v1.TrafficReplaySpec{Mode: v1.ModeResponderOnly, Workloads: []v1.Workload{{Tests: []string{"8080"}, Mocks: []string{"*"}}}},
			[]v1.Target{{Mocks: all}}},
	} {
		got, err := replay.Targets(&c.spec, m)
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	var many []string
	for i := range v1.MaxKeys + 1 {
		many = append(many, fmt.Sprintf("a:host-%d:80", i))
	}
	_, err := replay.Targets(&v1.TrafficReplaySpec{Workloads: []v1.Workload{{Mocks: []string{"*"}}}}, meta(nil, many))
	if err == nil || !strings.Contains(err.Error(), "spec.workloads[0]: Invalid value: 1025: at most 1024 keys") {
		t.Errorf("too many keys: %v", err)
	}
}

func TestBase(t *testing.T) {
	for text, want := range map[string]string{"http://a:8080": "http://a:8080", "https://a/": "https://a"} {
		if got, err := replay.Base(text); err != nil || got != want {
			t.Errorf("%s is %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"http://a/v2", "http://a/?b", "http://a/#b", "http://user:secret@a"} {
		_, err := replay.Base(text)
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestPort(t *testing.T) {
	template := func(ports ...corev1.ContainerPort) corev1.PodTemplateSpec {
		return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "checkout", "tier": "web"}},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Ports: ports}}}}
	}
	service := func(name, app string, port int32, target intstr.IntOrString) corev1.Service {
		return corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": app}, Ports: []corev1.ServicePort{{Port: port, TargetPort: target}},
		}}
	}
	http, admin := corev1.ContainerPort{Name: "http", ContainerPort: 8080}, corev1.ContainerPort{Name: "admin", ContainerPort: 9000}
	dns := corev1.ContainerPort{Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolUDP}
	byName, byNumber := service("checkout", "checkout", 80, intstr.FromString("http")), service("checkout", "checkout", 80, intstr.FromInt32(9000))
	for name, c := range map[string]struct {
		key      string
		template corev1.PodTemplateSpec
		services []corev1.Service
		want     int32
	}{
		"a Service's port by name":        {"a:checkout:80", template(http, admin), []corev1.Service{byName}, 8080},
		"a Service's port by number":      {"a:checkout:80", template(http, admin), []corev1.Service{byNumber}, 9000},
		"a Service without targetPort":    {"a:checkout:80", template(), []corev1.Service{service("checkout", "checkout", 80, intstr.IntOrString{})}, 80},
		"the Service of the slice's host": {"a:checkout.shop.svc:80", template(http, admin), []corev1.Service{service("other", "checkout", 80, intstr.FromInt32(1)), byName}, 8080},
		"a container's port":              {"a:checkout:9000", template(http, admin), []corev1.Service{byName}, 9000},
		"the only port":                   {"a:checkout:443", template(http, dns), []corev1.Service{service("other", "cart", 443, intstr.FromInt32(1))}, 8080},
		"an IPv6 address":                 {"a:[fd00::1]:8080", template(http, admin), nil, 8080},
	} {
		if got, err := replay.Port(c.key, c.template, c.services); err != nil || got != c.want {
			t.Errorf("%s: %d, %v; want %d", name, got, err, c.want)
		}
	}
	for key, template := range map[string]corev1.PodTemplateSpec{"a:checkout:80": template(http, admin), "a:b:81": template(dns), "nothing": template(http), "a:b:port": template(http)} {
		if got, err := replay.Port(key, template, []corev1.Service{service("x", "checkout", 80, intstr.FromInt32(1)), service("y", "checkout", 80, intstr.FromInt32(2))}); err == nil {
			t.Errorf("%s: %d, want an error", key, got)
		}
	}
}
