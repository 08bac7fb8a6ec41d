package webhook_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterinject "github.com/speedscale/speedscale/cluster/inject"
	"github.com/speedscale/speedscale/cluster/stamp"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/operator/webhook"
)

// certificate is any certificate in PEM form.
func certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func pods(t *testing.T) webhook.Pods {
	t.Helper()
	o := clusterinject.Options{
		GoproxyImage: "registry.example/goproxy:1", InitproxyImage: "registry.example/initproxy:1",
		Forwarder: "speedscale-forwarder.speedscale.svc:80", ForwarderCA: certificate(t), Cluster: "test", NativeSidecars: true,
	}
	return webhook.Pods{
		Instance: "test", Logger: discard(), Options: func() clusterinject.Options { return o },
		Running:   func(context.Context, stamp.Replay) bool { return true },
		Withdrawn: func(context.Context, string, client.ObjectKey) string { return "" },
		Refused:   func(client.ObjectKey) {},
	}
}

// pod is a manifest of a pod with annotations and owners. It has fields that no
// version of the types knows.
func pod(annotations, owners, spec string) string {
	return `
apiVersion: v1
kind: Pod
metadata:
  generateName: checkout-7d9-
  annotations: {` + annotations + `}
  ownerReferences: [` + owners + `]
  futureMeta: {a: 1}
spec:
  ` + spec + `
  futureSpec: [{x: 12345678901234567}]
  containers:
  - name: app
    image: checkout:1
    futureField: {deep: [1, 2]}
    ports: [{containerPort: 8080, protocol: TCP}, {containerPort: 8080, protocol: UDP}]
  - name: other
    image: other:1
    futureField: second
`
}

const replicaSet = "{apiVersion: apps/v1, kind: ReplicaSet, name: checkout-7d9, uid: x, controller: true}"

func stamped(t *testing.T, annotations map[string]string) string {
	t.Helper()
	return annotation.Stamp + ": '" + stampOf(t, "Deployment", annotations) + "'"
}

func decodePod(t *testing.T, text []byte) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{}
	if err := json.Unmarshal(text, p); err != nil {
		t.Fatal(err)
	}
	return p
}

func env(c corev1.Container, name string) string {
	for _, v := range c.Env {
		if v.Name == name {
			return v.Value
		}
	}
	return ""
}

func TestPodOfStampedTemplateIsInjectedWithItsSettings(t *testing.T) {
	req := create(t, pod(stamped(t, map[string]string{annotation.TLSOut: "true", annotation.ProxyOutPort: "5140"}), replicaSet, "nodeName: worker"))
	p := pods(t)
	out := apply(t, req, p.Handle(t.Context(), req))
	got := decodePod(t, out)
	if len(got.Spec.Containers) != 3 || got.Spec.Containers[0].Name != clusterinject.Goproxy {
		t.Fatalf("containers are %v", names(got))
	}
	goproxy := got.Spec.Containers[0]
	if s := env(goproxy, "APP_LABEL"); s != "checkout" {
		t.Errorf("service %q, want the workload's name", s)
	}
	if port := env(goproxy, "PROXY_OUT_PORT"); port != "5140" {
		t.Errorf("out port %q, want the annotation's", port)
	}
	if got.Annotations[annotation.Refused] != "" {
		t.Error("refused: " + got.Annotations[annotation.Refused])
	}
	// The fields of a newer API server are still there, each where it was.
	doc := tree(t, out)
	spec := doc["spec"].(map[string]any)
	containers := spec["containers"].([]any)
	if doc["metadata"].(map[string]any)["futureMeta"] == nil || spec["futureSpec"] == nil ||
		containers[1].(map[string]any)["futureField"] == nil || containers[2].(map[string]any)["futureField"] != "second" {
		t.Errorf("unknown fields are gone: %v", doc)
	}
	if !strings.Contains(string(out), "12345678901234567") {
		t.Error("a large number changed")
	}
	if ports := got.Spec.Containers[1].Ports; len(ports) != 2 {
		t.Errorf("ports of the app are %v", ports)
	}
	// Asked again, as the API server does after others' changes, nothing changes.
	again := withObject(req, string(out))
	if resp := p.Handle(t.Context(), again); len(resp.Patches) > 0 || !resp.Allowed {
		t.Errorf("the second call patches %v", resp.Patches)
	}
}

func names(p *corev1.Pod) (out []string) {
	for _, c := range p.Spec.Containers {
		out = append(out, c.Name)
	}
	return out
}

func TestRefusedPodStartsAsItIs(t *testing.T) {
	for name, c := range map[string]struct{ annotations, spec, want string }{
		"host network":    {stamped(t, map[string]string{}), "hostNetwork: true", "hostNetwork"},
		"damaged stamp":   {annotation.Stamp + ": damaged", "nodeName: worker", annotation.Stamp},
		"unknown setting": {annotation.Stamp + `: '{"hash":"a","kind":"Job","name":"b","settings":{"sidecar.speedscale.com/new":"1"}}'`, "nodeName: worker", "sidecar.speedscale.com/new"},
	} {
		t.Run(name, func(t *testing.T) {
			req := create(t, pod(c.annotations, replicaSet, c.spec))
			resp := pods(t).Handle(t.Context(), req)
			out := apply(t, req, resp)
			got := tree(t, out)
			notes := got["metadata"].(map[string]any)["annotations"].(map[string]any)
			reason, _ := notes[annotation.Refused].(string)
			if !strings.Contains(reason, c.want) {
				t.Errorf("reason %q does not say %q", reason, c.want)
			}
			if len(resp.Warnings) == 0 {
				t.Error("no warning")
			}
			delete(notes, annotation.Refused)
			text, err := json.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, req.Object.Raw, text)
		})
	}
}

func TestPodIsNotInjectedWithoutTheForwardersCertificate(t *testing.T) {
	p := pods(t)
	p.Options = func() clusterinject.Options { return clusterinject.Options{Forwarder: "f:80"} }
	// Nothing final is written on it: the pod is made anew later.
	req := create(t, pod(stamped(t, map[string]string{}), replicaSet, "nodeName: worker"))
	if resp := p.Handle(t.Context(), req); !resp.Allowed || len(resp.Patches) > 0 || len(resp.Warnings) != 1 || !strings.Contains(resp.Warnings[0], "CA") {
		t.Errorf("answered %+v", resp)
	}
	// In a replay it is made later only: without routing it would call the real dependencies.
	if resp := p.Handle(t.Context(), create(t, pod(inReplay, replicaSet, "nodeName: worker"))); resp.Allowed || !strings.Contains(resp.Result.Message, "cannot route pods yet") {
		t.Errorf("in a replay, answered %+v", resp)
	}
}

func TestBarePods(t *testing.T) {
	req := create(t, strings.Replace(pod(inject+", sidecar.speedscale.com/tls-out: 'true'", "", "nodeName: worker"), "image: other:1", "image: other:1\n    envFrom: [{secretRef: {name: settings}}]", 1))
	if resp := pods(t).Handle(t.Context(), req); len(resp.Warnings) != 1 || !strings.Contains(resp.Warnings[0], `container "other" has envFrom`) {
		t.Errorf("warnings are %q", resp.Warnings)
	}
	req = create(t, pod(inject, "", "nodeName: worker"))
	got := decodePod(t, apply(t, req, pods(t).Handle(t.Context(), req)))
	if got.Spec.Containers[0].Name != clusterinject.Goproxy || env(got.Spec.Containers[0], "APP_LABEL") != "checkout-7d9" {
		t.Errorf("containers %v", names(got))
	}
	req = create(t, pod(inject+", sidecar.speedscale.com/proxy-type: sideways", "", "nodeName: worker"))
	if resp := pods(t).Handle(t.Context(), req); resp.Allowed || !strings.Contains(resp.Result.Message, annotation.ProxyType) {
		t.Errorf("a wrong annotation of a pod by itself is taken: %v", resp)
	}
}

// TestBarePodThatIsRefusedIsPassedOn: an event tells of it. Those of workloads are told of elsewhere.
func TestBarePodThatIsRefusedIsPassedOn(t *testing.T) {
	const onHost = "hostNetwork: true"
	named := func(manifest string) string {
		return strings.Replace(manifest, "generateName: checkout-7d9-", "name: alone", 1)
	}
	dry := create(t, named(pod(inject, "", onHost)))
	dry.DryRun = new(true)
	for name, c := range map[string]struct {
		req  webhookRequest
		want string
	}{
		"by itself":       {create(t, named(pod(inject, "", onHost))), "alone"},
		"asked again":     {create(t, named(pod(inject+`, operator.speedscale.com/refused: "it said so"`, "", onHost))), ""},
		"dry run":         {dry, ""},
		"of a workload":   {create(t, named(pod(stamped(t, map[string]string{}), replicaSet, onHost))), ""},
		"without a name":  {create(t, pod(inject, "", onHost)), ""},
		"with a sidecar":  {create(t, named(pod(inject, "", "nodeName: worker"))), ""},
		"asks for no one": {create(t, named(pod("", "", onHost))), ""},
	} {
		t.Run(name, func(t *testing.T) {
			var got string
			p := pods(t)
			p.Refused = func(key client.ObjectKey) { got += key.Name }
			if resp := p.Handle(t.Context(), c.req); !resp.Allowed || got != c.want {
				t.Errorf("allowed %v, passed on %q, want %q", resp.Allowed, got, c.want)
			}
		})
	}
}

func TestPodsThatAreLeftAlone(t *testing.T) {
	plain := pod(stamped(t, map[string]string{}), replicaSet, "nodeName: worker")
	for name, req := range map[string]webhookRequest{
		"no stamp":            create(t, pod("", replicaSet, "nodeName: worker")),
		"bare, not annotated": create(t, pod("", "", "nodeName: worker")),
		"bare and ignored":    create(t, pod(inject+`, operator.speedscale.com/ignore: "true"`, "", "nodeName: worker")),
		"bare, another's":     create(t, pod(inject+`, operator.speedscale.com/managed-by: other`, "", "nodeName: worker")),
		"kube-system":         inNamespace(create(t, plain), "kube-system"),
		"update":              update(t, plain, plain),
		"not a pod":           withObject(create(t, plain), `{"spec": 7}`),
	} {
		t.Run(name, func(t *testing.T) {
			if resp := pods(t).Handle(t.Context(), req); !resp.Allowed || len(resp.Patches) > 0 {
				t.Errorf("allowed %v with %v, want nothing done", resp.Allowed, resp.Patches)
			}
		})
	}
}

// TestAnnotationsOfPodsThatDoNothing: a warning says where they belong.
func TestAnnotationsOfPodsThatDoNothing(t *testing.T) {
	plain, asks := pod("", "", "nodeName: worker"), pod(inject, "", "nodeName: worker")
	for name, c := range map[string]struct {
		req  webhookRequest
		want string // "" is no warning
	}{
		"of a template":               {create(t, pod(inject, replicaSet, "nodeName: worker")), "put them on the workload itself: " + annotation.Inject},
		"of a pod that is there":      {update(t, plain, asks), "make the pod anew with them: " + annotation.Inject},
		"of a workload's, that is":    {update(t, pod("", replicaSet, "nodeName: worker"), pod(inject, replicaSet, "nodeName: worker")), "put them on the workload that it is of"},
		"changed elsewhere":           {update(t, asks, strings.Replace(asks, "checkout:1", "checkout:2", 1)), ""},
		"of a pod that has a sidecar": {create(t, pod(inject+", "+stamped(t, map[string]string{}), replicaSet, "nodeName: worker")), ""},
	} {
		resp := pods(t).Handle(t.Context(), c.req)
		if got := strings.Join(resp.Warnings, "\n"); !resp.Allowed || c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if c.want != "" && len(resp.Patches) > 0 {
			t.Errorf("%s: it is changed: %v", name, resp.Patches)
		}
	}
}

const inReplay = annotation.Replay + `: '{"id":"r1","name":"shop/pr-42","target":"0","kind":"StatefulSet","workload":"checkout","responder":"r.shop.svc:8080","mocks":[{"key":"checkout:db.shop:5432"}]}'`

func TestPodInAReplayIsRouted(t *testing.T) {
	for name, c := range map[string]struct{ annotations, port string }{
		"without a stamp": {inReplay, "4140"},
		"with its stamp":  {inReplay + ", " + stamped(t, map[string]string{annotation.ProxyOutPort: "5140"}), "5140"},
	} {
		t.Run(name, func(t *testing.T) {
			req := create(t, pod(c.annotations, replicaSet, "nodeName: worker"))
			p := pods(t)
			out := apply(t, req, p.Handle(t.Context(), req))
			got := decodePod(t, out)
			goproxy := got.Spec.Containers[0]
			if goproxy.Name != clusterinject.Goproxy || env(goproxy, "REPLAY_ID") != "r1" || env(goproxy, "REPLAY_MOCKS") != "checkout:db.shop:5432" ||
				env(goproxy, "APP_LABEL") != "checkout" || env(goproxy, "PROXY_OUT_PORT") != c.port {
				t.Errorf("container %s has %v", goproxy.Name, goproxy.Env)
			}
			if got.Labels[annotation.ReplayID] != "r1" || got.Labels[annotation.ReplayTarget] != "0" {
				t.Errorf("labels are %v", got.Labels)
			}
			again := withObject(req, string(out))
			if resp := p.Handle(t.Context(), again); len(resp.Patches) > 0 || !resp.Allowed {
				t.Errorf("the second call patches %v", resp.Patches)
			}
		})
	}
}

// TestPodThatCannotBeRoutedHasNoLabels: no request of the replay comes to it.
func TestPodThatCannotBeRoutedHasNoLabels(t *testing.T) {
	p := pods(t)
	req := create(t, pod(inReplay, replicaSet, "nodeName: worker"))
	routed := apply(t, req, p.Handle(t.Context(), req))
	for name, req := range map[string]webhookRequest{
		"host network":   create(t, pod(inReplay, replicaSet, "hostNetwork: true")),
		"damaged":        create(t, pod(annotation.Replay+": damaged", replicaSet, "nodeName: worker")),
		"bare, damaged":  create(t, pod(annotation.Replay+": damaged", "", "nodeName: worker")),
		"a mesh's later": withObject(req, strings.Replace(string(routed), `"name":"other"`, `"name":"linkerd-proxy"`, 1)),
	} {
		t.Run(name, func(t *testing.T) {
			resp := p.Handle(t.Context(), req)
			if !resp.Allowed {
				t.Fatalf("the pod is not let in: %v", resp.Result)
			}
			got := decodePod(t, apply(t, req, resp))
			if _, ok := got.Labels[annotation.ReplayID]; ok || got.Annotations[annotation.Refused] == "" {
				t.Errorf("labels %v, reason %q", got.Labels, got.Annotations[annotation.Refused])
			}
		})
	}
}

// TestPodOfAnAmbientNamespace has no label of its own that says so.
func TestPodOfAnAmbientNamespace(t *testing.T) {
	for name, annotations := range map[string]string{"stamped": stamped(t, map[string]string{}), "bare": inject, "in a replay": inReplay} {
		owner := replicaSet
		if name == "bare" {
			owner = ""
		}
		req := create(t, pod(annotations, owner, "nodeName: worker"))
		noted := withObject(req, string(apply(t, req, webhook.Ambient{}.Handle(t.Context(), req))))
		if resp := (webhook.Ambient{}).Handle(t.Context(), noted); len(resp.Patches) > 0 {
			t.Errorf("%s: it is noted twice: %v", name, resp.Patches)
		}
		got := decodePod(t, apply(t, noted, pods(t).Handle(t.Context(), noted)))
		if len(got.Spec.Containers) != 2 || !strings.Contains(got.Annotations[annotation.Refused], "service mesh (istio.io/dataplane-mode=ambient of its namespace)") {
			t.Errorf("%s: containers %v, reason %q", name, names(got), got.Annotations[annotation.Refused])
		}
	}
}
