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
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"github.com/speedscale/speedscale/cluster/install"
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

// TestCloudRefusesABucketThatItCannotOpen, and one outside its volume, where nothing can be
// written: it would not start.
func TestCloudRefusesABucketThatItCannotOpen(t *testing.T) {
	for _, url := range []string{"s3://bucket?region=eu-central-1", "gs://bucket", "azblob://bucket", "mem://", "file:///srv/pairs", "file:///var/lib/speedscale", "file:///var/lib/speedscale//"} {
		if _, err := render(load(t, "speedscale-cloud"), "bucket: "+url); err == nil || !strings.Contains(err.Error(), "bucket") {
			t.Errorf("%s: %v, want an error that names bucket", url, err)
		}
	}
	if _, err := render(load(t, "speedscale-cloud"), "bucket: file:///var/lib/speedscale/pairs"); err != nil {
		t.Error(err)
	}
}

// TestRetentionBytesIsANumber: what is none was 0, which is 80 % of the volume.
func TestRetentionBytesIsANumber(t *testing.T) {
	for value, want := range map[string]string{
		"10Gi": "", "'1e11'": "", "0x10": "-retention-bytes=16\n", "'010'": "", "'100000000000000000000'": "", "1.5": "", "1e30": "",
		"100000000000": "-retention-bytes=100000000000\n", "'100000000000'": "-retention-bytes=100000000000\n", "1e11": "-retention-bytes=100000000000\n", "-1": "-retention-bytes=-1\n",
	} {
		manifests, err := render(load(t, "speedscale-cloud"), "retention: {bytes: "+value+"}")
		if want == "" && (err == nil || !strings.Contains(err.Error(), "bytes")) {
			t.Errorf("%s: %v, want an error that names bytes", value, err)
		}
		if want != "" && !strings.Contains(manifests["speedscale-cloud/templates/statefulset.yaml"], want) {
			t.Errorf("%s: %v, want %q", value, err, want)
		}
	}
}

// TestCloudSaysWhichSecretItReads, so that speedctl finds its key there.
func TestCloudSaysWhichSecretItReads(t *testing.T) {
	manifests, err := render(load(t, "speedscale-cloud"), "apiKeySecret: from-vault")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range of[*corev1.Service](objects(t, manifests)) {
		if got := s.Annotations[install.KeysAnnotation]; got != "from-vault" {
			t.Errorf("it says %q", got)
		}
	}
}
