package traffic

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"mime"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire/body"
	"github.com/speedscale/speedscale/traffic/wire/grpcmsg"
)

const (
	// decodeLimit bounds what a coded body may become, in bytes.
	decodeLimit = 4 << 20
	// hexLimit bounds what is shown of a body that is no text, and lineLimit the lines of
	// any.
	hexLimit  = 4 << 10
	lineLimit = 20_000
)

// content is a body made readable.
type content struct {
	// kind says how: JSON, form, gRPC, text, binary; or "" where there is none.
	kind  string
	lines []string
	// note says what is not as it was sent.
	note string
}

// message is what a body is read by.
type message struct {
	headers []*traffic.Header
	// mime is the content type where the headers have none.
	mime string
	body []byte
	size int64 // before it was cut
	grpc bool
}

// readable decodes a body: its content coding, and then what is in it.
func readable(m message) content {
	var c content
	b := m.body
	if len(b) == 0 {
		if m.size > 0 {
			c.note = fmt.Sprintf("the body of %d bytes was not kept", m.size)
		}
		return c
	}
	var notes []string
	if m.size > int64(len(b)) {
		notes = append(notes, fmt.Sprintf("cut: %d of %d bytes were kept", len(b), m.size))
	}
	if m.grpc {
		coding, _ := traffic.HeaderValue(m.headers, "grpc-encoding")
		c.kind, c.lines = "gRPC", rpc(b, coding)
	} else {
		if coding, _ := traffic.HeaderValue(m.headers, "content-encoding"); coding != "" {
			decoded, err := body.Decode(coding, b, decodeLimit)
			switch {
			case err == nil:
				notes = append(notes, fmt.Sprintf("%s, %d bytes on the wire", coding, len(b)))
				b = decoded
			case len(decoded) > 0:
				notes, b = append(notes, err.Error()), decoded
			default:
				notes = append(notes, err.Error())
			}
		}
		c.kind, c.lines = plain(m, b)
	}
	if len(c.lines) > lineLimit {
		notes = append(notes, fmt.Sprintf("the first %d of %d lines", lineLimit, len(c.lines)))
		c.lines = c.lines[:lineLimit]
	}
	c.note = strings.Join(notes, "; ")
	return c
}

func plain(m message, b []byte) (kind string, lines []string) {
	header, ok := traffic.HeaderValue(m.headers, "content-type")
	if !ok {
		header = m.mime
	}
	media, _, _ := mime.ParseMediaType(header)
	if trimmed := bytes.TrimSpace(b); len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[' || strings.HasSuffix(media, "json")) {
		var out bytes.Buffer
		if json.Indent(&out, trimmed, "", "  ") == nil {
			return "JSON", split(out.String())
		}
	}
	if media == "application/x-www-form-urlencoded" {
		if lines, ok := form(string(b)); ok {
			return "form", lines
		}
	}
	if isText(b) {
		return "text", split(string(b))
	}
	shown := b[:min(len(b), hexLimit)]
	lines = split(hex.Dump(shown))
	if len(b) > len(shown) {
		lines = append(lines, fmt.Sprintf("… %d bytes more", len(b)-len(shown)))
	}
	return "binary", lines
}

// form has the fields in the order that they were sent in.
func form(text string) (lines []string, ok bool) {
	for pair := range strings.SplitSeq(strings.TrimSpace(text), "&") {
		name, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			return nil, false
		}
		if value, err = url.QueryUnescape(value); err != nil {
			return nil, false
		}
		lines = append(lines, name+" = "+value)
	}
	return lines, true
}

// isText says whether all of it, but for a character that was cut at its end, is text.
func isText(b []byte) bool {
	for range utf8.UTFMax - 1 {
		if len(b) == 0 || utf8.Valid(b) {
			break
		}
		b = b[:len(b)-1]
	}
	if !utf8.Valid(b) {
		return false
	}
	return !bytes.ContainsFunc(b, func(r rune) bool { return r < ' ' && r != '\n' && r != '\r' && r != '\t' && r != '\f' && r != '\x1b' })
}

func split(text string) []string { return strings.Split(strings.TrimRight(text, "\n"), "\n") }

// rpc has the messages of a gRPC body, field by field.
func rpc(b []byte, coding string) (lines []string) {
	messages, err := grpcmsg.Split(b)
	for i, m := range messages {
		if len(messages) > 1 {
			lines = append(lines, fmt.Sprintf("message %d of %d", i+1, len(messages)))
		}
		data := m.Data
		if m.Compressed {
			decoded, err := body.Decode(coding, data, decodeLimit)
			if err != nil {
				lines = append(lines, fmt.Sprintf("(%v)", err))
				continue
			}
			data = decoded
		}
		fields, err := grpcmsg.Decode(data)
		switch {
		case err != nil:
			lines = append(lines, fmt.Sprintf("(%v)", err))
			lines = append(lines, split(hex.Dump(data[:min(len(data), hexLimit)]))...)
		case len(fields) == 0:
			lines = append(lines, "(empty)")
		default:
			lines = tree(lines, fields, "")
		}
	}
	if err != nil {
		lines = append(lines, fmt.Sprintf("(%v)", err))
	}
	return lines
}

// tree has a line for each field: its number, and its value or the fields in it.
func tree(lines []string, fields grpcmsg.Fields, indent string) []string {
	for i := range fields {
		if len(lines) > lineLimit {
			return lines
		}
		f := &fields[i]
		switch f.Type {
		case grpcmsg.Nested, grpcmsg.Group:
			lines = append(lines, fmt.Sprintf("%s%d {", indent, f.ID))
			lines = append(tree(lines, f.Fields, indent+"  "), indent+"}")
		case grpcmsg.String:
			lines = append(lines, fmt.Sprintf("%s%d: %q", indent, f.ID, f.Text))
		default:
			lines = append(lines, fmt.Sprintf("%s%d: %s", indent, f.ID, f.AsString()))
		}
	}
	return lines
}
