package resource

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/speedscale/speedscale/cluster/annotation"
)

// Components of a replay, as in the names of their pods and in annotation.ReplayComponent.
const (
	Collector = "collector"
	Generator = "generator"
	Responder = "responder"
)

// ResponderPort is the port of the responder and of its Service.
const ResponderPort = 8080

// CollectorRole is the ClusterRole of the chart that a collector is bound to, in the
// replay's namespace only.
const CollectorRole = "speedscale-collector"

const (
	replayHealth  = 4144
	replayMetrics = 4145
	// snapshotHome is a volume; the snapshot is a folder in it, so that it can be
	// written beside its place first.
	snapshotHome = "/var/lib/speedscale"
	snapshotDir  = snapshotHome + "/snapshot"
	secretsDir   = "/home/speedscale/secret/"
)

// Entries of a replay's Secret.
const (
	entryKey    = "SPEEDSCALE_API_KEY"
	entryURL    = "SPEEDSCALE_APP_URL"
	entryConfig = "TEST_CONFIG"
)

// ReplayConfig is what the chart says of the pods of replays.
type ReplayConfig struct {
	// Generator, Responder and Collector have the settings of those components.
	Generator, Responder, Collector ComponentConfig
}

// ComponentConfig is a chart's value of one component.
type ComponentConfig struct {
	// Resources of its container.
	Resources corev1.ResourceRequirements `json:"resources"`
}

// Replay is what the objects of one replay are made from.
type Replay struct {
	// Config is the operator's.
	Config Config
	// Owner is the TrafficReplay, in whose Namespace all objects are.
	Owner     metav1.OwnerReference
	Namespace string
	// Name is an adjective and a noun; ID is the report's id.
	Name, ID string
	// SnapshotID is the snapshot that the pods download.
	SnapshotID string
	// Secrets are mounted for transforms.
	Secrets []string
}

// NameOf returns the name of a component's objects, and the beginning of its pods'.
func (r Replay) NameOf(component string) string { return "speedscale-" + component + "-" + r.Name }

// TargetName returns the name of the Service by which the generator reaches a target.
func (r Replay) TargetName(target string) string { return "speedscale-" + r.Name + "-" + target }

// Address returns host:port of a Service in the replay's namespace.
func (r Replay) Address(service string, port int32) string {
	return service + "." + r.Namespace + ".svc:" + strconv.Itoa(int(port))
}

// labels of a component's objects and pods; the generator's requests never go to them,
// since they have no annotation.ReplayTarget.
func (r Replay) labels(component string) map[string]string {
	return map[string]string{
		"app":                          "speedscale-" + component,
		"app.kubernetes.io/managed-by": Operator,
		annotation.ReplayID:            r.ID,
		annotation.ReplayComponent:     component,
	}
}

func (r Replay) meta(name, component string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: name, Namespace: r.Namespace, Labels: r.labels(component), OwnerReferences: []metav1.OwnerReference{r.Owner},
	}
}

// SecretName is the name of the replay's Secret.
func (r Replay) SecretName() string { return r.NameOf("replay") }

// Secret has what the pods of the replay need to call the cloud at url, and nothing
// else: the token is good for this replay only. The test config, in JSON, is beside it.
func (r Replay) Secret(token, url string, testConfig []byte) *corev1.Secret {
	s := &corev1.Secret{
		ObjectMeta: r.meta(r.SecretName(), "replay"),
		Type:       corev1.SecretTypeOpaque,
		Data:       map[string][]byte{entryKey: []byte(token), entryURL: []byte(url), entryConfig: testConfig},
	}
	if ca := r.Config.Cloud.CA; ca != "" {
		s.Data[CAEntry] = []byte(ca)
	}
	return s
}

// TargetService is the way of the generator to the pods that the selector means.
func (r Replay) TargetService(target string, selector map[string]string, ports []int32) *corev1.Service {
	s := &corev1.Service{ObjectMeta: r.meta(r.TargetName(target), Generator), Spec: corev1.ServiceSpec{Selector: selector}}
	for _, p := range ports {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{
			Name: "port-" + strconv.Itoa(int(p)), Port: p, TargetPort: intstr.FromInt32(p), Protocol: corev1.ProtocolTCP,
		})
	}
	return s
}

// Routed selects the pods of a target that have the replay's routing.
func (r Replay) Routed(target string) map[string]string {
	return map[string]string{annotation.ReplayID: r.ID, annotation.ReplayTarget: target}
}

// env is what all agents of a replay read. name is the component's in the report's
// parts, such as generator-0.
func (r Replay) env(name string) []corev1.EnvVar {
	env := []corev1.EnvVar{
		r.fromSecret(entryURL), r.fromSecret(entryKey), r.fromSecret(entryConfig),
		{Name: "REPLAY_ID", Value: r.ID},
		{Name: "SNAPSHOT_ID", Value: r.SnapshotID},
		{Name: "SNAPSHOT_DIR", Value: snapshotDir},
		{Name: "COMPONENT", Value: name},
		{Name: "HEALTH_HTTP_PORT", Value: strconv.Itoa(replayHealth)},
		{Name: "METRICS_HTTP_PORT", Value: strconv.Itoa(replayMetrics)},
	}
	if r.Config.LogLevel != "" {
		env = append(env, corev1.EnvVar{Name: "LOG_LEVEL", Value: r.Config.LogLevel})
	}
	for _, v := range r.Config.Cloud.variables() {
		env = append(env, corev1.EnvVar{Name: v[0], Value: v[1]})
	}
	return env
}

func (r Replay) fromSecret(entry string) corev1.EnvVar {
	return corev1.EnvVar{Name: entry, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: r.SecretName()}, Key: entry,
	}}}
}
