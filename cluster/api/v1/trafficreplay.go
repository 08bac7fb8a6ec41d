package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TrafficReplay replays a snapshot against workloads of the cluster.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=trafficreplays,shortName=replay,scope=Namespaced
// +kubebuilder:printcolumn:name="Active",type=boolean,JSONPath=`.status.active`
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.mode`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[-1:].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:metadata:annotations="helm.sh/resource-policy=keep"
type TrafficReplay struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says what to replay, and where.
	// +required
	Spec TrafficReplaySpec `json:"spec"`
	// status says how far the replay is.
	// +optional
	// +kubebuilder:default={observedGeneration:-1}
	Status TrafficReplayStatus `json:"status,omitempty"`
}

// TrafficReplayList is a list of TrafficReplay.
//
// +kubebuilder:object:root=true
type TrafficReplayList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []TrafficReplay `json:"items"`
}

// Mode is what a replay runs.
//
// +kubebuilder:validation:Enum=full-replay;responder-only;generator-only
type Mode string

// The modes.
const (
	ModeFullReplay    Mode = "full-replay"    // requests are sent and dependencies mocked
	ModeResponderOnly Mode = "responder-only" // dependencies are mocked until the replay is deleted
	ModeGeneratorOnly Mode = "generator-only" // requests are sent; dependencies stay real
)

// Cleanup is what happens to the workloads when a replay has ended.
//
// +kubebuilder:validation:Enum=inventory;all;none
type Cleanup string

// The cleanup policies.
const (
	CleanupInventory Cleanup = "inventory" // the workloads are as before
	CleanupAll       Cleanup = "all"       // the workloads are deleted too
	CleanupNone      Cleanup = "none"      // everything stays, to be looked at
)

// Routing is how a workload's connections reach the responder.
//
// +kubebuilder:validation:Enum=hostalias;nat
type Routing string

// The ways of routing.
const (
	RoutingHostAlias Routing = "hostalias" // names of mocked hosts are in the pods' /etc/hosts, with addresses that are the sidecar's
	RoutingNAT       Routing = "nat"       // the sidecar sees all connections, and where the names are that the pods ask DNS for
)

// TrafficReplaySpec says what to replay, and where.
//
// +kubebuilder:validation:XValidation:rule="self.mode == 'responder-only' || has(self.customURL) || (has(self.workloads) && size(self.workloads) > 0)",message="mode full-replay and generator-only send requests: give workloads or customURL"
// +kubebuilder:validation:XValidation:rule="self.mode != 'responder-only' || (has(self.workloads) && self.workloads.exists(w, has(w.ref)))",message="mode responder-only mocks the dependencies of a workload: give workloads with a ref"
// +kubebuilder:validation:XValidation:rule="self.mode != 'responder-only' || !has(self.customURL)",message="mode responder-only sends no requests, so customURL cannot be set"
// +kubebuilder:validation:XValidation:rule="self.mode != 'generator-only' || !has(self.workloads) || self.workloads.all(w, !has(w.mocks) || size(w.mocks) == 0)",message="mode generator-only mocks nothing, so workloads cannot have mocks"
// +kubebuilder:validation:XValidation:rule="!has(self.workloads) || self.workloads.all(w, !has(w.tests) || w.tests.all(k, self.workloads.exists_one(o, has(o.tests) && k in o.tests)))",message="a key may be in tests of one workload only"
type TrafficReplaySpec struct {
	// snapshotID is the id of the snapshot to replay.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	SnapshotID string `json:"snapshotID"`
	// testConfigID is the id of the test config, such as standard.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	TestConfigID string `json:"testConfigID"`
	// mode is what runs: full-replay, responder-only or generator-only.
	// +optional
	// +kubebuilder:default=full-replay
	Mode Mode `json:"mode,omitempty"`
	// workloads are sent the snapshot's requests and have their dependencies mocked.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Workloads []Workload `json:"workloads,omitempty"`
	// customURL is sent all requests, in place of the workloads.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:Pattern=`^https?://[^\s/]+(/\S*)?$`
	CustomURL string `json:"customURL,omitempty"`
	// cleanup is what happens to the workloads afterwards: inventory restores
	// them, all deletes them too, none leaves everything.
	// +optional
	// +kubebuilder:default=inventory
	Cleanup Cleanup `json:"cleanup,omitempty"`
	// buildTag is kept with the report.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	BuildTag string `json:"buildTag,omitempty"`
	// needsReport makes a report even when the mode is responder-only.
	// +optional
	NeedsReport bool `json:"needsReport,omitempty"`
	// timeout ends a replay that takes longer, such as 20m; the operator's
	// own where it is left out. It counts anew when the replay starts, and
	// cannot be changed after that.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) > duration('0s')",message="want a duration above 0, such as 20m"
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// ttlAfterReady deletes the replay this long after it has ended, such as 1h.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	TTLAfterReady *metav1.Duration `json:"ttlAfterReady,omitempty"`
	// secretRefs name Secrets of the replay's namespace that transforms read.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	SecretRefs []SecretRef `json:"secretRefs,omitempty"`
}

// Workload is one target of a replay.
//
// +kubebuilder:validation:XValidation:rule="has(self.ref) || has(self.customURI)",message="give ref, or customURI where there is none"
// +kubebuilder:validation:XValidation:rule="has(self.ref) || !has(self.mocks) || size(self.mocks) == 0",message="mocks need a ref: only a workload of the cluster can be mocked"
type Workload struct {
	// ref names an object of the cluster.
	// +optional
	Ref *WorkloadRef `json:"ref,omitempty"`
	// customURI is sent the requests, in place of the workload's own address.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:Pattern=`^https?://[^\s/]+(/\S*)?$`
	CustomURI string `json:"customURI,omitempty"`
	// tests are keys of the snapshot's inbound traffic, service:host:port or a
	// part of one that no other key has; "*" is all of them.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	Tests []string `json:"tests,omitempty"`
	// mocks are keys of the snapshot's outbound traffic that are answered by
	// the responder, written like tests. Without any, nothing is mocked.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	Mocks []string `json:"mocks,omitempty"`
	// routing is how connections to mocks reach the responder.
	// +optional
	Routing Routing `json:"routing,omitempty"`
}

// WorkloadRef names an object that owns pods.
type WorkloadRef struct {
	// apiVersion is the object's group and version, where kind does not tell.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	APIVersion string `json:"apiVersion,omitempty"`
	// kind is the object's.
	// +optional
	// +kubebuilder:default=Deployment
	// +kubebuilder:validation:Enum=Deployment;StatefulSet;DaemonSet;Job;CronJob;Rollout
	Kind string `json:"kind,omitempty"`
	// name is the object's.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// namespace is the object's; the replay's where it is left out.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
}

// SecretRef names a Secret of the replay's namespace.
type SecretRef struct {
	// name is the Secret's.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// TrafficReplayStatus says how far a replay is.
type TrafficReplayStatus struct {
	// active is true while anything of the replay runs.
	// +optional
	Active bool `json:"active,omitempty"`
	// conditions are Ready, Passed and MocksReady; the newest transition stands last.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// startedTime is when the operator took the replay up.
	// +optional
	StartedTime *metav1.Time `json:"startedTime,omitempty"`
	// initializedTime is when the workloads and their mocks were ready.
	// +optional
	InitializedTime *metav1.Time `json:"initializedTime,omitempty"`
	// finishedTime is when the replay ended.
	// +optional
	FinishedTime *metav1.Time `json:"finishedTime,omitempty"`
	// reportID is the report's id in the cloud.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	ReportID string `json:"reportID,omitempty"`
	// reportURL is the report's page.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	ReportURL string `json:"reportURL,omitempty"`
	// name is an adjective and a noun, in the names of the replay's own objects.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name,omitempty"`
	// snapshotID is the id of the snapshot, where the spec has its name or latest.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	SnapshotID string `json:"snapshotID,omitempty"`
	// testConfig is the test config in JSON, as it was when the replay started.
	// +optional
	// +kubebuilder:validation:MaxLength=131072
	TestConfig string `json:"testConfig,omitempty"`
	// targets are the spec's workloads with the keys that their patterns mean, in
	// the same order; one more stands for customURL.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=17
	Targets []Target `json:"targets,omitempty"`
	// observedGeneration is the generation of the spec that the status is about.
	// +optional
	// +kubebuilder:default=-1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
}

// Target is what one of the workloads does in a replay.
type Target struct {
	// uid is that of the object that the workload was when the replay started.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=128
	UID types.UID `json:"uid,omitempty"`
	// tests are the keys of the snapshot's inbound traffic that it is sent.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:MaxLength=512
	Tests []string `json:"tests,omitempty"`
	// mocks are the keys of the snapshot's outbound traffic that are answered by
	// the responder.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1024
	Mocks []Mock `json:"mocks,omitempty"`
}

// Mock is a dependency that the responder answers for.
type Mock struct {
	// key is service:host:port.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Key string `json:"key"`
	// alpn is the protocol that was recorded, where the snapshot says it.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	ALPN string `json:"alpn,omitempty"`
}

// MaxKeys is how many keys a target can have of each kind.
const MaxKeys = 1024
