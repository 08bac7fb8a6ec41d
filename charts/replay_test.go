package charts_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/speedscale/speedscale/operator/resource"
	"github.com/speedscale/speedscale/operator/webhook"
)

// A replay that cannot be checked is not made, but whatever happens to the operator,
// it can be changed by its controller, deleted, and let go.
func TestReplayWebhooks(t *testing.T) {
	list := operatorObjects(t, "namespaceSelector: [shop]")
	var hooks []admissionv1.MutatingWebhook
	for _, c := range of[*admissionv1.MutatingWebhookConfiguration](list) {
		if c.Name == "speedscale-operator-replay" {
			hooks = append(hooks, c.Webhooks...)
		}
	}
	for _, c := range of[*admissionv1.ValidatingWebhookConfiguration](list) {
		if c.Name != "speedscale-operator-replay" {
			t.Errorf("validating configuration %q", c.Name)
		}
		for _, w := range c.Webhooks {
			hooks = append(hooks, admissionv1.MutatingWebhook{
				Name: w.Name, ClientConfig: w.ClientConfig, Rules: w.Rules, FailurePolicy: w.FailurePolicy,
				NamespaceSelector: w.NamespaceSelector, MatchConditions: w.MatchConditions,
			})
		}
	}
	var paths []string
	for _, w := range hooks {
		paths = append(paths, *w.ClientConfig.Service.Path)
		if *w.FailurePolicy != admissionv1.Fail || !slices.Equal(w.Rules[0].Resources, []string{"trafficreplays"}) || w.NamespaceSelector != nil {
			t.Errorf("%s: %+v", w.Name, w)
		}
		const plain = "{metadata: {finalizers: [a]}, spec: {snapshotID: a}}"
		for _, c := range []struct {
			name, object, old string
			want              bool
		}{
			{"made", plain, "", true},
			{"another spec", "{metadata: {}, spec: {snapshotID: b}}", plain, true},
			{"finalizer removed", "{metadata: {}, spec: {snapshotID: a}}", plain, false},
			{"deleted meanwhile", "{metadata: {deletionTimestamp: x}, spec: {snapshotID: b}}", plain, false},
		} {
			if got := matches(t, w, c.object, c.old); got != c.want {
				t.Errorf("%s, %s: asked %v, want %v", w.Name, c.name, got, c.want)
			}
		}
	}
	if want := []string{webhook.MutateReplaysPath, webhook.ValidateReplaysPath}; !slices.Equal(paths, want) {
		t.Errorf("paths are %v, want %v", paths, want)
	}
}

// What runs replays has its rights where replays can be, and the collector reads in one
// namespace only.
func TestReplayRights(t *testing.T) {
	roles := func(list []runtime.Object) map[string][]rbacv1.PolicyRule {
		found := map[string][]rbacv1.PolicyRule{}
		for _, r := range of[*rbacv1.ClusterRole](list) {
			found[r.Name] = r.Rules
		}
		return found
	}
	everywhere, chosen := operatorObjects(t, ""), operatorObjects(t, "namespaceSelector: [shop, payments]")
	if diff := cmp.Diff(roles(everywhere), roles(chosen)); diff != "" {
		t.Errorf("namespaceSelector changes what can be done, not where:\n%s", diff)
	}
	want := map[string][]string{"pods": {"list", "watch"}, "events": {"list", "watch"}, "pods/log": {"get"}}
	if diff := cmp.Diff(want, rights(roles(everywhere)[resource.CollectorRole])); diff != "" {
		t.Errorf("collector (-want +got):\n%s", diff)
	}
	for _, rule := range roles(everywhere)["speedscale-operator-replay"] {
		if slices.Contains(rule.Verbs, "bind") && !slices.Equal(rule.ResourceNames, []string{resource.CollectorRole}) || slices.Contains(rule.Verbs, "escalate") {
			t.Errorf("rights can be taken: %v", rule)
		}
	}
	bound := func(list []runtime.Object, role string) (cluster int, namespaces []string) {
		for _, b := range of[*rbacv1.ClusterRoleBinding](list) {
			if b.RoleRef.Name == role {
				cluster++
			}
		}
		for _, b := range of[*rbacv1.RoleBinding](list) {
			if b.RoleRef.Name == role {
				namespaces = append(namespaces, b.Namespace)
			}
		}
		return cluster, namespaces
	}
	if n, in := bound(everywhere, "speedscale-operator-replay"); n != 1 || len(in) > 0 {
		t.Errorf("everywhere: bound %d times in the cluster and in %v", n, in)
	}
	if n, in := bound(chosen, "speedscale-operator-replay"); n != 0 || !slices.Equal(in, []string{"shop", "payments"}) {
		t.Errorf("namespaceSelector: bound %d times in the cluster and in %v", n, in)
	}
	if n, in := bound(everywhere, resource.CollectorRole); n > 0 || len(in) > 0 {
		t.Error("the chart gives the collector's rights to somebody")
	}
}
