package charts_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

// load reads a chart as Helm does.
func load(t *testing.T, name string) *chart.Chart {
	t.Helper()
	c, err := loader.LoadDir(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// render returns the manifests by template.
func render(c *chart.Chart, set string) (map[string]string, error) {
	var values map[string]any
	if err := yaml.Unmarshal([]byte(set), &values); err != nil {
		return nil, err
	}
	caps := chartutil.DefaultCapabilities.Copy()
	caps.KubeVersion = chartutil.KubeVersion{Version: "v1.37.2", Major: "1", Minor: "37"}
	release := chartutil.ReleaseOptions{Name: "release", Namespace: "somewhere", IsInstall: true, Revision: 1}
	all, err := chartutil.ToRenderValues(c, values, release, caps) // checks values.schema.json
	if err != nil {
		return nil, err
	}
	return engine.Render(c, all)
}

// objects reads manifests strictly: a field that the API does not know is an error.
func objects(t *testing.T, manifests map[string]string) []runtime.Object {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(s, serializer.EnableStrict).UniversalDeserializer()
	var list []runtime.Object
	for _, name := range slices.Sorted(maps.Keys(manifests)) {
		if !strings.HasSuffix(name, ".yaml") {
			continue
		}
		for doc := range strings.SplitSeq(manifests[name], "\n---") {
			if strings.TrimSpace(doc) == "" {
				continue
			}
			o, _, err := decoder.Decode([]byte(doc), nil, nil)
			if err != nil {
				t.Errorf("%s: %v\n%s", name, err, doc)
				continue
			}
			list = append(list, o)
		}
	}
	return list
}

// TestChartsRender: with the defaults and with everything set, what a chart makes is
// known to the API, and the same each time.
func TestChartsRender(t *testing.T) {
	dirs, err := filepath.Glob("*/Chart.yaml")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no chart: %v", err)
	}
	for _, file := range dirs {
		name := filepath.Dir(file)
		cases, err := filepath.Glob(filepath.Join("testdata", name, "*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, values := range append([]string{"defaults"}, cases...) {
			t.Run(name+"/"+strings.TrimSuffix(filepath.Base(values), ".yaml"), func(t *testing.T) {
				var set []byte
				if values != "defaults" {
					if set, err = os.ReadFile(values); err != nil {
						t.Fatal(err)
					}
				}
				first, err := render(load(t, name), string(set))
				if err != nil {
					t.Fatal(err)
				}
				again, err := render(load(t, name), string(set))
				if d := cmp.Diff(first, again); d != "" || err != nil {
					t.Errorf("the second rendering differs: %v\n%s", err, d)
				}
				if len(objects(t, first)) == 0 {
					t.Error("nothing was made")
				}
				for template, text := range first {
					if strings.Contains(text, "<nil>") || strings.Contains(text, "<no value>") {
						t.Errorf("%s has an empty value:\n%s", template, text)
					}
				}
			})
		}
	}
}

func TestCloudRefusesWrongValues(t *testing.T) {
	for values, want := range map[string]string{
		"apiKeySecret: ''":              "apiKeySecret",
		"logLevel: loud":                "logLevel",
		"retention: {age: 7d}":          "age",
		"persistence: {size: big}":      "size",
		"service: {port: 0}":            "port",
		"imge: {tag: x}":                "imge",
		"image: {pullPolicy: Sometime}": "pullPolicy",
	} {
		if _, err := render(load(t, "speedscale-cloud"), values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error that names %s", values, err, want)
		}
	}
}
