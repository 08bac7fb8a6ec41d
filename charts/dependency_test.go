package charts_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"
	"sigs.k8s.io/yaml"
)

// TestChartsAreDependencies: Helm gives a chart of another chart the values global, and
// enabled where the other has that as its condition, before the schema is asked.
func TestChartsAreDependencies(t *testing.T) {
	for _, tt := range []struct{ values, want string }{
		{"", "speedscale-cloud speedscale-operator"},
		{"global: {team: shop}", "speedscale-cloud speedscale-operator"},
		{"speedscale-cloud: {enabled: true}", "speedscale-cloud speedscale-operator"},
		{"speedscale-cloud: {enabled: false}\nspeedscale-operator: {enabled: true, clusterName: prod}", "speedscale-operator"},
	} {
		parent := &chart.Chart{Metadata: &chart.Metadata{APIVersion: chart.APIVersionV2, Name: "platform", Version: "1.0.0"}}
		for _, name := range []string{"speedscale-cloud", "speedscale-operator"} {
			c := load(t, name)
			parent.AddDependency(c)
			parent.Metadata.Dependencies = append(parent.Metadata.Dependencies,
				&chart.Dependency{Name: name, Version: c.Metadata.Version, Condition: name + ".enabled"})
		}
		var values map[string]any
		if err := yaml.Unmarshal([]byte(tt.values), &values); err != nil {
			t.Fatal(err)
		}
		if err := chartutil.ProcessDependenciesWithMerge(parent, values); err != nil {
			t.Fatal(err)
		}
		manifests, err := render(parent, tt.values)
		if err != nil {
			t.Errorf("with values %q: %v", tt.values, err)
			continue
		}
		objects(t, manifests)
		from := map[string]bool{}
		for file, text := range manifests {
			if strings.TrimSpace(text) != "" {
				from[strings.Split(file, "/")[2]] = true // platform/charts/NAME/templates/…
			}
		}
		if diff := cmp.Diff(tt.want, strings.Join(slices.Sorted(maps.Keys(from)), " ")); diff != "" {
			t.Errorf("with values %q objects are of other charts (-want +got):\n%s", tt.values, diff)
		}
	}
}
