package mask

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/speedscale/speedscale/traffic"
)

// headers masks field values in place. cookies is where rules for cookies by
// name hold.
func (w *work) headers(headers []*traffic.Header, in, cookies place) (changed bool) {
	for _, h := range headers {
		value := append(w.buffer(), h.Value...)
		masked, c := w.header(w.buffer(), h.Name, value, in, cookies)
		if c {
			h.Value = string(masked)
			changed = true
		}
		w.done(value)
		w.done(masked)
	}
	return changed
}

func (w *work) header(dst []byte, name string, value []byte, in, cookies place) ([]byte, bool) {
	named := (w.all|find(w.names, name))&in != 0
	switch {
	case len(value) == 0:
		return dst, false
	case len(name) == len("cookie") && strings.EqualFold(name, "cookie"):
		return w.cookies(dst, value, named, cookies)
	case len(name) == len("set-cookie") && strings.EqualFold(name, "set-cookie"):
		first, attributes, _ := bytes.Cut(value, []byte(";"))
		out, changed := w.cookies(dst, first, named, cookies)
		if !changed {
			out = append(out, first...)
		}
		out = append(out, value[len(first):len(value)-len(attributes)]...)
		out, c := w.textOrSame(out, attributes, 0)
		if !changed && !c {
			return dst, false
		}
		return out, true
	case named:
		return w.whole(dst, value)
	case len(name) > 4 && strings.EqualFold(name[len(name)-4:], "-bin"):
		return w.binaryHeader(dst, value)
	case isReference(name):
		return w.url(dst, value)
	}
	return w.text(dst, value, in|inReqQuery)
}

// isReference says whether the value of a field is one URL.
func isReference(name string) bool {
	switch len(name) {
	case len("referer"):
		return strings.EqualFold(name, "referer")
	case len("location"):
		return strings.EqualFold(name, "location")
	case len("content-location"):
		return strings.EqualFold(name, "content-location") || strings.EqualFold(name, "x-forwarded-path")
	}
	return false
}

// cookies masks the values of a list of cookies (RFC 6265, section 4.2.1) by
// their names.
func (w *work) cookies(dst, list []byte, all bool, in place) ([]byte, bool) {
	mark, changed := len(dst), false
	all = all || w.all&in != 0
	for len(list) > 0 {
		n := bytes.IndexByte(list, ';')
		cookie := list
		if n >= 0 {
			cookie = list[:n]
		}
		name, value, ok := bytes.Cut(cookie, []byte("="))
		if !ok { // a value without a name
			name, value = nil, cookie
		} else {
			dst = append(append(dst, name...), '=')
		}
		quoted := len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"'
		if quoted {
			value = value[1 : len(value)-1]
			dst = append(dst, '"')
		}
		var c bool
		if all || find(w.names, bytes.TrimSpace(name))&in != 0 {
			dst, c = w.wholeOrSame(dst, value)
		} else {
			dst, c = w.encoded(dst, value, false, in)
		}
		if quoted {
			dst = append(dst, '"')
		}
		changed = changed || c
		if n < 0 {
			break
		}
		dst = append(dst, ';')
		list = list[n+1:]
	}
	if !changed {
		return dst[:mark], false
	}
	return dst, true
}

// binaryHeader masks a binary header of gRPC, base64 with or without padding: the
// message in it (mostly google.rpc.Status) is not known, so one that holds a
// secret anywhere is masked whole.
func (w *work) binaryHeader(dst, value []byte) ([]byte, bool) {
	plain, err := base64.RawStdEncoding.AppendDecode(w.buffer(), bytes.TrimRight(value, "="))
	defer func() { w.done(plain) }()
	if err != nil {
		return w.text(dst, value, 0)
	}
	masked, changed := w.text(w.buffer(), plain, everywhere)
	w.done(masked)
	if !changed {
		return dst, false
	}
	token := w.appendToken(nil, value, catNone)
	return base64.RawStdEncoding.AppendEncode(dst, token), true
}

// setHeader sets the first field of the name to a value where there is one.
func setHeader(headers []*traffic.Header, name, value string) {
	for _, h := range headers {
		if strings.EqualFold(h.Name, name) {
			h.Value = value
			return
		}
	}
}

func removeHeaders(headers []*traffic.Header, names ...string) []*traffic.Header {
	return slices.DeleteFunc(headers, func(h *traffic.Header) bool {
		return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(h.Name, n) })
	})
}
