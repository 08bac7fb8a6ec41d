package testconfig

import (
	"time"

	"github.com/speedscale/speedscale/traffic/transform"
)

// Values of document.Version: the form in which rules and stages stand; 0 where it
// is left out.
const version = 3

// document is the JSON form. Everything in it has been checked. Fields explains the
// doc tags.
type document struct {
	ID              string    `json:"id" doc:"What the config is found by: 1 to 64 letters, digits, - and _."`
	Version         int       `json:"version,omitempty" doc:"Form of rules and stages: 3, or left out."`
	Protected       bool      `json:"protected,omitempty" doc:"Whether it is a built-in config."`
	Generator       generator `json:"generator,omitzero" doc:"How requests are sent."`
	AssertionGroups []group   `json:"assertionGroups,omitempty" doc:"What must hold of each response; left out, all that is known."`
	Rules           []rule    `json:"rules,omitempty" doc:"Goals of the whole replay; left out, no request may fail."`
	Responder       responder `json:"responder,omitzero" doc:"How dependencies are answered for."`
	Cluster         cluster   `json:"cluster,omitzero" doc:"The replay's own pods."`

	Transforms *transform.Config `json:"transforms,omitempty" doc:"What is rewritten in requests and responses, as docs/transforms.md has it."`
}

type generator struct {
	Stages                []stage `json:"stages,omitempty" doc:"The load; left out, each request is sent once at its recorded time."`
	NumReplicas           int     `json:"numReplicas,omitempty" doc:"How many generators share the load, up to 500 (default 1)."`
	RequestTimeoutSeconds float64 `json:"requestTimeoutSeconds,omitempty" doc:"Limit of one request, in seconds, up to 3600."`
	CarryValues           *bool   `json:"carryValues,omitempty" doc:"Whether values of responses are carried over to later requests (default true)."`
}

type stage struct {
	// Duration includes RampFor.
	Duration     duration      `json:"duration,omitempty" doc:"How long the stage is, rampFor included, such as 90s or 5m."`
	RampFor      duration      `json:"rampFor,omitempty" doc:"How long the rate takes to change from that of the stage before."`
	VirtualUsers *virtualUsers `json:"virtualUsers,omitempty" doc:"Closed model: users that wait for their answers. Either this or arrivals."`
	Arrivals     *arrivals     `json:"arrivals,omitempty" doc:"Open model: each request has a planned time. Either this or virtualUsers."`
}

type virtualUsers struct {
	VirtualUsers int `json:"virtualUsers" doc:"How many there are in each generator, 1 to 10000."`
}

// arrivals has one of its members.
type arrivals struct {
	// Rate is in requests a second.
	Rate *float64 `json:"rate,omitempty" doc:"Requests a second of the whole replay. Either this or recordedMultiple."`
	// RecordedMultiple is times the recorded pace.
	RecordedMultiple float64 `json:"recordedMultiple,omitempty" doc:"Times the recorded pace. Either this or rate."`
}

type group struct {
	Configs []assertion `json:"configs" doc:"Assertions, each type once."`
}

type assertion struct {
	Type   string          `json:"type" doc:"What is compared."`
	Config assertionConfig `json:"config,omitzero" doc:"How it is compared."`
}

type assertionConfig struct {
	Headers     []string `json:"headers,omitempty" doc:"Of headers: those that are compared."`
	Ignore      []string `json:"ignore,omitempty" doc:"Of a body: JSON paths that may differ."`
	IncludeOnly []string `json:"includeOnly,omitempty" doc:"Of a body: the only JSON paths that are compared."`
	AllowNew    *bool    `json:"allowNew,omitempty" doc:"Of a body: whether members that were not recorded are allowed (default true)."`
}

type rule struct {
	MetricName string  `json:"metricName" doc:"What is measured; latencies in ms."`
	Type       string  `json:"type" doc:"When the goal is missed: TOO_LOW or TOO_HIGH."`
	Value      float64 `json:"value" doc:"What the metric is compared with."`
	Action     string  `json:"action,omitempty" doc:"ALERT, or left out."`
}

type responder struct {
	ResponseDelay   responseDelay `json:"responseDelay,omitzero" doc:"How long answers take; left out, no time."`
	PassthroughMode bool          `json:"passthroughMode,omitempty" doc:"Whether a request that was not recorded goes to the real dependency."`
}

// Values of responseDelay.Mode.
const (
	delayNone     = "NONE"
	delayRecorded = "RECORDED"
	delayMultiple = "MULTIPLE"
	delayConstant = "CONSTANT"
)

type responseDelay struct {
	Mode     string   `json:"mode" doc:"NONE, RECORDED, MULTIPLE (with multiple) or CONSTANT (with delay)."`
	Multiple float64  `json:"multiple,omitempty" doc:"Times the recorded latency."`
	Delay    duration `json:"delay,omitempty" doc:"The latency, such as 50ms."`
}

type cluster struct {
	LogLevel           string    `json:"logLevel,omitempty" doc:"Of the replay's own pods: debug, info, warn or error; left out, the operator's."`
	LogsCollected      bool      `json:"logsCollected,omitempty" doc:"Whether the workload's logs are kept with the report."`
	GeneratorResources Resources `json:"generatorResources,omitzero" doc:"Resources of each generator."`
	ResponderResources Resources `json:"responderResources,omitzero" doc:"Resources of the responder."`
}

// duration is a text such as 1m30s in JSON.
type duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }
