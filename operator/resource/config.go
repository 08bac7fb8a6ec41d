// Package resource makes the objects of the control plane from the operator's
// settings, as server-side apply takes them: pure functions, without a client.
package resource

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/speedscale/speedscale/cluster/annotation"
)

// Operator is the name of the operator's own objects: its ConfigMap, which owns
// all that is made here, its Lease and its webhook configuration.
const Operator = "speedscale-operator"

// Config is what the objects are made from.
type Config struct {
	// Namespace is where all objects go.
	Namespace string
	// SettingsHash is another one whenever the settings are: by it speedctl install tells
	// what is of the present ones.
	SettingsHash string
	// Cluster is the cluster's name in what is captured.
	Cluster string
	// Instance is this operator's name in annotation.ManagedBy.
	Instance string
	// Images says where images come from.
	Images Images
	// Scheduling is that of all pods.
	Scheduling Scheduling
	// LogLevel is debug, info, warn or error.
	LogLevel string
	// APIKeySecret names a Secret with the entries SPEEDSCALE_API_KEY and, where
	// AppURL is empty, SPEEDSCALE_APP_URL.
	APIKeySecret, AppURL string
	// APIKeyHash is another one whenever that Secret is.
	APIKeyHash string
	// FilterRule and DLPConfig are as the forwarder reads them; "" is the cloud's.
	FilterRule, DLPConfig string
	// Cloud is the way to it.
	Cloud Cloud
	// TelemetryInterval is how often agents say how they are, 0 for never, and
	// WithTelemetry has the cloud told.
	TelemetryInterval time.Duration
	WithTelemetry     bool
	// Demo is DemoJava, or "" for none.
	Demo string
	// Forwarder has the settings of that component.
	Forwarder ForwarderConfig
	// WithInspector has an inspector, and Inspector its settings.
	WithInspector bool
	Inspector     InspectorConfig
	// Replay has those of the pods of replays.
	Replay ReplayConfig
}

// Images says where images come from.
type Images struct {
	// Registry is the part before the component's name, Tag the version.
	Registry, Tag string
	// PullPolicy is Always, IfNotPresent or Never; "" is the cluster's default.
	PullPolicy corev1.PullPolicy
	// PullSecrets name Secrets in the namespace.
	PullSecrets []string
}

// Of returns the image of a component.
func (i Images) Of(component string) string { return i.Registry + "/" + component + ":" + i.Tag }

// ForwarderConfig is the chart's value forwarder.
type ForwarderConfig struct {
	// Resources of its container.
	Resources corev1.ResourceRequirements `json:"resources"`
	// Data sends pairs to the cloud; nil does too.
	Data *bool `json:"data"`
	// Spool is where pairs wait for the cloud.
	Spool Spool `json:"spool"`
}

// Spool is where pairs wait for the cloud.
type Spool struct {
	// Size is the most that waits; what comes on top is dropped and counted.
	Size resource.Quantity `json:"size"`
	// Persistent keeps it on a PersistentVolumeClaim instead of with the pod, and
	// StorageClass says on which kind, "" for the cluster's default.
	Persistent   bool   `json:"persistent"`
	StorageClass string `json:"storageClass"`
}

// Room is the space that the spool's files need: a quarter more than what waits in
// them, since a file is only deleted as a whole.
func (s Spool) Room() resource.Quantity {
	return *resource.NewQuantity(s.Size.Value()/4*5, resource.BinarySI)
}

// annotations of a Deployment. Its pods do not have them, and stay where nothing of theirs
// is another.
func (c Config) annotations() map[string]string {
	if c.SettingsHash == "" {
		return nil
	}
	return map[string]string{annotation.ControlPlane: c.SettingsHash}
}

// labels of a component's objects, and of its pods.
func labels(component string) map[string]string {
	return map[string]string{
		"app":                                   "speedscale-" + component,
		"app.kubernetes.io/managed-by":          Operator,
		"controlplane.speedscale.com/component": component,
	}
}
