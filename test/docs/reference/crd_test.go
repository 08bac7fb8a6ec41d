package reference

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// trafficReplay is made from the definition in the chart, which is made from the API's
// types.
func trafficReplay() (string, error) {
	text, err := os.ReadFile(filepath.Join(root, "charts/speedscale-operator/templates/crds/speedscale.com_trafficreplays.yaml"))
	if err != nil {
		return "", err
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(text, &crd); err != nil {
		return "", err
	}
	version := crd.Spec.Versions[0]
	var out strings.Builder
	fmt.Fprintf(&out, "# %s\n\n`apiVersion: %s/%s`, `kind: %s`, also `kubectl get %s`.\n", crd.Spec.Names.Kind, crd.Spec.Group, version.Name,
		crd.Spec.Names.Kind, strings.Join(crd.Spec.Names.ShortNames, ", "))
	for _, part := range []string{"spec", "status"} {
		schema := version.Schema.OpenAPIV3Schema.Properties[part]
		t := newTable("field", "type", "default", "")
		var rules []string
		schemaRows(t, &rules, schema, part)
		fmt.Fprintf(&out, "\n## %s\n\n%s\n", part, t.String())
		if len(rules) > 0 {
			out.WriteString("Refused by the API server:\n\n" + strings.Join(rules, "\n") + "\n")
		}
	}
	return out.String(), nil
}

func schemaRows(t *table, rules *[]string, s apiextensionsv1.JSONSchemaProps, path string) {
	for _, v := range s.XValidations {
		*rules = append(*rules, fmt.Sprintf("- `%s`: %s", path, v.Message))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[name]
		at, below := path+"."+name, p
		kind := p.Type
		if p.Items != nil {
			below = *p.Items.Schema
			at += "[]"
			kind = "list of " + below.Type
		}
		var values []string
		for _, e := range p.Enum {
			var v string
			if json.Unmarshal(e.Raw, &v) == nil {
				values = append(values, v)
			}
		}
		text := p.Description
		if len(values) > 0 {
			text += " One of " + strings.Join(values, ", ") + "."
		}
		if slices.Contains(s.Required, name) {
			text += " Required."
		}
		fallback := ""
		if p.Default != nil {
			fallback = string(p.Default.Raw)
		}
		t.row(code(at), kind, code(fallback), text)
		schemaRows(t, rules, below, at)
	}
}
