package check_test

import (
	"errors"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/version"
	fakediscovery "k8s.io/client-go/discovery/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/check"
	"github.com/speedscale/speedscale/cluster/install"
	"github.com/speedscale/speedscale/cluster/workload"
)

func component(name string, ready int32) *appsv1.Deployment {
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "speedscale", Name: name}, Status: appsv1.DeploymentStatus{ReadyReplicas: ready}}
}

// healthy are the facts of an installation that works.
func healthy() *check.Facts {
	ready := func(name string) check.Fetched[appsv1.Deployment] {
		return check.Fetched[appsv1.Deployment]{Object: component(name, 1)}
	}
	return &check.Facts{
		Namespace: "speedscale", Version: &version.Info{GitVersion: "v1.37.2"},
		Operator: ready("speedscale-operator"), Forwarder: ready("speedscale-forwarder"), Inspector: ready("speedscale-inspector"),
		Webhooks:  []check.Webhook{{Kind: "mutatingwebhookconfiguration", Configuration: "speedscale-operator", Name: "pods", CABundle: []byte("x"), Namespace: "speedscale", Service: "speedscale-operator"}},
		Endpoints: map[string]int{"speedscale/speedscale-operator": 1},
		Cloud:     &check.Cloud{Pairs: 7},
		Captures:  []workload.Capture{{Ref: cart(), State: workload.Captured, Pods: 2, Sidecars: 2, Asked: map[string]string{annotation.Inject: "true"}}},
	}
}

func cart() workload.Ref {
	return workload.Ref{Kind: workload.Deployment, Namespace: "shop", Name: "cart"}
}

func scaler(kind autoscalingv2.MetricSourceType) autoscalingv2.HorizontalPodAutoscaler {
	h := autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart"}}
	h.Spec.ScaleTargetRef = autoscalingv2.CrossVersionObjectReference{Kind: "Deployment", Name: "cart"}
	m := autoscalingv2.MetricSpec{Type: kind}
	if kind == autoscalingv2.ResourceMetricSourceType {
		m.Resource = &autoscalingv2.ResourceMetricSource{Name: corev1.ResourceCPU}
	}
	h.Spec.Metrics = []autoscalingv2.MetricSpec{m}
	return h
}

func TestAfter(t *testing.T) {
	if bad := notOK(check.After(healthy())); len(bad) > 0 {
		t.Errorf("a healthy installation: %v", bad)
	}
	for name, c := range map[string]struct {
		change func(*check.Facts)
		status check.Status
		text   string // of the only result that is not ok
	}{
		"no API server": {func(f *check.Facts) { f.VersionError = errors.New("connection refused") }, check.Failed, "connection refused"},
		"old":           {func(f *check.Facts) { f.Version.GitVersion = "v1.29.0" }, check.Failed, "want 1.30"},
		"no definition": {func(f *check.Facts) { f.DefinitionError = errors.New("not found") }, check.Failed, "does not know TrafficReplays"},
		"no operator":   {func(f *check.Facts) { f.Operator.Object = nil }, check.Failed, `no deployment "speedscale-operator" in namespace "speedscale"`},
		"operator unready": {func(f *check.Facts) {
			f.Operator.Object.Status.ReadyReplicas = 0
			f.Unready = map[string][]string{"speedscale-operator": {"ImagePullBackOff"}}
		}, check.Failed, "no pod is ready: ImagePullBackOff"},
		"no forwarder":      {func(f *check.Facts) { f.Forwarder.Object = nil }, check.Failed, "speedscale-forwarder"},
		"no inspector":      {func(f *check.Facts) { f.Inspector.Object = nil }, "", ""},
		"inspector unready": {func(f *check.Facts) { f.Inspector.Object.Status.ReadyReplicas = 0 }, check.Failed, "no pod is ready"},
		"no right to look":  {func(f *check.Facts) { f.Forwarder = check.Fetched[appsv1.Deployment]{Err: errors.New("forbidden")} }, check.Skipped, "forbidden"},
		"no webhooks":       {func(f *check.Facts) { f.Webhooks = nil }, check.Failed, "no mutating webhook configuration"},
		"no caBundle":       {func(f *check.Facts) { f.Webhooks[0].CABundle = nil }, check.Failed, "has no caBundle"},
		"no pod behind":     {func(f *check.Facts) { f.Endpoints = nil }, check.Failed, `service "speedscale/speedscale-operator", which has no ready pod`},
		"cloud away":        {func(f *check.Facts) { f.Cloud.Err = errors.New("no route") }, check.Failed, "no route"},
		"cloud full":        {func(f *check.Facts) { f.Cloud.Refused = "the disk is full" }, check.Failed, "the disk is full"},
		"cloud not asked":   {func(f *check.Facts) { f.Cloud = nil }, check.Skipped, "not asked"},
		"refused": {func(f *check.Facts) {
			f.Captures = append(f.Captures, workload.Capture{Ref: workload.Ref{Kind: "DaemonSet", Namespace: "shop", Name: "log"}, Pods: 1, Reasons: []string{"hostNetwork"}, Asked: map[string]string{annotation.Inject: "true"}})
		}, check.Failed, "1 of 1 pods have no sidecar: hostNetwork"},
		"missing":      {func(f *check.Facts) { f.Captures[0].Sidecars = 1 }, check.Failed, "1 of 2 pods have no sidecar"},
		"does not ask": {func(f *check.Facts) { f.Captures[0].Asked = nil; f.Captures[0].Sidecars = 0 }, "", ""},
		"autoscaler of pods": {func(f *check.Facts) {
			f.Autoscalers = append(f.Autoscalers, scaler(autoscalingv2.ResourceMetricSourceType))
		}, check.Warning, "deployment shop/cart by the cpu of whole pods"},
		"of containers": {func(f *check.Facts) {
			f.Autoscalers = append(f.Autoscalers, scaler(autoscalingv2.ContainerResourceMetricSourceType))
		}, "", ""},
		"of another": {func(f *check.Facts) {
			f.Autoscalers = append(f.Autoscalers, scaler(autoscalingv2.ResourceMetricSourceType))
			f.Autoscalers[0].Namespace = "elsewhere"
		}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := healthy()
			c.change(f)
			bad := notOK(check.After(f))
			if c.status == "" {
				if len(bad) > 0 {
					t.Errorf("%+v", bad)
				}
				return
			}
			if len(bad) != 1 || bad[0].Status != c.status || !strings.Contains(bad[0].Text, c.text) || c.status == check.Failed && bad[0].Hint == "" {
				t.Errorf("%+v, want %s with %q", bad, c.status, c.text)
			}
			if n := check.Failures(bad); (n == 1) != (c.status == check.Failed) {
				t.Errorf("%d failures", n)
			}
		})
	}
}

func notOK(results []check.Result) (bad []check.Result) {
	for _, r := range results {
		if r.Status != check.OK {
			bad = append(bad, r)
		}
	}
	return bad
}

func TestBefore(t *testing.T) {
	f := &check.Facts{Version: &version.Info{GitVersion: "v1.31.0"}}
	if bad := notOK(check.Before(f)); len(bad) > 0 {
		t.Errorf("an empty cluster: %+v", bad)
	}
	f.Missing = []install.Right{{Resource: "namespaces"}, {Group: "apps", Resource: "deployments", Namespace: "speedscale"}}
	if bad := notOK(check.Before(f)); len(bad) != 1 || bad[0].Text != `you may not create namespaces, create deployments.apps in namespace "speedscale"` {
		t.Errorf("%+v", bad)
	}
	f.Missing, f.Webhooks = nil, healthy().Webhooks
	if bad := notOK(check.Before(f)); len(bad) != 1 || bad[0].Status != check.Warning {
		t.Errorf("%+v", bad)
	}
}

func TestGather(t *testing.T) {
	webhook := &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "speedscale-operator"},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{Name: "pods.sidecar.speedscale.com", ClientConfig: admissionregistrationv1.WebhookClientConfig{
			CABundle: []byte("x"), Service: &admissionregistrationv1.ServiceReference{Namespace: "speedscale", Name: "speedscale-operator"}}}},
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "speedscale", Name: "a", Labels: map[string]string{discoveryv1.LabelServiceName: "speedscale-operator"}},
		Endpoints:  []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}}, {Addresses: []string{"10.0.0.2"}, Conditions: discoveryv1.EndpointConditions{Ready: new(false)}}},
	}
	c := fake.NewClientset(component("speedscale-operator", 1), component("speedscale-forwarder", 1), webhook, slice)
	discovery := c.Discovery().(*fakediscovery.FakeDiscovery)
	discovery.FakedServerVersion = &version.Info{GitVersion: "v1.37.2"}
	discovery.Resources = []*metav1.APIResourceList{{GroupVersion: "speedscale.com/v1", APIResources: []metav1.APIResource{{Kind: "TrafficReplay"}}}}
	c.PrependReactor("create", "selfsubjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		review := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview)
		review.Status.Allowed = review.Spec.ResourceAttributes.Resource != "clusterroles"
		return true, review, nil
	})
	f := check.Gather(t.Context(), c, "speedscale", "speedscale-cloud")
	f.Cloud = &check.Cloud{}
	if bad := notOK(check.After(f)); len(bad) > 0 {
		t.Errorf("%+v", bad)
	}
	if n := f.Endpoints["speedscale/speedscale-operator"]; n != 1 {
		t.Errorf("%d ready endpoints", n)
	}
	if len(f.Missing) != 1 || f.Missing[0].Resource != "clusterroles" {
		t.Errorf("missing rights are %+v", f.Missing)
	}
}
