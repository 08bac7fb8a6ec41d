package install_test

import (
	"context"
	"maps"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/helm"
	"github.com/speedscale/speedscale/cluster/install"
)

// releases are Helm's: the values by name.
type releases map[string]map[string]any

func (r releases) Apply(_ context.Context, x helm.Release, _ time.Duration) (notes string, err error) {
	r[x.Name] = maps.Clone(x.Values)
	return "", nil
}

func (r releases) Values(name, _ string) (values map[string]any, found bool, err error) {
	values, found = r[name]
	return values, found, nil
}

func (r releases) Uninstall(name, _ string, _ time.Duration) (found bool, err error) {
	_, found = r[name]
	delete(r, name)
	return found, nil
}

// installing is a cluster with what an operator makes, and options by which only that is
// installed.
func installing(t *testing.T, objects ...runtime.Object) (*fake.Clientset, install.Options) {
	t.Helper()
	c := newCluster()
	for _, o := range append(objects, deploymentOf("speedscale-operator", "new", 1)) {
		if err := c.Tracker().Add(o); err != nil {
			t.Fatal(err)
		}
	}
	return c, install.Options{
		Namespace: "a", CloudNamespace: "b", AppURL: "https://cloud.example", APIKey: "sp_1",
		Charts: os.DirFS("../../charts"), Timeout: time.Minute,
	}
}

// deploymentOf has settings with that hash, and a pod that is ready or not.
func deploymentOf(name, hash string, ready int32) *appsv1.Deployment {
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name, Annotations: map[string]string{annotation.ControlPlane: hash}},
		Spec:       appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}},
		Status:     appsv1.DeploymentStatus{Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: ready},
	}
	d.Spec.Template.Annotations = map[string]string{annotation.ControlPlane: hash}
	return d
}

func settings(name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name}, Data: data}
}

// TestReadyIsAllThatTheOperatorMakes, and nothing that is switched off.
func TestReadyIsAllThatTheOperatorMakes(t *testing.T) {
	pending := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "forwarder-x", Labels: map[string]string{"app": "speedscale-forwarder"}},
		Status: corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "pod has unbound immediate PersistentVolumeClaims"},
		}},
	}
	all := map[string]string{"WITH_INSPECTOR": "true", "DEPLOY_DEMO": "java"}
	none := map[string]string{"WITH_INSPECTOR": "false", "DEPLOY_DEMO": ""}
	forwarder := deploymentOf("speedscale-forwarder", "new", 1)
	for name, tt := range map[string]struct {
		want    string
		objects []runtime.Object
	}{
		"all of it": {"", []runtime.Object{settings("speedscale-operator", all), forwarder, deploymentOf("speedscale-inspector", "new", 1),
			deploymentOf("java-server", "new", 1), deploymentOf("java-client", "new", 1)}},
		"switched off":    {"", []runtime.Object{settings("speedscale-operator", none), forwarder}},
		"overridden":      {"", []runtime.Object{settings("speedscale-operator", all), settings("speedscale-operator-override", none), forwarder}},
		"a pending pod":   {"speedscale-forwarder is not rolled out after 1m0s: 1 of 1 pods are new, 0 ready; pod \"forwarder-x\": it is not scheduled: pod has unbound", []runtime.Object{settings("speedscale-operator", none), deploymentOf("speedscale-forwarder", "new", 0), pending}},
		"of old settings": {"the operator has not made deployment a/speedscale-forwarder of its settings after 1m0s", []runtime.Object{settings("speedscale-operator", none), deploymentOf("speedscale-forwarder", "old", 1)}},
		"no inspector":    {"the operator has not made deployment a/speedscale-inspector", []runtime.Object{settings("speedscale-operator", all), forwarder}},
		"no demo":         {"the operator has not made deployment a/java-server", []runtime.Object{settings("speedscale-operator", map[string]string{"DEPLOY_DEMO": "java"}), forwarder}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, o := installing(t, tt.objects...)
				var said strings.Builder
				o.Progress = func(step string) { said.WriteString(step + "\n") }
				there := releases{}
				for _, do := range []func() error{
					func() error { _, err := install.Run(t.Context(), c, there, o); return err }, func() error { _, err := install.Upgrade(t.Context(), c, there, o); return err },
				} {
					if err := do(); tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
						t.Errorf("got %v, want %q", err, tt.want)
					}
				}
				if !strings.Contains(said.String(), "waiting for speedscale-forwarder\n") {
					t.Errorf("it says %q", &said)
				}
			})
		})
	}
}

// TestReadyWaitsForWhatIsMadeLate: the operator makes its objects after it is ready itself.
func TestReadyWaitsForWhatIsMadeLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, o := installing(t, settings("speedscale-operator", nil))
		start := time.Now()
		time.AfterFunc(20*time.Second, func() {
			if err := c.Tracker().Add(deploymentOf("speedscale-forwarder", "new", 1)); err != nil {
				t.Error(err)
			}
		})
		if _, err := install.Run(t.Context(), c, releases{}, o); err != nil || time.Since(start) < 20*time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}

// TestANewKeyIsInTheValues: what reads the operator's Secret is made anew when that has
// another key or address, and only then; the key itself is in no value.
func TestANewKeyIsInTheValues(t *testing.T) {
	c, o := installing(t, settings("speedscale-operator", nil), deploymentOf("speedscale-forwarder", "new", 1))
	there, seen := releases{}, map[any]string{}
	for _, key := range []string{"sp_1", "sp_2", "sp_1"} {
		o.APIKey = key
		if _, err := install.Run(t.Context(), c, there, o); err != nil {
			t.Fatal(err)
		}
		hash := there["speedscale-operator"]["apiKeyHash"]
		if was, ok := seen[hash]; hash == "" || ok && was != key || strings.Contains(hash.(string), key) {
			t.Errorf("the hash of %s is %q", key, hash)
		}
		seen[hash] = key
		if _, err := install.Upgrade(t.Context(), c, there, o); err != nil || there["speedscale-operator"]["apiKeyHash"] != hash {
			t.Errorf("the upgrade has %v (%v), want %v", there, err, hash)
		}
	}
	if len(seen) != 2 {
		t.Errorf("2 keys have the hashes %v", seen)
	}
}

// TestUpgradeKeepsTheValuesThatWereGiven, those that speedctl sets by itself too: only
// what is given now replaces them.
func TestUpgradeKeepsTheValuesThatWereGiven(t *testing.T) {
	for want, given := range map[string]map[string]any{"mine": nil, "newer": {"apiKeySecret": "newer"}} {
		c, o := installing(t, settings("speedscale-operator", nil), deploymentOf("speedscale-forwarder", "new", 1),
			secretNamed("a", want, install.EntryKey, install.EntryURL))
		o.OperatorValues = given
		there := releases{"speedscale-operator": {"apiKeySecret": "mine", "logLevel": "debug"}}
		if _, err := install.Upgrade(t.Context(), c, there, o); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(releases{"speedscale-operator": {"apiKeySecret": want, "logLevel": "debug"}}, there); diff != "" {
			t.Errorf("given %v (-want +got):\n%s", given, diff)
		}
	}
}

// TestUpgradeNamesATagThatItKeeps: images stay as that says, whatever the version is.
func TestUpgradeNamesATagThatItKeeps(t *testing.T) {
	tag := func(text string) map[string]any { return map[string]any{"image": map[string]any{"tag": text}} }
	for name, tt := range map[string]struct {
		old, given map[string]any
		want       string
	}{
		"none":       {nil, nil, ""},
		"another":    {tag("v1"), nil, "speedscale-operator has the images v1, by its value image.tag, and not v2: --set image.tag= takes these"},
		"the same":   {tag("v2"), nil, ""},
		"given":      {tag("v1"), tag("v3"), ""},
		"taken back": {tag("v1"), tag(""), ""},
	} {
		c, o := installing(t, settings("speedscale-operator", nil), deploymentOf("speedscale-forwarder", "new", 1))
		var said string
		o.Version, o.OperatorValues, o.Warn = "v2", tt.given, func(text string) { said += text }
		if _, err := install.Upgrade(t.Context(), c, releases{"speedscale-operator": tt.old}, o); err != nil {
			t.Fatal(err)
		}
		if said != tt.want {
			t.Errorf("%s: it says %q, want %q", name, said, tt.want)
		}
	}
}
