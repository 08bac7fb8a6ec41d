package mask

import (
	"encoding/hex"
	"strings"
)

// A masked value is REDACTED-<hash>, or REDACTED-<CATEGORY>-<hash> where a
// pattern was found. The hash is HMAC-SHA-256 (RFC 2104) of the value, cut to 96
// bits and written as 24 hex digits: long enough that no two values of one
// archive meet, short enough to read.
const (
	tokenPrefix = "REDACTED-"
	hashBytes   = 12
	hashDigits  = 2 * hashBytes
)

// appendToken appends what stands for a value.
func (w *work) appendToken(dst, value []byte, cat category) []byte {
	dst = append(dst, tokenPrefix...)
	if cat != catNone {
		dst = append(dst, categories[cat]...)
		dst = append(dst, '-')
	}
	return hex.AppendEncode(dst, w.hash(value)[:hashBytes])
}

// Value returns what a value becomes where a rule names its place.
func (m *Masker) Value(value string) string {
	w := m.pool.Get().(*work)
	defer m.pool.Put(w)
	w.field(&value, w.whole)
	return value
}

// hash returns the keyed hash of a value, which is good until the next call.
func (w *work) hash(value []byte) []byte {
	w.mac.Reset()
	w.mac.Write(value)
	w.sum = w.mac.Sum(w.sum[:0])
	return w.sum
}

// tokenEnd returns the end of the masked value that starts at s[i], or -1.
func tokenEnd[T string | []byte](s T, i int) int {
	if len(s)-i < len(tokenPrefix)+hashDigits || string(s[i:i+len(tokenPrefix)]) != tokenPrefix {
		return -1
	}
	start := i + len(tokenPrefix)
	if end := hashEnd(s, start); end > 0 {
		return end
	}
	for start < len(s) && (isUpper(s[start]) || isDigit(s[start]) || s[start] == '_') {
		start++
	}
	if start == len(s) || s[start] != '-' {
		return -1
	}
	return hashEnd(s, start+1)
}

// hashEnd returns the end of the hash that starts at s[i], or -1.
func hashEnd[T string | []byte](s T, i int) int {
	end := i
	for end < len(s) && ('a' <= s[end] && s[end] <= 'f' || isDigit(s[end])) {
		end++
	}
	if end-i != hashDigits || end < len(s) && isWord(s[end]) {
		return -1
	}
	return end
}

// IsMasked says whether the whole value is a masked one. It needs no key.
// Masked numbers look like numbers, so it does not know them.
func IsMasked(value string) bool { return tokenEnd(value, 0) == len(value) }

// Matches says whether plain may be what was masked to masked: each masked value
// in it stands for any text but none, the rest is compared as it is. It is for
// those who do not have the key; with it, mask both and compare.
func Matches(masked, plain string) bool {
	literal, rest, found := cutToken(masked)
	if !found {
		return masked == plain
	}
	if !strings.HasPrefix(plain, literal) {
		return false
	}
	plain = plain[len(literal):]
	for {
		literal, rest, found = cutToken(rest)
		if !found { // the last literal ends the text
			return len(plain) > len(literal) && strings.HasSuffix(plain, literal)
		}
		if plain == "" {
			return false
		}
		i := strings.Index(plain[1:], literal)
		if i < 0 {
			return false
		}
		plain = plain[1+i+len(literal):]
	}
}

// cutToken returns what stands before and after the first masked value of s.
func cutToken(s string) (before, after string, found bool) {
	for i := 0; ; {
		n := strings.Index(s[i:], tokenPrefix)
		if n < 0 {
			return s, "", false
		}
		i += n
		if end := tokenEnd(s, i); end > 0 {
			return s[:i], s[end:], true
		}
		i++
	}
}
