package install_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/version"
	fakediscovery "k8s.io/client-go/discovery/fake"
	"k8s.io/client-go/kubernetes/fake"

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
	err := install.Run(t.Context(), c, nil, install.Options{Namespace: "a", CloudNamespace: "b"})
	if err == nil || !strings.Contains(err.Error(), "1.29.1") {
		t.Errorf("got %v", err)
	}
	for _, action := range c.Actions() {
		if action.GetVerb() != "get" {
			t.Errorf("it did %s %s", action.GetVerb(), action.GetResource().Resource)
		}
	}
}
