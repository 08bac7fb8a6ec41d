// Package http1 reads HTTP/1.1 messages (RFC 9112) one after the other from a
// connection, each whole, into memory that the next message uses again. The
// generator reads responses with it, the responder requests: both need the
// fields as they were sent, in order and case, at the cost of few allocations.
package http1

import "bytes"

// Span is a part of a Message's Head or Trailer, as offsets into it, so that it
// can be taken from the bytes or from one string made of all of them.
type Span struct{ From, To int }

// Of returns the part of b.
func (s Span) Of(b []byte) []byte { return b[s.From:s.To] }

// In returns the part of str.
func (s Span) In(str string) string { return str[s.From:s.To] }

// Field is one field line. The value is without the white space around it.
type Field struct{ Name, Value Span }

// Message is a request or a response. Its bytes belong to the Reader that
// filled it and are valid until the Reader's next message.
type Message struct {
	// Head is the start line and the field lines.
	Head []byte
	// Start has the three parts of the start line: method, target and version,
	// or version, status and reason.
	Start [3]Span
	// Fields are spans of Head.
	Fields []Field
	// Minor is the x of HTTP/1.x.
	Minor int
	// Status is the status code of a response.
	Status int
	// Body has the content without transfer coding.
	Body []byte
	// BodySize is the length of the whole body in bytes; it exceeds len(Body)
	// where the Reader's limit cut it.
	BodySize int64
	// Trailer is the trailer section, TrailerFields are spans of it.
	Trailer       []byte
	TrailerFields []Field
	// Close says that the connection carries no message after this one.
	Close bool
	// Chunked says that the body came in the chunked transfer coding.
	Chunked bool
	// Continue says that the sender of a request waits for 100 (Continue)
	// before it sends the body (RFC 9110, section 10.1.1).
	Continue bool

	length   int64 // of the body as declared, -1 where it is not
	codings  bool  // there was a Transfer-Encoding
	untilEnd bool  // the body ends with the connection
	hosts    int   // Host fields
}

func (m *Message) reset() {
	*m = Message{Fields: m.Fields[:0], TrailerFields: m.TrailerFields[:0], length: -1}
}

// Bodiless says that no body follows the head that was read.
func (m *Message) Bodiless() bool { return !m.Chunked && !m.untilEnd && m.length == 0 }

// Get returns the first value of a field of the head. The name is compared
// without regard to case (RFC 9110, section 5.1).
func (m *Message) Get(name string) ([]byte, bool) {
	for i := range m.Fields {
		if f := &m.Fields[i]; f.Name.To-f.Name.From == len(name) && equalFold(f.Name.Of(m.Head), name) {
			return f.Value.Of(m.Head), true
		}
	}
	return nil, false
}

// equalFold compares ASCII text of equal length without regard to case.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range b {
		if b[i] != s[i] && lower(b[i]) != lower(s[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}

// tokens calls f with each member of a comma-separated list.
func tokens(list []byte, f func(token []byte)) {
	for len(list) > 0 {
		token, rest, _ := bytes.Cut(list, []byte{','})
		if token = bytes.Trim(token, " \t"); len(token) > 0 {
			f(token)
		}
		list = rest
	}
}

// HopByHop says whether a field is about one connection, not about the message
// that travels over it (RFC 9110, section 7.6.1). Fields that Connection names
// are hop-by-hop too; TE is left to the caller, since gRPC asks for it end to end.
func HopByHop(name string) bool {
	switch len(name) {
	case 7:
		return equalFold([]byte(name), "upgrade") || equalFold([]byte(name), "trailer")
	case 10:
		return equalFold([]byte(name), "connection") || equalFold([]byte(name), "keep-alive")
	case 16:
		return equalFold([]byte(name), "proxy-connection")
	case 17:
		return equalFold([]byte(name), "transfer-encoding")
	case 18:
		return equalFold([]byte(name), "proxy-authenticate")
	case 19:
		return equalFold([]byte(name), "proxy-authorization")
	}
	return false
}
