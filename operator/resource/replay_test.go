package resource_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	kresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/speedscale/speedscale/operator/resource"
)

const replayID = "11111111-2222-3333-4444-555555555555"

func replay() resource.Replay {
	c := config()
	c.Cloud = resource.Cloud{
		CA: "a CA", CAConfigMap: "speedscale-cloud-ca",
		HTTPProxy: "http://proxy.example:80", HTTPSProxy: "http://proxy.example:3128", NoProxy: ".svc",
	}
	c.Images.PullPolicy, c.Images.PullSecrets = corev1.PullAlways, []string{"registry"}
	c.Scheduling = scheduling()
	limits := func(memory string) resource.ComponentConfig {
		return resource.ComponentConfig{Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"memory": kresource.MustParse(memory)}}}
	}
	c.Replay = resource.ReplayConfig{Generator: limits("8Gi"), Responder: limits("512Mi"), Collector: limits("256Mi")}
	return resource.Replay{
		Config: c, Namespace: "shop", Name: "brave-otter", ID: replayID, SnapshotID: "snapshot-1", Secrets: []string{"jwt.key"},
		Owner: metav1.OwnerReference{APIVersion: "speedscale.com/v1", Kind: "TrafficReplay", Name: "pr-42", UID: replayID, Controller: new(true)},
	}
}

func TestReplayObjects(t *testing.T) {
	r := replay()
	one := []resource.Destination{{Key: "checkout:checkout:8080", URL: "speedscale-brave-otter-0.shop.svc:8080", Observed: true}}
	two := append(slices.Clone(one), resource.Destination{Key: "cart:cart:80", URL: "https://cart.example.com"})
	for name, objects := range map[string][]any{
		"replay-secret":     {r.Secret("token", "https://cloud.example", []byte(`{"id":"standard"}`))},
		"replay-responder":  {r.ResponderDeployment([]string{"checkout:api.stripe.com:443", "checkout:db:5432"}), r.ResponderService()},
		"replay-collector":  {r.CollectorDeployment("replay.speedscale.com/id=" + replayID), r.CollectorAccount(), r.CollectorBinding()},
		"replay-generator":  {r.GeneratorJob(one, 1, 20*time.Minute), r.TargetService("0", r.Routed("0"), []int32{8080, 9090})},
		"replay-generators": {r.GeneratorJob(two, 3, time.Millisecond)},
	} {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			for _, o := range objects {
				text, err := yaml.Marshal(o)
				if err != nil {
					t.Fatal(err)
				}
				got.WriteString("---\n")
				got.Write(text)
			}
			file := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The Service by which requests are sent never means a pod of the replay's own, and
// the selector of a Deployment means its own pods.
func TestReplaySelectors(t *testing.T) {
	r := replay()
	target := labels.SelectorFromSet(r.TargetService("0", r.Routed("0"), []int32{80}).Spec.Selector)
	for _, d := range []metav1.LabelSelector{
		*r.ResponderDeployment(nil).Spec.Selector, *r.CollectorDeployment("a").Spec.Selector,
	} {
		if target.Matches(labels.Set(d.MatchLabels)) {
			t.Errorf("requests are sent to %v", d.MatchLabels)
		}
	}
	pod := labels.Set(r.ResponderDeployment(nil).Spec.Template.Labels)
	if !labels.SelectorFromSet(r.ResponderDeployment(nil).Spec.Selector.MatchLabels).Matches(pod) || !labels.SelectorFromSet(r.ResponderService().Spec.Selector).Matches(pod) {
		t.Errorf("the responder's pods are not selected: %v", pod)
	}
	if target.Matches(labels.Set(r.GeneratorJob(nil, 1, 0).Spec.Template.Labels)) {
		t.Error("the generator sends to itself")
	}
}

func TestReplayNames(t *testing.T) {
	form := regexp.MustCompile(`^[a-z]+-[a-z]+$`)
	seen := map[string]bool{}
	for attempt := range 1000 {
		name := resource.ReplayName(replayID, attempt)
		if !form.MatchString(name) || name != resource.ReplayName(replayID, attempt) {
			t.Fatalf("attempt %d is %q", attempt, name)
		}
		r := resource.Replay{Name: name}
		for _, full := range []string{r.NameOf(resource.Generator), r.TargetName("16")} {
			if wrong := validation.IsDNS1035Label(full); len(wrong) > 0 || len(full) > 52 { // a Job's pods have 11 more
				t.Fatalf("%q is no name: %v", full, wrong)
			}
		}
		seen[name] = true
	}
	if len(seen) < 900 {
		t.Errorf("1000 attempts have %d names", len(seen))
	}
}
