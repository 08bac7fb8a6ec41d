package install_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/speedscale/speedscale/cluster/install"
)

// byHelm gives an object what Helm does, for a release of that name.
func byHelm(m metav1.ObjectMeta, release string) metav1.ObjectMeta {
	m.Annotations = map[string]string{"meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": m.Namespace}
	return m
}

func operatorOf(namespace, release string) *appsv1.Deployment {
	d := operatorIn(namespace)
	d.ObjectMeta = byHelm(d.ObjectMeta, release)
	return d
}

func cloudOf(namespace, release string) *appsv1.StatefulSet {
	m := meta("speedscale-cloud", "app.kubernetes.io/name", "speedscale-cloud")
	m.Namespace = namespace
	return &appsv1.StatefulSet{ObjectMeta: byHelm(m, release)}
}

// operatorSecret is that of namespace a.
func operatorSecret(url string) *corev1.Secret {
	m := meta("speedscale-api-key")
	m.Namespace = "a"
	return &corev1.Secret{ObjectMeta: m, Data: map[string][]byte{install.EntryKey: []byte("sp_1"), install.EntryURL: []byte(url)}}
}

// inNamespaceA has what an operator of namespace a makes, and storage for a cloud.
func inNamespaceA(t *testing.T, objects ...runtime.Object) (*fake.Clientset, install.Options) {
	t.Helper()
	c, o := installing(t, append(objects, settings("speedscale-operator", nil), deploymentOf("speedscale-forwarder", "new", 1), standardClass(false))...)
	o.AppURL, o.APIKey, o.CloudNamespace, o.NewKey = "", "", "", func() string { return "sp_new" }
	return c, o
}

// TestInstallResetsNoValues: what was given once stays when it is repeated, a cloud elsewhere
// too, unless that is asked for.
func TestInstallResetsNoValues(t *testing.T) {
	c, o := inNamespaceA(t)
	there := releases{}
	elsewhere := o
	elsewhere.AppURL, elsewhere.APIKey = "https://cloud.example", "sp_far"
	elsewhere.OperatorValues = map[string]any{"dashboardAccess": false, "dlp": map[string]any{"config": "mine"}}
	if _, err := install.Run(t.Context(), c, there, elsewhere); err != nil {
		t.Fatal(err)
	}
	first := maps.Clone(there["speedscale-operator"])
	done, err := install.Run(t.Context(), c, there, o)
	if err != nil || done.AppURL != "https://cloud.example" {
		t.Errorf("it sends to %q (%v)", done.AppURL, err)
	}
	if diff := cmp.Diff(first, there["speedscale-operator"]); diff != "" || len(there) != 1 {
		t.Errorf("releases are %v (-first +second):\n%s", slices.Sorted(maps.Keys(there)), diff)
	}
	secret, err := c.CoreV1().Secrets("a").Get(t.Context(), "speedscale-api-key", metav1.GetOptions{})
	if err != nil || string(secret.Data[install.EntryKey]) != "sp_far" {
		t.Errorf("the operator has %q (%v)", secret.Data, err)
	}

	o.CloudValues = map[string]any{"tls": map[string]any{"secret": "mine"}}
	if _, err := install.Run(t.Context(), c, there, o); err == nil || !strings.Contains(err.Error(), `"https://cloud.example"`) {
		t.Errorf("values for a cloud that is not there: %v", err)
	}
	o.ResetValues = true
	if _, err := install.Run(t.Context(), c, there, o); err != nil {
		t.Fatal(err)
	}
	if v := there["speedscale-operator"]; v["dlp"] != nil || v["appUrl"] != nil || there["speedscale-cloud"] == nil {
		t.Errorf("after --reset-values there are %v", there)
	}
	// The cloud's values say where it is.
	o.ResetValues, o.CloudValues = false, nil
	if _, err := install.Run(t.Context(), c, there, o); err != nil {
		t.Fatal(err)
	}
	if secret, err = c.CoreV1().Secrets("a").Get(t.Context(), "speedscale-api-key", metav1.GetOptions{}); err != nil || string(secret.Data[install.EntryURL]) != "https://speedscale-cloud.speedscale-cloud.svc:80" {
		t.Errorf("the operator has %q (%v)", secret.Data, err)
	}
}

// TestAnAuthorityIsOfItsCloud: another cloud elsewhere is not verified by the one from before.
func TestAnAuthorityIsOfItsCloud(t *testing.T) {
	c, o := inNamespaceA(t)
	there := releases{"speedscale-operator": {"appUrl": "https://one.example", "appCA": "-----BEGIN CERTIFICATE-----"}}
	o.AppURL, o.APIKey = "https://two.example", "sp_2"
	if _, err := install.Run(t.Context(), c, there, o); err != nil {
		t.Fatal(err)
	}
	if v := there["speedscale-operator"]; v["appCA"] != "" || v["appUrl"] != "https://two.example" {
		t.Errorf("values are %v", v)
	}
}

// TestInstallTakesNothingOver: what is installed in another namespace, or by something else, is
// named with what to do, and nothing is made.
func TestInstallTakesNothingOver(t *testing.T) {
	const release, cloud = "speedscale-operator", "speedscale-cloud"
	for name, tt := range map[string]struct {
		objects    []runtime.Object
		cloud      string
		want, hint string
	}{
		"operator elsewhere":     {[]runtime.Object{operatorOf("tools", release)}, "", `an operator is in namespace "tools"`, "-n tools"},
		"operator of Argo CD":    {[]runtime.Object{operatorIn("b")}, "", `the operator in namespace "b" is of no release "speedscale-operator"`, "speedctl works with it"},
		"operator by plain Helm": {[]runtime.Object{operatorOf("b", "mine")}, "", `the operator in namespace "b" is of no release`, ""},
		"cloud elsewhere":        {[]runtime.Object{cloudOf("tools", cloud)}, "b", `no cloud is in namespace "b": it is in tools`, "--cloud-namespace tools"},
		"cloud by plain Helm":    {[]runtime.Object{cloudOf("b", "mine")}, "b", `the cloud in namespace "b" is of no release`, "--app-url"},
		"two clouds":             {[]runtime.Object{cloudOf("a", cloud), cloudOf("tools", cloud)}, "", `there are clouds in the namespaces a, tools`, "--cloud-namespace"},
	} {
		c := newCluster()
		for _, object := range append(tt.objects, standardClass(false)) {
			if err := c.Tracker().Add(object); err != nil {
				t.Fatal(err)
			}
		}
		_, o := inNamespaceA(t)
		o.Namespace, o.CloudNamespace = "b", tt.cloud
		there := releases{}
		_, err := install.Run(t.Context(), c, there, o)
		refused, is := errors.AsType[*install.RefusedError](err)
		if !is || !strings.Contains(err.Error(), tt.want) || !strings.Contains(refused.Hint, tt.hint) {
			t.Errorf("%s: %#v", name, err)
		}
		if list := made(c); len(list) > 0 || len(there) > 0 {
			t.Errorf("%s: it did %v, releases are %v", name, list, there)
		}
	}
}

// TestTheCloudsNamespaceIsFound: by what the operator sends to, by the cloud, or by what an
// uninstalled one has left.
func TestTheCloudsNamespaceIsFound(t *testing.T) {
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: meta("data-speedscale-cloud-0", "app.kubernetes.io/name", "speedscale-cloud", "app.kubernetes.io/instance", "speedscale-cloud")}
	claim.Namespace = "obs"
	cloud := cloudOf("obs", "speedscale-cloud")
	for name, tt := range map[string]struct {
		objects []runtime.Object
		want    string
	}{
		"by the Secret":     {[]runtime.Object{operatorSecret("http://speedscale-cloud.obs.svc:8080")}, "obs"},
		"of several":        {[]runtime.Object{operatorSecret("http://speedscale-cloud.obs.svc"), cloud, cloudOf("b", "speedscale-cloud")}, "obs"},
		"by the cloud":      {[]runtime.Object{cloud}, "obs"},
		"by its volume":     {[]runtime.Object{claim}, "obs"},
		"nothing is there":  {nil, "speedscale-cloud"},
		"of something else": {[]runtime.Object{cloudOf("tools", "mine")}, "speedscale-cloud"},
	} {
		c, o := inNamespaceA(t, tt.objects...)
		o, err := install.FindCloud(t.Context(), c, releases{}, o)
		if err != nil || o.CloudNamespace != tt.want || o.AppURL != "" {
			t.Errorf("%s: %q, %q, %v", name, o.CloudNamespace, o.AppURL, err)
		}
	}
	// Upgrade finds it too: it was left out, without a word.
	cloud.Spec.VolumeClaimTemplates = cloudWith("20Gi").Spec.VolumeClaimTemplates
	c, o := inNamespaceA(t, cloud, operatorSecret("http://speedscale-cloud.obs.svc"))
	there := releases{"speedscale-operator": {}, "speedscale-cloud": {}}
	if done, err := install.Upgrade(t.Context(), c, there, o); err != nil || done.CloudNamespace != "obs" {
		t.Errorf("the upgrade has %q (%v)", done.CloudNamespace, err)
	}
}

// TestWhoMayNotLookEverywhere looks at the namespace that is meant.
func TestWhoMayNotLookEverywhere(t *testing.T) {
	c, o := inNamespaceA(t)
	c.PrependReactor("list", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if a.GetNamespace() == "" && slices.Contains([]string{"deployments", "statefulsets", "persistentvolumeclaims"}, a.GetResource().Resource) {
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: a.GetResource().Resource}, "", nil)
		}
		return false, nil, nil
	})
	if _, err := install.Run(context.WithoutCancel(t.Context()), c, releases{}, o); err != nil {
		t.Error(err)
	}
}

// TestVolumeOfSomethingElseStays: --delete-data is about the cloud that speedctl installed.
func TestVolumeOfSomethingElseStays(t *testing.T) {
	c, o := inNamespaceA(t, cloudOf("obs", "mine"))
	o.CloudNamespace = "obs"
	_, err := install.Remove(t.Context(), c, releases{}, o, true)
	if err == nil || !strings.Contains(err.Error(), `the cloud in namespace "obs" is of no release`) {
		t.Errorf("got %v", err)
	}
	if list := made(c); len(list) > 0 {
		t.Errorf("it did %v", list)
	}
}
