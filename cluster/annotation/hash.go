package annotation

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"maps"
	"slices"
	"strconv"
)

// Hash is a short name for the settings, without Inject, Ignore and ManagedBy: the same
// for annotations that mean the same, however they are written. It changes pods'
// templates, so it must not change with our version: it covers only settings that differ
// from their default, so that a new annotation leaves it as it is.
func (s Sidecar) Hash() string {
	values := s.Annotations()
	for _, key := range []string{Inject, Ignore, ManagedBy} {
		delete(values, key)
	}
	h := sha256.New()
	for _, key := range slices.Sorted(maps.Keys(values)) {
		io.WriteString(h, key+"="+strconv.Quote(values[key])+"\n")
	}
	return hex.EncodeToString(h.Sum(nil)[:5])
}
