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

// operatorIn is the one of a namespace.
func operatorIn(namespace string) *appsv1.Deployment {
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: install.Operator, Labels: map[string]string{"app.kubernetes.io/name": install.Operator},
	}}
}

// noReplays is a cluster without any.
func noReplays() replay.Client {
	return replay.Client{Dynamic: dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(),
		map[schema.GroupVersionResource]string{replay.Resource(): "TrafficReplayList"})}
}

// TestUninstallOfOneOfTwo: what both share, and the cloud, would go with it.
func TestUninstallOfOneOfTwo(t *testing.T) {
	kube := fake.NewClientset(operatorIn("speedscale"), operatorIn("tools"))
	var out strings.Builder
	g := &global{World: &term.World{Err: &out, Getenv: func(string) string { return "" }}, kube: newKubeFlags()}
	f := uninstallFlags{installFlags: installFlags{kube: g.kube, timeout: time.Second}, force: true, yes: true}
	err := f.run(t.Context(), g, kube, noReplays())
	g.Fail(err)
	if err == nil || !strings.Contains(out.String(), "operators are in the namespaces speedscale, tools") || !strings.Contains(out.String(), "hint: kubectl delete namespace removes one") {
		t.Errorf("it says %s", &out)
	}
	for _, a := range kube.Actions() {
		if a.GetVerb() != "list" {
			t.Errorf("it did %s %s", a.GetVerb(), a.GetResource().Resource)
		}
	}
}

// TestUninstallFromAWrongNamespace: an operator elsewhere is named, and nothing is removed.
func TestUninstallFromAWrongNamespace(t *testing.T) {
	kube, replays := fake.NewClientset(operatorIn("tools")), noReplays()
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
