package http1

import (
	"errors"
	"strconv"
	"strings"

	"github.com/speedscale/speedscale/traffic/wire/exchange"
)

var (
	errStartLine = errors.New("malformed start line")
	errField     = errors.New("malformed field line")
	errFraming   = errors.New("message length cannot be told")
)

// message is what a head says: the start line, and how long the body is.
type message struct {
	method, uri, version string // a request's
	code, reason         string // a response's
	status               int
	host                 string

	trailer   bool  // these are trailer fields, which have no say in framing
	bodiless  bool  // there is no body, whatever the fields say
	hasLength bool  // there is a Content-Length
	length    int64 // and its value
	hasCoding bool  // there is a Transfer-Encoding
	chunked   bool  // and its last coding is chunked
	// chunkedSeen and chunkedTwice say how often chunked was applied.
	chunkedSeen, chunkedTwice bool
	upgrade                   bool
}

// requestLine parses method SP request-target SP HTTP-version (RFC 9112, section 3).
func requestLine(line string) (method, uri, version string, err error) {
	method, rest, ok := strings.Cut(line, " ")
	if !ok || !isToken(method) {
		return "", "", "", errStartLine
	}
	uri, proto, ok := strings.Cut(rest, " ")
	if !ok || uri == "" || !isText(uri) || strings.IndexByte(uri, '\t') >= 0 {
		return "", "", "", errStartLine
	}
	version, ok = httpVersion(proto)
	if !ok {
		return "", "", "", errStartLine
	}
	return method, uri, version, nil
}

func (m *message) requestLine(line string) (err error) {
	m.method, m.uri, m.version, err = requestLine(line)
	return err
}

// statusLine parses HTTP-version SP status-code SP [reason-phrase] (RFC 9112, section 4).
func (m *message) statusLine(line string) error {
	proto, rest, ok := strings.Cut(line, " ")
	if !ok {
		return errStartLine
	}
	if m.version, ok = httpVersion(proto); !ok {
		return errStartLine
	}
	rest = strings.TrimLeft(rest, " ")
	m.code, m.reason, _ = strings.Cut(rest, " ")
	if len(m.code) != 3 {
		return errStartLine
	}
	status, err := strconv.ParseUint(m.code, 10, 16)
	if err != nil || status < 100 {
		return errStartLine
	}
	m.status = int(status)
	return nil
}

func httpVersion(proto string) (string, bool) {
	switch proto {
	case "HTTP/1.1":
		return "1.1", true
	case "HTTP/1.0":
		return "1.0", true
	}
	return "", false
}

// fieldCount is an upper bound for the fields of a section.
func fieldCount(section string) int { return max(strings.Count(section, "\n")-1, 0) }

// fields parses a field section up to its empty line (RFC 9112, section 5) and
// notes what decides on the length of the body.
func (m *message) fields(section string, into *exchange.Fields) error {
	var name string
	for section != "" {
		line := section
		if i := strings.IndexByte(section, '\n'); i >= 0 {
			line, section = section[:i], section[i+1:]
		} else {
			section = ""
		}
		if n := len(line); n > 0 && line[n-1] == '\r' {
			line = line[:n-1]
		}
		if line == "" {
			break
		}
		if line[0] == ' ' || line[0] == '\t' {
			if name == "" {
				return errField
			}
			more := trimSpace(line)
			if !isText(more) || isFraming(name) {
				return errField
			}
			into.Fold(more)
			continue
		}
		colon := strings.IndexByte(line, ':')
		if colon < 0 || !isToken(line[:colon]) {
			return errField
		}
		name = line[:colon]
		value := trimSpace(line[colon+1:])
		if !isText(value) {
			return errField
		}
		if err := m.field(name, value); err != nil {
			return err
		}
		into.Add(name, value)
	}
	return nil
}

// isFraming names the fields that no fold may change the meaning of.
func isFraming(name string) bool {
	return strings.EqualFold(name, "Content-Length") || strings.EqualFold(name, "Transfer-Encoding")
}

// field notes the fields that matter to the decoder.
func (m *message) field(name, value string) error {
	if m.trailer {
		return nil
	}
	switch len(name) {
	case len("Host"):
		if m.host == "" && strings.EqualFold(name, "Host") {
			m.host = value
		}
	case len("Upgrade"):
		if strings.EqualFold(name, "Upgrade") && value != "" {
			m.upgrade = true
		}
	case len("Content-Length"):
		if strings.EqualFold(name, "Content-Length") {
			return m.contentLength(value)
		}
	case len("Transfer-Encoding"):
		if strings.EqualFold(name, "Transfer-Encoding") {
			m.transferEncoding(value)
		}
	}
	return nil
}

// contentLength accepts a repeated length, in one line or several, only if all
// values are the same (RFC 9112, section 6.3, rule 5).
func (m *message) contentLength(value string) error {
	for more := true; more; {
		var one string
		one, value, more = strings.Cut(value, ",")
		one = trimSpace(one)
		for i := range len(one) {
			if one[i] < '0' || one[i] > '9' {
				return errFraming
			}
		}
		n, err := strconv.ParseInt(one, 10, 64)
		if err != nil || m.hasLength && n != m.length {
			return errFraming
		}
		m.hasLength, m.length = true, n
	}
	return nil
}

func (m *message) transferEncoding(value string) {
	for more := true; more; {
		var one string
		one, value, more = strings.Cut(value, ",")
		if one = trimSpace(one); one == "" {
			continue
		}
		m.hasCoding = true
		isChunked := strings.EqualFold(one, "chunked")
		m.chunkedTwice = m.chunkedTwice || isChunked && m.chunkedSeen
		m.chunkedSeen = m.chunkedSeen || isChunked
		m.chunked = isChunked
	}
}

// checkCoding refuses transfer codings that leave the end of the message open
// to interpretation: any in HTTP/1.0 (RFC 9112, section 6.1), and chunked
// applied twice (section 7.1).
func (m *message) checkCoding() error {
	if m.hasCoding && (m.version == "1.0" || m.chunkedTwice) {
		return errFraming
	}
	return nil
}

// checkRequest also refuses a coding after chunked, without which a request has
// no end (RFC 9112, section 6.3, rule 4).
func (m *message) checkRequest() error {
	if m.hasCoding && !m.chunked {
		return errFraming
	}
	return m.checkCoding()
}

// isToken says whether s is a token (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		if !tokenByte[s[i]] {
			return false
		}
	}
	return s != ""
}

// isText says whether s has no control characters but tabs (RFC 9110, section 5.5).
func isText(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// tokenByte has the characters that a token may have.
var tokenByte = func() (t [256]bool) {
	const punctuation = "!#$%&'*+-.^_`|~"
	for c := range t {
		t[c] = c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' ||
			strings.IndexByte(punctuation, byte(c)) >= 0
	}
	return t
}()

// trimSpace removes optional white space (OWS) around a value.
func trimSpace(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}
