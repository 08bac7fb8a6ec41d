package signature

import "strings"

// Endpoint groups paths: a segment that is a number, a date, a UUID, a long
// hexadecimal text, or has four digits or more, becomes {id}. A query is left
// out. /orders/42/items is /orders/{id}/items; /v1/oauth2 stays as it is.
func Endpoint(path string) string {
	path, _, _ = strings.Cut(path, "?")
	if !strings.ContainsAny(path, "0123456789") {
		return path
	}
	var out []byte
	for i, segment := range strings.Split(path, "/") {
		if i > 0 {
			out = append(out, '/')
		}
		if isID(segment) {
			segment = "{id}"
		}
		out = append(out, segment...)
	}
	return string(out)
}

func isID(segment string) bool {
	digits, hex := 0, 0
	for _, c := range []byte(segment) {
		switch {
		case '0' <= c && c <= '9':
			digits++
		case 'a' <= c && c <= 'f', 'A' <= c && c <= 'F', c == '-':
			hex++
		}
	}
	n := len(segment)
	return digits > 0 && digits == n || digits >= 4 || digits > 0 && n >= 16 && digits+hex == n
}
