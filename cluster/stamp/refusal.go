package stamp

import (
	"fmt"
	"strings"
)

// Refusal is the value of the annotation annotation.Refused on a workload whose stamp
// was withdrawn, since its pods could not be made with the sidecar. It holds for the
// settings that it names: once they change, the workload is stamped again.
type Refusal struct {
	// Hash is annotation.Sidecar.Hash of the settings.
	Hash string
	// Reason says why, for people.
	Reason string
}

// The hash stands at the end, where it is in nobody's way.
const (
	refusalHash = " (settings "
	refusalEnd  = ")"
)

// String is the annotation's value.
func (r Refusal) String() string { return r.Reason + refusalHash + r.Hash + refusalEnd }

// ParseRefusal reads it.
func ParseRefusal(text string) (Refusal, error) {
	i := strings.LastIndex(text, refusalHash)
	if i < 0 || !strings.HasSuffix(text, refusalEnd) || len(text) < i+len(refusalHash)+len(refusalEnd) {
		return Refusal{}, fmt.Errorf("%q does not say for which settings it holds", text)
	}
	return Refusal{Reason: text[:i], Hash: text[i+len(refusalHash) : len(text)-len(refusalEnd)]}, nil
}
