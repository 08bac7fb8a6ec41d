// Package stamp reads and writes the annotation on a pod template by which its pods
// are injected. The stamp carries the settings, so that a pod gets those that its
// template was stamped with, whatever its workload says by then.
package stamp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/speedscale/speedscale/cluster/annotation"
)

// Stamp is the value of the annotation annotation.Stamp.
type Stamp struct {
	// Hash is annotation.Sidecar.Hash of the settings when they were stamped. While
	// the workload's settings have the same one, the stamp stays as it is.
	Hash string `json:"hash"`
	// Count is raised to roll the pods out anew with the same settings.
	Count int `json:"count"`
	// Kind and Name are the workload's.
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Settings are annotation.Sidecar.Annotations, without those about the operator.
	Settings map[string]string `json:"settings"`
}

// Parse reads a stamp.
func Parse(text string) (Stamp, error) {
	var s Stamp
	dec := json.NewDecoder(bytes.NewReader([]byte(text)))
	if err := dec.Decode(&s); err != nil {
		return Stamp{}, fmt.Errorf("annotation %s: %w", annotation.Stamp, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Stamp{}, fmt.Errorf("annotation %s: something follows the stamp", annotation.Stamp)
	}
	if s.Hash == "" || s.Kind == "" || s.Name == "" || s.Count < 0 {
		return Stamp{}, fmt.Errorf("annotation %s: hash, kind or name is empty, or the count below 0", annotation.Stamp)
	}
	return s, nil
}

// String is the annotation's value: the same for equal stamps.
func (s Stamp) String() string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings and a number can always be written
	}
	return string(text)
}

// Next returns the stamp of a workload with the given settings, where old is the one
// its template has, "" for none. It is the old one, byte for byte, as long as it is
// the workload's own and stands for the same settings.
func Next(old, kind, name string, s annotation.Sidecar) string {
	was, err := Parse(old)
	if err == nil && was.Kind == kind && was.Name == name && was.Hash == s.Hash() {
		return old
	}
	s.Ignore, s.ManagedBy = false, "" // whose it is says the workload
	return Stamp{Hash: s.Hash(), Count: was.Count, Kind: kind, Name: name, Settings: s.Annotations()}.String()
}
