// Package testconfig reads test configs, which say how a replay is run: the load,
// what of responses must hold, the goals, and how the responder answers. The JSON
// is that of the product's documentation, with names in camelCase or snake_case.
// What is documented but not supported is refused by its path, never ignored.
package testconfig

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/speedscale/speedscale/traffic/compare"
	"github.com/speedscale/speedscale/traffic/report"
	"github.com/speedscale/speedscale/traffic/transform"
)

// Config is a test config that Parse or Builtin made, so that nothing in it is
// wrong. It is not changed after that.
type Config struct{ doc document }

// ID is what the config is found by.
func (c Config) ID() string { return c.doc.ID }

// Protected says that the config is a built-in one.
func (c Config) Protected() bool { return c.doc.Protected }

// JSON is the documented form, in camelCase; Parse of it gives an equal config.
func (c Config) JSON() []byte {
	b, err := json.Marshal(c.doc)
	if err != nil {
		panic(err) // strings, booleans and finite numbers can always be written
	}
	return b
}

// Assertions are what must hold of each response; none means all that package
// compare knows. Places that are left out stand in Assertion.Ignore.
func (c Config) Assertions() []compare.Assertion {
	var list []compare.Assertion
	for _, g := range c.doc.AssertionGroups {
		for _, a := range g.Configs {
			list = append(list, compare.Assertion{
				Type: a.Type, Headers: slices.Clone(a.Config.Headers), Ignore: slices.Clone(a.Config.Ignore),
				IncludeOnly: slices.Clone(a.Config.IncludeOnly), RefuseNew: a.Config.AllowNew != nil && !*a.Config.AllowNew,
			})
		}
	}
	return list
}

// Goals are the rules of the config. Without any, a replay passes where no request
// failed.
func (c Config) Goals() []report.Goal {
	var goals []report.Goal
	for _, r := range c.doc.Rules {
		goals = append(goals, r.goal())
	}
	return goals
}

// Replicas is how many generators there are, at least 1.
func (c Config) Replicas() int { return max(c.doc.Generator.NumReplicas, 1) }

// RequestTimeout bounds one request; 0 means the generator's own.
func (c Config) RequestTimeout() time.Duration {
	return time.Duration(c.doc.Generator.RequestTimeoutSeconds * float64(time.Second))
}

// CarriesValues says that values which a response gives and a later request uses
// are carried over, as they are unless generator.carryValues is false.
func (c Config) CarriesValues() bool {
	carry := c.doc.Generator.CarryValues
	return carry == nil || *carry
}

// Transforms rewrite requests and responses; nil where none do. It must not be changed.
func (c Config) Transforms() *transform.Config { return c.doc.Transforms }

// Latency says how long the responder's answers take. The zero value is as fast as
// possible.
type Latency struct {
	// Multiple of the recorded time: 1 is as recorded.
	Multiple float64
	// Fixed is added to that.
	Fixed time.Duration
}

// Latency is of the responder's answers.
func (c Config) Latency() Latency {
	d := c.doc.Responder.ResponseDelay
	switch d.Mode {
	case delayRecorded:
		return Latency{Multiple: 1}
	case delayMultiple:
		return Latency{Multiple: d.Multiple}
	case delayConstant:
		return Latency{Fixed: time.Duration(d.Delay)}
	}
	return Latency{}
}

// Passthrough says that the responder sends what no recorded request matches to
// the real host, in place of an answer 404.
func (c Config) Passthrough() bool { return c.doc.Responder.PassthroughMode }

// LogsCollected says that the workload's logs, events and usage are gathered.
func (c Config) LogsCollected() bool { return c.doc.Cluster.LogsCollected }

// LogLevel is debug, info, warn or error, of the replay's own pods; empty means
// the operator's.
func (c Config) LogLevel() string { return c.doc.Cluster.LogLevel }

// Resources are quantities as Kubernetes writes them, by cpu and memory.
type Resources struct {
	Limits   map[string]string `json:"limits,omitempty" doc:"Limits by cpu and memory, such as 500m and 256Mi."`
	Requests map[string]string `json:"requests,omitempty" doc:"Requests by cpu and memory."`
}

func (r Resources) clone() Resources {
	return Resources{Limits: maps.Clone(r.Limits), Requests: maps.Clone(r.Requests)}
}

// GeneratorResources are of each generator's container; what they leave open is
// the operator's.
func (c Config) GeneratorResources() Resources { return c.doc.Cluster.GeneratorResources.clone() }

// ResponderResources are of the responder's container.
func (c Config) ResponderResources() Resources { return c.doc.Cluster.ResponderResources.clone() }
