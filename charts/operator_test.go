package charts_test

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/cel-go/cel"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/operator/manager"
	"github.com/speedscale/speedscale/operator/webhook"
)

func operatorObjects(t *testing.T, set string) []runtime.Object {
	t.Helper()
	manifests, err := render(load(t, "speedscale-operator"), set)
	if err != nil {
		t.Fatal(err)
	}
	return objects(t, manifests)
}

// of returns the objects of a type.
func of[T runtime.Object](list []runtime.Object) (out []T) {
	for _, o := range list {
		if x, ok := o.(T); ok {
			out = append(out, x)
		}
	}
	return out
}

func all(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("testdata/speedscale-operator/all.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// A certificate that can be read stands in for the one of the file.
	return strings.Replace(string(text), `upstreamCAs: "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n", `, "", 1)
}

// The operator starts with the ConfigMap that the chart makes, and what is set in
// the chart arrives.
func TestOperatorReadsItsConfigMap(t *testing.T) {
	for set, check := range map[string]func(manager.Settings) bool{
		"": func(s manager.Settings) bool {
			return s.Control.Cluster == "my-cluster" && s.Control.APIKeySecret == "speedscale-api-key" && s.Control.FilterRule == "standard" &&
				s.Control.DLPConfig == "" && s.Replays.APIKey == "an-entry-of-speedscale-api-key" && s.Replays.Timeout == 20*time.Minute &&
				s.Control.AppURL == "https://of-the-secret.example.com" && len(s.Replays.Namespaces) == 0 && s.Control.WithInspector && len(s.Control.Inspector.Namespaces) == 0 && s.Control.Forwarder.Spool.Size.String() == "1Gi" && s.Sidecar.Resources.Requests.Memory().String() == "64Mi" &&
				*s.Control.Forwarder.Data && s.Control.WithTelemetry && s.Control.TelemetryInterval == time.Minute
		},
		all(t): func(s manager.Settings) bool {
			return s.Instance == "prod-somewhere" && s.Replays.Timeout == 90*time.Minute && slices.Equal(s.Replays.Namespaces, []string{"shop", "payments"}) &&
				s.Control.Replay.Generator.Resources.Limits.Cpu().String() == "16" && s.Control.Replay.Collector.Resources.Limits.Memory().String() == "1Gi" && s.Control.AppURL == "https://cloud.example.com" && s.Control.APIKeyHash == "0a1b2c3d" && s.Control.Images.Of("goproxy") == "registry.example.com/x/goproxy:1.2" &&
				slices.Equal(s.Control.Images.PullSecrets, []string{"one", "two"}) && s.Control.DLPConfig == "standard" && s.Control.LogLevel == "debug" &&
				s.Control.Cloud.HTTPProxy != "" && s.Control.Cloud.HTTPSProxy != "" && strings.HasPrefix(s.Control.Cloud.NoProxy, ".svc,.cluster.local,") &&
				s.Control.Cloud.CA != "" && s.Control.Cloud.CAConfigMap == "speedscale-cloud-ca" && s.Replays.PublicURL == "https://speedscale.example.com" && s.Control.Forwarder.Spool.StorageClass == "fast" && s.Sidecar.MaskIn == "sidecar" &&
				slices.Equal(s.Control.Inspector.Namespaces, []string{"shop", "payments"}) && s.Control.Inspector.Resources.Requests.Cpu().String() == "20m" &&
				!*s.Control.Forwarder.Data && !s.Control.WithTelemetry && s.Control.TelemetryInterval == 5*time.Minute &&
				s.Control.Scheduling.NodeSelector["disk"] == "ssd" && len(s.Control.Scheduling.Tolerations) == 1 && s.Control.Scheduling.Affinity.NodeAffinity != nil
		},
		"telemetry: {interval: 0s}": func(s manager.Settings) bool {
			return s.Control.TelemetryInterval == 0
		},
		"appCAConfigMap: trust-bundle": func(s manager.Settings) bool {
			return s.Control.Cloud.CA != "" && s.Control.Cloud.CAConfigMap == "trust-bundle" && s.Replays.PublicURL == "https://of-the-secret.example.com"
		},
		"dashboardAccess: false": func(s manager.Settings) bool {
			return !s.Control.WithInspector
		},
	} {
		config := of[*corev1.ConfigMap](operatorObjects(t, set))[0]
		read := map[string]bool{}
		others := variables(t, set, config.Namespace)
		if config.Data["SPEEDSCALE_APP_CA"] != "" {
			others["SPEEDSCALE_APP_CA"] = certificate(t)
		}
		s, err := manager.ReadSettings(agent.NewVars(func(name string) string {
			read[name] = true
			if value, ok := others[name]; ok {
				return value
			}
			return config.Data[name]
		}))
		if err != nil {
			t.Error(err)
		}
		if s.Control.SettingsHash == "" || !check(s) {
			t.Errorf("with values %q the operator reads %+v", set, s)
		}
		for name := range config.Data {
			if !read[name] {
				t.Errorf("%s is not read by the operator", name)
			}
		}
	}
}

func operatorDeployment(list []runtime.Object) *appsv1.Deployment {
	deployments := of[*appsv1.Deployment](list)
	return deployments[slices.IndexFunc(deployments, func(d *appsv1.Deployment) bool { return d.Name == "speedscale-operator" })]
}

// variables are those of the operator's container that do not come from its ConfigMap.
func variables(t *testing.T, set, namespace string) map[string]string {
	found := map[string]string{}
	pod := operatorDeployment(operatorObjects(t, set)).Spec.Template
	for _, v := range pod.Spec.Containers[0].Env {
		switch {
		case v.Name == "SETTINGS_HASH":
			found[v.Name] = pod.Annotations["controlplane.speedscale.com/settings"]
		case v.ValueFrom.FieldRef != nil:
			found[v.Name] = namespace
		case v.Name == "SPEEDSCALE_APP_URL":
			found[v.Name] = "https://of-the-secret.example.com"
		default:
			found[v.Name] = "an-entry-of-" + v.ValueFrom.SecretKeyRef.Name
		}
	}
	return found
}

// certificate is a PEM file with one.
func certificate(t *testing.T) string {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	file := filepath.Join(t.TempDir(), "ca.crt")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// The certificates of a cloud with a private CA are where the operator reads them.
func TestOperatorHasTheCloudsCA(t *testing.T) {
	for set, name := range map[string]string{
		all(t): "speedscale-cloud-ca", "appCAConfigMap: trust-bundle": "trust-bundle", "": "",
	} {
		list := operatorObjects(t, set)
		pod := operatorDeployment(list).Spec.Template.Spec
		file := of[*corev1.ConfigMap](list)[0].Data["SPEEDSCALE_APP_CA"]
		if name == "" {
			if len(pod.Volumes) > 0 || file != "" {
				t.Errorf("without a private CA there are %v and %q", pod.Volumes, file)
			}
			continue
		}
		if got := pod.Volumes[0].ConfigMap.Name; got != name || file != pod.Containers[0].VolumeMounts[0].MountPath+"/"+pod.Volumes[0].ConfigMap.Items[0].Path {
			t.Errorf("%q is mounted, and %q read", got, file)
		}
		made := of[*corev1.ConfigMap](list)[1:]
		if own := name == "speedscale-cloud-ca"; own != (len(made) == 1) || own && (made[0].Name != name || !strings.Contains(made[0].Data["ca.crt"], "BEGIN CERTIFICATE")) {
			t.Errorf("ConfigMaps beside the settings are %v", made)
		}
	}
}

func TestOperatorRefusesWrongValues(t *testing.T) {
	for values, want := range map[string]string{
		"apiKeySecret: ''":                   "apiKeySecret",
		"clusterName: ''":                    "clusterName",
		"appUrl: cloud.example.com":          "appUrl",
		"appCA: a file":                      "appCA",
		"appCAConfigMap: Not_A_Name":         "appCAConfigMap",
		"appPublicUrl: 'https://me:pw@host'": "appPublicUrl",
		"https_proxy: 'proxy:3128'":          "https_proxy",
		"{appCA: '-----BEGIN CERTIFICATE-----', appCAConfigMap: x}": "appCA and appCAConfigMap",
		"logLevel: loud":                         "logLevel",
		"namespaceSelector: [Shop]":              "namespaceSelector",
		"sidecar: {maskIn: cloud}":               "maskIn",
		"forwarder: {spool: {size: big}}":        "size",
		"forwarder: {replicas: 2}":               "replicas",
		"forwarder: {data: some}":                "data",
		"telemetry: {interval: often}":           "interval",
		"telemetry: {interval: 2h}":              "interval", // as the operator would
		"telemetry: {interval: 61m}":             "interval",
		"telemetry: {interval: 3601s}":           "interval",
		"telemetry: {interval: 100ms}":           "interval",
		"operator: {resources: {request: {}}}":   "request",
		"image: {pullSecrets: [name]}":           "pullSecrets",
		"sidecar: {resources: {limits: {x: y}}}": "limits",
		"apiKeySecrets: x":                       "apiKeySecrets",
		"replayComponents: {timeout: soon}":      "timeout",
		"collector: {resource: {}}":              "resource",
	} {
		if _, err := render(load(t, "speedscale-operator"), values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error that names %s", values, err, want)
		}
	}
}

func TestIntervalsOfTelemetry(t *testing.T) {
	for _, interval := range []string{"0s", "1s", "60s", "3600s", "1m", "1m30s", "60m", "1h", "1h0m0s"} {
		operatorObjects(t, "telemetry: {interval: "+interval+"}")
	}
}

func TestPullSecretsAreTheDemosToo(t *testing.T) {
	for _, d := range of[*appsv1.Deployment](operatorObjects(t, "image: {pullSecrets: [{name: registry}]}")) {
		if s := d.Spec.Template.Spec.ImagePullSecrets; len(s) != 1 || s[0].Name != "registry" {
			t.Errorf("deployment %q pulls its images with %v", d.Name, s)
		}
	}
}

func webhooks(t *testing.T, set string) []admissionv1.MutatingWebhook {
	t.Helper()
	for _, c := range of[*admissionv1.MutatingWebhookConfiguration](operatorObjects(t, set)) {
		if c.Name == "speedscale-operator" {
			return c.Webhooks
		}
	}
	t.Fatal("there is no webhook configuration speedscale-operator")
	return nil
}

// Nothing waits for the operator when it is away, and what the cluster and we
// ourselves need to run never does.
func TestWebhooksStandInNobodysWay(t *testing.T) {
	paths := map[string]bool{}
	for _, w := range webhooks(t, "namespaceSelector: [shop]") {
		policy := admissionv1.Ignore
		if w.Name == "replayed.sidecar.speedscale.com" {
			policy = admissionv1.Fail // its pods would call the real dependencies
		}
		if *w.FailurePolicy != policy || *w.SideEffects != admissionv1.SideEffectClassNone || len(w.ClientConfig.CABundle) > 0 {
			t.Errorf("%s: failure policy %s, side effects %s, %d bytes of caBundle", w.Name, *w.FailurePolicy, *w.SideEffects, len(w.ClientConfig.CABundle))
		}
		paths[*w.ClientConfig.Service.Path] = true
		system := w.NamespaceSelector.MatchExpressions[0]
		if system.Operator != "NotIn" || !slices.Contains(system.Values, "kube-system") {
			t.Errorf("%s: namespaces %v", w.Name, w.NamespaceSelector)
		}
		if chosen := w.NamespaceSelector.MatchExpressions[1]; chosen.Operator != "In" || !slices.Equal(chosen.Values, []string{"shop"}) {
			t.Errorf("%s: namespaces %v", w.Name, chosen)
		}
		if ambient := strings.HasPrefix(w.Name, "ambient."); ambient != (len(w.NamespaceSelector.MatchExpressions) == 3) {
			t.Errorf("%s: namespaces %v", w.Name, w.NamespaceSelector)
		}
		if own := w.ObjectSelector.MatchExpressions[0]; own.Key != "controlplane.speedscale.com/component" || own.Operator != "DoesNotExist" {
			t.Errorf("%s: objects %v", w.Name, own)
		}
	}
	if !paths[webhook.WorkloadsPath] || !paths[webhook.PodsPath] || !paths[webhook.AmbientPath] {
		t.Errorf("paths are %v", paths)
	}
}

// matches evaluates the conditions of a webhook as the API server does: one that
// fails is one that does not match, by the failure policy.
func matches(t *testing.T, w admissionv1.MutatingWebhook, object, old string) bool {
	t.Helper()
	env, err := cel.NewEnv(cel.Variable("object", cel.DynType), cel.Variable("oldObject", cel.DynType), cel.Variable("request", cel.DynType))
	if err != nil {
		t.Fatal(err)
	}
	vars := map[string]any{"object": nil, "oldObject": nil}
	for name, text := range map[string]string{"object": object, "oldObject": old} {
		var o map[string]any
		if err := yaml.Unmarshal([]byte(text), &o); err != nil {
			t.Fatal(err)
		}
		if o != nil {
			vars[name] = o
		}
		if name == "object" {
			kind, _ := o["kind"].(string)
			vars["request"] = map[string]any{"resource": map[string]any{"resource": strings.ToLower(kind) + "s"}}
		}
	}
	for _, condition := range w.MatchConditions {
		ast, issues := env.Compile(condition.Expression)
		if issues.Err() != nil {
			t.Fatal(issues.Err())
		}
		program, err := env.Program(ast)
		if err != nil {
			t.Fatal(err)
		}
		out, _, err := program.Eval(vars)
		if err != nil {
			t.Errorf("%s on %s: %v", condition.Name, object, err)
			return false
		}
		if out.Value() != true {
			return false
		}
	}
	return true
}

func TestWebhooksAreAskedForWhatConcernsThem(t *testing.T) {
	const (
		plain     = "{metadata: {name: a}, spec: {template: {spec: {}}}}"
		other     = "{metadata: {annotations: {a: b}}, spec: {template: {metadata: {annotations: {c: d}}, spec: {}}}}"
		annotated = "{metadata: {annotations: {sidecar.speedscale.com/inject: 'true'}}, spec: {template: {metadata: {}, spec: {}}}}"
		stamped   = "{metadata: {}, spec: {template: {metadata: {annotations: {operator.speedscale.com/stamp: x}}, spec: {}}}}"
		cron      = "{metadata: {}, spec: {jobTemplate: {spec: {template: {spec: {}}}}}}"
		misplaced = "{metadata: {}, spec: {template: {metadata: {annotations: {sidecar.speedscale.com/inject: 'true'}}, spec: {}}}}"
		owned     = "metadata: {annotations: {sidecar.speedscale.com/inject: 'true'}, ownerReferences: [{kind: Deployment, controller: true}]}, spec: {template: {spec: {}}}}"
		pod       = "{metadata: {annotations: {operator.speedscale.com/stamp: x, sidecar.speedscale.com/inject: 'true'}}}"
		stampCron = "{metadata: {}, spec: {jobTemplate: {spec: {template: {metadata: {annotations: {operator.speedscale.com/stamp: x}}}}}}}"
	)
	const replayed = "{metadata: {annotations: {operator.speedscale.com/stamp: x, operator.speedscale.com/replay: y}}}"
	hooks := map[string]admissionv1.MutatingWebhook{}
	for _, w := range webhooks(t, "") {
		hooks[w.Name] = w
	}
	const workloads, pods, replayPods, ambient = "sidecar.speedscale.com", "pods.sidecar.speedscale.com", "replayed.sidecar.speedscale.com", "ambient.sidecar.speedscale.com"
	for _, c := range []struct {
		name, hook, object, old string
		want                    bool
	}{
		{"annotated in the template", workloads, misplaced, "", true},
		{"a replica set", workloads, "{kind: ReplicaSet, metadata: {annotations: {sidecar.speedscale.com/inject: 'true'}}, spec: {}}", "", true},
		{"a replica set of a deployment", workloads, "{kind: ReplicaSet, " + owned, "", false},
		{"a stateful set of somebody's operator", workloads, "{kind: StatefulSet, " + owned, "", true},
		{"pod that is changed", pods, pod, pod, false},
		{"pod that is annotated afterwards", pods, pod, "{metadata: {}}", true},
		{"pod whose annotation is another one", pods, pod, "{metadata: {annotations: {sidecar.speedscale.com/inject: 'false'}}}", true},
		{"pod in an ambient mesh", ambient, "{metadata: {annotations: {operator.speedscale.com/stamp: x}}, spec: {}}", "", true},
		{"pod of a replay in an ambient mesh", ambient, "{metadata: {annotations: {operator.speedscale.com/replay: x}}, spec: {}}", "", true},
		{"pod that is kept out of the mesh", ambient, "{metadata: {labels: {istio.io/dataplane-mode: none}, annotations: {operator.speedscale.com/stamp: x}}, spec: {}}", "", false},
		{"pod of the node's network", ambient, "{metadata: {annotations: {operator.speedscale.com/stamp: x}}, spec: {hostNetwork: true}}", "", false},
		{"pod of somebody else's", ambient, "{metadata: {annotations: {a: b}}, spec: {}}", "", false},
		{"plain", workloads, plain, "", false},
		{"others' annotations", workloads, other, other, false},
		{"annotated", workloads, annotated, "", true},
		{"annotation removed", workloads, plain, annotated, true},
		{"stamp left behind", workloads, stamped, stamped, true},
		{"rolled back to a replay", workloads, strings.ReplaceAll(stamped, "/stamp", "/replay"), plain, true},
		{"cron job rolled back to a replay", workloads, strings.ReplaceAll(stampCron, "/stamp", "/replay"), cron, true},
		{"cron job", workloads, cron, "", false},
		{"cron job with a stamp", workloads, stampCron, "", true},
		{"pod", pods, "{metadata: {}}", "", false},
		{"pod with others' annotations", pods, "{metadata: {annotations: {a: b}}}", "", false},
		{"pod of a stamped template", pods, "{metadata: {annotations: {operator.speedscale.com/stamp: x}}}", "", true},
		{"pod of a replay, which fails closed", replayPods, replayed, "", true},
		{"pod of a replay, which is asked for once", pods, replayed, "", false},
		{"pod of no replay", replayPods, "{metadata: {annotations: {operator.speedscale.com/stamp: x}}}", "", false},
		{"bare pod", pods, "{metadata: {annotations: {sidecar.speedscale.com/inject: 'true'}}}", "", true},
	} {
		if got := matches(t, hooks[c.hook], c.object, c.old); got != c.want {
			t.Errorf("%s: asked %v, want %v", c.name, got, c.want)
		}
	}
}

// name of an object with its kind.
func name(t *testing.T, o runtime.Object) string {
	t.Helper()
	m, err := meta.Accessor(o)
	if err != nil {
		t.Fatal(err)
	}
	return o.GetObjectKind().GroupVersionKind().Kind + "/" + m.GetName()
}

func TestReplaysOutliveTheChart(t *testing.T) {
	crds := of[*apiextensionsv1.CustomResourceDefinition](operatorObjects(t, ""))
	if len(crds) != 1 || crds[0].Annotations["helm.sh/resource-policy"] != "keep" {
		t.Errorf("definitions are %v", crds)
	}
}

// A changed value restarts the operator, which reads its settings when it starts.
func TestOperatorIsRestartedByItsSettings(t *testing.T) {
	template := func(set string) corev1.PodTemplateSpec {
		for _, d := range of[*appsv1.Deployment](operatorObjects(t, set)) {
			if d.Name == "speedscale-operator" {
				return d.Spec.Template
			}
		}
		t.Fatal("there is no operator")
		return corev1.PodTemplateSpec{}
	}
	const key = "controlplane.speedscale.com/settings"
	for _, other := range []string{"filterRule: ''", "apiKeyHash: a"} {
		if a, b := template("").Annotations[key], template(other).Annotations[key]; a == "" || a == b {
			t.Errorf("settings are %q and, with %s, %q", a, other, b)
		}
	}
}
