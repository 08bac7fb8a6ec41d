package goproxy

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// fields are the field lines of a head, as far as framing and a proxy's duties go.
type fields struct {
	lines []fieldLine
	// nominated are the fields that Connection names: for this hop only.
	nominated map[string]bool
	// framed says that the length of the body is stated.
	framed            bool
	keepAlive, closed bool
}

// fieldLine is one field with the bytes it was sent as, folded lines included.
type fieldLine struct {
	name string // in lower case
	raw  []byte
}

func (l *fieldLine) value() string {
	_, v, _ := bytes.Cut(l.raw, []byte(":"))
	return string(bytes.TrimSpace(v))
}

// readFields splits the field lines of a head. It refuses what servers are known
// to read differently (RFC 9112, sections 5.1 and 5.2).
func readFields(b []byte) (*fields, error) {
	f := &fields{nominated: map[string]bool{}}
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			return nil, errors.New("head does not end")
		}
		raw := b[:i+1]
		b = b[i+1:]
		if len(bytes.TrimRight(raw, "\r\n")) == 0 {
			break
		}
		if raw[0] == ' ' || raw[0] == '\t' {
			return nil, errors.New("folded field line")
		}
		name, _, ok := bytes.Cut(raw, []byte(":"))
		if !ok || len(name) == 0 || bytes.ContainsAny(name, " \t\r\x00") {
			return nil, errors.New("malformed field line")
		}
		f.lines = append(f.lines, fieldLine{strings.ToLower(string(name)), raw})
	}
	for i := range f.lines {
		if f.lines[i].name == "connection" {
			f.connection(f.lines[i].value())
		}
	}
	return f, nil
}

// connection reads the options of a Connection field.
func (f *fields) connection(value string) {
	for o := range strings.SplitSeq(value, ",") {
		switch o = strings.ToLower(strings.TrimSpace(o)); o {
		case "close":
			f.closed = true
		case "keep-alive":
			f.keepAlive = true
		case "upgrade", "te", "host", "content-length", "transfer-encoding":
			// Upgrade and TE go on, since we pass on what they ask for; what
			// frames the message cannot be taken away.
		default:
			f.nominated[o] = true
		}
	}
}

// closes says whether the sender will close the connection after this message.
func (f *fields) closes(version10 bool) bool { return f.closed || version10 && !f.keepAlive }

// framing finds how the body ends.
func (f *fields) framing() (framing, error) {
	var out framing
	var coding, length string
	for i := range f.lines {
		switch l := &f.lines[i]; l.name {
		case "transfer-encoding":
			coding += "," + strings.ToLower(l.value())
			f.framed = true
		case "content-length":
			if v := l.value(); length != "" && v != length {
				return out, fmt.Errorf("different values of Content-Length")
			} else {
				length = v
			}
			f.framed = true
		}
	}
	if coding != "" {
		out.chunked = strings.TrimSpace(coding[strings.LastIndexByte(coding, ',')+1:]) == "chunked"
		out.toEnd = !out.chunked
		return out, nil
	}
	if length != "" {
		n, err := strconv.ParseUint(length, 10, 63)
		if err != nil {
			return out, errors.New("malformed Content-Length")
		}
		out.length = int64(n)
	}
	return out, nil
}
