package http1

import (
	"bytes"
	"errors"
	"io"
	"net/http"
)

var (
	errHeadTooLong    = &ProtocolError{Status: http.StatusRequestHeaderFieldsTooLarge, Reason: "the head is longer than the limit"}
	errTrailerTooLong = &ProtocolError{Status: http.StatusRequestHeaderFieldsTooLarge, Reason: "the trailer section is longer than the limit"}
	errChunkTooLong   = &ProtocolError{Status: http.StatusBadRequest, Reason: "a chunk's head is longer than the limit"}
)

// ReadRequestHead reads the head of the next request. It returns io.EOF where
// the connection ended in order before it, and io.ErrUnexpectedEOF in its middle.
func (r *Reader) ReadRequestHead(m *Message) error {
	r.begin()
	m.reset()
	var line Span
	for skipped := 0; ; skipped++ { // empty lines before a request are ignored (RFC 9112, section 2.2)
		var err error
		if line, err = r.line(orDefault(r.MaxHead, DefaultMaxHead), errHeadTooLong); err != nil {
			return r.midMessage(err)
		}
		if line.To > line.From {
			break
		}
		if skipped == 4 {
			return malformed("no request line")
		}
		r.start = r.pos
	}
	if err := m.requestLine(r.buf[r.start:], line); err != nil {
		return err
	}
	if err := r.head(m, false); err != nil {
		return err
	}
	return m.requestFraming()
}

// ReadResponse reads the final response to a request of the given method, with
// its body; 1xx responses before it are skipped.
func (r *Reader) ReadResponse(method string, m *Message) error {
	r.begin()
	for interim := 0; ; interim++ {
		m.reset()
		line, err := r.line(orDefault(r.MaxHead, DefaultMaxHead), errHeadTooLong)
		if err != nil {
			return r.midMessage(err)
		}
		if err := m.statusLine(r.buf[r.start:], line); err != nil {
			return err
		}
		if err := r.head(m, true); err != nil {
			return err
		}
		if m.Status >= 200 || m.Status == http.StatusSwitchingProtocols {
			break
		}
		if interim == maxInterim {
			return malformed("more than %d responses of class 1xx", maxInterim)
		}
		r.start = r.pos
	}
	if err := m.responseFraming(method); err != nil {
		return err
	}
	return r.ReadBody(m)
}

// midMessage tells an end between messages from an end within one.
func (r *Reader) midMessage(err error) error {
	if errors.Is(err, io.EOF) && r.Started() {
		return io.ErrUnexpectedEOF
	}
	return err
}

// head reads field lines up to the empty line.
func (r *Reader) head(m *Message, response bool) error {
	var err error
	m.Fields, err = r.section(m.Fields, orDefault(r.MaxHead, DefaultMaxHead), errHeadTooLong, response)
	if err != nil {
		return r.midMessage(err)
	}
	m.Head = r.buf[r.start:r.pos]
	return nil
}

// section reads field lines up to an empty line, as offsets from r.start.
func (r *Reader) section(fields []Field, limit int, tooLong *ProtocolError, response bool) ([]Field, error) {
	begun := r.pos - r.start
	for {
		line, err := r.line(limit, tooLong)
		if err != nil {
			return fields, err
		}
		if line.To == line.From {
			return fields, nil
		}
		if line.To-begun > limit || len(fields) == maxFields {
			return fields, tooLong
		}
		msg := r.buf[r.start:r.pos]
		if c := msg[line.From]; c == ' ' || c == '\t' {
			if !response || len(fields) == 0 {
				return fields, malformed("a field line starts with white space")
			}
			unfold(msg, &fields[len(fields)-1], line)
			continue
		}
		field, err := parseField(msg, line, response)
		if err != nil {
			return fields, err
		}
		fields = append(fields, field)
	}
}

// unfold joins a line that continues a field's value (obs-fold) to it, with
// spaces in place of the line's ending (RFC 9112, section 5.2).
func unfold(msg []byte, f *Field, line Span) {
	for i := f.Value.To; i < line.From; i++ {
		msg[i] = ' '
	}
	f.Value = trim(msg, Span{f.Value.From, line.To})
}

func parseField(msg []byte, line Span, response bool) (Field, error) {
	text := line.Of(msg)
	colon := bytes.IndexByte(text, ':')
	if colon <= 0 {
		return Field{}, malformed("a field line has no name and colon")
	}
	name := Span{line.From, line.From + colon}
	if response { // RFC 9112, section 5.1: removed from responses, refused in requests
		name = trim(msg, name)
	}
	for _, c := range name.Of(msg) {
		if !tokenChar[c] {
			return Field{}, malformed("a field name has a character that is not allowed")
		}
	}
	value := trim(msg, Span{line.From + colon + 1, line.To})
	for _, c := range value.Of(msg) {
		if c < ' ' && c != '\t' && (!response || c == 0 || c == '\r') || c == 0x7f && !response {
			return Field{}, malformed("field %q has a control character in its value", name.Of(msg))
		}
	}
	return Field{name, value}, nil
}

func trim(b []byte, s Span) Span {
	for s.From < s.To && (b[s.From] == ' ' || b[s.From] == '\t') {
		s.From++
	}
	for s.To > s.From && (b[s.To-1] == ' ' || b[s.To-1] == '\t') {
		s.To--
	}
	return s
}

func (m *Message) requestLine(msg []byte, line Span) error {
	text := line.Of(msg)
	i := bytes.IndexByte(text, ' ')
	j := bytes.LastIndexByte(text, ' ')
	if i <= 0 || j <= i+1 {
		return malformed("the request line is not method, target and version")
	}
	m.Start = [3]Span{{line.From, line.From + i}, {line.From + i + 1, line.From + j}, {line.From + j + 1, line.To}}
	for _, c := range text[:i] {
		if !tokenChar[c] {
			return malformed("the method has a character that is not allowed")
		}
	}
	for _, c := range text[i+1 : j] {
		if c <= ' ' || c == 0x7f {
			return malformed("the request target has a character that is not allowed")
		}
	}
	return m.version(text[j+1:])
}

func (m *Message) statusLine(msg []byte, line Span) error {
	text := line.Of(msg)
	if len(text) < len("HTTP/1.1 200") || text[8] != ' ' || len(text) > 12 && text[12] != ' ' {
		return malformed("the status line is not version, status and reason")
	}
	if err := m.version(text[:8]); err != nil {
		return err
	}
	for _, c := range text[9:12] {
		if c < '0' || c > '9' {
			return malformed("the status code is not a number")
		}
		m.Status = m.Status*10 + int(c-'0')
	}
	if m.Status < 100 {
		return malformed("the status code is below 100")
	}
	from := line.From
	m.Start = [3]Span{{from, from + 8}, {from + 9, from + 12}, {min(from+13, line.To), line.To}}
	return nil
}

func (m *Message) version(v []byte) error {
	if len(v) != 8 || string(v[:5]) != "HTTP/" || v[6] != '.' || v[7] < '0' || v[7] > '9' {
		return malformed("no HTTP version")
	}
	if v[5] != '1' {
		return &ProtocolError{Status: http.StatusHTTPVersionNotSupported, Reason: "the version is not HTTP/1.x"}
	}
	m.Minor = int(v[7] - '0')
	return nil
}

// tokenChar has the characters of a token (RFC 9110, section 5.6.2).
var tokenChar = func() (t [256]bool) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		t[c] = true
	}
	return t
}()
