package exchange

import (
	"strings"

	"github.com/speedscale/speedscale/traffic"
)

// RequestHead describes the request once Method, Uri, Host, Version and Headers
// are set: command, location, network address, absolute URL. It asks
// Options.Keep whether the pair is wanted, and drops it if not. scheme is http
// or https.
func (e *Exchange) RequestHead(scheme string) {
	if e.rec == nil {
		return
	}
	p, r := &e.rec.pair, &e.rec.req
	p.L7Protocol = traffic.HTTPProtocol
	p.Command = r.Method
	path := r.Uri
	switch {
	case r.Method == "CONNECT":
		if r.Host == "" {
			r.Host = r.Uri
		}
		r.Url = scheme + "://" + r.Host
	case strings.HasPrefix(r.Uri, "/"):
		r.Url = absolute(scheme, r.Host, r.Uri)
	case r.Uri == "*": // the server as a whole (RFC 9112, section 3.2.4)
		r.Url = absolute(scheme, r.Host, "")
	default:
		if s, authority, rest, ok := cutAbsolute(r.Uri); ok {
			// The target's authority stands, not the Host field's (RFC 9112, section 3.2.2).
			scheme, r.Host, path = s, authority, rest
			r.Url = r.Uri
		} else {
			r.Url = r.Uri
		}
	}
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		path = path[:i]
	}
	if path == "" {
		path = "/"
	}
	p.Location = path
	if contentType, _ := traffic.HeaderValue(r.Headers, "Content-Type"); isGRPC(contentType) {
		p.L7Protocol = traffic.GRPCProtocol
		p.Command = path
	}
	p.NetworkAddress = networkAddress(scheme, r.Host)
	if e.opt.Keep != nil {
		if reason := e.opt.Keep(p); reason != "" {
			e.Drop(reason)
		}
	}
}

// ResponseHead describes the response once StatusCode and Headers are set.
// status is the status code in digits.
func (e *Exchange) ResponseHead(status string) {
	if e.rec == nil {
		return
	}
	r := &e.rec.res
	e.rec.pair.Status = status
	r.ContentType, _ = traffic.HeaderValue(r.Headers, "Content-Type")
	e.detect()
	if e.rec.pair.L7Protocol == traffic.GRPCProtocol {
		e.grpcStatus(r.Headers)
	}
}

// ResponseTrailers sets the trailer fields of the response. gRPC has its status
// there.
func (e *Exchange) ResponseTrailers(fields []*traffic.Header) {
	if e.rec == nil {
		return
	}
	e.rec.res.Trailers = fields
	if e.rec.pair.L7Protocol == traffic.GRPCProtocol {
		e.grpcStatus(fields)
	}
}

func (e *Exchange) grpcStatus(fields []*traffic.Header) {
	if s, ok := traffic.HeaderValue(fields, "grpc-status"); ok {
		e.rec.pair.Status = s
	}
}

func absolute(scheme, host, uri string) string {
	if host == "" {
		return uri
	}
	return scheme + "://" + host + uri
}

// cutAbsolute splits an absolute-form target into scheme, authority without
// user information, and the rest.
func cutAbsolute(target string) (scheme, authority, rest string, ok bool) {
	scheme, after, ok := strings.Cut(target, "://")
	if !ok || scheme == "" {
		return "", "", "", false
	}
	authority = after
	if i := strings.IndexAny(after, "/?#"); i >= 0 {
		authority, rest = after[:i], after[i:]
	}
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		authority = authority[i+1:]
	}
	return strings.ToLower(scheme), authority, rest, true
}

// networkAddress adds the scheme's default port to a host that has none.
func networkAddress(scheme, host string) string {
	if host == "" {
		return ""
	}
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		if i < len(host)-1 {
			return host
		}
		host = host[:i]
	}
	if scheme == "https" {
		return host + ":443"
	}
	return host + ":80"
}
