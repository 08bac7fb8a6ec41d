package testconfig

import (
	"time"

	"github.com/speedscale/speedscale/traffic/transform"
)

// Values of document.Version: the form in which rules and stages stand; 0 where it
// is left out.
const version = 3

// document is the JSON form. Everything in it has been checked.
type document struct {
	// ID is what the config is found by.
	ID string `json:"id"`
	// Version is 3, or left out.
	Version int `json:"version,omitempty"`
	// Protected says that the config is a built-in one.
	Protected bool `json:"protected,omitempty"`
	// Generator says what is sent, and how fast.
	Generator generator `json:"generator,omitzero"`
	// AssertionGroups say what must hold of each response; without any, all is compared.
	AssertionGroups []group `json:"assertionGroups,omitempty"`
	// Rules are the goals; without any, every difference fails the replay.
	Rules []rule `json:"rules,omitempty"`
	// Responder says how dependencies answer.
	Responder responder `json:"responder,omitzero"`
	// Cluster is about the replay's own pods.
	Cluster cluster `json:"cluster,omitzero"`

	Transforms *transform.Config `json:"transforms,omitempty"`
}

type generator struct {
	// Stages come one after the other; without any, each request is sent once, at its
	// recorded time.
	Stages []stage `json:"stages,omitempty"`
	// NumReplicas is how many generators share the load.
	NumReplicas int `json:"numReplicas,omitempty"`
	// RequestTimeoutSeconds bounds one request.
	RequestTimeoutSeconds float64 `json:"requestTimeoutSeconds,omitempty"`
	// CarryValues is false to send exactly what was recorded.
	CarryValues *bool `json:"carryValues,omitempty"`
}

type stage struct {
	// Duration includes RampFor.
	Duration duration `json:"duration,omitempty"`
	// RampFor is how long the load takes to become that of the stage.
	RampFor duration `json:"rampFor,omitempty"`
	// VirtualUsers send one request after the other (closed model).
	VirtualUsers *virtualUsers `json:"virtualUsers,omitempty"`
	// Arrivals come as planned, however slow the answers are (open model).
	Arrivals *arrivals `json:"arrivals,omitempty"`
}

type virtualUsers struct {
	VirtualUsers int `json:"virtualUsers"`
}

// arrivals has one of its members.
type arrivals struct {
	// Rate is in requests a second.
	Rate *float64 `json:"rate,omitempty"`
	// RecordedMultiple is times the recorded pace.
	RecordedMultiple float64 `json:"recordedMultiple,omitempty"`
}

type group struct {
	Configs []assertion `json:"configs"`
}

type assertion struct {
	// Type is what is compared, such as httpStatusCode.
	Type   string          `json:"type"`
	Config assertionConfig `json:"config,omitzero"`
}

type assertionConfig struct {
	// Headers are those that are compared.
	Headers []string `json:"headers,omitempty"`
	// Ignore are places that may differ.
	Ignore []string `json:"ignore,omitempty"`
	// IncludeOnly are the only places that may not.
	IncludeOnly []string `json:"includeOnly,omitempty"`
	// AllowNew is false where a member that was not recorded is a difference.
	AllowNew *bool `json:"allowNew,omitempty"`
}

type rule struct {
	// MetricName is one of those below.
	MetricName string `json:"metricName"`
	// Type is TOO_HIGH or TOO_LOW.
	Type string `json:"type"`
	// Value is the limit, in milliseconds, per cent or as a number.
	Value  float64 `json:"value"`
	Action string  `json:"action,omitempty"`
}

type responder struct {
	// ResponseDelay is how long answers take.
	ResponseDelay responseDelay `json:"responseDelay,omitzero"`
	// PassthroughMode sends what no recorded request matches to the real host, in place
	// of an answer 404.
	PassthroughMode bool `json:"passthroughMode,omitempty"`
}

// Values of responseDelay.Mode.
const (
	delayNone     = "NONE"
	delayRecorded = "RECORDED"
	delayMultiple = "MULTIPLE"
	delayConstant = "CONSTANT"
)

type responseDelay struct {
	// Mode is NONE, RECORDED, MULTIPLE or CONSTANT.
	Mode string `json:"mode"`
	// Multiple of the recorded time.
	Multiple float64 `json:"multiple,omitempty"`
	// Delay of mode CONSTANT.
	Delay duration `json:"delay,omitempty"`
}

type cluster struct {
	// LogLevel is debug, info, warn or error; the operator's where it is left out.
	LogLevel string `json:"logLevel,omitempty"`
	// LogsCollected has the workload's logs, events and usage gathered.
	LogsCollected      bool      `json:"logsCollected,omitempty"`
	GeneratorResources Resources `json:"generatorResources,omitzero"`
	ResponderResources Resources `json:"responderResources,omitzero"`
}

// duration is a text such as 1m30s in JSON.
type duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }
