package check_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/check"
	"github.com/speedscale/speedscale/cluster/inject"
	"github.com/speedscale/speedscale/cluster/stamp"
	"github.com/speedscale/speedscale/cluster/workload"
)

// scene is a workload that asks for a sidecar, a pod of it, and an operator that works.
type scene struct {
	w *workload.Workload
	p *corev1.Pod
	s check.Surroundings
}

func newScene() *scene {
	selector := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpIn, Values: []string{"shop"}}}}
	return &scene{
		w: &workload.Workload{
			Ref: cart(), Annotations: map[string]string{annotation.Inject: "true"},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{annotation.Stamp: "a stamp"}}},
		},
		p: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart-1", Labels: map[string]string{"app": "cart"}, Annotations: map[string]string{annotation.Stamp: "a stamp"}}},
		s: check.Surroundings{
			OperatorReady: true,
			Namespace:     &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{corev1.LabelMetadataName: "shop"}}},
			Webhook: &admissionregistrationv1.MutatingWebhookConfiguration{Webhooks: []admissionregistrationv1.MutatingWebhook{
				{Name: "pods", ClientConfig: admissionregistrationv1.WebhookClientConfig{CABundle: []byte("x")}, NamespaceSelector: selector},
			}},
		},
	}
}

func (s *scene) inject() {
	s.p.Labels[annotation.Injected] = "true"
	s.p.Spec.Containers = []corev1.Container{{Name: inject.Goproxy}}
}

// ambient adds the webhook for namespaces in Istio's ambient mesh.
func (s *scene) ambient() {
	s.s.Webhook.Webhooks = append(s.s.Webhook.Webhooks, admissionregistrationv1.MutatingWebhook{
		Name: "ambient.sidecar.speedscale.com", ClientConfig: s.s.Webhook.Webhooks[0].ClientConfig,
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"istio.io/dataplane-mode": "ambient"}},
	})
}

func TestWhy(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*scene)
		want   []string // of the reasons, in order; none is captured
	}{
		"captured":           {(*scene).inject, nil},
		"not annotated":      {func(s *scene) { s.w.Annotations, s.w.Template.Annotations, s.p.Annotations = nil, nil, nil }, []string{"it does not ask for a sidecar"}},
		"wrong annotation":   {func(s *scene) { s.w.Annotations[annotation.ProxyType] = "sideways" }, []string{`sidecar.speedscale.com/proxy-type="sideways"`}},
		"ignored":            {func(s *scene) { s.w.Annotations[annotation.Ignore] = "true" }, []string{annotation.Ignore}},
		"refused":            {func(s *scene) { s.p.Annotations[annotation.Refused] = "it runs on Windows" }, []string{"it runs on Windows"}},
		"withdrawn":          {func(s *scene) { s.w.Annotations[annotation.Refused] = "exceeded quota"; s.w.Template.Annotations = nil }, []string{"exceeded quota"}},
		"no operator":        {func(s *scene) { s.s.Webhook = nil }, []string{"no operator is installed"}},
		"operator unready":   {func(s *scene) { s.s.OperatorReady = false }, []string{"the operator is not ready"}},
		"no caBundle":        {func(s *scene) { s.s.Webhook.Webhooks[0].ClientConfig.CABundle = nil }, []string{"no caBundle"}},
		"namespace left out": {func(s *scene) { s.s.Namespace.Labels = nil }, []string{`namespace "shop" is left out of the webhook "pods"`}},
		"not ambient":        {func(s *scene) { s.inject(); s.ambient() }, nil},
		"not ambient, older": {func(s *scene) { s.ambient(); s.p.Annotations = nil }, []string{"older than the annotation: the rollout is not there yet"}},
		"kube-system":        {func(s *scene) { s.w.Namespace = "kube-system" }, []string{`in namespace "kube-system"`}},
		"two reasons":        {func(s *scene) { s.w.Annotations = nil; s.s.Webhook = nil }, []string{"it does not ask", "no operator is installed"}},
		"refused, and away":  {func(s *scene) { s.p.Annotations[annotation.Refused] = "it runs on Windows"; s.s.OperatorReady = false }, []string{"it runs on Windows", "the operator is not ready"}},
		"not stamped":        {func(s *scene) { s.w.Template.Annotations = nil }, []string{"has not stamped its template"}},
		"another operator's": {func(s *scene) { s.w.Template.Annotations = nil; s.w.Annotations[annotation.ManagedBy] = "blue" }, []string{`managed-by it is left to the operator "blue"`}},
		"webhook was away":   {func(*scene) {}, []string{"the operator was away when the pod was made"}},
		"older":              {func(s *scene) { s.p.Annotations = nil }, []string{"older than the annotation: the rollout is not there yet"}},
		"older, and held":    {func(s *scene) { s.p.Annotations = nil; s.w.Held = "it is paused" }, []string{"not replaced: it is paused"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene()
			c.change(s)
			got := check.Why(s.w, []corev1.Pod{*s.p}, s.s)
			if len(got) != 1 || got[0].Pod != "cart-1" || got[0].Captured != (c.want == nil) || len(got[0].Reasons) != len(c.want) {
				t.Fatalf("%+v, want %q", got, c.want)
			}
			for i, want := range c.want {
				if !strings.Contains(got[0].Reasons[i].Text, want) {
					t.Errorf("reason %q, want %q", got[0].Reasons[i].Text, want)
				}
			}
		})
	}
}

// TestWhyNamesSidecarsThatDoNotRun: such a pod has a sidecar, and is not captured all the same.
func TestWhyNamesSidecarsThatDoNotRun(t *testing.T) {
	s := newScene()
	s.inject()
	s.p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: inject.Goproxy, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}}
	got := check.Why(s.w, []corev1.Pod{*s.p}, s.s)
	if len(got) != 1 || got[0].Sidecar == nil || got[0].Sidecar.Text != `container "speedscale-goproxy" waits: CrashLoopBackOff` || got[0].Sidecar.Hint == "" {
		t.Errorf("%+v", got)
	}
}

func TestWhyWithoutPods(t *testing.T) {
	s := newScene()
	s.w.Annotations = nil
	if got := check.Why(s.w, nil, s.s); len(got) != 1 || len(got[0].Reasons) != 1 || got[0].Pod != "" {
		t.Errorf("%+v", got)
	}
	s = newScene()
	s.w.Annotations[annotation.Refused] = "exceeded quota"
	if got := check.Why(s.w, nil, s.s); len(got) != 1 || len(got[0].Reasons) != 1 || got[0].Reasons[0].Text != "exceeded quota" {
		t.Errorf("withdrawn: %+v", got)
	}
}

func TestReplayIsNamed(t *testing.T) {
	s := newScene()
	s.inject()
	s.p.Labels[annotation.ReplayID] = "id-1"
	s.p.Annotations[annotation.Replay] = stamp.Replay{ID: "id-1", Name: "shop/cart-x", Target: "0", Kind: "Deployment", Workload: "cart"}.String()
	if got := check.Why(s.w, []corev1.Pod{*s.p}, s.s); got[0].Replay != "shop/cart-x" {
		t.Errorf("%+v", got)
	}
}

// TestOwnersAreFound: a pod is explained by the workload at the end of its owners.
func TestOwnersAreFound(t *testing.T) {
	s := newScene()
	owned := func(m *metav1.ObjectMeta, kind, name string) {
		m.OwnerReferences = []metav1.OwnerReference{{Kind: kind, Name: name, Controller: new(true)}}
	}
	set := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart-abc"}}
	owned(&set.ObjectMeta, "Deployment", "cart")
	owned(&s.p.ObjectMeta, "ReplicaSet", "cart-abc")
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart"}}
	bare := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "bare", Annotations: map[string]string{annotation.Inject: "true"}}}
	s.s.Webhook.Name = "speedscale-operator"
	c := fake.NewClientset(s.p, set, d, bare, s.s.Namespace, s.s.Webhook, component("speedscale-operator"))
	subject, err := check.LookAtPod(t.Context(), c, "speedscale", "shop", "cart-1")
	if err != nil || subject.Workload == nil || subject.Workload.Ref != cart() || !subject.Surroundings.OperatorReady {
		t.Fatalf("%+v, %v", subject, err)
	}
	if got := subject.Explain(); !strings.Contains(got[0].Reasons[0].Text, "does not ask") {
		t.Errorf("%+v", got)
	}
	if subject, err = check.LookAtPod(t.Context(), c, "speedscale", "shop", "bare"); err != nil || subject.Workload != nil {
		t.Fatalf("%+v, %v", subject, err)
	}
	if got := subject.Explain(); len(got[0].Reasons) != 1 || !strings.Contains(got[0].Reasons[0].Text, "when it was made") {
		t.Errorf("%+v", got)
	}
	if _, err := check.LookAtPod(t.Context(), c, "speedscale", "shop", "gone"); err == nil || !strings.Contains(err.Error(), "pod shop/gone") {
		t.Errorf("got %v", err)
	}
}

// TestWhyNamesWhatASidecarDoesNotSee: Services whose clients look like the node, and
// files that annotations name and that are not there.
func TestWhyNamesWhatASidecarDoesNotSee(t *testing.T) {
	w := newWorld(t)
	w.workload.Annotations[annotation.TLSInSecret] = "typo"
	w.workload.Spec.Template.Labels = map[string]string{"app": "cart"}
	w.more = append(w.more, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Selector: map[string]string{"app": "cart"}},
	})
	bare := cartPod()
	bare.Name = "bare"
	bare.Annotations = map[string]string{annotation.Inject: "true", annotation.TLSInSecret: "typo"}
	w.more = append(w.more, bare)
	want := []string{`service "cart" is a NodePort`, `secret "typo", which the annotation ` + annotation.TLSInSecret + ` names, does not exist`}
	see := func(c *fake.Clientset) (found [][]check.Explanation) {
		t.Helper()
		of, err := check.LookAt(t.Context(), c, "speedscale", cart())
		if err != nil {
			t.Fatal(err)
		}
		pod, err := check.LookAtPod(t.Context(), c, "speedscale", "shop", "bare")
		if err != nil {
			t.Fatal(err)
		}
		return [][]check.Explanation{of.Explain(), pod.Explain()}
	}
	for _, got := range see(w.client()) {
		if len(got) == 0 || len(got[0].Warnings) != len(want) {
			t.Fatalf("%+v, want %q", got, want)
		}
		for i, text := range want {
			if !strings.Contains(got[0].Warnings[i].Text, text) {
				t.Errorf("%q, want %q", got[0].Warnings[i].Text, text)
			}
		}
	}
	for _, o := range []metav1.Object{w.workload, bare} {
		o.SetAnnotations(map[string]string{annotation.Inject: "true", annotation.CaptureNodeTraffic: "true"})
	}
	for _, got := range see(w.client()) {
		if len(got) == 0 || len(got[0].Warnings) > 0 {
			t.Errorf("with node traffic captured: %+v", got)
		}
	}
}

// TestWhyWithoutRightsOverTheCluster: who has those of a namespace only is told what else
// there is to know, and by which right; nothing is concluded from what may not be read.
func TestWhyWithoutRightsOverTheCluster(t *testing.T) {
	w := newWorld(t)
	w.workload.Annotations = nil
	w.pod.Labels, w.pod.Spec.Containers = map[string]string{"app": "cart"}, w.pod.Spec.Containers[1:]
	c := w.client()
	c.PrependReactor("get", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if a.GetNamespace() == "shop" && a.GetResource().Resource != "namespaces" {
			return false, nil, nil
		}
		return true, nil, apierrors.NewForbidden(a.GetResource().GroupResource(), a.(clienttesting.GetAction).GetName(), nil)
	})
	of, err := check.LookAt(t.Context(), c, "speedscale", cart())
	if err != nil {
		t.Fatal(err)
	}
	got := of.Explain()
	if len(got) != 1 || len(got[0].Reasons) != 1 || !strings.Contains(got[0].Reasons[0].Text, "it does not ask for a sidecar") {
		t.Errorf("%+v", got)
	}
	want := []check.Reason{
		{Text: "whether the operator is called for the workload could not be looked at", Hint: "it needs the right to get mutatingwebhookconfigurations"},
		{Text: `whether namespace "shop" is one that the operator is called for could not be looked at`, Hint: "it needs the right to get namespaces"},
		{Text: "whether the operator is ready could not be looked at", Hint: `it needs the right to get deployments in namespace "speedscale"`},
	}
	if diff := cmp.Diff(want, got[0].Unknown); diff != "" {
		t.Error(diff)
	}
	pod, err := check.LookAtPod(t.Context(), c, "speedscale", "shop", "cart-1")
	if err != nil || len(pod.Explain()[0].Unknown) != len(want) {
		t.Errorf("%+v, %v", pod, err)
	}
}

// TestOperatorIsWhereItsWebhooksSay it is, in whatever namespace it was installed.
func TestOperatorIsWhereItsWebhooksSay(t *testing.T) {
	w := newWorld(t)
	w.operator.Namespace = "observability"
	for i := range w.mutating.Webhooks {
		w.mutating.Webhooks[i].ClientConfig.Service.Namespace = "observability"
	}
	s, err := check.Surround(t.Context(), w.client(), "speedscale", "shop")
	if err != nil || !s.OperatorReady || len(s.Lasting())+len(s.Passing()) > 0 {
		t.Errorf("%+v, %v", s, err)
	}
}
