package check

import (
	"crypto/x509"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/version"

	"github.com/speedscale/speedscale/cluster/install"
	"github.com/speedscale/speedscale/cluster/workload"
)

// Fetched is an object, nil where there is none, or why it could not be read.
type Fetched[T any] struct {
	Object *T
	Err    error
}

// Facts are what the checks look at.
type Facts struct {
	// Now is when they were gathered, by this machine's clock.
	Now time.Time
	// Namespace is the operator's.
	Namespace string
	// Speedctl is the version of this program.
	Speedctl string

	Version      *version.Info
	VersionError error
	// Clock is how far the API server's clock is ahead of this machine's.
	Clock Offset
	// Missing are rights that an installation needs and the user does not have.
	Missing     []install.Right
	RightsError error
	// UnclaimedError says which operator would be taken over.
	UnclaimedError error
	// StorageError says why nothing would provide the cloud's volume.
	StorageError error

	// Definition is that of TrafficReplay, as a CustomResourceDefinition, and
	// DefinitionError why the API server does not know TrafficReplays.
	Definition      Fetched[unstructured.Unstructured]
	DefinitionError error

	Operator, Forwarder, Inspector Fetched[appsv1.Deployment]
	// Settings are the operator's.
	Settings Fetched[corev1.ConfigMap]
	// Operators are all in the cluster, by namespace/name.
	Operators      []string
	OperatorsError error
	// Unready says why pods of the control plane are not ready, by their label app.
	Unready map[string][]string

	// Webhooks are the operator's, and Endpoints how many ready pods are behind a
	// Service, by namespace/name.
	Webhooks      []Webhook
	Endpoints     map[string]int
	WebhooksError error
	// Served is the certificate with which the operator answers.
	Served Fetched[x509.Certificate]
	// Trial is what became of a workload that asks for a sidecar.
	Trial Trial

	// Cloud is nil where it was not asked.
	Cloud *Cloud

	Captures       []workload.Capture
	Autoscalers    []autoscalingv2.HorizontalPodAutoscaler
	WorkloadsError error
	// Injected are the pods with a sidecar.
	Injected      []corev1.Pod
	InjectedError error
	// Certificate is the forwarder's.
	Certificate Fetched[x509.Certificate]
	// Policies are those of the namespaces that have such pods, and ForwarderPod is one
	// that they have to reach.
	Policies      []networkingv1.NetworkPolicy
	PoliciesError error
	ForwarderPod  *corev1.Pod
	// Labels are those of the operator's namespace.
	Labels map[string]string

	// MetricsError is why the metrics API does not answer.
	MetricsError error
}

// Offset is how far another clock is ahead of this machine's, where that is known.
type Offset struct {
	By    time.Duration
	Known bool
}

// Trial is a Deployment that asked for a sidecar and was not stored (a dry run).
type Trial struct {
	// Namespace is where, "" where none was chosen.
	Namespace string
	// Stamped says that the operator has seen it, after Took.
	Stamped bool
	Took    time.Duration
	// Err is why the API server refused it.
	Err error
}

// Cloud is what the cloud says of itself.
type Cloud struct {
	Err error
	// Denied says that Err is about the API key.
	Denied bool
	// Refused is why it takes nothing in.
	Refused string
	Pairs   uint64
	// Clock is how far its clock is ahead of this machine's.
	Clock Offset
	// Telemetry is of the cluster that is checked.
	Telemetry Telemetry
}
