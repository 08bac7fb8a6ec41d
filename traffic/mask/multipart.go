package mask

import (
	"bytes"
	"strings"
)

// multipart masks a body of parts (RFC 2046, section 5.1): those of a form by
// their field names (RFC 7578), and all by what they hold.
func (w *work) multipart(dst, src []byte, boundary string, in place, depth int) ([]byte, bool, error) {
	if boundary == "" || len(boundary) > 70 || depth > maxNested {
		return dst, false, notUnderstood("multipart without a usable boundary")
	}
	mark, changed := len(dst), false
	delimiter := []byte("--" + boundary)
	if !bytes.HasPrefix(src, delimiter) {
		// A preamble is for people; it is text.
		n := bytes.Index(src, append([]byte("\r\n"), delimiter...))
		if n < 0 {
			return dst, false, notUnderstood("multipart whose boundary does not occur")
		}
		var c bool
		dst, c = w.textOrSame(dst, src[:n+2], in)
		changed = changed || c
		src = src[n+2:]
	}
	delimiter = append([]byte("\r\n"), delimiter...)
	for first := delimiter[2:]; ; first = delimiter {
		dst = append(dst, first...)
		src = src[len(first):]
		if bytes.HasPrefix(src, []byte("--")) {
			dst, c := w.textOrSame(dst, src, in) // the epilogue
			if !changed && !c {
				return dst[:mark], false, nil
			}
			return dst, true, nil
		}
		n := bytes.Index(src, delimiter)
		if n < 0 {
			return dst[:mark], false, notUnderstood("multipart without a closing boundary")
		}
		out, c, err := w.part(dst, src[:n], in, depth)
		if err != nil {
			return dst[:mark], false, err
		}
		dst, changed, src = out, changed || c, src[n:]
	}
}

// part appends one part, from after its delimiter to before the next one.
func (w *work) part(dst, part []byte, in place, depth int) ([]byte, bool, error) {
	head, content, ok := bytes.Cut(part, []byte("\r\n\r\n"))
	if !ok {
		return dst, false, notUnderstood("a part of a multipart has no head")
	}
	var name, contentType string
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		key, value, _ := strings.Cut(string(line), ":")
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "content-disposition":
			name = parameter(value, "name")
		case "content-type":
			contentType = value
		case "content-transfer-encoding":
			if e := strings.ToLower(value); e != "7bit" && e != "8bit" && e != "binary" {
				return dst, false, notUnderstood("a part of a multipart has an encoding of its own")
			}
		case "content-encoding":
			return dst, false, notUnderstood("a part of a multipart has an encoding of its own")
		}
	}
	dst, changed := w.textOrSame(dst, head, 0)
	dst = append(dst, "\r\n\r\n"...)
	if name != "" && find(w.names, name)&in != 0 {
		dst, c := w.wholeOrSame(dst, content)
		return dst, changed || c, nil
	}
	if contentType == "" {
		contentType = "text/plain"
	}
	masked, c, err := w.content(dst, content, contentType, in, depth+1)
	if err != nil {
		return dst, false, err
	}
	if !c {
		masked = append(masked, content...)
	}
	return masked, changed || c, nil
}

// parameter returns a parameter of a header field (RFC 9110, section 5.6.6).
func parameter(value, name string) string {
	for _, p := range splitParameters(value) {
		key, v, ok := strings.Cut(p, "=")
		if ok && strings.EqualFold(strings.TrimSpace(key), name) {
			v = strings.TrimSpace(v)
			if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
				v = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(v[1 : len(v)-1])
			}
			return v
		}
	}
	return ""
}

// splitParameters splits at semicolons that are not in quotes.
func splitParameters(s string) []string {
	var parts []string
	start, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ';' && !quoted:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}

// events masks a stream of events (text/event-stream), line by line: data that
// is JSON as JSON, everything else as text.
func (w *work) events(dst, src []byte, in place) ([]byte, bool) {
	mark, changed := len(dst), false
	for line := range bytes.Lines(src) {
		field, data, ok := bytes.Cut(line, []byte(":"))
		trimmed := bytes.TrimSpace(data)
		if ok && string(field) == "data" && len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[') {
			start := len(line) - len(data) + bytes.Index(data, trimmed)
			out, c, valid := w.json(append(dst, line[:start]...), trimmed, in, 0)
			if valid {
				if !c {
					out = append(out, trimmed...)
				}
				dst = append(out, line[start+len(trimmed):]...)
				changed = changed || c
				continue
			}
		}
		var c bool
		dst, c = w.textOrSame(dst, line, in)
		changed = changed || c
	}
	if !changed {
		return dst[:mark], false
	}
	return dst, true
}
