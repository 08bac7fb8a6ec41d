package compare

import (
	"mime"
	"slices"
	"strings"

	"github.com/speedscale/speedscale/traffic"
)

// DefaultIgnoreHeaders returns the header fields that say nothing of what a
// server does: times, ids of the one exchange, properties of the connection
// (RFC 9110, section 7.6.1), and what describes the body, which is compared
// itself. Content-Type and Set-Cookie are compared by rules of their own.
func DefaultIgnoreHeaders() []string {
	return []string{
		"Date", "Age", "Expires", "Last-Modified", "ETag", "Server-Timing", "X-Runtime", "X-Response-Time",
		"X-Request-Id", "X-Correlation-Id", "X-Trace-Id", "X-Amzn-Trace-Id", "X-Amzn-RequestId", "X-Amz-Request-Id", "X-Amz-Id-2",
		"X-Cloud-Trace-Context", "Traceparent", "Tracestate", "X-B3-TraceId", "X-B3-SpanId", "X-Envoy-Upstream-Service-Time", "CF-Ray",
		"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Via", "Alt-Svc",
		"Content-Length", "Content-Encoding", "Accept-Ranges", "Content-MD5", "Digest", "Content-Digest",
		"X-RateLimit-Remaining", "X-RateLimit-Reset", "RateLimit", "Retry-After",
	}
}

// fields compares header fields or trailers. Fields of one name are compared
// in their order; the order of names means nothing (RFC 9110, section 5.3).
func (d *differ) fields(location string, want, got []*traffic.Header) {
	if len(want) == len(got) && d.sameFields(want, got) {
		return
	}
	for i, h := range want {
		if d.skips(h.GetName()) || seen(want[:i], h.GetName()) {
			continue
		}
		recorded, observed := values(want, h.GetName()), values(got, h.GetName())
		if observed == nil {
			d.add(location+h.GetName(), Removed, strings.Join(recorded, ", "), "")
		} else {
			d.field(location+h.GetName(), h.GetName(), strings.Join(recorded, ", "), strings.Join(observed, ", "))
		}
	}
	for i, h := range got {
		if !d.skips(h.GetName()) && !seen(got[:i], h.GetName()) && values(want, h.GetName()) == nil {
			d.add(location+h.GetName(), Added, "", strings.Join(values(got, h.GetName()), ", "))
		}
	}
}

// sameFields is the quick way: the same names in the same order. It is false
// where a closer look is needed.
func (d *differ) sameFields(want, got []*traffic.Header) bool {
	for i, h := range want {
		g := got[i]
		if h.GetName() != g.GetName() {
			return false
		}
		if h.GetValue() != g.GetValue() && !d.skips(h.GetName()) {
			return false
		}
	}
	return true
}

func (d *differ) field(location, name, recorded, observed string) {
	if recorded == observed {
		return
	}
	if strings.EqualFold(name, "Location") && sameTarget(recorded, observed) {
		return
	}
	d.add(location, Changed, recorded, observed)
}

// sameTarget says whether two absolute URLs differ in scheme and host only: a
// replay is sent to another place than the one that was recorded.
func sameTarget(a, b string) bool {
	_, x, okX := strings.Cut(a, "://")
	_, y, okY := strings.Cut(b, "://")
	if !okX || !okY {
		return false
	}
	_, x, _ = strings.Cut(x, "/")
	_, y, _ = strings.Cut(y, "/")
	return x == y
}

// skips says whether a field is left out, or has rules of its own.
func (d *differ) skips(name string) bool {
	var space [64]byte
	lower := space[:0]
	for _, c := range []byte(name) {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower = append(lower, c)
	}
	switch string(lower) {
	case "content-type", "set-cookie":
		return true
	}
	if d.c.rules.only != nil {
		return !d.c.rules.only[string(lower)]
	}
	return d.c.skip[string(lower)]
}

func seen(before []*traffic.Header, name string) bool {
	_, ok := traffic.HeaderValue(before, name)
	return ok
}

func values(headers []*traffic.Header, name string) []string {
	var list []string
	for _, h := range headers {
		if strings.EqualFold(h.GetName(), name) {
			list = append(list, h.GetValue())
		}
	}
	return list
}

// contentType compares media types; of the parameters only the charset counts.
func (d *differ) contentType(want, got *traffic.HTTPResponse) {
	recorded, observed := contentType(want), contentType(got)
	if recorded == observed {
		return
	}
	if mediaType(recorded) != mediaType(observed) {
		kind := Changed
		switch {
		case observed == "":
			kind = Removed
		case recorded == "":
			kind = Added
		}
		d.add(locHeaders+"Content-Type", kind, recorded, observed)
	}
}

func contentType(r *traffic.HTTPResponse) string {
	if v, ok := traffic.HeaderValue(r.Headers, "Content-Type"); ok {
		return v
	}
	return r.ContentType
}

func mediaType(contentType string) string {
	t, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return contentType
	}
	if charset := strings.ToLower(params["charset"]); charset != "" && charset != "utf-8" {
		t += "; charset=" + charset
	}
	return t
}

// cookies compares which cookies are set. Their values are made anew by most
// servers, so they are not compared.
func (d *differ) cookies(want, got []*traffic.Header) {
	recorded, observed := cookieNames(want), cookieNames(got)
	for _, name := range recorded {
		if !slices.Contains(observed, name) && !d.add(locCookies+name, Removed, "set", "") {
			return
		}
	}
	for _, name := range observed {
		if !slices.Contains(recorded, name) && !d.add(locCookies+name, Added, "", "set") {
			return
		}
	}
}

func cookieNames(headers []*traffic.Header) []string {
	var names []string
	for _, h := range headers {
		if len(h.GetName()) != len("Set-Cookie") || !strings.EqualFold(h.GetName(), "Set-Cookie") {
			continue
		}
		if name, _, ok := strings.Cut(h.GetValue(), "="); ok && !slices.Contains(names, strings.TrimSpace(name)) {
			names = append(names, strings.TrimSpace(name))
		}
	}
	return names
}
