package generator

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/speedscale/speedscale/agents/http1"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/compare"
)

// uncompared finds out which header fields a comparer leaves out.
type uncompared struct {
	comparer *compare.Comparer
	known    map[string]bool
}

func newUncompared(c *compare.Comparer) *uncompared {
	return &uncompared{c, map[string]bool{}}
}

// of says for each header whether it is left out.
func (u *uncompared) of(headers []*traffic.Header) []bool {
	out := make([]bool, len(headers))
	for i, h := range headers {
		name := strings.ToLower(h.Name)
		left, ok := u.known[name]
		if !ok {
			left = u.probe(name)
			u.known[name] = left
		}
		out[i] = left
	}
	return out
}

// probe compares two responses that differ in this field alone. No endpoint has
// the probe's path, so noise that is left out at one endpoint does not count.
func (u *uncompared) probe(name string) bool {
	with := func(value string) *traffic.RRPair {
		return &traffic.RRPair{Http: &traffic.HTTP{
			Req: &traffic.HTTPRequest{Method: "PROBE", Url: "http://probe.invalid/\x00", Uri: "/\x00"},
			Res: &traffic.HTTPResponse{StatusCode: 200, Headers: []*traffic.Header{{Name: name, Value: value}}},
		}}
	}
	return len(u.comparer.Compare(with("1"), with("2"))) == 0
}

// identical says that a response is the recorded one, byte for byte, but for
// fields that are not compared. It is what most responses of a replay are, and
// saves making a record of them; any other response takes the long way.
func identical(req *request, m *http1.Message) bool {
	rec := req.pair.GetHttp().GetRes()
	if rec == nil || m.Status != int(rec.StatusCode) || len(m.Fields) != len(rec.Headers) || req.pair.ResponseCut() ||
		len(m.TrailerFields) != 0 || len(rec.Trailers) != 0 || m.BodySize != int64(len(rec.Body)) || !bytes.Equal(m.Body, rec.Body) {
		return false
	}
	for i, h := range rec.Headers {
		f := &m.Fields[i]
		if string(f.Name.Of(m.Head)) != h.Name || !req.uncompared[i] && string(f.Value.Of(m.Head)) != h.Value {
			return false
		}
	}
	return true
}

// response makes a record of a message.
func response(m *http1.Message) *traffic.HTTPResponse {
	head := string(m.Head)
	res := &traffic.HTTPResponse{
		Version:       "1." + strconv.Itoa(m.Minor),
		StatusCode:    int32(m.Status),
		StatusMessage: m.Start[2].In(head),
		Headers:       headers(m.Fields, head),
		Trailers:      headers(m.TrailerFields, string(m.Trailer)),
		Body:          bytes.Clone(m.Body),
		BodySize:      m.BodySize,
	}
	res.ContentType, _ = traffic.HeaderValue(res.Headers, "Content-Type")
	return res
}

func headers(fields []http1.Field, text string) []*traffic.Header {
	if len(fields) == 0 {
		return nil
	}
	out := make([]*traffic.Header, len(fields))
	for i, f := range fields {
		out[i] = &traffic.Header{Name: f.Name.In(text), Value: f.Value.In(text)}
	}
	return out
}

// observe makes the pair that a replayed request and its response are, masked as
// the recorded one was: a body that masking cannot read is emptied in both.
func (r *run) observe(x *exchange, res *traffic.HTTPResponse) *traffic.RRPair {
	rec := x.req.pair
	p := &traffic.RRPair{
		Uuid:       traffic.NewUUID(),
		Ts:         x.sent.UnixNano(),
		Duration:   int64(x.done.Sub(x.sent)),
		Direction:  rec.Direction,
		Service:    rec.Service,
		L7Protocol: rec.L7Protocol,
		Tech:       rec.Tech,
		Command:    rec.Command,
		Location:   rec.Location,
		Status:     strconv.Itoa(int(res.StatusCode)),

		NetworkAddress: x.req.endpoint.addr,
		Session:        rec.Session,
		Tags:           map[string]string{traffic.TagSource: "generator", traffic.TagRefUUID: uuidText(rec.Uuid)},
		Http:           &traffic.HTTP{Req: rec.Http.Req, Res: res},
	}
	if r.opts.Masker == nil {
		return p
	}
	// The recorded request is masked already, and shared by all who send it:
	// only the rules that look at it need it here.
	p.Http.Req = &traffic.HTTPRequest{
		Url: rec.Http.Req.Url, Uri: rec.Http.Req.Uri, Version: rec.Http.Req.Version,
		Method: rec.Http.Req.Method, Host: rec.Http.Req.Host,
	}
	r.opts.Masker.Mask(p) // an error says that a body was emptied, which comparing takes into account
	p.Http.Req = rec.Http.Req
	return p
}
