package stamp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/cluster/annotation"
)

// Replay is the value of the annotation annotation.Replay, by which the pods of a
// workload take part in a replay: they get a sidecar that routes their outbound
// connections, and the labels by which the generator finds them.
type Replay struct {
	// ID is the report's id, and the value of the label annotation.ReplayID.
	ID string `json:"id"`
	// Name is the TrafficReplay's, as namespace/name.
	Name string `json:"name"`
	// Target is the value of the label annotation.ReplayTarget: which of the
	// replay's workloads this is.
	Target string `json:"target"`
	// Kind and Workload name the workload, whose pods may not have a Stamp.
	Kind     string `json:"kind"`
	Workload string `json:"workload"`
	// Responder is host:port; empty where nothing is mocked.
	Responder string `json:"responder,omitempty"`
	// Mocks are what the responder answers for. Other hosts stay real.
	Mocks []config.Mock `json:"mocks,omitempty"`
}

// ParseReplay reads it.
func ParseReplay(text string) (Replay, error) {
	var r Replay
	dec := json.NewDecoder(bytes.NewReader([]byte(text)))
	if err := dec.Decode(&r); err != nil {
		return Replay{}, fmt.Errorf("annotation %s: %w", annotation.Replay, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Replay{}, fmt.Errorf("annotation %s: something follows the replay", annotation.Replay)
	}
	if r.ID == "" || r.Target == "" || r.Kind == "" || r.Workload == "" {
		return Replay{}, fmt.Errorf("annotation %s: id, target, kind or workload is empty", annotation.Replay)
	}
	if len(r.Mocks) > 0 && r.Responder == "" {
		return Replay{}, fmt.Errorf("annotation %s: mocks have no responder", annotation.Replay)
	}
	return r, nil
}

// String is the annotation's value: the same for equal replays.
func (r Replay) String() string {
	text, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings can always be written
	}
	return string(text)
}
