package install_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/version"
	fakediscovery "k8s.io/client-go/discovery/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/speedscale/speedscale/cluster/install"
)

func TestSupported(t *testing.T) {
	for v, want := range map[string]string{
		"v1.30.0": "", "v1.37.2+k3s1": "", "v1.30.14-eks-abcd": "", "v2.0.0": "",
		"v1.29.15": "1.29.15: want 1.30 or newer", "v1.9.0": "want 1.30", "": "version",
	} {
		err := install.Supported(&version.Info{GitVersion: v})
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", v, err, want)
		}
	}
}

// TestOldClusterIsLeftAlone: nothing is made in a cluster that is too old.
func TestOldClusterIsLeftAlone(t *testing.T) {
	c := fake.NewClientset()
	c.Discovery().(*fakediscovery.FakeDiscovery).FakedServerVersion = &version.Info{GitVersion: "v1.29.1"}
	_, err := install.Run(t.Context(), c, nil, install.Options{Namespace: "a", CloudNamespace: "b"})
	if err == nil || !strings.Contains(err.Error(), "1.29.1") {
		t.Errorf("got %v", err)
	}
	for _, action := range c.Actions() {
		if action.GetVerb() != "get" {
			t.Errorf("it did %s %s", action.GetVerb(), action.GetResource().Resource)
		}
	}
}

// made says what a client changed: its questions, also about rights, are none.
func made(c *fake.Clientset) (list []string) {
	for _, a := range c.Actions() {
		if a.GetVerb() != "get" && a.GetVerb() != "list" && a.GetResource().Resource != "selfsubjectaccessreviews" {
			list = append(list, a.GetVerb()+" "+a.GetResource().Resource)
		}
	}
	return list
}

// newCluster is one whose user has all rights but those on some resources.
func newCluster(denied ...string) *fake.Clientset {
	c := fake.NewClientset()
	c.Discovery().(*fakediscovery.FakeDiscovery).FakedServerVersion = &version.Info{GitVersion: "v1.37.2+k3s1"}
	c.PrependReactor("create", "selfsubjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		review := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview)
		review.Status.Allowed = !slices.Contains(denied, review.Spec.ResourceAttributes.Resource)
		return true, review, nil
	})
	return c
}

// TestNothingIsMadeOfWrongValues: a value that a chart refuses, the second one too, is
// named before anything is made.
func TestNothingIsMadeOfWrongValues(t *testing.T) {
	for want, o := range map[string]install.Options{
		"retention": {CloudValues: map[string]any{"retention": map[string]any{"age": "7d"}}},
		"logLevel":  {OperatorValues: map[string]any{"logLevel": "loud"}},
		"appUrl":    {AppURL: "cloud.example.com"},
		"appCA":     {AppURL: "https://cloud.example.com", AppCA: "no certificate"},
	} {
		c := newCluster()
		o.Namespace, o.CloudNamespace, o.Charts = "a", "b", os.DirFS("../../charts")
		_, err := install.Run(t.Context(), c, releases{}, o)
		if _, wrong := errors.AsType[*install.ValuesError](err); !wrong || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
		if list := made(c); len(list) > 0 {
			t.Errorf("%s: it did %v", want, list)
		}
	}
}

// TestNothingIsMadeWithoutRights: all that are missing are named, of the namespaces that
// are meant, and nothing is made.
func TestNothingIsMadeWithoutRights(t *testing.T) {
	for _, tt := range []struct {
		denied []string
		appURL string
		want   string
	}{
		{[]string{"namespaces", "clusterroles", "statefulsets"}, "", `you may not create namespaces, create clusterroles.rbac.authorization.k8s.io, create statefulsets.apps in namespace "b"`},
		{[]string{"statefulsets", "deployments"}, "https://cloud.example.com", `you may not create deployments.apps in namespace "a"`},
	} {
		c := newCluster(tt.denied...)
		_, err := install.Run(t.Context(), c, releases{}, install.Options{Namespace: "a", CloudNamespace: "b", AppURL: tt.appURL, Charts: os.DirFS("../../charts")})
		if _, denied := errors.AsType[*install.DeniedError](err); !denied || err.Error() != tt.want {
			t.Errorf("%v: %v, want %s", tt.denied, err, tt.want)
		}
		if list := made(c); len(list) > 0 {
			t.Errorf("%v: it did %v", tt.denied, list)
		}
	}
}
