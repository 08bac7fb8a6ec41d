package charts_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func TestOperatorHasFewRights(t *testing.T) {
	list := operatorObjects(t, "")
	var rules []rbacv1.PolicyRule
	for _, r := range of[*rbacv1.ClusterRole](list) {
		for _, rule := range r.Rules {
			if r.Name == "speedscale-operator" && len(rule.ResourceNames) == 0 {
				t.Errorf("a rule of the whole cluster names no object: %v", rule)
			}
		}
		rules = append(rules, r.Rules...)
	}
	for _, r := range of[*rbacv1.Role](list) {
		rules = append(rules, r.Rules...)
	}
	for _, rule := range rules {
		if slices.Contains(slices.Concat(rule.APIGroups, rule.Resources, rule.Verbs), "*") {
			t.Errorf("a rule for everything: %v", rule)
		}
		if slices.Contains(rule.Resources, "secrets") && len(rule.ResourceNames) == 0 && (slices.Contains(rule.Verbs, "get") || slices.Contains(rule.Verbs, "list") || slices.Contains(rule.Verbs, "watch")) {
			t.Errorf("Secrets can be read: %v", rule)
		}
	}
}

// rights are the verbs on each resource that a service account has by the rules.
func rights(rules []rbacv1.PolicyRule) map[string][]string {
	found := map[string][]string{}
	for _, rule := range rules {
		for _, r := range rule.Resources {
			found[r] = slices.Compact(slices.Sorted(slices.Values(append(found[r], rule.Verbs...))))
		}
	}
	return found
}

func inspectorRole(list []runtime.Object) []rbacv1.PolicyRule {
	for _, r := range of[*rbacv1.ClusterRole](list) {
		if r.Name == "speedscale-inspector" {
			return r.Rules
		}
	}
	return nil
}

func TestInspectorMayDoWhatItsCommandsNeed(t *testing.T) {
	list := operatorObjects(t, "")
	want := map[string][]string{
		"deployments": {"get", "list", "patch"}, "statefulsets": {"get", "list", "patch"}, "daemonsets": {"get", "list", "patch"},
		"cronjobs": {"get", "list", "patch"}, "rollouts": {"get", "list", "patch"},
		"pods": {"list"}, "events": {"list"}, "pods/log": {"get"}, "trafficreplays": {"create", "delete", "list"},
	}
	if diff := cmp.Diff(want, rights(inspectorRole(list))); diff != "" {
		t.Errorf("rights (-want +got):\n%s", diff)
	}
	bound := func(list []runtime.Object) (places []string) {
		for _, b := range of[*rbacv1.ClusterRoleBinding](list) {
			if b.RoleRef.Name == "speedscale-inspector" {
				places = append(places, "*")
			}
		}
		for _, b := range of[*rbacv1.RoleBinding](list) {
			if b.RoleRef.Name == "speedscale-inspector" && b.RoleRef.Kind == "ClusterRole" {
				places = append(places, b.Namespace)
			}
		}
		return places
	}
	if places := bound(list); !slices.Equal(places, []string{"*"}) {
		t.Errorf("bound in %v", places)
	}
	if places := bound(operatorObjects(t, "namespaceSelector: [shop, payments]")); !slices.Equal(places, []string{"shop", "payments"}) {
		t.Errorf("with a namespace selector bound in %v", places)
	}
}

// Without remote control the inspector's rights are not there, the operator may take
// it away, and nothing else is different.
func TestDashboardAccessIsTheInspectorAndNothingElse(t *testing.T) {
	with, without := operatorObjects(t, ""), operatorObjects(t, "dashboardAccess: false")
	if rules := inspectorRole(without); rules != nil {
		t.Errorf("the inspector may still %v", rules)
	}
	kept := slices.DeleteFunc(with, func(o runtime.Object) bool {
		return strings.HasSuffix(name(t, o), "/speedscale-inspector")
	})
	for i, o := range without {
		if i >= len(kept) || name(t, kept[i]) != name(t, o) {
			t.Fatalf("%s is in another place, or was not there", name(t, o))
		}
		switch name(t, o) {
		case "ConfigMap/speedscale-operator", "Deployment/speedscale-operator", "Role/speedscale-operator": // they say so
		default:
			if diff := cmp.Diff(kept[i], o); diff != "" {
				t.Errorf("%s:\n%s", name(t, o), diff)
			}
		}
	}
	if len(kept) != len(without) {
		t.Errorf("%d objects with remote control beside its own, %d without", len(kept), len(without))
	}
	mayDelete := func(list []runtime.Object) bool {
		return slices.ContainsFunc(of[*rbacv1.Role](list), func(r *rbacv1.Role) bool {
			return r.Name == "speedscale-operator" && slices.Contains(rights(r.Rules)["serviceaccounts"], "delete")
		})
	}
	if mayDelete(with) || !mayDelete(without) {
		t.Errorf("the operator may delete service accounts: %v, and without remote control %v", mayDelete(with), mayDelete(without))
	}
}
