package resource_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	kresource "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	acmetav1 "k8s.io/client-go/applyconfigurations/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/forwarder"
	"github.com/speedscale/speedscale/agents/inspector"
	"github.com/speedscale/speedscale/operator/resource"
)

var update = flag.Bool("update", false, "write the golden files")

func config() resource.Config {
	return resource.Config{
		Namespace: "speedscale", Cluster: "prod", Instance: "prod-speedscale", LogLevel: "info", APIKeySecret: "speedscale-api-key", FilterRule: "standard",
		TelemetryInterval: time.Minute, WithTelemetry: true,
		Images: resource.Images{Registry: "registry.example/speedscale", Tag: "v1"},
		Forwarder: resource.ForwarderConfig{
			Spool: resource.Spool{Size: kresource.MustParse("1Gi")},
			Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{"cpu": kresource.MustParse("300m"), "memory": kresource.MustParse("250Mi")},
				Limits:   corev1.ResourceList{"memory": kresource.MustParse("512Mi")},
			},
		},
	}
}

func everything() resource.Config {
	c := config()
	c.AppURL, c.DLPConfig, c.APIKeyHash = "https://cloud.example", "standard", "0a1b2c3d"
	c.SettingsHash = "4e5f6a7b"
	c.Cloud = resource.Cloud{
		CA: "a CA", CAConfigMap: "speedscale-cloud-ca",
		HTTPProxy: "http://proxy.example:80", HTTPSProxy: "http://proxy.example:3128", NoProxy: ".svc",
	}
	c.Images.PullPolicy, c.Images.PullSecrets = corev1.PullAlways, []string{"registry"}
	c.Scheduling = scheduling()
	c.Inspector = resource.InspectorConfig{
		Namespaces: []string{"shop", "other"},
		Resources:  corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": kresource.MustParse("50m")}},
	}
	c.Forwarder.Data, c.TelemetryInterval, c.WithTelemetry = new(false), 0, false
	c.Forwarder.Spool = resource.Spool{Size: kresource.MustParse("8Gi"), Persistent: true, StorageClass: "fast"}
	return c
}

func owner() *acmetav1.OwnerReferenceApplyConfiguration {
	return acmetav1.OwnerReference().WithAPIVersion("v1").WithKind("ConfigMap").WithName("speedscale-operator").WithUID("1").WithController(true)
}

func manifests(t *testing.T, objects []runtime.ApplyConfiguration) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, object := range objects {
		text, err := yaml.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString("---\n")
		out.Write(text)
	}
	return out.Bytes()
}

// golden compares with a file of testdata, which -update writes.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name+".yaml")
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func TestObjects(t *testing.T) {
	for name, objects := range map[string][]runtime.ApplyConfiguration{
		"forwarder":            resource.ForwarderObjects(config(), "a certificate", owner()),
		"forwarder-everything": resource.ForwarderObjects(everything(), "a certificate", owner()),
		"inspector":            resource.InspectorObjects(config(), owner()),
		"inspector-everything": resource.InspectorObjects(everything(), owner()),
		"demo":                 resource.DemoObjects(everything(), "a certificate", owner()),
	} {
		t.Run(name, func(t *testing.T) { golden(t, name, manifests(t, objects)) })
	}
}

// The forwarder starts with the environment that it is given: each variable is one
// that it reads, and those that it cannot do without are there.
func TestForwarderReadsItsEnvironment(t *testing.T) {
	values, read := environment(t, resource.ForwarderObjects(everything(), "a certificate", owner())), map[string]bool{}
	// What stands on the node of a cluster, or is mounted, is not here.
	values["SPEEDSCALE_APP_CA"] = ""
	values["KUBERNETES_SERVICE_HOST"], values["KUBERNETES_SERVICE_PORT"] = "198.18.0.1", "443"
	_, err := forwarder.ReadSettings(agent.NewVars(func(name string) string {
		read[name] = true
		return values[name]
	}))
	if err != nil {
		for _, problem := range strings.Split(err.Error(), "; ") {
			if !strings.Contains(problem, "FORWARDER_TLS_") && !strings.Contains(problem, "serviceaccount") {
				t.Error(problem)
			}
		}
	}
	for name := range values {
		switch name {
		case "LOG_LEVEL", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY": // read by the start-up and the dialer
		default:
			if !read[name] {
				t.Errorf("%s is not read by the forwarder", name)
			}
		}
	}
}

// environment returns the variables of the Deployment among objects.
func environment(t *testing.T, objects []runtime.ApplyConfiguration) map[string]string {
	t.Helper()
	var deployment struct {
		Spec struct{ Template struct{ Spec corev1.PodSpec } }
	}
	for doc := range bytes.SplitSeq(manifests(t, objects), []byte("---\n")) {
		if strings.Contains(string(doc), "kind: Deployment") {
			if err := yaml.Unmarshal(doc, &deployment); err != nil {
				t.Fatal(err)
			}
		}
	}
	values := map[string]string{}
	for _, v := range deployment.Spec.Template.Spec.Containers[0].Env {
		values[v.Name] = v.Value
		if v.ValueFrom != nil {
			values[v.Name] = "sp_0a1b_from-the-secret"
		}
	}
	if len(values) == 0 {
		t.Fatal("no environment")
	}
	return values
}

func TestInspectorReadsItsEnvironment(t *testing.T) {
	values, read := environment(t, resource.InspectorObjects(everything(), owner())), map[string]bool{}
	values["SPEEDSCALE_APP_CA"] = "" // not mounted here
	s, err := inspector.ReadSettings(agent.NewVars(func(name string) string {
		read[name] = true
		return values[name]
	}))
	if err != nil {
		t.Error(err)
	}
	if s.Cluster != "prod" || s.Instance != "prod-speedscale" || s.Version != "v1" || len(s.Namespaces) != 2 || s.KeyID != "0a1b" {
		t.Errorf("settings are %+v", s)
	}
	for name := range values {
		switch name {
		case "LOG_LEVEL", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY": // read by the start-up and the dialer
		default:
			if !read[name] {
				t.Errorf("%s is not read by the inspector", name)
			}
		}
	}
}

func TestRoomIsMoreThanTheSpool(t *testing.T) {
	for _, size := range []string{"1Mi", "1Gi", "3Gi", "100G"} {
		s := resource.Spool{Size: kresource.MustParse(size)}
		if room := s.Room(); room.Cmp(s.Size) <= 0 {
			t.Errorf("%s of room for a spool of %s", room.String(), size)
		}
	}
}
