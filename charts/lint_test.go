package charts_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/lint/support"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/google/go-cmp/cmp"
)

// Helm's own linter has nothing to say about the charts, but that they have no icon.
func TestLint(t *testing.T) {
	for _, name := range []string{"speedscale-cloud", "speedscale-operator"} {
		all, err := os.ReadFile(filepath.Join("testdata", name, "all.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"", string(all)} {
			values := map[string]any{}
			if err := yaml.Unmarshal([]byte(text), &values); err != nil {
				t.Fatal(err)
			}
			lint := action.NewLint()
			lint.Strict, lint.Namespace = true, "somewhere"
			result := lint.Run([]string{name}, values)
			for _, m := range result.Messages {
				if m.Severity > support.InfoSev {
					t.Errorf("%s: %v", name, m)
				}
			}
			if result.TotalChartsLinted != 1 {
				t.Errorf("%s was not linted: %v", name, result.Errors)
			}
		}
	}
}

// grants are the names of cluster roles with the places where a service account has them,
// "*" for the whole cluster.
func grants(list []runtime.Object) map[string][]string {
	found := map[string][]string{}
	for _, b := range of[*rbacv1.ClusterRoleBinding](list) {
		key := b.RoleRef.Name + " of " + b.Subjects[0].Name
		found[key] = append(found[key], "*")
	}
	for _, b := range of[*rbacv1.RoleBinding](list) {
		if b.RoleRef.Kind == "ClusterRole" {
			key := b.RoleRef.Name + " of " + b.Subjects[0].Name
			found[key] = append(found[key], b.Namespace)
		}
	}
	return found
}

// With a namespace selector nobody has rights in other namespaces: what is left of the
// whole cluster are the operator's own webhooks, by name.
func TestNamespaceSelectorIsWhereRightsAre(t *testing.T) {
	everywhere, chosen := grants(operatorObjects(t, "")), grants(operatorObjects(t, "namespaceSelector: [shop, payments]"))
	want := map[string][]string{}
	for key := range everywhere {
		want[key] = []string{"shop", "payments"}
	}
	want["speedscale-operator of speedscale-operator"] = []string{"*"} // TestOperatorHasFewRights says that it names objects
	if diff := cmp.Diff(want, chosen); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if roles := slices.Sorted(maps.Keys(everywhere)); len(roles) < 4 {
		t.Errorf("rights everywhere are only %v", roles)
	}
}
