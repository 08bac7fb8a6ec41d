package generator

import (
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/speedscale/speedscale/agents/replay"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/carry"
	"github.com/speedscale/speedscale/traffic/transform"
)

// Reasons for which a recorded request is not sent.
const (
	SkipCut         = "request_body_cut"
	SkipUpgrade     = "upgrade"
	SkipMalformed   = "malformed_request"
	SkipUnsupported = "unsupported_protocol"
)

// request is a recorded request that is ready to be sent.
type request struct {
	pair     *traffic.RRPair
	target   *url.URL
	endpoint endpoint
	method   string
	// session numbers the sessions of the replay from 1; 0 is none, which waits
	// for no other request.
	session int
	// owner says which share the request is in.
	owner int
	// offset is the recorded time after that of the first request.
	offset time.Duration

	// head are the bytes of HTTP/1.x before the body.
	head, body []byte
	// http2 is what RoundTrip takes, nil for HTTP/1.x.
	http2 *http.Request

	// uncompared has, for each recorded response header, whether the comparer
	// leaves it out.
	uncompared []bool

	// links say what is carried over, nil where nothing is; needs are the requests
	// whose responses have to be there before.
	links *carry.Pair
	needs []*request
	// chains rewrite the request and its response; nil where none do.
	chains *transform.Applying
}

// prepare makes a request of a pair, or says why it cannot be sent.
func prepare(p *traffic.RRPair, target *url.URL, rewriteHost bool) (*request, string) {
	rec := p.GetHttp().GetReq()
	switch {
	case rec == nil:
		return nil, SkipUnsupported
	case p.RequestCut():
		return nil, SkipCut
	case rec.Method == http.MethodConnect, replay.Has(rec.Headers, "Upgrade") && !replay.IsHTTP2(p):
		return nil, SkipUpgrade
	}
	r := &request{pair: p, target: target, method: rec.Method}
	uri, scheme, host, ok := place(p)
	if !ok || !wellFormed(rec, uri) {
		return nil, SkipMalformed
	}
	name, port := splitHostPort(p.NetworkAddress)
	if name == "" {
		name, port = splitHostPort(host)
	}
	if name == "" && (target == nil || target.Hostname() == "") {
		return nil, SkipMalformed
	}
	r.endpoint = rewrite(target, scheme, name, port)
	if rewriteHost || host == "" {
		host = hostHeader(r.endpoint)
	}
	if replay.IsHTTP2(p) {
		r.http2, r.body = http2Request(rec, r.endpoint, uri, host), rec.Body
	} else {
		r.head, r.body = http1Request(rec, uri, host)
	}
	return r, ""
}

// place returns the target in origin form as it was sent, and for whom it was.
func place(p *traffic.RRPair) (uri, scheme, host string, ok bool) {
	rec := p.Http.Req
	uri, scheme, host = rec.Uri, "http", rec.Host
	u, err := url.Parse(rec.Url)
	if err != nil {
		u = &url.URL{}
	}
	if u.Scheme != "" {
		scheme = u.Scheme
	}
	if host == "" {
		if host, _ = traffic.HeaderValue(rec.Headers, "Host"); host == "" {
			host = u.Host
		}
	}
	if uri == "" {
		uri = u.RequestURI()
	}
	if rest, absolute := cutScheme(uri); absolute { // as sent to a proxy
		uri = "/"
		if i := strings.IndexAny(rest, "/?"); i >= 0 {
			uri = rest[i:]
			if rest[i] == '?' {
				uri = "/" + uri
			}
		}
	}
	return uri, scheme, host, scheme == "http" || scheme == "https"
}

func cutScheme(uri string) (rest string, ok bool) {
	if rest, ok = strings.CutPrefix(uri, "http://"); ok {
		return rest, true
	}
	return strings.CutPrefix(uri, "https://")
}

// wellFormed says whether a request can be sent without becoming another one:
// a line end in a recorded value would start a field of its own.
func wellFormed(rec *traffic.HTTPRequest, uri string) bool {
	if !httpguts.ValidHeaderFieldName(rec.Method) || uri == "" || uri[0] != '/' && uri != "*" {
		return false
	}
	for i := range len(uri) {
		if uri[i] <= ' ' || uri[i] == 0x7f {
			return false
		}
	}
	return replay.WellFormed(rec.Headers) && replay.WellFormed(rec.Trailers) && httpguts.ValidHostHeader(rec.Host)
}

func splitHostPort(hostport string) (host, port string) {
	if h, p, err := net.SplitHostPort(hostport); err == nil {
		return h, p
	}
	return strings.Trim(hostport, "[]"), ""
}

// hostHeader names an endpoint as a client does: without its scheme's own port.
func hostHeader(e endpoint) string {
	host, port, _ := net.SplitHostPort(e.addr)
	if e.scheme == "http" && port != "80" || e.scheme == "https" && port != "443" {
		return e.addr
	}
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// dropped is replay.Dropped and Expect: the generator has the body at hand, so it
// sends it without waiting for leave.
func dropped(fields []*traffic.Header) func(name string) bool {
	drop := replay.Dropped(fields)
	return func(name string) bool { return drop(name) || strings.EqualFold(name, "Expect") }
}

// http1Request writes the head in the recorded order and case.
func http1Request(rec *traffic.HTTPRequest, uri, host string) (head, body []byte) {
	version := "1.1"
	if rec.Version == "1.0" {
		version = "1.0"
	}
	head = make([]byte, 0, 256)
	head = append(head, rec.Method+" "+uri+" HTTP/"+version+"\r\n"...)
	if !replay.Has(rec.Headers, "Host") {
		head = replay.AppendField(head, "Host", host)
	}
	drop := dropped(rec.Headers)
	trailers := len(rec.Trailers) > 0
	length := false
	for _, h := range rec.Headers {
		switch {
		case drop(h.Name), strings.EqualFold(h.Name, "TE"):
		case strings.EqualFold(h.Name, "Host"):
			head = replay.AppendField(head, h.Name, host)
		case strings.EqualFold(h.Name, "Content-Length"):
			if !length && !trailers {
				head = replay.AppendField(head, h.Name, strconv.Itoa(len(rec.Body)))
			}
			length = true
		default:
			head = replay.AppendField(head, h.Name, h.Value)
		}
	}
	switch {
	case trailers:
		head = replay.AppendField(head, "Transfer-Encoding", "chunked")
		return append(head, "\r\n"...), chunked(rec)
	case !length && (len(rec.Body) > 0 || replay.Has(rec.Headers, "Transfer-Encoding")):
		head = replay.AppendField(head, "Content-Length", strconv.Itoa(len(rec.Body)))
	}
	return append(head, "\r\n"...), rec.Body
}

// chunked writes a body with trailers, which no other framing can carry.
func chunked(rec *traffic.HTTPRequest) []byte {
	var b []byte
	if len(rec.Body) > 0 {
		b = append(strconv.AppendInt(b, int64(len(rec.Body)), 16), "\r\n"...)
		b = append(append(b, rec.Body...), "\r\n"...)
	}
	b = append(b, "0\r\n"...)
	for _, h := range rec.Trailers {
		b = replay.AppendField(b, h.Name, h.Value)
	}
	return append(b, "\r\n"...)
}

// http2Request is without its body, which each sending makes anew.
func http2Request(rec *traffic.HTTPRequest, e endpoint, uri, host string) *http.Request {
	r := &http.Request{
		Method: rec.Method,
		// Opaque keeps path and query as they were sent.
		URL:           &url.URL{Scheme: e.scheme, Host: e.addr, Opaque: uri},
		Host:          host,
		Header:        make(http.Header, len(rec.Headers)+1),
		ContentLength: int64(len(rec.Body)),
		Proto:         "HTTP/2.0", ProtoMajor: 2,
	}
	drop := dropped(rec.Headers)
	for _, h := range rec.Headers {
		switch {
		case drop(h.Name), strings.EqualFold(h.Name, "Host"), strings.EqualFold(h.Name, "Content-Length"):
		default:
			r.Header.Add(h.Name, h.Value)
		}
	}
	if _, ok := r.Header["User-Agent"]; !ok {
		r.Header["User-Agent"] = []string{""} // so that net/http adds none
	}
	if len(rec.Trailers) > 0 {
		r.Trailer = make(http.Header, len(rec.Trailers))
		for _, h := range rec.Trailers {
			r.Trailer.Add(h.Name, h.Value)
		}
	}
	return r
}
