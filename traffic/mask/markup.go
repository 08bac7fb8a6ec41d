package mask

import "bytes"

// markup masks XML and HTML: the text of elements and the values of attributes
// that rules name, and what patterns find in any text. It reads tags, not
// documents, so that it holds for what is not well-formed too.
func (w *work) markup(dst, src []byte, in place) ([]byte, bool) {
	m := markupReader{w: w, in: in, out: dst}
	mark := len(dst)
	for len(src) > 0 {
		n := bytes.IndexByte(src, '<')
		if n < 0 {
			n = len(src)
		}
		m.text(src[:n])
		src = src[n:]
		n = tagEnd(src)
		m.tag(src[:n])
		src = src[n:]
	}
	if !m.changed {
		return dst[:mark], false
	}
	return m.out, true
}

type markupReader struct {
	w       *work
	in      place
	out     []byte
	named   int // how many open elements lie in one that is named, with it
	changed bool
}

// tagEnd returns the length of the tag that src starts with, over > in quotes.
func tagEnd(src []byte) int {
	if len(src) == 0 {
		return 0
	}
	for _, p := range [...]struct{ open, close string }{{"<!--", "-->"}, {"<![CDATA[", "]]>"}, {"<?", "?>"}} {
		if bytes.HasPrefix(src, []byte(p.open)) {
			if n := bytes.Index(src, []byte(p.close)); n >= 0 {
				return n + len(p.close)
			}
			return len(src)
		}
	}
	var quote byte
	for i, c := range src {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '>':
			return i + 1
		case c == '<' && i > 0:
			return i
		}
	}
	return len(src)
}

// text masks the text between two tags.
func (m *markupReader) text(s []byte) {
	trimmed := bytes.TrimSpace(s)
	if m.named == 0 || len(trimmed) == 0 {
		m.add(m.w.textOrSame(m.out, s, m.in))
		return
	}
	start := bytes.Index(s, trimmed)
	m.out = append(m.out, s[:start]...)
	m.add(m.w.wholeOrSame(m.out, trimmed))
	m.out = append(m.out, s[start+len(trimmed):]...)
}

func (m *markupReader) add(out []byte, changed bool) {
	m.out = out
	m.changed = m.changed || changed
}

func (m *markupReader) tag(s []byte) {
	const cdata = "<![CDATA["
	switch {
	case len(s) == 0:
	case bytes.HasPrefix(s, []byte(cdata)):
		m.out = append(m.out, cdata...)
		text, closed := bytes.CutSuffix(s[len(cdata):], []byte("]]>"))
		m.text(text)
		if closed {
			m.out = append(m.out, "]]>"...)
		}
	case len(s) > 1 && (s[1] == '!' || s[1] == '?'):
		m.add(m.w.textOrSame(m.out, s, m.in))
	case len(s) > 1 && s[1] == '/':
		m.named = max(m.named-1, 0)
		m.add(m.w.textOrSame(m.out, s, 0))
	default:
		m.openTag(s)
	}
}

func (m *markupReader) openTag(s []byte) {
	n := 1
	for n < len(s) && !isMarkupSpace(s[n]) && s[n] != '>' && s[n] != '/' {
		n++
	}
	name := s[1:n]
	m.add(m.w.textOrSame(m.out, s[:n], 0)) // <bob@example.com> is no tag
	for s = s[n:]; len(s) > 0; {
		n := bytes.IndexAny(s, "\"'")
		if n < 0 {
			break
		}
		end := bytes.IndexByte(s[n+1:], s[n])
		if end < 0 {
			break
		}
		m.add(m.w.textOrSame(m.out, s[:n], m.in))
		m.out = append(m.out, s[n])
		value := s[n+1 : n+1+end]
		if find(m.w.names, attributeName(s[:n]))&m.in != 0 {
			m.add(m.w.wholeOrSame(m.out, value))
		} else {
			m.add(m.w.textOrSame(m.out, value, m.in))
		}
		m.out = append(m.out, s[n])
		s = s[n+end+2:]
	}
	m.add(m.w.textOrSame(m.out, s, m.in))
	closed := bytes.HasSuffix(s, []byte("/>"))
	if !closed && (m.named > 0 || find(m.w.names, name)&m.in != 0) {
		m.named++
	}
}

// attributeName returns the name that an opening quote follows: the last word
// before it, without the equals sign.
func attributeName(s []byte) []byte {
	s = bytes.TrimRight(s, " \t\r\n=")
	return s[bytes.LastIndexAny(s, " \t\r\n")+1:]
}

func isMarkupSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }
