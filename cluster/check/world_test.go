package check_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"io/fs"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	fakediscovery "k8s.io/client-go/discovery/fake"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"github.com/speedscale/speedscale/charts"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/check"
)

// world is a cluster with an installation that works, and a captured workload cart. A
// test plants a fault in it before it is looked at.
type world struct {
	t         *testing.T
	version   string
	unknown   []string // API groups that the API server does not know
	denied    []string // resources that may not be created
	deaf      bool     // the API server does not reach the operator
	noStorage bool     // no storage class is there
	refused   error    // what a dry run is refused with
	operator  *appsv1.Deployment
	forwarder *appsv1.Deployment
	inspector *appsv1.Deployment
	settings  *corev1.ConfigMap
	mutating  *admissionregistrationv1.MutatingWebhookConfiguration
	replays   *admissionregistrationv1.MutatingWebhookConfiguration
	validates *admissionregistrationv1.ValidatingWebhookConfiguration
	crd       *unstructured.Unstructured
	endpoints map[string]int // ready pods behind services of the operator's namespace
	pods      []*corev1.Pod  // of the control plane
	workload  *appsv1.Deployment
	pod       *corev1.Pod    // its
	secret    *corev1.Secret // with the forwarder's certificate
	more      []runtime.Object
	ca        *authority
	leaf      tls.Certificate
	clock     check.Offset
	cloud     *check.Cloud
	dial      check.Dial
}

const ours = "controlplane.speedscale.com/component"

func newWorld(t *testing.T) *world {
	ca := newAuthority(t, time.Now())
	w := &world{
		t: t, version: "v1.37.2", endpoints: map[string]int{"speedscale-operator": 1, "speedscale-forwarder": 1},
		operator: component("speedscale-operator"), forwarder: component("speedscale-forwarder"), inspector: component("speedscale-inspector"),
		settings: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "speedscale", Name: "speedscale-operator"}, Data: map[string]string{"INSTANCE_ID": "prod-speedscale"}},
		ca:       ca, leaf: ca.issue(time.Now().Add(-time.Hour), 30*24*time.Hour, "speedscale-operator.speedscale.svc"),
		crd: definition(t), workload: cartDeployment(), pod: cartPod(), clock: check.Offset{Known: true},
		cloud: &check.Cloud{Pairs: 7, Clock: check.Offset{Known: true}, Telemetry: check.Telemetry{Age: 40 * time.Second, Latest: healthyTelemetry()}},
	}
	w.dial = w.serve
	w.secret = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "speedscale", Name: "speedscale-forwarder-certs"}, Data: map[string][]byte{corev1.TLSCertKey: ca.pem()}}
	w.pod.Annotations = map[string]string{annotation.ForwarderCA: string(ca.pem())}
	hook := func(name string, policy admissionregistrationv1.FailurePolicyType) admissionregistrationv1.MutatingWebhook {
		return admissionregistrationv1.MutatingWebhook{Name: name, FailurePolicy: &policy, ClientConfig: w.clientConfig()}
	}
	w.mutating = &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "speedscale-operator"},
		Webhooks: []admissionregistrationv1.MutatingWebhook{
			hook("sidecar.speedscale.com", admissionregistrationv1.Ignore), hook("pods.sidecar.speedscale.com", admissionregistrationv1.Ignore),
			hook("replayed.sidecar.speedscale.com", admissionregistrationv1.Fail),
		},
	}
	w.replays = &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "speedscale-operator-replay"},
		Webhooks:   []admissionregistrationv1.MutatingWebhook{hook("replay.speedscale.com", admissionregistrationv1.Fail)},
	}
	w.validates = &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "speedscale-operator-replay"},
		Webhooks:   []admissionregistrationv1.ValidatingWebhook{{Name: "replay.speedscale.com", ClientConfig: w.clientConfig()}},
	}
	for _, app := range []string{"speedscale-operator", "speedscale-forwarder", "speedscale-inspector"} {
		w.pods = append(w.pods, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "speedscale", Name: app + "-1", Labels: map[string]string{"app": app}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: app, Ports: []corev1.ContainerPort{{Name: "bus", ContainerPort: 8888}}}}},
			Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
		})
	}
	w.forwarder.Spec.Template.Spec.Containers[0].Env = []corev1.EnvVar{
		{Name: "CLUSTER_NAME", Value: "prod"}, {Name: "TELEMETRY_INTERVAL", Value: "1m0s"}, {Name: "WITH_TELEMETRY", Value: "true"},
	}
	return w
}

func (w *world) clientConfig() admissionregistrationv1.WebhookClientConfig {
	return admissionregistrationv1.WebhookClientConfig{CABundle: w.ca.pem(), Service: &admissionregistrationv1.ServiceReference{Namespace: "speedscale", Name: "speedscale-operator"}}
}

func component(name string) *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "speedscale", Name: name, Labels: map[string]string{ours: strings.TrimPrefix(name, "speedscale-")}}}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: name, Image: "ghcr.io/speedscale/" + strings.TrimPrefix(name, "speedscale-") + ":v2"}}
	d.Status.ReadyReplicas = 1
	return d
}

func cartDeployment() *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart", Annotations: map[string]string{annotation.Inject: "true"}}}
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "cart"}}
	d.Spec.Template.ObjectMeta = metav1.ObjectMeta{Labels: map[string]string{"app": "cart"}, Annotations: map[string]string{annotation.Stamp: "a stamp"}}
	return d
}

func cartPod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart-1", Labels: map[string]string{"app": "cart", annotation.Injected: "true"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "speedscale-goproxy", Image: "ghcr.io/speedscale/goproxy:v2"}, {Name: "cart"}}},
		Status:     corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "speedscale-goproxy", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}},
	}
}

// definition is that of the chart.
func definition(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	text, err := fs.ReadFile(charts.Files(), "speedscale-operator/templates/crds/speedscale.com_trafficreplays.yaml")
	if err != nil {
		t.Fatal(err)
	}
	crd := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(text, &crd.Object); err != nil {
		t.Fatal(err)
	}
	return crd
}

func healthyTelemetry() *cloudv1.ClusterTelemetry {
	now := time.Now().UnixNano()
	return &cloudv1.ClusterTelemetry{
		Name: "prod", Interval: int64(time.Minute), SidecarCount: 1, Received: now,
		Forwarder: &cloudv1.ForwarderTelemetry{
			Version: "v2", Time: now, Spool: &cloudv1.Spool{Batches: 3, Bytes: 300 << 20, Limit: 1 << 30, Oldest: now - 1e9, Acknowledged: now - 2e9},
		},
		Sidecars: []*cloudv1.SidecarTelemetry{{
			Namespace: "shop", Pod: "cart-1", Service: "cart", Version: "v2", Mode: "dual", Started: now - int64(time.Hour), Time: now, Received: now,
			Inbound: &cloudv1.DirectionTelemetry{LastSeen: now}, Outbound: &cloudv1.DirectionTelemetry{LastSeen: now},
		}},
	}
}

// objects are what is in the API server.
func (w *world) objects() (list []runtime.Object) {
	for _, namespace := range []string{"kube-system", "shop", "speedscale"} {
		list = append(list, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace, Labels: map[string]string{corev1.LabelMetadataName: namespace}}})
	}
	for service, n := range w.endpoints {
		slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "speedscale", Name: service, Labels: map[string]string{discoveryv1.LabelServiceName: service}}}
		slice.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.9"}, Conditions: discoveryv1.EndpointConditions{Ready: new(false)}}}
		for range n {
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{"10.0.0.1"}})
		}
		list = append(list, slice)
	}
	for _, p := range append([]*corev1.Pod{w.pod}, w.pods...) {
		list = append(list, p)
	}
	list = append(list, w.workload, w.secret)
	for _, d := range []*appsv1.Deployment{w.operator, w.forwarder, w.inspector} {
		if d != nil {
			list = append(list, d)
		}
	}
	if !w.noStorage {
		list = append(list, &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "standard", Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}}})
	}
	if w.settings != nil {
		list = append(list, w.settings)
	}
	for _, m := range []*admissionregistrationv1.MutatingWebhookConfiguration{w.mutating, w.replays} {
		if m != nil {
			list = append(list, m)
		}
	}
	if w.validates != nil {
		list = append(list, w.validates)
	}
	return append(list, w.more...)
}

// client is the API server.
func (w *world) client() *fake.Clientset {
	c := fake.NewClientset(w.objects()...)
	d := c.Discovery().(*fakediscovery.FakeDiscovery)
	d.FakedServerVersion = &version.Info{GitVersion: w.version}
	for group, kind := range map[string]string{"speedscale.com/v1": "TrafficReplay", "metrics.k8s.io/v1beta1": "PodMetrics"} {
		if !slices.Contains(w.unknown, group) {
			d.Resources = append(d.Resources, &metav1.APIResourceList{GroupVersion: group, APIResources: []metav1.APIResource{{Kind: kind}}})
		}
	}
	c.PrependReactor("create", "selfsubjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		review := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview)
		review.Status.Allowed = !slices.Contains(w.denied, review.Spec.ResourceAttributes.Resource)
		return true, review, nil
	})
	// Like an API server, which asks the operator where it can and goes on where it cannot.
	c.PrependReactor("create", "deployments", func(a clienttesting.Action) (bool, runtime.Object, error) {
		made := a.(clienttesting.CreateAction).GetObject().(*appsv1.Deployment)
		if w.mutating != nil && w.endpoints["speedscale-operator"] > 0 && !w.deaf {
			made.Spec.Template.Annotations = map[string]string{annotation.Stamp: "a stamp"}
		}
		return true, made, w.refused
	})
	return c
}

// facts gathers what there is.
func (w *world) facts(before bool) *check.Facts {
	definitions := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	var crds []runtime.Object
	if w.crd != nil {
		crds = append(crds, w.crd)
	}
	f := check.Gather(w.t.Context(), check.Sources{
		Client:    w.client(),
		Dynamic:   dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{definitions: "CustomResourceDefinitionList"}, crds...),
		Namespace: "speedscale", CloudNamespace: "speedscale-cloud", Before: before, Version: "v2",
		Operator: w.dial,
	})
	f.Clock, f.Cloud = w.clock, w.cloud
	return f
}

// serve reaches the operator, which serves its certificate.
func (w *world) serve(context.Context) (net.Conn, error) {
	client, server := net.Pipe()
	go func() {
		conn := tls.Server(server, &tls.Config{Certificates: []tls.Certificate{w.leaf}})
		io.Copy(io.Discard, conn) // until the client has seen enough
		server.Close()
	}()
	return client, nil
}

func scaler(kind autoscalingv2.MetricSourceType) *autoscalingv2.HorizontalPodAutoscaler {
	h := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart"}}
	h.Spec.ScaleTargetRef = autoscalingv2.CrossVersionObjectReference{Kind: "Deployment", Name: "cart"}
	m := autoscalingv2.MetricSpec{Type: kind}
	if kind == autoscalingv2.ResourceMetricSourceType {
		m.Resource = &autoscalingv2.ResourceMetricSource{Name: corev1.ResourceCPU}
	}
	h.Spec.Metrics = []autoscalingv2.MetricSpec{m}
	return h
}

// policy of the namespace shop lets pods open what the rules say.
func policy(rules ...networkingv1.NetworkPolicyEgressRule) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "narrow"},
		Spec:       networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}, Egress: rules},
	}
}

// authority is a CA.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, from time.Time) *authority {
	t.Helper()
	a := &authority{t: t}
	made := a.sign(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotBefore: from.Add(-time.Hour), NotAfter: from.Add(365 * 24 * time.Hour)})
	a.cert, a.key = made.Leaf, made.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

func (a *authority) sign(template *x509.Certificate) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func (a *authority) issue(from time.Time, life time.Duration, name string) tls.Certificate {
	a.t.Helper()
	return a.sign(&x509.Certificate{DNSNames: []string{name}, NotBefore: from, NotAfter: from.Add(life), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}
