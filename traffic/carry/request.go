package carry

import (
	"bytes"
	"cmp"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/jsondoc"
	"github.com/speedscale/speedscale/traffic/jsonscan"
)

// part is the piece of a request that a span is in.
type part int

const (
	inURI part = iota
	inBody
	inHeader // and more: inHeader+i is the i-th field
)

// coding is how a value is written where it stands.
type coding int

const (
	plain      coding = iota // a field value
	cookie                   // a cookie's value (RFC 6265, section 4.1.1)
	pathCoded                // a segment of a path
	queryCoded               // a value of a query or a form
	jsonText                 // inside the quotes of a string
	jsonNumber               // a number
	token                    // text of a kind that is not known
)

// span is a stretch of a request, and what it is called.
type span struct {
	part     part
	from, to int
	coding   coding
	name     string
}

// place is a value that was found in a request, decoded.
type place struct {
	value string
	span
	// under is the path that the value follows in a path, field the name that it has
	// elsewhere: they tell what a short id is of.
	under, field string
}

// uriOf returns what the request asks for, as the record has it.
func uriOf(r *traffic.HTTPRequest) string { return cmp.Or(r.GetUri(), r.GetUrl()) }

// pathAt returns where the path of a URI begins and ends.
func pathAt(uri string) (from, to int) {
	if i := strings.Index(uri, "://"); i >= 0 {
		from = i + len("://")
		if j := strings.IndexAny(uri[from:], "/?"); j >= 0 {
			from += j
		} else {
			from = len(uri)
		}
	}
	if to = strings.IndexAny(uri[from:], "?#"); to < 0 {
		return from, len(uri)
	}
	return from, from + to
}

// requestPlaces visits each value of a request, and, where visit does not know it,
// the tokens in it.
func requestPlaces(r *traffic.HTTPRequest, visit func(p place) bool) {
	w := walker{visit}
	w.uri(uriOf(r))
	for i, h := range r.GetHeaders() {
		w.header(inHeader+part(i), h)
	}
	if len(r.GetBody()) > 0 && r.GetBodySize() <= int64(len(r.Body)) && !coded(r.Headers) {
		w.body(r.Headers, r.Body)
	}
}

// coded says whether a body has a content coding.
func coded(headers []*traffic.Header) bool {
	v, ok := traffic.HeaderValue(headers, "Content-Encoding")
	return ok && !strings.EqualFold(v, "identity")
}

type walker struct{ visit func(p place) bool }

// value visits a value that is written raw, and its tokens where it is not known.
func (w walker) value(raw string, p place) {
	if p.value == "" || w.visit(p) || p.value != raw {
		return
	}
	tokens(raw, func(from, to int) {
		if to-from == len(raw) {
			return
		}
		t := place{value: raw[from:to], span: p.span}
		t.from, t.to = p.from+from, p.from+to
		w.visit(t)
	})
}

func (w walker) uri(uri string) {
	from, to := pathAt(uri)
	for i := from; i < to; {
		end := i
		for end < to && uri[end] != '/' {
			end++
		}
		raw := uri[i:end]
		value, err := url.PathUnescape(raw)
		if err != nil {
			value = raw
		}
		w.value(raw, place{
			value: value, span: span{inURI, i, end, pathCoded, "http.req.url"},
			under: strings.TrimSuffix(uri[from:i], "/"),
		})
		i = end + 1
	}
	if to < len(uri) && uri[to] == '?' {
		w.form(uri, to+1, inURI, "http.req.queryparams.")
	}
}

// form visits the fields of a query or a form.
func (w walker) form(text string, from int, in part, prefix string) {
	for i := from; i < len(text); {
		end := i
		for end < len(text) && text[end] != '&' && text[end] != '#' {
			end++
		}
		if key, raw, ok := strings.Cut(text[i:end], "="); ok {
			name, err := url.QueryUnescape(key)
			if err != nil {
				name = key
			}
			value, err := url.QueryUnescape(raw)
			if err != nil {
				value = raw
			}
			w.value(raw, place{value: value, span: span{in, end - len(raw), end, queryCoded, prefix + name}, field: name})
		}
		if end < len(text) && text[end] == '#' {
			return
		}
		i = end + 1
	}
}

// header visits a field, unless it is about the client, the connection or the form
// of the message.
func (w walker) header(in part, h *traffic.Header) {
	switch name := strings.ToLower(h.GetName()); {
	case name == "cookie":
		w.cookies(in, h.Value)
	case name == "host", name == "user-agent", name == "referer", name == "origin", name == "connection", name == "date",
		strings.HasPrefix(name, "content-"), strings.HasPrefix(name, "accept"), strings.HasPrefix(name, "sec-"), strings.HasPrefix(name, ":"):
	default:
		p := place{value: h.Value, span: span{in, 0, len(h.Value), plain, "http.req.headers." + h.Name}, field: h.Name}
		if scheme, rest, ok := strings.Cut(h.Value, " "); ok && !strings.ContainsAny(scheme, "=,") && !strings.Contains(rest, " ") {
			p.value, p.from = rest, len(scheme)+1 // Bearer and the like (RFC 9110, section 11.4)
		}
		w.value(h.Value[p.from:], p)
	}
}

func (w walker) cookies(in part, list string) {
	for i := 0; i < len(list); {
		end := i
		for end < len(list) && list[end] != ';' {
			end++
		}
		if name, raw, ok := strings.Cut(list[i:end], "="); ok {
			from := end - len(raw)
			to := end
			if len(raw) > 1 && raw[0] == '"' && raw[len(raw)-1] == '"' {
				from, to = from+1, to-1
			}
			name = strings.TrimSpace(name)
			w.value(list[from:to], place{value: list[from:to], span: span{in, from, to, cookie, "http.req.cookies." + name}, field: name})
		}
		i = end + 1
	}
}

func (w walker) body(headers []*traffic.Header, body []byte) {
	contentType, _ := traffic.HeaderValue(headers, "Content-Type")
	media, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	if strings.TrimSpace(media) == "application/x-www-form-urlencoded" {
		w.form(string(body), 0, inBody, "http.req.body.")
		return
	}
	if first := bytes.TrimLeft(body, " \t\r\n"); len(first) > 0 && (first[0] == '{' || first[0] == '[') {
		if jsondoc.Leaves(body, func(path []byte, from, to int) bool { w.leaf(body, path, from, to); return true }) {
			return
		}
	}
	if isText(body) {
		text := string(body)
		w.value(text, place{value: text, span: span{inBody, 0, len(text), token, "http.req.body"}})
	}
}

func (w walker) leaf(body, path []byte, from, to int) {
	s := span{inBody, from, to, jsonNumber, "http.req.body." + string(path)}
	switch c := body[from]; {
	case c == '"':
		s.coding, s.from, s.to = jsonText, from+1, to-1
	case c != '-' && !isDigit(c):
		return
	}
	w.value(string(body[s.from:s.to]), place{value: jsondoc.LeafText(body[from:to]), span: s, field: lastName(path)})
}

// lastName is the name of a leaf, or of the array that it is in.
func lastName(path []byte) string {
	name := path
	if i := bytes.LastIndexByte(name, '.'); i >= 0 {
		name = name[i+1:]
	}
	name, _, _ = bytes.Cut(name, []byte("["))
	return string(name)
}

// isText says whether a body may be looked through as text.
func isText(b []byte) bool {
	const most = 1 << 20
	return len(b) <= most && utf8.Valid(b) && bytes.IndexByte(b, 0) < 0
}

// writer makes a request in which values stand in the place of recorded ones.
type writer struct {
	rec     *traffic.HTTPRequest
	changes []change
}

type change struct {
	span
	text string
}

// write notes a value; it is false where the value cannot stand there.
func (w *writer) write(s span, value string) bool {
	text, ok := encode(w.rec, s, value)
	if ok {
		w.changes = append(w.changes, change{s, text})
	}
	return ok
}

func encode(r *traffic.HTTPRequest, s span, value string) (string, bool) {
	switch s.coding {
	case plain:
		return value, httpguts.ValidHeaderFieldValue(value)
	case cookie:
		return value, httpguts.ValidHeaderFieldValue(value) && !strings.ContainsAny(value, " \",;\\")
	case pathCoded:
		return url.PathEscape(value), value != "" && value != "." && value != ".."
	case queryCoded:
		return url.QueryEscape(value), true
	case jsonText:
		quoted := jsonscan.AppendString(nil, []byte(value))
		return string(quoted[1 : len(quoted)-1]), utf8.ValidString(value)
	case jsonNumber:
		if end, ok := jsonscan.Number([]byte(value), 0); ok && end == len(value) {
			return value, true
		}
		return string(jsonscan.AppendString(nil, []byte(value))), utf8.ValidString(value)
	}
	return value, value != "" && !strings.ContainsFunc(value, func(c rune) bool { return c > '~' || !isToken(byte(c)) })
}

// done returns the request, nil where nothing is to be changed.
func (w *writer) done() *traffic.HTTPRequest {
	if len(w.changes) == 0 {
		return nil
	}
	slices.SortFunc(w.changes, func(a, b change) int { return cmp.Or(cmp.Compare(a.part, b.part), cmp.Compare(a.from, b.from)) })
	r := &traffic.HTTPRequest{
		Url: w.rec.Url, Uri: w.rec.Uri, Version: w.rec.Version, Method: w.rec.Method, Host: w.rec.Host,
		Headers: w.rec.Headers, Body: w.rec.Body, BodySize: w.rec.BodySize, Trailers: w.rec.Trailers,
	}
	for i := 0; i < len(w.changes); {
		end := i
		for end < len(w.changes) && w.changes[end].part == w.changes[i].part {
			end++
		}
		w.apply(r, w.changes[i:end])
		i = end
	}
	return r
}

// apply makes the changes of one part.
func (w *writer) apply(r *traffic.HTTPRequest, list []change) {
	switch in := list[0].part; in {
	case inURI:
		if r.Uri != "" {
			r.Uri = splice(r.Uri, list)
		} else {
			r.Url = splice(r.Url, list)
		}
	case inBody:
		r.Body = []byte(splice(string(r.Body), list))
		r.BodySize = int64(len(r.Body))
	default:
		i := int(in - inHeader)
		if &r.Headers[0] == &w.rec.Headers[0] {
			r.Headers = slices.Clone(r.Headers)
		}
		r.Headers[i] = &traffic.Header{Name: r.Headers[i].Name, Value: splice(r.Headers[i].Value, list)}
	}
}

// splice puts texts in the place of spans, which are in order and apart.
func splice(text string, list []change) string {
	var b strings.Builder
	at := 0
	for _, c := range list {
		b.WriteString(text[at:c.from])
		b.WriteString(c.text)
		at = c.to
	}
	b.WriteString(text[at:])
	return b.String()
}
