package traffic

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/speedscale/speedscale/traffic/jsonscan"
)

// jsonReader reads values from front to back. Each method reads the value at
// pos, which is not white space, and stops behind it. A null reads as nothing.
type jsonReader struct {
	b     []byte
	pos   int
	depth int
}

// fieldError says in which field an error is.
type fieldError struct {
	path string
	err  error
}

func (e *fieldError) Error() string { return e.path + ": " + e.err.Error() }

func (e *fieldError) Unwrap() error { return e.err }

func inField(name string, err error) error {
	if inner, ok := errors.AsType[*fieldError](err); ok {
		return &fieldError{path: bounded(name) + "." + inner.path, err: inner.err}
	}
	return &fieldError{path: bounded(name), err: err}
}

// bounded keeps errors short, whatever the file holds.
func bounded(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}

func (r *jsonReader) fail(msg string) error { return fmt.Errorf("byte %d: %s", r.pos, msg) }

func (r *jsonReader) kind() byte {
	if r.pos >= len(r.b) {
		return 0
	}
	return r.b[r.pos]
}

func (r *jsonReader) skip() error {
	end, ok := jsonscan.Skip(r.b, r.pos)
	r.pos = end
	if !ok {
		return r.fail("invalid JSON")
	}
	return nil
}

// object visits the members of an object. visit must read the value, and not
// keep key.
func (r *jsonReader) object(visit func(key []byte) error) error {
	if r.depth == 0 {
		r.pos = jsonscan.Space(r.b, r.pos)
	}
	if r.depth > 0 && r.kind() == 'n' {
		return r.skip()
	}
	if r.kind() != '{' {
		return r.fail("expected an object")
	}
	m := jsonscan.Walk(r.b, r.pos, r.depth)
	r.depth++
	for m.Next() {
		key := m.Key
		if m.Escaped {
			key = jsonscan.Unescape(nil, key)
		}
		r.pos = m.Pos()
		if err := visit(key); err != nil {
			return inField(string(key), err)
		}
		m.SetPos(r.pos)
	}
	r.depth--
	r.pos = m.Pos()
	if !m.OK() {
		return r.fail("invalid JSON")
	}
	return nil
}

// texts reads a list of strings, or one string as a list.
func (r *jsonReader) texts() ([]string, error) {
	if r.kind() != '[' {
		if r.kind() == 'n' {
			return nil, r.skip()
		}
		s, err := r.text()
		return []string{s}, err
	}
	var list []string
	m := jsonscan.Walk(r.b, r.pos, r.depth)
	for m.Next() {
		r.pos = m.Pos()
		s, err := r.text()
		if err != nil {
			return nil, err
		}
		list = append(list, s)
		m.SetPos(r.pos)
	}
	r.pos = m.Pos()
	if !m.OK() {
		return nil, r.fail("invalid JSON")
	}
	return list, nil
}

// text reads a string; a number or a boolean is taken as written.
func (r *jsonReader) text() (string, error) {
	switch r.kind() {
	case 'n':
		return "", r.skip()
	case '{', '[', 0:
		return "", r.fail("expected a string")
	case '"':
		inner, err := r.inner()
		return validUTF8(string(inner)), err
	}
	start := r.pos
	err := r.skip()
	return string(r.b[start:r.pos]), err
}

// inner reads a string without copying it where it has no escapes.
func (r *jsonReader) inner() ([]byte, error) {
	start := r.pos
	end, escaped, ok := jsonscan.String(r.b, r.pos)
	r.pos = end
	if !ok {
		return nil, r.fail("invalid string")
	}
	inner := r.b[start+1 : end-1]
	if escaped {
		inner = jsonscan.Unescape(nil, inner)
	}
	return inner, nil
}

// validUTF8 makes a string one that protobuf takes.
func validUTF8(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func (r *jsonReader) bool() (bool, error) {
	s, err := r.text()
	if err != nil || s == "" {
		return false, err
	}
	v, err := strconv.ParseBool(s)
	if err != nil {
		return false, fmt.Errorf("is %q, not true or false", bounded(s))
	}
	return v, nil
}

// integer reads a whole number, also one in quotes or written as 200.0.
func integer[T int32 | int64 | uint32](r *jsonReader) (T, error) {
	s, err := r.text()
	if err != nil || s == "" {
		return 0, err
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		f, ferr := strconv.ParseFloat(s, 64)
		if ferr != nil || f != math.Trunc(f) || math.Abs(f) >= 1<<53 {
			return 0, fmt.Errorf("is %q, not a whole number", bounded(s))
		}
		n = int64(f)
	}
	if int64(T(n)) != n {
		return 0, fmt.Errorf("is %q, which is out of range", bounded(s))
	}
	return T(n), nil
}

// millis reads milliseconds as nanoseconds, exactly where they are written
// without an exponent.
func (r *jsonReader) millis() (int64, error) {
	s, err := r.text()
	if err != nil || s == "" {
		return 0, err
	}
	if n, ok := decimalMillis(s); ok {
		return n, nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if f *= 1e6; err != nil || math.IsNaN(f) || math.Abs(f) >= math.MaxInt64 {
		return 0, fmt.Errorf("is %q, not a number of milliseconds", bounded(s))
	}
	return int64(math.Round(f)), nil
}

func decimalMillis(s string) (int64, bool) {
	whole, frac, _ := strings.Cut(s, ".")
	if len(frac) > 6 {
		return 0, false
	}
	n, err := strconv.ParseInt(whole+frac+"000000"[len(frac):], 10, 64)
	return n, err == nil
}

// time reads an RFC 3339 time as Unix nanoseconds.
func (r *jsonReader) time() (int64, error) {
	s, err := r.text()
	if err != nil || s == "" {
		return 0, err
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0, fmt.Errorf("is %q, not an RFC 3339 time", bounded(s))
	}
	n := t.UnixNano()
	if !time.Unix(0, n).Equal(t) {
		return 0, fmt.Errorf("is %q, which is out of range (years 1678 to 2261)", bounded(s))
	}
	return n, nil
}

// base64 reads bytes in either alphabet, with or without padding.
func (r *jsonReader) base64() ([]byte, error) {
	if r.kind() == 'n' {
		return nil, r.skip()
	}
	if r.kind() != '"' {
		return nil, r.fail("expected base64 in quotes")
	}
	inner, err := r.inner()
	if err != nil {
		return nil, err
	}
	return decodeBase64(inner)
}

func decodeBase64(text []byte) ([]byte, error) {
	dst := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(dst, text)
	if err == nil {
		return dst[:n], nil
	}
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if b, e := enc.DecodeString(string(text)); e == nil {
			return b, nil
		}
	}
	return nil, fmt.Errorf("is not base64: %w", err)
}

// uuid reads the base64 of its bytes, or the usual text form.
func (r *jsonReader) uuid() ([]byte, error) {
	if b := r.b[r.pos:]; len(b) >= 38 && b[0] == '"' && b[9] == '-' && b[37] == '"' {
		if u, err := hex.DecodeString(strings.ReplaceAll(string(b[1:37]), "-", "")); err == nil && len(u) == 16 {
			r.pos += 38
			return u, nil
		}
	}
	return r.base64()
}
