package mask

import (
	"bytes"
	"encoding/base64"
	"hash"
	"strings"
)

// work is what masking one pair needs besides the rules. It is used by one
// goroutine at a time.
type work struct {
	*Masker
	mac  hash.Hash
	sum  []byte
	free [][]byte // buffers to use again
	// grpcEncoding is how compressed messages of the body at hand are coded.
	grpcEncoding string
}

// maxKept bounds the buffers that are kept for the next pair, in bytes.
const maxKept = 256 << 10

// buffer returns an empty buffer, which done takes back.
func (w *work) buffer() []byte {
	if n := len(w.free); n > 0 {
		b := w.free[n-1]
		w.free = w.free[:n-1]
		return b[:0]
	}
	return make([]byte, 0, 4096)
}

func (w *work) done(b []byte) {
	if cap(b) <= maxKept && len(w.free) < 16 {
		w.free = append(w.free, b)
	}
}

// text appends what is left of a text when the secrets in it are masked: those
// that patterns find, the values of keys that are named (password=…, token: …),
// and the user and password of URLs. Where there are none it appends nothing and
// returns false. Every masking function here works like this one.
func (w *work) text(dst, text []byte, in place) ([]byte, bool) {
	copied, from := 0, 0
	for i := 0; i < len(text); {
		var f finding
		ok := false
		switch byteKinds[text[i]] {
		case byteWord:
			i = endOfWord(text, i)
			continue
		case byteStart:
			if text[i] == tokenPrefix[0] {
				if t := tokenEnd(text, i); t > 0 {
					i, from = t, t
					continue
				}
			}
			end := endOfWord(text, i)
			if w.discover {
				f, ok = w.patterns.atWord(text, i, end)
			}
			if !ok {
				i = end
				continue
			}
		case byteSpecial:
			f, ok = w.special(text, i, from, in)
		}
		if !ok {
			i++
			continue
		}
		dst = w.found(append(dst, text[copied:f.start]...), text[f.start:f.end], f.cat)
		copied, i, from = f.end, f.end, f.end
	}
	if copied == 0 {
		return dst, false
	}
	return append(dst, text[copied:]...), true
}

// What a finding can be besides a pattern.
const (
	catKeyed    = catCount + iota // the value of a key
	catEncoded                    // the value of a key in a URL, percent-encoded
	catUserinfo                   // user[:password]
)

// found appends what stands for a finding.
func (w *work) found(dst, s []byte, cat category) []byte {
	switch cat {
	case catKeyed, catEncoded:
		return w.value(dst, s, cat == catEncoded)
	case catUserinfo:
		dst, _ = w.userinfo(dst, s)
		return dst
	}
	return w.appendToken(dst, s, cat)
}

// special looks for a secret around a special byte.
func (w *work) special(text []byte, i, from int, in place) (f finding, ok bool) {
	switch text[i] {
	case '=', ':':
		return w.keyed(text, i, from, in)
	case '@':
		if start, end := userinfo(text, i, from); end > start && in != 0 {
			return finding{start, end, catUserinfo}, true
		}
	}
	if !w.discover {
		return f, false
	}
	return w.patterns.atSpecial(text, i, from)
}

// userinfo appends user[:password], masked or as it was.
func (w *work) userinfo(dst, s []byte) ([]byte, bool) {
	user, password, both := bytes.Cut(s, []byte(":"))
	dst, changed := w.wholeOrSame(dst, user)
	if both {
		var c bool
		dst, c = w.wholeOrSame(append(dst, ':'), password)
		changed = changed || c
	}
	return dst, changed
}

// userinfo returns the user and password before the @ at text[i] in a URL
// (RFC 3986, section 3.2.1).
func userinfo(text []byte, i, from int) (start, end int) {
	for k := i; k > from; k-- {
		switch text[k-1] {
		case '/':
			if k-3 >= from && text[k-2] == '/' && text[k-3] == ':' {
				return k, i
			}
			return 0, 0
		case ' ', '\t', '\n', '\r', '"', '\'', '<', '>', '?', '#', '@':
			return 0, 0
		}
	}
	return 0, 0
}

// keyed finds the value that a key in front of the = or : at text[i] has.
func (w *work) keyed(text []byte, i, from int, in place) (finding, bool) {
	end := i
	for end > from && isBlank(text[end-1]) && i-end < 4 {
		end--
	}
	if end > from && (text[end-1] == '"' || text[end-1] == '\'') {
		end--
	}
	start := end
	for start > from && end-start < 64 && isKey(text[start-1]) && (text[i] == '=' || text[start-1] != '.') {
		start--
	}
	if text[i] == ':' && start > from && text[start-1] == '.' { // host:port
		return finding{}, false
	}
	if start == end || find(w.names, text[start:end])&in == 0 {
		return finding{}, false
	}
	inURL := start > 0 && (text[start-1] == '?' || text[start-1] == '&') && text[i] == '='
	begin, stop := valueAt(text, i+1, inURL)
	if value := text[begin:stop]; len(value) == 0 || tokenEnd(value, 0) == len(value) {
		return finding{}, false
	}
	f := finding{begin, stop, catKeyed}
	if inURL {
		f.cat = catEncoded
	}
	return f, true
}

func isKey(c byte) bool { return isWord(c) || c == '-' || c == '.' || c == '[' || c == ']' }

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// valueAt returns where the value after a key lies: in quotes, or up to what
// divides values in a text.
func valueAt(text []byte, i int, inURL bool) (start, end int) {
	if inURL {
		n := bytes.IndexAny(text[i:], "&# \t\r\n\"'<>")
		if n < 0 {
			n = len(text) - i
		}
		return i, i + n
	}
	for i < len(text) && isBlank(text[i]) {
		i++
	}
	if i < len(text) && (text[i] == '"' || text[i] == '\'') {
		quote := text[i]
		for end = i + 1; end < len(text) && text[end] != quote; end++ {
			if text[end] == '\\' && end+1 < len(text) {
				end++
			}
		}
		return i + 1, min(end, len(text))
	}
	start, end = i, wordEnd(text, i)
	if end < len(text) && text[end] == ' ' && isScheme(text[start:end]) {
		start = end + 1
		end = wordEnd(text, start)
	}
	return start, end
}

func wordEnd(text []byte, i int) int {
	if n := bytes.IndexAny(text[i:], " \t\r\n\"'<>&;,"); n >= 0 {
		return i + n
	}
	return len(text)
}

// value appends what stands for the value of a key. In a URL the value is
// percent-encoded, and is hashed decoded.
func (w *work) value(dst, value []byte, encoded bool) []byte {
	if !encoded || !bytes.ContainsAny(value, "%+") {
		dst, _ = w.whole(dst, value)
		return dst
	}
	plain := unescapeQuery(w.buffer(), value)
	dst, _ = w.whole(dst, plain)
	w.done(plain)
	return dst
}

// whole appends what stands for a whole value. A scheme of HTTP authentication
// (RFC 9110, section 11.4) stays in front of its credentials, and Basic ones
// (RFC 7617) stay a user and a password.
func (w *work) whole(dst, value []byte) ([]byte, bool) {
	if len(value) == 0 || tokenEnd(value, 0) == len(value) {
		return dst, false
	}
	if n := bytes.IndexByte(value, ' '); n > 0 && n+1 < len(value) && isScheme(value[:n]) {
		if strings.EqualFold(string(value[:n]), "basic") {
			return w.basic(dst, value[:n+1], value[n+1:])
		}
		mark := len(dst)
		out, changed := w.whole(append(dst, value[:n+1]...), value[n+1:])
		if !changed {
			return out[:mark], false
		}
		return out, true
	}
	cat := catNone
	if w.discover {
		cat = w.patterns.categoryOf(value)
	}
	return w.appendToken(dst, value, cat), true
}

func isScheme(s []byte) bool {
	switch len(s) {
	case 4:
		return bytes.EqualFold(s, []byte("NTLM")) || bytes.EqualFold(s, []byte("DPoP")) || bytes.EqualFold(s, []byte("Hawk"))
	case 5:
		return bytes.EqualFold(s, []byte("Basic")) || bytes.EqualFold(s, []byte("Token"))
	case 6:
		return bytes.EqualFold(s, []byte("Bearer")) || bytes.EqualFold(s, []byte("Digest")) || bytes.EqualFold(s, []byte("ApiKey"))
	case 9:
		return bytes.EqualFold(s, []byte("Negotiate"))
	case 16:
		return bytes.EqualFold(s, []byte("AWS4-HMAC-SHA256"))
	}
	return false
}

func (w *work) basic(dst, scheme, credentials []byte) ([]byte, bool) {
	plain := w.buffer()
	defer func() { w.done(plain) }()
	plain, err := base64.StdEncoding.AppendDecode(plain, credentials)
	user, password, ok := bytes.Cut(plain, []byte(":"))
	if err != nil || !ok {
		if tokenEnd(credentials, 0) == len(credentials) {
			return dst, false
		}
		return w.appendToken(append(dst, scheme...), credentials, catNone), true
	}
	masked := w.buffer()
	defer func() { w.done(masked) }()
	masked, changed := w.wholeOrSame(masked, user)
	masked, changed2 := w.wholeOrSame(append(masked, ':'), password)
	if !changed && !changed2 {
		return dst, false
	}
	return base64.StdEncoding.AppendEncode(append(dst, scheme...), masked), true
}

// wholeOrSame is whole that appends the value itself where it stays.
func (w *work) wholeOrSame(dst, value []byte) ([]byte, bool) {
	dst, changed := w.whole(dst, value)
	if !changed {
		dst = append(dst, value...)
	}
	return dst, changed
}

// textOrSame is text that appends the text itself where it stays.
func (w *work) textOrSame(dst, text []byte, in place) ([]byte, bool) {
	dst, changed := w.text(dst, text, in)
	if !changed {
		dst = append(dst, text...)
	}
	return dst, changed
}
