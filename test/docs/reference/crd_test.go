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
	deprecated, err := notAccepted(out.String())
	out.WriteString(deprecated)
	return out.String(), err
}

// notAccepted lists the fields that the product's documentation calls deprecated. Its error
// names one that is among the accepted fields.
func notAccepted(accepted string) (string, error) {
	t := newTable("field", "instead")
	for _, f := range [][2]string{
		{"spec.configChecksum", "Leave it out: `status.testConfig` has the test config as it was when the replay started."},
		{"spec.workloadRef", "`spec.workloads[].ref`"},
		{"spec.sidecar", "[Annotations](annotations.md) of the workload: its sidecar in a replay is the one that they ask for."},
		{"spec.collectLogs", "`cluster.logsCollected` of the [test config](test-configs.md)"},
		{"spec.proxyMode", "The annotation `sidecar.speedscale.com/proxy-type` of the workload"},
		{"spec.generatorLowData", "In the test config, an entry of `assertionGroups` with `httpStatusCode` only"},
		{"spec.responderLowData", "Leave it out: the responder records nothing."},
		{"spec.workloads[].sidecar", "Annotations of the workload, as for `spec.sidecar`"},
		{"spec.workloads[].inTrafficKey", "`spec.workloads[].tests`"},
		{"spec.workloads[].inTrafficKeys", "`spec.workloads[].tests`"},
		{"spec.workloads[].outTrafficKeys", "`spec.workloads[].mocks`"},
	} {
		if strings.Contains(accepted, code(f[0])) || strings.Contains(accepted, code(f[0]+"[]")) {
			return "", fmt.Errorf("field %q is in the definition: take it off the list of those that are not accepted", f[0])
		}
		t.row(code(f[0]), f[1])
	}
	return `## Not accepted

Fields that the product's documentation calls deprecated are not in the definition. ` + "`kubectl`" + ` refuses an object that has one, and
so does remote control. For a client that does not ask for strict validation the API server drops the field, and says so in a warning only.

` + t.String(), nil
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
