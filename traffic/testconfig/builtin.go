package testconfig

import "time"

// Names of built-in configs, as documented.
const (
	Standard            = "standard"
	StandardPassthrough = "standard-passthrough"
	Regression          = "regression"
)

// Builtin returns a built-in config; ok is false where there is none of that id.
func Builtin(id string) (c Config, ok bool) {
	for _, c := range Builtins() {
		if c.ID() == id {
			return c, true
		}
	}
	return Config{}, false
}

// Builtins returns all built-in configs: those without a load of their own send
// each request once, standard and standard-passthrough at its recorded time,
// regression one after the other, so that what a response depends on has happened
// before. The performance configs hold up a load, of 10 to 500 generators, and look
// at status codes only.
func Builtins() []Config {
	logs := cluster{LogsCollected: true}
	return []Config{
		builtin(document{ID: Standard, Cluster: logs}),
		builtin(document{ID: StandardPassthrough, Cluster: logs, Responder: responder{PassthroughMode: true}}),
		builtin(document{ID: Regression, Cluster: logs, Generator: generator{Stages: []stage{{VirtualUsers: &virtualUsers{1}}}}}),
		performance("performance_10replicas", 10),
		performance("performance_100replicas", 100),
		performance("performance_500replicas", maxReplicas),
	}
}

func performance(id string, replicas int) Config {
	return builtin(document{
		ID: id,
		Generator: generator{
			Stages:      []stage{{Duration: duration(5 * time.Minute), VirtualUsers: &virtualUsers{100}}},
			NumReplicas: replicas,
		},
		AssertionGroups: []group{{Configs: []assertion{{Type: "httpStatusCode"}}}},
	})
}

func builtin(d document) Config {
	d.Version, d.Protected = version, true
	return Config{d}
}
