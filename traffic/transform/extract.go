package transform

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/signature"
)

// side is what of a pair an extractor reads.
type side int

const (
	neither side = iota
	request
	response
)

// extractor takes a value out of a pair and puts it back. put changes the pair's
// request or response in place; what it refuses stays as it is.
type extractor struct {
	side side
	get  func(p *traffic.RRPair) (string, bool)
	put  func(p *traffic.RRPair, value string) error
}

func (e extractor) of(s side) bool { return e.side == s }

// failure is why a chain left a value as it was. It never has anything of the value.
type failure string

func (f failure) Error() string { return string(f) }

// Reasons of outcomes beside those of each transform.
const (
	ReasonNoValue  failure = "no_value"          // the extractor found nothing
	ReasonUnfit    failure = "cannot_stand_here" // the new value cannot be sent in its place
	ReasonNotJSON  failure = "not_json"
	ReasonEncoding failure = "not_of_the_encoding"
)

func extractors() map[string]func(o *options) extractor {
	headers := func(s side, in func(p *traffic.RRPair) []*traffic.Header) func(o *options) extractor {
		return func(o *options) extractor { return field(s, o.needed("name"), o.index(), in) }
	}
	reqHeaders := func(p *traffic.RRPair) []*traffic.Header { return p.GetHttp().GetReq().GetHeaders() }
	resHeaders := func(p *traffic.RRPair) []*traffic.Header { return p.GetHttp().GetRes().GetHeaders() }
	return map[string]func(o *options) extractor{
		"req_body":         func(*options) extractor { return body(request, reqBody) },
		"res_body":         func(*options) extractor { return body(response, resBody) },
		"http_req_header":  headers(request, reqHeaders),
		"http_res_header":  headers(response, resHeaders),
		"http_req_trailer": headers(request, func(p *traffic.RRPair) []*traffic.Header { return p.GetHttp().GetReq().GetTrailers() }),
		"http_res_trailer": headers(response, func(p *traffic.RRPair) []*traffic.Header { return p.GetHttp().GetRes().GetTrailers() }),
		"http_req_cookie":  func(o *options) extractor { return cookie(request, o.needed("name"), "Cookie", reqHeaders) },
		"http_res_cookie":  func(o *options) extractor { return cookie(response, o.needed("name"), "Set-Cookie", resHeaders) },
		"http_queryparam":  func(o *options) extractor { return queryParam(o.needed("name"), o.index()) },
		"http_url": func(o *options) extractor {
			if o.text("index", "") == "" {
				return urlPart(-1)
			}
			return urlPart(o.index())
		},
		"http_status_code": func(*options) extractor { return statusCode() },
		"file": func(o *options) extractor {
			name := o.needed("filename")
			content, err := readFile(name, o.env)
			if err != nil && name != "" {
				o.fail("filename", err.Error())
			}
			return constantValue(string(content))
		},
		"empty": func(*options) extractor { return constantValue("") },
	}
}

func newExtractor(doc Step, env *Environment) (extractor, error) {
	known := extractors()
	if doc.Type == "variable" {
		return extractor{}, fmt.Errorf("type: %q is not supported: use empty, and var_load", doc.Type)
	}
	make, ok := known[doc.Type]
	if !ok {
		return extractor{}, unknown(doc.Type, known)
	}
	o := &options{doc: doc, env: env}
	e := make(o)
	return e, o.end()
}

// index is the number of one of several of a name, from 0.
func (o *options) index() int {
	text := o.text("index", "0")
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		o.fail("index", fmt.Sprintf("%q: want a number from 0", text))
	}
	return n
}

// constantValue is the extractor of what is not of a pair; it puts nothing back.
func constantValue(text string) extractor {
	return extractor{
		get: func(*traffic.RRPair) (string, bool) { return text, true },
		put: func(*traffic.RRPair, string) error { return nil },
	}
}

// body is without its coding, which it then no longer has. What was cut has no value.
func body(s side, of func(p *traffic.RRPair) (headers *[]*traffic.Header, text *[]byte, size *int64, cut bool)) extractor {
	return extractor{
		side: s,
		get: func(p *traffic.RRPair) (string, bool) {
			headers, text, _, cut := of(p)
			if headers == nil {
				return "", false
			}
			return string(signature.Decoded(*headers, *text)), len(*text) > 0 && !cut
		},
		put: func(p *traffic.RRPair, value string) error {
			headers, text, size, _ := of(p)
			*text, *size, *headers = []byte(value), int64(len(value)), withoutCoding(*headers)
			return nil
		},
	}
}

func reqBody(p *traffic.RRPair) (headers *[]*traffic.Header, text *[]byte, size *int64, cut bool) {
	r := p.GetHttp().GetReq()
	if r == nil {
		return nil, nil, nil, false
	}
	return &r.Headers, &r.Body, &r.BodySize, false
}

func resBody(p *traffic.RRPair) (headers *[]*traffic.Header, text *[]byte, size *int64, cut bool) {
	r := p.GetHttp().GetRes()
	if r == nil {
		return nil, nil, nil, false
	}
	return &r.Headers, &r.Body, &r.BodySize, p.ResponseCut()
}

// withoutCoding is the headers of a body that is not coded any more. Content-Length
// is set by whoever sends it.
func withoutCoding(headers []*traffic.Header) []*traffic.Header {
	return slices.DeleteFunc(slices.Clone(headers), func(h *traffic.Header) bool { return strings.EqualFold(h.GetName(), "Content-Encoding") })
}

// field is a header field, or a trailer.
func field(s side, name string, index int, in func(p *traffic.RRPair) []*traffic.Header) extractor {
	find := func(p *traffic.RRPair) (i int, list []*traffic.Header) {
		n := index
		for i, h := range in(p) {
			if !strings.EqualFold(h.GetName(), name) {
				continue
			}
			if n == 0 {
				return i, in(p)
			}
			n--
		}
		return -1, nil
	}
	return extractor{
		side: s,
		get: func(p *traffic.RRPair) (string, bool) {
			i, list := find(p)
			if i < 0 {
				return "", false
			}
			return list[i].GetValue(), true
		},
		put: func(p *traffic.RRPair, value string) error {
			i, list := find(p)
			if !httpguts.ValidHeaderFieldValue(value) {
				return ReasonUnfit
			}
			list[i] = &traffic.Header{Name: list[i].GetName(), Value: value}
			return nil
		},
	}
}

// cookie is the value of a cookie, in Cookie or the begin of Set-Cookie.
func cookie(s side, name, header string, in func(p *traffic.RRPair) []*traffic.Header) extractor {
	find := func(p *traffic.RRPair) (h, from, to int, list []*traffic.Header) {
		list = in(p)
		for h, f := range list {
			if !strings.EqualFold(f.GetName(), header) {
				continue
			}
			text := f.GetValue()
			for i := 0; i < len(text); {
				end := i + len(text[i:])
				if n := strings.IndexByte(text[i:], ';'); n >= 0 {
					end = i + n
				}
				if key, value, ok := strings.Cut(text[i:end], "="); ok && strings.TrimSpace(key) == name {
					return h, end - len(value), end, list
				}
				if header == "Set-Cookie" {
					break // attributes follow
				}
				i = end + 1
			}
		}
		return -1, 0, 0, nil
	}
	return extractor{
		side: s,
		get: func(p *traffic.RRPair) (string, bool) {
			h, from, to, list := find(p)
			if h < 0 {
				return "", false
			}
			return list[h].GetValue()[from:to], true
		},
		put: func(p *traffic.RRPair, value string) error {
			h, from, to, list := find(p)
			if !httpguts.ValidHeaderFieldValue(value) || strings.ContainsAny(value, ";,") {
				return ReasonUnfit
			}
			old := list[h].GetValue()
			list[h] = &traffic.Header{Name: list[h].GetName(), Value: old[:from] + value + old[to:]}
			return nil
		},
	}
}

// uri is the request's target, as it was recorded.
func uri(p *traffic.RRPair) *string {
	r := p.GetHttp().GetReq()
	if r.Uri != "" {
		return &r.Uri
	}
	return &r.Url
}

func queryParam(name string, index int) extractor {
	find := func(p *traffic.RRPair) (from, to int) {
		text := *uri(p)
		i := strings.IndexByte(text, '?') + 1
		for n := index; i > 0 && i <= len(text); {
			end := len(text)
			if k := strings.IndexAny(text[i:], "&#"); k >= 0 {
				end = i + k
			}
			key, value, _ := strings.Cut(text[i:end], "=")
			if decoded, err := url.QueryUnescape(key); err == nil && decoded == name && strings.Contains(text[i:end], "=") {
				if n == 0 {
					return end - len(value), end
				}
				n--
			}
			if end == len(text) || text[end] == '#' {
				break
			}
			i = end + 1
		}
		return -1, -1
	}
	return extractor{
		side: request,
		get: func(p *traffic.RRPair) (string, bool) {
			from, to := find(p)
			if from < 0 {
				return "", false
			}
			value, err := url.QueryUnescape((*uri(p))[from:to])
			return value, err == nil
		},
		put: func(p *traffic.RRPair, value string) error {
			from, to := find(p)
			text := uri(p)
			*text = (*text)[:from] + url.QueryEscape(value) + (*text)[to:]
			return nil
		},
	}
}

// urlPart is one segment of the path, from 0, or for -1 the path and query.
func urlPart(n int) extractor {
	find := func(p *traffic.RRPair) (from, to int) {
		text := *uri(p)
		if i := strings.Index(text, "://"); i >= 0 {
			if from = strings.IndexByte(text[i+3:], '/') + i + 3; from < i+3 {
				return -1, -1
			}
		}
		if n < 0 {
			return from, len(text)
		}
		end := len(text)
		if i := strings.IndexAny(text[from:], "?#"); i >= 0 {
			end = from + i
		}
		for k := 0; from < end; k++ {
			from++ // the slash
			to = end
			if i := strings.IndexByte(text[from:end], '/'); i >= 0 {
				to = from + i
			}
			if k == n {
				return from, to
			}
			from = to
		}
		return -1, -1
	}
	return extractor{
		side: request,
		get: func(p *traffic.RRPair) (string, bool) {
			from, to := find(p)
			if from < 0 {
				return "", false
			}
			if n < 0 {
				return (*uri(p))[from:to], true
			}
			value, err := url.PathUnescape((*uri(p))[from:to])
			return value, err == nil
		},
		put: func(p *traffic.RRPair, value string) error {
			from, to := find(p)
			if n >= 0 {
				value = url.PathEscape(value)
			}
			if n < 0 && !strings.HasPrefix(value, "/") || value == "" || value == "." || value == ".." ||
				strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
				return ReasonUnfit
			}
			text := uri(p)
			*text = (*text)[:from] + value + (*text)[to:]
			return nil
		},
	}
}

func statusCode() extractor {
	return extractor{
		side: response,
		get: func(p *traffic.RRPair) (string, bool) {
			return strconv.Itoa(int(p.GetHttp().GetRes().GetStatusCode())), p.GetHttp().GetRes() != nil
		},
		put: func(p *traffic.RRPair, value string) error {
			n, err := strconv.Atoi(value)
			if err != nil || n < 200 || n > 999 {
				return ReasonUnfit
			}
			if p.Http.Res.StatusCode != int32(n) {
				p.Http.Res.StatusCode, p.Http.Res.StatusMessage = int32(n), ""
			}
			return nil
		},
	}
}
