package compare

import "strings"

// maskPrefix begins a masked value: REDACTED-<hash> or REDACTED-<CATEGORY>-<hash>.
const maskPrefix = "REDACTED-"

// maskedMatch says whether observed is recorded with any text in the place of
// each masked value.
func maskedMatch(recorded, observed string) bool {
	before, rest, ok := strings.Cut(recorded, maskPrefix)
	if !ok || !strings.HasPrefix(observed, before) {
		return false
	}
	observed = observed[len(before):]
	for {
		rest = rest[maskedLen(rest):]
		literal, next, more := strings.Cut(rest, maskPrefix)
		if !more {
			return strings.HasSuffix(observed, literal)
		}
		i := strings.Index(observed, literal)
		if i < 0 {
			return false
		}
		observed, rest = observed[i+len(literal):], next
	}
}

// maskedLen is the length of what follows maskPrefix in a masked value.
func maskedLen(s string) int {
	for i := range len(s) {
		c := s[i]
		if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return i
		}
	}
	return len(s)
}
