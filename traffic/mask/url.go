package mask

import (
	"bytes"
)

// url masks a URL or a request target (RFC 3986): user and password, the values
// of the named keys in the query and the fragment, and what patterns find in any
// of its parts, decoded.
func (w *work) url(dst, url []byte) ([]byte, bool) {
	if !bytes.ContainsAny(url, "/?#") { // host:port of CONNECT, or *
		return w.text(dst, url, 0)
	}
	mark, changed := len(dst), false
	rest := url
	if i := bytes.Index(rest, []byte("://")); i >= 0 && !bytes.ContainsAny(rest[:i], "/?#") {
		dst = append(dst, rest[:i+3]...)
		rest = rest[i+3:]
		n := bytes.IndexAny(rest, "/?#")
		if n < 0 {
			n = len(rest)
		}
		dst, changed = w.authority(dst, rest[:n])
		rest = rest[n:]
	}
	n := bytes.IndexAny(rest, "?#")
	if n < 0 {
		n = len(rest)
	}
	dst, c := w.path(dst, rest[:n])
	changed = changed || c
	for rest = rest[n:]; len(rest) > 0; rest = rest[n:] {
		n = len(rest)
		if i := bytes.IndexByte(rest[1:], '#'); i >= 0 {
			n = i + 1
		}
		dst, c = w.query(append(dst, rest[0]), rest[1:n], inReqQuery)
		changed = changed || c
	}
	if !changed {
		return dst[:mark], false
	}
	return dst, true
}

// authority appends [user[:password]@]host[:port], masked or as it was.
func (w *work) authority(dst, s []byte) ([]byte, bool) {
	at := bytes.LastIndexByte(s, '@')
	if at < 0 {
		return w.textOrSame(dst, s, 0)
	}
	dst, changed := w.userinfo(dst, s[:at])
	dst, c := w.textOrSame(append(dst, '@'), s[at+1:], 0)
	return dst, changed || c
}

// path appends the segments of a path, masked or as they were.
func (w *work) path(dst, path []byte) ([]byte, bool) {
	changed := false
	for {
		n := bytes.IndexByte(path, '/')
		segment := path
		if n >= 0 {
			segment = path[:n]
		}
		var c bool
		dst, c = w.encoded(dst, segment, false, inReqQuery)
		changed = changed || c
		if n < 0 {
			return dst, changed
		}
		dst = append(dst, '/')
		path = path[n+1:]
	}
}

// query appends the fields of a query or of a form (application/x-www-form-urlencoded),
// masked or as they were.
func (w *work) query(dst, query []byte, in place) ([]byte, bool) {
	changed := false
	for len(query) > 0 {
		n := bytes.IndexAny(query, "&;")
		field := query
		if n >= 0 {
			field = query[:n]
		}
		key, value, keyed := bytes.Cut(field, []byte("="))
		var c bool
		switch {
		case !keyed:
			dst, c = w.encoded(dst, field, true, in)
		case w.namesEncoded(key, in):
			dst = append(append(dst, key...), '=')
			mark := len(dst)
			if dst = w.value(dst, value, true); len(dst) == mark {
				dst = append(dst, value...)
			} else {
				c = true
			}
		default:
			dst, c = w.encoded(dst, key, true, 0)
			var c2 bool
			dst, c2 = w.encoded(append(dst, '='), value, true, in)
			c = c || c2
		}
		changed = changed || c
		if n < 0 {
			break
		}
		dst = append(dst, query[n])
		query = query[n+1:]
	}
	return dst, changed
}

// namesEncoded says whether a key of a query, decoded, is named by a rule.
func (w *work) namesEncoded(key []byte, in place) bool {
	if (w.all|find(w.names, key))&in != 0 {
		return true
	}
	if !bytes.ContainsAny(key, "%+") {
		return false
	}
	plain := unescapeQuery(w.buffer(), key)
	found := find(w.names, plain)&in != 0
	w.done(plain)
	return found
}

// encoded appends a percent-encoded text, masked or as it was. plus says that +
// stands for a space. People forget to encode: what holds no secret decoded is
// looked at as it stands, and what is not percent-encoded is so first (the + of
// a phone number is one).
func (w *work) encoded(dst, s []byte, plus bool, in place) ([]byte, bool) {
	percent, hasPlus := bytes.IndexByte(s, '%') >= 0, plus && bytes.IndexByte(s, '+') >= 0
	if !percent {
		if out, changed := w.text(dst, s, in); changed || !hasPlus {
			if !changed {
				out = append(out, s...)
			}
			return out, changed
		}
	}
	plain := unescape(w.buffer(), s, plus)
	masked, changed := w.text(w.buffer(), plain, in)
	defer func() {
		w.done(plain)
		w.done(masked)
	}()
	switch {
	case changed:
		return escape(dst, masked, plus), true
	case percent && hasPlus:
		return w.textOrSame(dst, s, in)
	}
	return append(dst, s...), false
}

func unescapeQuery(dst, s []byte) []byte { return unescape(dst, s, true) }

// unescape appends s with its percent-encoding undone; what is not an encoding
// stays.
func unescape(dst, s []byte, plus bool) []byte {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+' && plus:
			dst = append(dst, ' ')
		case c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			dst = append(dst, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

func isHex(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

func unhex(c byte) byte {
	if isDigit(c) {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

// escape appends s percent-encoded: all but the unreserved characters of
// RFC 3986, section 2.3.
func escape(dst, s []byte, plus bool) []byte {
	const hex = "0123456789ABCDEF"
	for _, c := range s {
		switch {
		case isDigit(c), isLetter(c), c == '-', c == '.', c == '_', c == '~':
			dst = append(dst, c)
		case c == ' ' && plus:
			dst = append(dst, '+')
		default:
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}
