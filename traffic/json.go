package traffic

import (
	"encoding/base64"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// MarshalJSON returns the documented form of a pair, on one line.
func (p *RRPair) MarshalJSON() ([]byte, error) { return AppendJSON(nil, p), nil }

// AppendJSON appends the documented form of a pair to dst, on one line and
// without a newline. Empty fields are left out. Times are RFC 3339 in UTC,
// durations milliseconds, bytes base64, and, as the documentation has them,
// bytesSent and wireformatSize are numbers in quotes. Header fields keep their
// order and case; the values of one name are grouped where it first stands.
// bodySize (of a body that was cut) and maskKeyId are additions to the form.
// Text that is not UTF-8 is written with U+FFFD.
func AppendJSON(dst []byte, p *RRPair) []byte {
	w := jsonWriter{dst: append(dst, `{"msgType":"rrpair"`...)}
	w.text("resource", p.GetResource())
	w.time("ts", p.GetTs())
	w.text("l7protocol", p.GetL7Protocol())
	w.key("duration")
	w.dst = appendMillis(w.dst, p.GetDuration())
	if tags := p.GetTags(); len(tags) > 0 {
		w.open("tags")
		eachKey(tags, func(k, v string) { w.member(k); w.quote(v) })
		w.close()
	}
	w.bytes("uuid", p.GetUuid())
	switch p.GetDirection() {
	case Direction_DIRECTION_IN:
		w.text("direction", "IN")
	case Direction_DIRECTION_OUT:
		w.text("direction", "OUT")
	}
	w.text("cluster", p.GetCluster())
	w.text("namespace", p.GetNamespace())
	w.text("service", p.GetService())
	w.text("tech", p.GetTech())
	if tech := p.GetDetectedTech(); len(tech) > 0 {
		w.key("detectedTech")
		w.list(tech)
	}
	w.text("command", p.GetCommand())
	w.text("location", p.GetLocation())
	w.text("status", p.GetStatus())
	w.text("network_address", p.GetNetworkAddress())
	w.http(p.GetHttp())
	if sig := p.GetSignature(); len(sig) > 0 {
		w.open("signature")
		eachKey(sig, func(k string, v []byte) { w.member(k); w.base64(v) })
		w.close()
	}
	w.text("session", p.GetSession())
	w.netInfo(p.GetNetinfo())
	w.bytes("partOfStreamUUID", p.GetPartOfStreamUuid())
	w.number("streamSeqNum", int64(p.GetStreamSeqNum()))
	if p.GetDlpModified() {
		w.key("dlpModified")
		w.dst = append(w.dst, "true"...)
	}
	w.text("dlpRule", p.GetDlpRule())
	w.text("maskKeyId", p.GetMaskKeyId())
	w.quotedNumber("wireformatSize", p.GetWireformatSize())
	return append(w.dst, '}')
}

// jsonWriter appends members of JSON objects. A member that is empty is left out.
type jsonWriter struct{ dst []byte }

func (w *jsonWriter) http(h *HTTP) {
	if h == nil {
		return
	}
	w.open("http")
	if r := h.Req; r != nil {
		w.open("req")
		w.text("url", r.Url)
		w.text("uri", r.Uri)
		w.text("version", r.Version)
		w.text("method", r.Method)
		w.text("host", r.Host)
		w.headers("headers", r.Headers)
		w.body(r.Body, r.BodySize)
		w.headers("trailers", r.Trailers)
		w.close()
	}
	if r := h.Res; r != nil {
		w.open("res")
		w.text("contentType", r.ContentType)
		w.number("statusCode", int64(r.StatusCode))
		w.text("statusMessage", r.StatusMessage)
		w.text("version", r.Version)
		w.headers("headers", r.Headers)
		w.body(r.Body, r.BodySize)
		w.headers("trailers", r.Trailers)
		w.close()
	}
	w.close()
}

func (w *jsonWriter) body(body []byte, size int64) {
	w.bytes("bodyBase64", body)
	if size > int64(len(body)) {
		w.number("bodySize", size)
	}
}

func (w *jsonWriter) headers(key string, headers []*Header) {
	if len(headers) == 0 {
		return
	}
	w.open(key)
	for i, h := range headers {
		if i > 0 && hasName(headers[:i], h.GetName()) {
			continue
		}
		w.member(h.GetName())
		w.dst = append(w.dst, '[')
		w.quote(h.GetValue())
		for _, more := range headers[i+1:] {
			if more.GetName() == h.GetName() {
				w.dst = append(w.dst, ',')
				w.quote(more.GetValue())
			}
		}
		w.dst = append(w.dst, ']')
	}
	w.close()
}

func hasName(headers []*Header, name string) bool {
	return slices.ContainsFunc(headers, func(h *Header) bool { return h.GetName() == name })
}

func (w *jsonWriter) netInfo(n *NetInfo) {
	if n == nil {
		return
	}
	w.open("netinfo")
	w.text("id", n.Id)
	w.time("startTime", n.StartTime)
	w.endpoint("downstream", n.Downstream)
	w.endpoint("upstream", n.Upstream)
	w.close()
}

func (w *jsonWriter) endpoint(key string, e *Endpoint) {
	if e == nil {
		return
	}
	w.open(key)
	w.time("established", e.Established)
	w.text("ipAddress", e.IpAddress)
	w.number("port", int64(e.Port))
	w.text("hostname", e.Hostname)
	w.quotedNumber("bytesSent", e.BytesSent)
	w.close()
}

// key begins a member whose name needs no escapes.
func (w *jsonWriter) key(key string) {
	w.comma()
	w.dst = append(w.dst, '"')
	w.dst = append(w.dst, key...)
	w.dst = append(w.dst, '"', ':')
}

// member begins a member whose name may be anything.
func (w *jsonWriter) member(key string) {
	w.comma()
	w.quote(key)
	w.dst = append(w.dst, ':')
}

func (w *jsonWriter) comma() {
	if w.dst[len(w.dst)-1] != '{' {
		w.dst = append(w.dst, ',')
	}
}

func (w *jsonWriter) open(key string) {
	w.key(key)
	w.dst = append(w.dst, '{')
}

func (w *jsonWriter) close() { w.dst = append(w.dst, '}') }

func (w *jsonWriter) text(key, s string) {
	if s != "" {
		w.key(key)
		w.quote(s)
	}
}

func (w *jsonWriter) number(key string, n int64) {
	if n != 0 {
		w.key(key)
		w.dst = strconv.AppendInt(w.dst, n, 10)
	}
}

func (w *jsonWriter) quotedNumber(key string, n int64) {
	if n != 0 {
		w.key(key)
		w.dst = append(w.dst, '"')
		w.dst = strconv.AppendInt(w.dst, n, 10)
		w.dst = append(w.dst, '"')
	}
}

func (w *jsonWriter) time(key string, nanos int64) {
	if nanos != 0 {
		w.key(key)
		w.dst = append(w.dst, '"')
		w.dst = time.Unix(0, nanos).UTC().AppendFormat(w.dst, time.RFC3339Nano)
		w.dst = append(w.dst, '"')
	}
}

func (w *jsonWriter) bytes(key string, b []byte) {
	if len(b) > 0 {
		w.key(key)
		w.base64(b)
	}
}

func (w *jsonWriter) base64(b []byte) {
	w.dst = append(w.dst, '"')
	w.dst = base64.StdEncoding.AppendEncode(w.dst, b)
	w.dst = append(w.dst, '"')
}

func (w *jsonWriter) list(texts []string) {
	w.dst = append(w.dst, '[')
	for i, s := range texts {
		if i > 0 {
			w.dst = append(w.dst, ',')
		}
		w.quote(s)
	}
	w.dst = append(w.dst, ']')
}

func (w *jsonWriter) quote(s string) { w.dst = appendQuoted(w.dst, s) }

// eachKey visits a map in the order of its keys, so that equal pairs are equal
// lines. Pairs have few tags: no memory is taken for up to 16.
func eachKey[V any](m map[string]V, visit func(string, V)) {
	keys := make([]string, 0, 16)
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		visit(k, m[k])
	}
}

// appendMillis appends nanoseconds as milliseconds, exactly.
func appendMillis(dst []byte, nanos int64) []byte {
	u := uint64(nanos)
	if nanos < 0 {
		dst, u = append(dst, '-'), -u
	}
	dst = strconv.AppendUint(dst, u/1e6, 10)
	frac := u % 1e6
	if frac == 0 {
		return dst
	}
	dst = append(dst, '.')
	for unit := uint64(1e5); frac > 0; unit /= 10 {
		dst = append(dst, '0'+byte(frac/unit))
		frac %= unit
	}
	return dst
}

// appendQuoted appends a JSON string. Only quotes, backslashes and control
// characters are escaped; bytes that are not UTF-8 become U+FFFD.
func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError || n > 1 {
				i += n
				continue
			}
		}
		dst = append(dst, s[start:i]...)
		dst = appendEscape(dst, c)
		i++
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

func appendEscape(dst []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch {
	case c >= utf8.RuneSelf:
		return utf8.AppendRune(dst, utf8.RuneError)
	case c == '"' || c == '\\':
		return append(dst, '\\', c)
	case c == '\n':
		return append(dst, '\\', 'n')
	case c == '\r':
		return append(dst, '\\', 'r')
	case c == '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}
