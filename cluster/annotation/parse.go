package annotation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is all that is wrong with the annotations of a workload, in the order of their
// keys.
type Error struct{ Problems []Problem }

// Problem is an annotation that is refused.
type Problem struct {
	Key, Value string
	// Text says what is wanted, or why the annotation cannot do what it says.
	Text string
}

// shownValue is how much of a value is repeated in an error, in bytes.
const shownValue = 64

// Error names each annotation with its value and what is wanted.
func (e *Error) Error() string {
	parts := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		value := p.Value
		if len(value) > shownValue {
			value = value[:shownValue] + "…"
		}
		parts[i] = fmt.Sprintf("annotation %s=%q: %s", p.Key, value, p.Text)
	}
	return strings.Join(parts, "; ")
}

// Parse reads the annotations of a workload, with defaults for those that are not
// there. Annotations of others are passed over. Its error is an *Error with
// everything that is wrong.
func Parse(annotations map[string]string) (Sidecar, error) {
	s := defaults()
	var e Error
	known := settings()
	for _, setting := range known {
		if value, ok := annotations[setting.key]; ok {
			if err := setting.set(&s, strings.TrimSpace(value)); err != nil {
				e.Problems = append(e.Problems, Problem{setting.key, value, err.Error()})
			}
		}
	}
	for key, value := range annotations {
		is := func(s setting) bool { return s.key == key }
		if strings.HasPrefix(key, Prefix) && !slices.ContainsFunc(known, is) {
			e.Problems = append(e.Problems, Problem{key, value, fmt.Sprintf("there is no such annotation; the nearest is %s", nearest(key, known))})
		}
	}
	// What is wrong by itself is not judged together with the others too.
	if len(e.Problems) == 0 {
		e.Problems = combinations(s)
	}
	if len(e.Problems) > 0 {
		slices.SortFunc(e.Problems, func(a, b Problem) int { return cmp.Compare(a.Key, b.Key) })
		return Sidecar{}, &e
	}
	s.complete()
	return s, nil
}

// complete fills in the defaults that depend on other settings.
func (s *Sidecar) complete() {
	if s.Protocol == "" {
		s.Protocol = protocols(s.Type)[0]
	}
	for _, f := range []*TLSFiles{&s.TLSIn, &s.TLSMutual} {
		if f.Secret != "" {
			f.Public = cmp.Or(f.Public, "tls.crt")
			f.Private = cmp.Or(f.Private, "tls.key")
		}
	}
}

// Annotations returns the annotations that ask for s, without those that only say
// what is the default. Parse reads them back.
func (s Sidecar) Annotations() map[string]string {
	found := make(map[string]string)
	standard := defaults()
	standard.Protocol = protocols(s.Type)[0]
	for _, setting := range settings() {
		if value := setting.get(&s); value != setting.get(&standard) {
			found[setting.key] = value
		}
	}
	return found
}

// nearest returns the key that takes the fewest edits to become the given one.
func nearest(key string, known []setting) string {
	best, least := "", 0
	for _, s := range known {
		if d := distance(key, s.key); best == "" || d < least {
			best, least = s.key, d
		}
	}
	return best
}

// distance is Levenshtein's, in bytes. Keys are short: the API server takes names of
// 63 bytes at most.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
