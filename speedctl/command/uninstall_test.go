package command

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/speedscale/speedscale/cluster/install"
	"github.com/speedscale/speedscale/cluster/replay"
	"github.com/speedscale/speedscale/speedctl/term"
)

// TestUninstallFromAWrongNamespace: an operator elsewhere is named, and nothing is removed.
func TestUninstallFromAWrongNamespace(t *testing.T) {
	kube := fake.NewClientset(&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{
		Namespace: "tools", Name: install.Operator, Labels: map[string]string{"app.kubernetes.io/name": install.Operator},
	}})
	replays := replay.Client{Dynamic: dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(),
		map[schema.GroupVersionResource]string{replay.Resource(): "TrafficReplayList"})}
	for _, namespace := range []string{"", "shop"} {
		var out strings.Builder
		g := &global{World: &term.World{Err: &out, Getenv: func(string) string { return "" }}, kube: newKubeFlags()}
		*g.kube.Namespace = namespace
		f := uninstallFlags{installFlags: installFlags{kube: g.kube, timeout: time.Second}, force: true, yes: true}
		err := f.run(t.Context(), g, kube, replays)
		g.Fail(err)
		if term.CodeOf(err) != term.ExitNotFound || !strings.Contains(out.String(), "it is in tools") || !strings.Contains(out.String(), "speedctl uninstall -n tools") {
			t.Errorf("-n %q: %s", namespace, &out)
		}
	}
	for _, a := range kube.Actions() {
		if a.GetVerb() != "list" {
			t.Errorf("it did %s %s", a.GetVerb(), a.GetResource().Resource)
		}
	}
}
