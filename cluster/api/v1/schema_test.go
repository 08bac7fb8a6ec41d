package v1_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

const crdFile = "../../../charts/speedscale-operator/templates/crds/speedscale.com_trafficreplays.yaml"

// readCRD returns the generated definition, as the API server reads it.
func readCRD(t *testing.T) *apiextensions.CustomResourceDefinition {
	t.Helper()
	text, err := os.ReadFile(crdFile)
	if err != nil {
		t.Fatal(err)
	}
	var v1 apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(text, &v1); err != nil {
		t.Fatal(err)
	}
	apiextensionsv1.SetDefaults_CustomResourceDefinition(&v1)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&v1.Spec)
	crd := &apiextensions.CustomResourceDefinition{}
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&v1, crd, nil); err != nil {
		t.Fatal(err)
	}
	crd.Status.StoredVersions = []string{"v1"}
	return crd
}

// The API server takes the definition: its schema is structural, and its rules
// compile and stay within the limits of what they may cost.
func TestDefinitionIsValid(t *testing.T) {
	if errs := crdvalidation.ValidateCustomResourceDefinition(t.Context(), readCRD(t)); len(errs) > 0 {
		t.Fatal(errs.ToAggregate())
	}
}

// admit does to an object what the API server does: defaults, schema, rules.
func admit(t *testing.T, text string) (map[string]any, field.ErrorList) {
	t.Helper()
	props := readCRD(t).Spec.Validation
	if props == nil {
		t.Fatal("the definition has no schema")
	}
	structural, err := structuralschema.NewStructural(props.OpenAPIV3Schema)
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := yaml.UnmarshalStrict([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	defaulting.Default(object, structural)
	schema, _, err := validation.NewSchemaValidator(props.OpenAPIV3Schema)
	if err != nil {
		t.Fatal(err)
	}
	errs := validation.ValidateCustomResource(nil, object, schema)
	rules, _ := cel.NewValidator(structural, true, celconfig.PerCallLimit).
		Validate(t.Context(), nil, structural, object, nil, celconfig.RuntimeCELCostBudget)
	lists := listtype.ValidateListSetsAndMaps(nil, structural, object)
	return object, slices.Concat(errs, rules, lists)
}

func replay(spec string) string {
	return "apiVersion: speedscale.com/v1\nkind: TrafficReplay\nmetadata: {name: checkout, namespace: shop}\nspec:\n" + spec
}

func TestDefaults(t *testing.T) {
	object, errs := admit(t, replay("  snapshotID: a\n  testConfigID: standard\n  workloads: [{ref: {name: checkout}}]\n"))
	if len(errs) > 0 {
		t.Fatal(errs.ToAggregate())
	}
	spec := object["spec"].(map[string]any)
	ref := spec["workloads"].([]any)[0].(map[string]any)["ref"].(map[string]any)
	if spec["mode"] != "full-replay" || spec["cleanup"] != "inventory" || ref["kind"] != "Deployment" {
		t.Errorf("defaults are mode %v, cleanup %v, kind %v", spec["mode"], spec["cleanup"], ref["kind"])
	}
	if status := object["status"].(map[string]any); status["observedGeneration"] != int64(-1) {
		t.Errorf("observedGeneration is %v of %[1]T, want -1", status["observedGeneration"])
	}
}

func TestReplaysThatAreTaken(t *testing.T) {
	for name, spec := range map[string]string{
		"documented sample": `
  snapshotID: 939b6844-4da9-4d35-9128-7e6c2a95988b
  testConfigID: standard
  mode: full-replay
  cleanup: inventory
  buildTag: pr-42
  timeout: 20m
  ttlAfterReady: 1h
  secretRefs: [{name: jwt-key}]
  workloads:
  - ref: {kind: Deployment, name: checkout}
    tests: ["checkout:checkout:8080"]
    mocks: ["checkout:api.stripe.com:443", "checkout:pg.shop.svc.cluster.local:5432"]
    routing: nat
`,
		"custom URL only":  "  {snapshotID: a, testConfigID: standard, mode: generator-only, customURL: 'https://shop.example.com/v2'}\n",
		"custom URI":       "  {snapshotID: a, testConfigID: standard, workloads: [{customURI: 'http://10.0.0.7:8080', tests: ['*']}]}\n",
		"mocks only":       "  {snapshotID: a, testConfigID: standard, mode: responder-only, workloads: [{ref: {name: checkout}, mocks: ['*']}]}\n",
		"two workloads":    "  {snapshotID: a, testConfigID: standard, workloads: [{ref: {name: a}, tests: [a]}, {ref: {kind: StatefulSet, name: b}, tests: [b]}]}\n",
		"compound timeout": "  {snapshotID: a, testConfigID: standard, customURL: 'http://x', timeout: 1h30m}\n",
	} {
		t.Run(name, func(t *testing.T) {
			if _, errs := admit(t, replay(spec)); len(errs) > 0 {
				t.Error(errs.ToAggregate())
			}
		})
	}
}

func TestReplaysThatAreRefused(t *testing.T) {
	const base = "snapshotID: a, testConfigID: standard, "
	for spec, want := range map[string]string{
		"testConfigID: standard, customURL: 'http://x'":                                     "spec.snapshotID",
		"snapshotID: '', testConfigID: standard, customURL: 'http://x'":                     "spec.snapshotID",
		"snapshotID: a, customURL: 'http://x'":                                              "spec.testConfigID",
		base + "mode: half-replay, customURL: 'http://x'":                                   "spec.mode",
		base + "cleanup: some, customURL: 'http://x'":                                       "spec.cleanup",
		base + "mode: full-replay":                                                          "give workloads or customURL",
		base + "mode: responder-only":                                                       "give workloads with a ref",
		base + "mode: responder-only, workloads: [{customURI: 'http://x'}]":                 "give workloads with a ref",
		base + "mode: responder-only, customURL: 'http://x', workloads: [{ref: {name: a}}]": "customURL cannot be set",
		base + "mode: generator-only, workloads: [{ref: {name: a}, mocks: [x]}]":            "workloads cannot have mocks",
		base + "workloads: [{tests: [x]}]":                                                  "give ref, or customURI",
		base + "workloads: [{customURI: 'http://x', mocks: [x]}]":                           "mocks need a ref",
		base + "workloads: [{ref: {name: a}, tests: [x]}, {ref: {name: b}, tests: [x]}]":    "tests of one workload only",
		base + "workloads: [{ref: {name: a}, tests: [x, x]}]":                               "spec.workloads[0].tests[1]",
		base + "workloads: [{ref: {name: a}, tests: ['']}]":                                 "spec.workloads[0].tests[0]",
		base + "workloads: [{ref: {kind: Pod, name: a}}]":                                   "spec.workloads[0].ref.kind",
		base + "workloads: [{ref: {kind: Deployment}}]":                                     "spec.workloads[0].ref.name",
		base + "workloads: [{ref: {name: a}, routing: dns}]":                                "spec.workloads[0].routing",
		base + "customURL: 'shop.example.com'":                                              "spec.customURL",
		base + "customURL: 'http://x', timeout: 20":                                         "spec.timeout",
		base + "customURL: 'http://x', timeout: soon":                                       "spec.timeout",
		base + "customURL: 'http://x', timeout: 0s":                                         "above 0",
		base + "customURL: 'http://x', ttlAfterReady: -1h":                                  "spec.ttlAfterReady",
		base + "customURL: 'http://x', secretRefs: [{}]":                                    "spec.secretRefs[0].name",
		base + "customURL: 'http://" + strings.Repeat("x", 3000) + "'":                      "spec.customURL",
	} {
		t.Run(want+" "+spec[:min(len(spec), 60)], func(t *testing.T) {
			_, errs := admit(t, replay("  {"+spec+"}\n"))
			if len(errs) == 0 {
				t.Fatalf("%s is taken", spec)
			}
			if text := errs.ToAggregate().Error(); !strings.Contains(text, want) {
				t.Errorf("error %q does not say %q", text, want)
			}
		})
	}
}
