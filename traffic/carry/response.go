package carry

import (
	"bytes"
	"slices"
	"strings"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/jsondoc"
	"github.com/speedscale/speedscale/traffic/jsonscan"
	"github.com/speedscale/speedscale/traffic/signature"
)

// where is a kind of place in a response.
type where int

const (
	resHeader where = iota
	resCookie
	resJSON
	resText
)

// leaf is a value of a response.
type leaf struct {
	where where
	// key is the name of the field or cookie, or the path in the JSON; nth tells fields
	// of one name apart.
	key string
	nth int
	// text is what it says. A URL is without scheme and host, which are those of
	// the place that was recorded.
	text string
	// raw is as written in the JSON.
	raw string
}

func (l *leaf) name() string {
	switch l.where {
	case resHeader:
		return "http.res.headers." + l.key
	case resCookie:
		return "http.res.cookies." + l.key
	case resJSON:
		if l.key == "" || l.key[0] == '[' {
			return "http.res.body" + l.key
		}
		return "http.res.body." + l.key
	}
	return "http.res.body"
}

// responseLeaves visits the values of a response.
func responseLeaves(r *traffic.HTTPResponse, visit func(l leaf)) {
	nth := map[string]int{}
	for _, h := range r.GetHeaders() {
		name := strings.ToLower(h.GetName())
		if aboutMessage(name) {
			continue
		}
		if name == "set-cookie" {
			if key, value, ok := setCookie(h.Value); ok {
				visit(leaf{where: resCookie, key: key, text: value})
			}
			continue
		}
		visit(leaf{where: resHeader, key: h.Name, nth: nth[name], text: headerText(h)})
		nth[name]++
	}
	if len(r.GetBody()) == 0 || r.GetBodySize() > int64(len(r.Body)) {
		return
	}
	body := signature.Decoded(r.Headers, r.Body)
	if !jsonLeaves(body, visit) && isText(body) {
		visit(leaf{where: resText, text: string(body)})
	}
}

// jsonLeaves is false where a body is not JSON.
func jsonLeaves(body []byte, visit func(l leaf)) bool {
	if first := bytes.TrimLeft(body, " \t\r\n"); len(first) == 0 || !strings.ContainsRune(`{["`, rune(first[0])) || !jsonscan.Valid(body) {
		return false
	}
	return jsondoc.Leaves(body, func(path []byte, from, to int) bool {
		if c := body[from]; c == '"' || c == '-' || isDigit(c) {
			visit(leaf{where: resJSON, key: string(path), text: jsondoc.LeafText(body[from:to]), raw: string(body[from:to])})
		}
		return true
	})
}

// aboutMessage says whether a field of a response is about the message, the server
// or the connection, and gives nothing.
func aboutMessage(name string) bool {
	switch name {
	case "date", "server", "connection", "keep-alive", "transfer-encoding", "trailer", "vary", "age", "expires", "cache-control", "via", "allow":
		return true
	}
	return strings.HasPrefix(name, "content-") && name != "content-location" || strings.HasPrefix(name, "access-control-") || strings.HasPrefix(name, ":")
}

func headerText(h *traffic.Header) string {
	if strings.EqualFold(h.GetName(), "Location") || strings.EqualFold(h.GetName(), "Content-Location") {
		from, _ := pathAt(h.Value)
		return h.Value[from:]
	}
	return h.GetValue()
}

func setCookie(field string) (name, value string, ok bool) {
	pair, _, _ := strings.Cut(field, ";")
	name, value, ok = strings.Cut(pair, "=")
	value = strings.TrimSpace(value)
	if len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' {
		value = value[1 : len(value)-1]
	}
	return strings.TrimSpace(name), value, ok
}

// find is a recorded leaf of a response that has carried values in it.
type find struct {
	leaf
	stretches []stretch
	// gives is the value that is taken from here, the only one of the leaf; nil where
	// the leaf only has values again that others gave.
	gives *slot
	// routes are those of the stretches; none where the leaf is not compared.
	routes []*Route
}

// stretch is where a value stands in a leaf's text.
type stretch struct {
	from, to int
	slot     *slot
}

// take returns what stands in an observed text where the recorded one has the value
// that the leaf gives: the text around it has to be the same.
func (f *find) take(observed string) (string, bool) {
	s := f.stretches[0]
	before, after := f.text[:s.from], f.text[s.to:]
	if f.where == resText { // a page differs in other places too
		before, after = near(before, after)
		i := strings.Index(observed, before)
		if i < 0 || strings.Contains(observed[i+len(before):], before) {
			return "", false
		}
		observed = observed[i:]
		n := strings.Index(observed[len(before):], after)
		if n < 0 {
			return "", false
		}
		observed = observed[:len(before)+n+len(after)]
	}
	if len(observed) <= len(before)+len(after) || !strings.HasPrefix(observed, before) || !strings.HasSuffix(observed, after) {
		return "", false
	}
	value := observed[len(before) : len(observed)-len(after)]
	return value, len(value) <= maxValue
}

// near is what of a page's text around a value is looked for: from the begin of its
// line or tag, and one byte behind.
func near(before, after string) (string, string) {
	const most = 64
	before = before[max(0, len(before)-most):]
	for i := len(before) - minDistinct; i >= 0; i-- {
		if before[i] == '<' || before[i] == '\n' {
			before = before[i:]
			break
		}
	}
	return before, after[:min(len(after), 1)]
}

// expected is the recorded text with the values of this pass; ok is false where one
// of them is not known.
func (f *find) expected(v *Values) (text string, ok bool) {
	list := make([]change, 0, len(f.stretches))
	for _, s := range f.stretches {
		val := v.get(s.slot)
		if !val.known {
			return "", false
		}
		list = append(list, change{span{from: s.from, to: s.to}, val.text})
	}
	return splice(f.text, list), true
}

// Response takes what the observed response gives, and returns it with the recorded
// values where it has those that the pass has in their place, so that comparing it
// finds no difference there. It returns observed itself where that changes nothing.
// The outcomes are of the routes that ended here: values that were there again.
func (p *Pair) Response(v *Values, recorded, observed *traffic.HTTPResponse) (*traffic.HTTPResponse, []Outcome) {
	if !p.Gives() {
		return observed, nil
	}
	seen := p.observed(observed)
	alike := recorded.GetStatusCode()/100 == observed.GetStatusCode()/100
	var outcomes []Outcome
	back := map[spot]*find{}
	for _, f := range p.finds {
		got, ok := seen[f.spot()]
		switch {
		case f.gives == nil:
		case !alike:
			v.miss(f.gives, MissingStatus)
		case !ok:
			v.miss(f.gives, MissingValue)
		default:
			if text, ok := f.take(got.text); ok {
				v.set(f.gives, text, f.where == resCookie)
			} else {
				v.miss(f.gives, MissingValue)
			}
		}
		if !ok || f.routes == nil || got.text == f.text || quoted(got.raw) != quoted(f.raw) {
			continue
		}
		if text, known := f.expected(v); known && text == got.text {
			back[f.spot()] = f
			for _, r := range f.routes {
				outcomes = append(outcomes, Outcome{Route: r})
			}
		}
	}
	return restored(observed, back), outcomes
}

// spot tells leaves apart.
type spot struct {
	where where
	key   string
	nth   int
}

func (l *leaf) spot() spot {
	key := l.key
	if l.where == resHeader {
		key = strings.ToLower(key)
	}
	return spot{l.where, key, l.nth}
}

func quoted(raw string) bool { return raw != "" && raw[0] == '"' }

// observed returns the leaves of a response in whose places values were found.
func (p *Pair) observed(r *traffic.HTTPResponse) map[spot]leaf {
	seen := make(map[spot]leaf, len(p.wanted))
	responseLeaves(r, func(l leaf) {
		if at := l.spot(); p.wanted[at] {
			seen[at] = l
		}
	})
	return seen
}

// restored puts recorded leaves into a response.
func restored(r *traffic.HTTPResponse, back map[spot]*find) *traffic.HTTPResponse {
	if len(back) == 0 {
		return r
	}
	out := &traffic.HTTPResponse{
		ContentType: r.ContentType, StatusCode: r.StatusCode, StatusMessage: r.StatusMessage, Headers: r.Headers,
		Body: r.Body, BodySize: r.BodySize, Trailers: r.Trailers, Version: r.Version,
	}
	out.Headers = make([]*traffic.Header, len(r.Headers))
	nth := map[string]int{}
	for i, h := range r.Headers {
		name := strings.ToLower(h.GetName())
		if f := back[spot{resHeader, name, nth[name]}]; f != nil {
			h = &traffic.Header{Name: h.Name, Value: strings.TrimSuffix(h.Value, headerText(h)) + f.text}
		}
		out.Headers[i] = h
		if !aboutMessage(name) && name != "set-cookie" {
			nth[name]++
		}
	}
	body := signature.Decoded(r.Headers, r.Body)
	switch f := back[spot{where: resText}]; {
	case f != nil:
		body = []byte(f.text)
	default:
		body = restoredJSON(body, back)
	}
	if !bytes.Equal(body, r.Body) { // and then it has no coding any more
		out.Body, out.BodySize = body, int64(len(body))
		out.Headers = slices.DeleteFunc(out.Headers, func(h *traffic.Header) bool { return strings.EqualFold(h.GetName(), "Content-Encoding") })
	}
	return out
}

func restoredJSON(body []byte, back map[spot]*find) []byte {
	var list []change
	jsondoc.Leaves(body, func(path []byte, from, to int) bool {
		if f := back[spot{resJSON, string(path), 0}]; f != nil {
			list = append(list, change{span{from: from, to: to}, f.raw})
		}
		return true
	})
	if len(list) == 0 {
		return body
	}
	return []byte(splice(string(body), list))
}
