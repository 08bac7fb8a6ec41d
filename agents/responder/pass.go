package responder

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/replay"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/report"
)

// pass sends a request that was missed to the real host. p is the request in the
// form in which it is compared, sent the one that came.
func (r *Responder) pass(ctx context.Context, o *origin, p *traffic.RRPair, sent *traffic.HTTPRequest, m *Miss) *reaction {
	begun := time.Now()
	target := r.realHost(o, sent)
	res, err := r.roundTrip(ctx, target, sent)
	if err != nil {
		r.answered(report.NoMatch, p, m)
		r.opts.Logger.Warn("request not passed through", "host", target.Host, "error", err)
		return reactionOf(sent.Method, plain(http.StatusBadGateway, "text/plain; charset=utf-8",
			[]byte("passed through to "+target.Host+": "+err.Error()+"\n"), explained(m)))
	}
	r.answered(report.Passthrough, p, m)
	if r.opts.OnMiss == Record {
		r.record(proto.CloneOf(p), res, target, begun)
	}
	return reactionOf(sent.Method, res)
}

// record hands on the pair, masked where the snapshot is.
func (r *Responder) record(p *traffic.RRPair, res *traffic.HTTPResponse, target *url.URL, begun time.Time) {
	p.Uuid = traffic.NewUUID()
	p.Ts = begun.UnixNano()
	p.Duration = int64(time.Since(begun))
	p.Status = strconv.Itoa(int(res.StatusCode))
	p.NetworkAddress = target.Host
	p.Tags = map[string]string{traffic.TagSource: "responder"}
	p.Http.Req.Url = target.Scheme + "://" + target.Host + p.Http.Req.Uri
	p.Http.Res = proto.CloneOf(res)
	if r.opts.Masker != nil {
		if _, err := r.opts.Masker.Mask(p); err != nil {
			r.opts.Logger.Warn("pair not recorded", "host", target.Host, "error", err)
			return
		}
	}
	r.opts.Recorder.Pair(p)
}

// realHost is where a request would have gone: to the name that the connection
// was for, at the port that it was for.
func (r *Responder) realHost(o *origin, sent *traffic.HTTPRequest) *url.URL {
	u := &url.URL{Scheme: "http", Opaque: sent.Uri}
	if o.tls {
		u.Scheme = "https"
	}
	found := r.find(o, sent.Host)
	if len(found) > 0 {
		u.Scheme, u.Host = found[0].scheme, found[0].address
		return u
	}
	u.Host = cmp.Or(sent.Host, o.authority, o.destination)
	if _, port, err := net.SplitHostPort(o.destination); err == nil {
		if host, _, err := net.SplitHostPort(u.Host); err == nil {
			u.Host = host
		}
		u.Host = net.JoinHostPort(strings.Trim(u.Host, "[]"), port)
	}
	return u
}

// roundTrip sends a request on, and reads the whole response. One that is longer
// than the limit is an error: a part of it is never passed off as whole.
func (r *Responder) roundTrip(ctx context.Context, target *url.URL, sent *traffic.HTTPRequest) (*traffic.HTTPResponse, error) {
	req := (&http.Request{
		Method: sent.Method, URL: target, Host: sent.Host, Header: make(http.Header, len(sent.Headers)),
		ContentLength: int64(len(sent.Body)),
	}).WithContext(ctx)
	if strings.Contains(sent.Uri, "://") {
		u, err := url.Parse(sent.Uri)
		if err != nil {
			return nil, fmt.Errorf("target: %w", err)
		}
		req.URL = &url.URL{Scheme: target.Scheme, Host: target.Host, Opaque: u.RequestURI()}
	}
	if len(sent.Body) > 0 {
		req.Body = io.NopCloser(bytes.NewReader(sent.Body))
	}
	drop := replay.Dropped(sent.Headers)
	for _, h := range sent.Headers {
		if !drop(h.Name) && !strings.EqualFold(h.Name, "Host") && !strings.EqualFold(h.Name, "Expect") && !strings.EqualFold(h.Name, "Content-Length") {
			req.Header.Add(h.Name, h.Value)
		}
	}
	if _, ok := req.Header["User-Agent"]; !ok {
		req.Header["User-Agent"] = []string{""} // so that net/http adds none
	}
	res, err := r.upstream(sent).RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, int64(r.opts.MaxBody)+1))
	if err != nil {
		return nil, err
	}
	if len(body) > r.opts.MaxBody {
		return nil, fmt.Errorf("the response's body is longer than the limit of %d bytes", r.opts.MaxBody)
	}
	return &traffic.HTTPResponse{
		StatusCode: int32(res.StatusCode), StatusMessage: http.StatusText(res.StatusCode), ContentType: res.Header.Get("Content-Type"),
		Headers: replay.Fields(res.Header, false), Body: body, BodySize: int64(len(body)), Trailers: replay.Fields(res.Trailer, false),
		Version: strings.TrimPrefix(res.Proto, "HTTP/"),
	}, nil
}

// upstream is what speaks the request's version to the real host.
func (r *Responder) upstream(sent *traffic.HTTPRequest) *http.Transport {
	if strings.HasPrefix(sent.Version, "2") {
		return r.http2Upstream
	}
	return r.http1Upstream
}
