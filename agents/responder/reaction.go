package responder

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/speedscale/speedscale/agents/replay"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/carry"
	"github.com/speedscale/speedscale/traffic/transform"
)

// reaction is a response that is ready to be sent. It keeps nothing of the pair
// but what is sent: a snapshot's responses are all in memory.
type reaction struct {
	status int
	// head is for HTTP/1.1: status line and fields, each with its line end, but
	// without the empty line, so that Connection can follow.
	head []byte
	// body is the content, nil where the response can have none.
	body     []byte
	trailers []*traffic.Header
	// chunked says that the body goes out in the chunked transfer coding.
	chunked bool
	// cut says that the recorded body is not whole, so it is never served.
	cut   bool
	delay time.Duration
	// chains change the response each time that it is sent; nil where none do.
	chains *transform.Applying
}

// newReaction makes a reaction of a pair, or says why it cannot be served.
func newReaction(p *traffic.RRPair) (*reaction, string) {
	req, res := p.GetHttp().GetReq(), p.GetHttp().GetRes()
	switch {
	case p.L7Protocol != traffic.HTTPProtocol && p.L7Protocol != traffic.GRPCProtocol || req == nil:
		return nil, UnusableProtocol
	case res == nil || res.StatusCode == 0:
		return nil, UnusableNoResponse
	case res.StatusCode < 200:
		return nil, UnusableUpgrade
	case res.StatusCode > 999 || !replay.WellFormed(res.Headers) || !replay.WellFormed(res.Trailers):
		return nil, UnusableMalformed
	}
	return reactionOf(req.Method, res), ""
}

// reactionOf makes a reaction of a final response to a request of such a method.
func reactionOf(method string, res *traffic.HTTPResponse) *reaction {
	r := &reaction{status: int(res.StatusCode), trailers: res.Trailers, cut: res.BodySize > int64(len(res.Body))}
	if hasBody(method, r.status) {
		r.body = res.Body
		r.chunked = len(res.Trailers) > 0 || replay.Has(res.Headers, "Transfer-Encoding")
	}
	r.head = appendHead(make([]byte, 0, 256), method, res, r.chunked)
	r.head = bytes.Clone(r.head)
	return r
}

// fields yields the fields of the head.
func (r *reaction) fields(yield func(name, value string) bool) {
	text := string(r.head)
	for i := 0; ; i++ {
		line, rest, found := strings.Cut(text, "\r\n")
		if !found {
			return
		}
		if name, value, ok := strings.Cut(line, ": "); i > 0 && ok && !yield(name, value) {
			return
		}
		text = rest
	}
}

// response makes a record of what is sent.
func (r *reaction) response() *traffic.HTTPResponse {
	res := &traffic.HTTPResponse{StatusCode: int32(r.status), Body: r.body, BodySize: int64(len(r.body)), Trailers: r.trailers}
	for name, value := range r.fields {
		res.Headers = append(res.Headers, &traffic.Header{Name: name, Value: value})
	}
	return res
}

// transformed is the reaction to a request of such a method as its chains make it.
func (r *reaction) transformed(method string, v *transform.Vars) (*reaction, []carry.Outcome) {
	pair := transform.Own(&traffic.RRPair{Http: &traffic.HTTP{Res: r.response()}})
	outcomes := r.chains.Response(v, pair)
	made := reactionOf(method, pair.Http.Res)
	made.delay = r.delay
	return made, outcomes
}

// unchunked is the head for a client of HTTP/1.0, which knows no chunks.
func (r *reaction) unchunked() []byte {
	line, _, _ := bytes.Cut(r.head, []byte("\r\n"))
	head := append(bytes.Clone(line), "\r\n"...)
	for name, value := range r.fields {
		if !strings.EqualFold(name, "Transfer-Encoding") {
			head = replay.AppendField(head, name, value)
		}
	}
	return replay.AppendField(head, "Content-Length", strconv.Itoa(len(r.body)))
}

// appendTail appends what follows a body in chunks.
func (r *reaction) appendTail(dst []byte) []byte {
	if len(r.body) > 0 {
		dst = append(dst, "\r\n"...)
	}
	dst = append(dst, "0\r\n"...)
	for _, h := range r.trailers {
		dst = replay.AppendField(dst, h.Name, h.Value)
	}
	return append(dst, "\r\n"...)
}

// hasBody says whether a response to such a request can have a body (RFC 9112,
// section 6.3).
func hasBody(method string, status int) bool {
	return method != http.MethodHead && status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// appendHead writes the head of a response, in the recorded order and case. The
// body's framing is by chunks or by length, whichever was recorded.
func appendHead(dst []byte, method string, res *traffic.HTTPResponse, inChunks bool) []byte {
	status := int(res.StatusCode)
	reason := res.StatusMessage
	if code := strconv.Itoa(status); strings.HasPrefix(reason, code) { // "200 OK", as net/http has it
		reason = strings.TrimSpace(reason[len(code):])
	}
	if reason == "" || !httpguts.ValidHeaderFieldValue(reason) {
		reason = http.StatusText(status)
	}
	dst = append(dst, "HTTP/1.1 "+strconv.Itoa(status)+" "+reason+"\r\n"...)
	drop := replay.Dropped(res.Headers)
	framed := !hasBody(method, status)
	for _, h := range res.Headers {
		switch {
		case strings.EqualFold(h.Name, "Transfer-Encoding") && inChunks && !framed:
			dst, framed = replay.AppendField(dst, h.Name, "chunked"), true
		case strings.EqualFold(h.Name, "Content-Length"):
			switch {
			case !hasBody(method, status): // tells the length that a GET would have
				if status != http.StatusNoContent {
					dst = replay.AppendField(dst, h.Name, h.Value)
				}
			case !framed && !inChunks:
				dst, framed = replay.AppendField(dst, h.Name, strconv.Itoa(len(res.Body))), true
			}
		case drop(h.Name):
		default:
			dst = replay.AppendField(dst, h.Name, h.Value)
		}
	}
	switch {
	case framed:
	case inChunks:
		dst = replay.AppendField(dst, "Transfer-Encoding", "chunked")
	default:
		dst = replay.AppendField(dst, "Content-Length", strconv.Itoa(len(res.Body)))
	}
	return dst
}
