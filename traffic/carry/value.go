package carry

import (
	"strings"

	"github.com/speedscale/speedscale/traffic/mask"
)

// Bounds of a value in bytes: shorter ones meet by chance, and no field carries
// longer ones.
const (
	minDistinct = 8
	maxValue    = 16 << 10
)

// distinct says whether a value is of a form that people and programs do not write
// by chance: a masked one; letters and digits that are no date, version, address or
// media type; eight digits or more; or a long text of mixed case.
func distinct(v string) bool {
	if len(v) < minDistinct || len(v) > maxValue || isDate(v) {
		return false
	}
	if mask.IsMasked(v) {
		return true
	}
	digits, lower, upper, base64, other := 0, 0, 0, 0, 0
	for _, c := range []byte(v) {
		switch {
		case isDigit(c):
			digits++
		case 'a' <= c && c <= 'z':
			lower++
		case 'A' <= c && c <= 'Z':
			upper++
		case c == '/' || c == '+' || c == '=':
			base64++
		case c == '-' || c == '_' || c == '.' || c == '~' || c == ':' || c == '"':
			other++
		default:
			return false
		}
	}
	switch letters := lower + upper; {
	case base64 > 0 && (other > 0 || len(v) < 2*minDistinct):
		return false // a path, a URL, a media type
	case letters == 0:
		return digits == len(v) && !isMaskedNumber(v)
	case digits == 0:
		return len(v) >= 20 && lower > 0 && upper > 0 && other == 0
	}
	return digits > 0
}

// isDate says whether a text begins as a date of ISO 8601 does.
func isDate(v string) bool {
	if len(v) < len("2006-01-02") || v[4] != '-' || v[7] != '-' {
		return false
	}
	for _, i := range [...]int{0, 1, 2, 3, 5, 6, 8, 9} {
		if !isDigit(v[i]) {
			return false
		}
	}
	return true
}

// isMaskedNumber says whether a number is what masking makes of any short one: 1
// and zeros.
func isMaskedNumber(v string) bool { return v[0] == '1' && strings.Trim(v[1:], "0") == "" }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isToken says whether a byte can be in a token: what text, paths and queries have
// unencoded.
func isToken(c byte) bool {
	return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'z' || c == '-' || c == '_' || c == '.' || c == '~'
}

// tokens visits the tokens of a text that are distinct.
func tokens(text string, visit func(from, to int)) {
	for i := 0; i < len(text); {
		if !isToken(text[i]) {
			i++
			continue
		}
		from := i
		for i < len(text) && isToken(text[i]) {
			i++
		}
		to := i
		for to > from && text[to-1] == '.' { // the end of a sentence
			to--
		}
		if distinct(text[from:to]) {
			visit(from, to)
		}
	}
}

// shortID says whether a value that is not distinct can be an id where its place
// says so.
func shortID(v string) bool {
	if v == "" || len(v) >= minDistinct || len(v) > 1 && isMaskedNumber(v) {
		return false
	}
	for _, c := range []byte(v) {
		if !isToken(c) {
			return false
		}
	}
	return v != "true" && v != "false" && v != "null"
}

// idName says whether a name is that of an id, and in one form for order_id,
// orderId and order-id; qualified says that it tells of what.
func idName(name string) (plain string, qualified, ok bool) {
	plain = strings.Map(func(r rune) rune {
		switch {
		case r == '_' || r == '-':
			return -1
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		}
		return r
	}, name)
	if !strings.HasSuffix(plain, "id") {
		return "", false, false
	}
	// "paid" and "valid" end so too.
	before := strings.TrimSuffix(name, name[len(name)-2:])
	qualified = before != ""
	if qualified && !strings.HasSuffix(before, "_") && !strings.HasSuffix(before, "-") && name[len(name)-2] != 'I' {
		return "", false, false
	}
	return plain, qualified, true
}
