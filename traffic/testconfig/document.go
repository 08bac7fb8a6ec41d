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
	ID              string    `json:"id"`
	Version         int       `json:"version,omitempty"`
	Protected       bool      `json:"protected,omitempty"`
	Generator       generator `json:"generator,omitzero"`
	AssertionGroups []group   `json:"assertionGroups,omitempty"`
	Rules           []rule    `json:"rules,omitempty"`
	Responder       responder `json:"responder,omitzero"`
	Cluster         cluster   `json:"cluster,omitzero"`

	Transforms *transform.Config `json:"transforms,omitempty"`
}

type generator struct {
	Stages                []stage `json:"stages,omitempty"`
	NumReplicas           int     `json:"numReplicas,omitempty"`
	RequestTimeoutSeconds float64 `json:"requestTimeoutSeconds,omitempty"`
	CarryValues           *bool   `json:"carryValues,omitempty"`
}

type stage struct {
	// Duration includes RampFor.
	Duration     duration      `json:"duration,omitempty"`
	RampFor      duration      `json:"rampFor,omitempty"`
	VirtualUsers *virtualUsers `json:"virtualUsers,omitempty"`
	Arrivals     *arrivals     `json:"arrivals,omitempty"`
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
	Type   string          `json:"type"`
	Config assertionConfig `json:"config,omitzero"`
}

type assertionConfig struct {
	Headers     []string `json:"headers,omitempty"`
	Ignore      []string `json:"ignore,omitempty"`
	IncludeOnly []string `json:"includeOnly,omitempty"`
	AllowNew    *bool    `json:"allowNew,omitempty"`
}

type rule struct {
	MetricName string  `json:"metricName"`
	Type       string  `json:"type"`
	Value      float64 `json:"value"`
	Action     string  `json:"action,omitempty"`
}

type responder struct {
	ResponseDelay   responseDelay `json:"responseDelay,omitzero"`
	PassthroughMode bool          `json:"passthroughMode,omitempty"`
}

// Values of responseDelay.Mode.
const (
	delayNone     = "NONE"
	delayRecorded = "RECORDED"
	delayMultiple = "MULTIPLE"
	delayConstant = "CONSTANT"
)

type responseDelay struct {
	Mode     string   `json:"mode"`
	Multiple float64  `json:"multiple,omitempty"`
	Delay    duration `json:"delay,omitempty"`
}

type cluster struct {
	LogLevel           string    `json:"logLevel,omitempty"`
	LogsCollected      bool      `json:"logsCollected,omitempty"`
	GeneratorResources Resources `json:"generatorResources,omitzero"`
	ResponderResources Resources `json:"responderResources,omitzero"`
}

// duration is a text such as 1m30s in JSON.
type duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }
