package inject_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/inject"
	"github.com/speedscale/speedscale/cluster/stamp"
)

var update = flag.Bool("update", false, "write the golden files")

// ca is a certificate that nothing trusts (ECDSA P-256, CN=test).
const ca = `-----BEGIN CERTIFICATE-----
MIIBdjCCARugAwIBAgIUIG1rHkuXdavQ9eA5N1KD7LTn/KAwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjIyMjM4MDhaGA8yMTI2MTAyOTIyMzgw
OFowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABN66
58nfxV0dAQ4Idi63RH60xps6TsBSZF7R7o2O6FhIoElc/fi8adA6eWo4qhkub5Qx
xDosVZoJAQuFgBsC/PujUzBRMB0GA1UdDgQWBBQmA/3Q4RM7z4Hdwgz7xabR9/h+
JjAfBgNVHSMEGDAWgBQmA/3Q4RM7z4Hdwgz7xabR9/h+JjAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0kAMEYCIQDsdmve/egmAziUXHqo+ndVbp58uZ+/4VS1
qtQlWUsicQIhAO6vpWj3CZt/k97zTMpuzWvyoHUOwTFjrCOg0z6OiCPV
-----END CERTIFICATE-----
`

// optionsFor are the options for a pod, with the replay that its annotation tells of.
func optionsFor(t *testing.T, pod *corev1.Pod) inject.Options {
	t.Helper()
	o := options()
	if text, ok := pod.Annotations[annotation.Replay]; ok {
		r, err := stamp.ParseReplay(text)
		if err != nil {
			t.Fatal(err)
		}
		o.Replay = &r
	}
	return o
}

func options() inject.Options {
	return inject.Options{
		GoproxyImage: "registry.example/goproxy:v1", InitproxyImage: "registry.example/initproxy:v1",
		Forwarder: "speedscale-forwarder.speedscale.svc:80", ForwarderCA: ca, UpstreamCA: ca,
		Cluster: "test", MaskInSidecar: true, NativeSidecars: true,
	}
}

var cart = inject.Workload{Kind: "Deployment", Name: "cart", Namespace: "shop"}

// read reads a pod whose annotations are its workload's too.
func read(t *testing.T, file string) (*corev1.Pod, annotation.Sidecar) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pod := new(corev1.Pod)
	if err := yaml.UnmarshalStrict(b, pod); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	s, err := annotation.Parse(pod.Annotations)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return pod, s
}

func write(t *testing.T, pod *corev1.Pod) string {
	t.Helper()
	b, err := yaml.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func inputs(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.in.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no inputs: %v", err)
	}
	return files
}

// TestPod compares what becomes of each testdata/NAME.in.yaml with NAME.out.yaml (-update
// writes it): a pod, or the reason of a refusal where the name says so.
func TestPod(t *testing.T) {
	for _, file := range inputs(t) {
		name := strings.TrimSuffix(filepath.Base(file), ".in.yaml")
		t.Run(name, func(t *testing.T) {
			pod, s := read(t, file)
			before := pod.DeepCopy()
			out, err := inject.Pod(pod, cart, s, optionsFor(t, pod))
			if d := cmp.Diff(before, pod); d != "" {
				t.Errorf("the pod itself was changed: %s", d)
			}
			var got string
			refused, is := errors.AsType[*inject.Refused](err)
			switch {
			case is:
				got = string(refused.Reason) + ": " + err.Error() + "\n"
			case err != nil:
				t.Fatal(err)
			default:
				got = write(t, out)
			}
			if is != strings.HasPrefix(name, "refused-") {
				t.Errorf("refused: %v", err)
			}
			golden := filepath.Join("testdata", name+".out.yaml")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestAgain: the API server asks webhooks again when others changed the pod after them.
func TestAgain(t *testing.T) {
	each(t, func(t *testing.T, name string, pod, once *corev1.Pod, s annotation.Sidecar) {
		if inject.Injected(pod) || !inject.Injected(once) {
			t.Errorf("%s: injected is %t before and %t after", name, inject.Injected(pod), inject.Injected(once))
		}
		twice, err := inject.Pod(once, cart, s, optionsFor(t, pod))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		if d := diff(once, twice); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	})
	for _, file := range inputs(t) {
		pod, s := read(t, file)
		once, err := inject.Pod(pod, cart, s, optionsFor(t, pod))
		if err != nil {
			continue
		}
		// Bare pods bring the annotations that were added along.
		if again, err := annotation.Parse(once.Annotations); err != nil || again.Hash() != s.Hash() {
			t.Errorf("%s: the pod's annotations mean something else now: %v", file, err)
		}
	}
	pod, s := read(t, "testdata/transparent.in.yaml")
	once, err := inject.Pod(pod, cart, s, options())
	if err != nil {
		t.Fatal(err)
	}
	s.TLSOut = true
	wantReason(t, inject.ReasonInjectedBefore, once, s, options())
	s.TLSOut = false
	once.Spec.Containers = append(once.Spec.Containers, corev1.Container{Name: "linkerd-proxy"})
	wantReason(t, inject.ReasonMesh, once, s, options())
}

func wantReason(t *testing.T, want inject.Reason, pod *corev1.Pod, s annotation.Sidecar, o inject.Options) {
	t.Helper()
	_, err := inject.Pod(pod, cart, s, o)
	if r, ok := errors.AsType[*inject.Refused](err); !ok || r.Reason != want || !strings.Contains(err.Error(), "deployment shop/cart") {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestAgainInAReplay: a sidecar counts as the replay's only where it routes as that says.
func TestAgainInAReplay(t *testing.T) {
	pod, s := read(t, "testdata/replay.in.yaml")
	o := optionsFor(t, pod)
	once, err := inject.Pod(pod, cart, s, o)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*stamp.Replay){
		"another replay":    func(r *stamp.Replay) { r.ID = "r2" },
		"another target":    func(r *stamp.Replay) { r.Target = "other" },
		"another responder": func(r *stamp.Replay) { r.Responder = "elsewhere:8080" },
		"one mock more":     func(r *stamp.Replay) { r.Mocks = append(slices.Clone(r.Mocks), config.Mock{Key: "cart:more:80"}) },
	} {
		t.Run(name, func(t *testing.T) {
			other := *o.Replay
			change(&other)
			o := o
			o.Replay = &other
			wantReason(t, inject.ReasonInjectedBefore, once, s, o)
		})
	}
	plain, err := inject.Pod(pod, cart, s, options())
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := plain.Labels[annotation.ReplayID]; ok {
		t.Error("a pod without the routing has the label")
	}
	wantReason(t, inject.ReasonInjectedBefore, plain, s, o)
}

func TestOldClusterHasNoNativeSidecars(t *testing.T) {
	o := options()
	o.NativeSidecars = false
	for _, name := range []string{"job", "init-first", "app-native-sidecar"} {
		pod, s := read(t, "testdata/"+name+".in.yaml")
		wantReason(t, inject.ReasonNativeSidecar, pod, s, o)
	}
}

func TestWrongOptions(t *testing.T) {
	pod, s := read(t, "testdata/transparent.in.yaml")
	for want, change := range map[string]func(*inject.Options){
		"images":                          func(o *inject.Options) { o.InitproxyImage = "" },
		`forwarder "speedscale": want`:    func(o *inject.Options) { o.Forwarder = "speedscale" },
		"forwarder's CA: want PEM":        func(o *inject.Options) { o.ForwarderCA = "" },
		"upstream CAs: want PEM":          func(o *inject.Options) { o.UpstreamCA = "x" },
		"upstream CAs: 200000 bytes, wan": func(o *inject.Options) { o.UpstreamCA = strings.Repeat("x", 200_000) },
	} {
		o := options()
		change(&o)
		if _, err := inject.Pod(pod, cart, s, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestChartsResources(t *testing.T) {
	pod, s := read(t, "testdata/transparent.in.yaml")
	o := options()
	o.Resources = corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("20m"), corev1.ResourceMemory: resource.MustParse("1Gi")},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("512Mi")},
	}
	s.CPURequest = new(resource.MustParse("30m"))
	out, err := inject.Pod(pod, cart, s, o)
	if err != nil {
		t.Fatal(err)
	}
	r := out.Spec.Containers[0].Resources
	if got := r.Requests.Cpu().String() + " " + r.Requests.Memory().String() + " " + r.Limits.Memory().String(); got != "30m 512Mi 512Mi" {
		t.Error(got)
	}
}

func TestWorkloadNeedsName(t *testing.T) {
	pod, s := read(t, "testdata/transparent.in.yaml")
	if _, err := inject.Pod(pod, inject.Workload{Kind: "Deployment"}, s, options()); err == nil || !strings.Contains(err.Error(), "no name") {
		t.Error(err)
	}
}
