package responder

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/carry"
	"github.com/speedscale/speedscale/traffic/report"
	"github.com/speedscale/speedscale/traffic/signature"
	"github.com/speedscale/speedscale/traffic/transform"
)

// describe fills in what the pair of a request says beside the request.
func (r *Responder) describe(p *traffic.RRPair) {
	req := p.Http.Req
	p.Direction = traffic.Direction_DIRECTION_OUT
	p.Command, p.Location = req.Method, pathOf(req)
	p.L7Protocol = traffic.HTTPProtocol
	if v, _ := traffic.HeaderValue(req.Headers, "Content-Type"); strings.HasPrefix(v, "application/grpc") {
		p.L7Protocol = traffic.GRPCProtocol
	}
	req.Url, p.Http.Res = "", nil
	p.DlpModified, p.DlpRule, p.MaskKeyId = false, "", "" // of the request before
}

// respond finds the response to a request, and waits as long as it should take.
// p is the caller's again afterwards.
func (r *Responder) respond(ctx context.Context, o *origin, p *traffic.RRPair) *reaction {
	begun := time.Now()
	sent := p.Http.Req // as it came, for the real host
	host := sent.Host
	if (r.opts.Masker != nil || r.opts.Transforms != nil) && r.opts.OnMiss != NotFound {
		sent = proto.CloneOf(sent)
	}
	var vars *transform.Vars // of this request alone
	if r.opts.Transforms != nil {
		vars = r.opts.Transforms.NewVars()
	}
	made, miss := r.match(o, p, vars)
	p.Http.Req.Host = host
	if made != nil {
		r.answered(report.Match, p, nil)
		if made.chains != nil {
			var outcomes []carry.Outcome
			made, outcomes = made.transformed(p.Http.Req.Method, vars)
			r.carried(outcomes)
		}
		if made.delay > 0 {
			pause(ctx, made.delay-time.Since(begun))
		}
		return made
	}
	if r.opts.OnMiss != NotFound && miss.Reason != MissCutBody {
		return r.pass(ctx, o, p, sent, miss)
	}
	r.answered(report.NoMatch, p, miss)
	return reactionOf(p.Http.Req.Method, missed(p, miss))
}

// missed says that there is no recorded response, which was nearest, and where
// the request differs from it.
func missed(p *traffic.RRPair, m *Miss) *traffic.HTTPResponse {
	if p.L7Protocol == traffic.GRPCProtocol {
		return grpcStatus("12", "no recorded response: "+m.Reason+differs(m), m) // UNIMPLEMENTED
	}
	type nearest struct {
		UUID    string            `json:"uuid"`
		Request string            `json:"request"`
		Fields  []signature.Field `json:"differs,omitempty"`
	}
	text := struct {
		Error    string   `json:"error"`
		SliceKey string   `json:"sliceKey,omitempty"`
		Request  string   `json:"request"`
		Nearest  *nearest `json:"nearest,omitempty"`
	}{Error: m.Reason, SliceKey: m.SliceKey, Request: m.Request}
	if m.Nearest != nil {
		text.Nearest = &nearest{m.NearestUUID(), m.Nearest.Command + " " + m.Nearest.Location, m.Fields}
	}
	body, err := json.Marshal(text)
	if err != nil { // strings and numbers can always be marshalled
		body = []byte("{}")
	}
	return plain(http.StatusNotFound, "application/json", append(body, '\n'), explained(m))
}

// explained are the fields that tell a miss from a recorded 404.
func explained(m *Miss) []*traffic.Header {
	list := []*traffic.Header{{Name: "x-speedscale-match", Value: string(report.NoMatch)}, {Name: "x-speedscale-reason", Value: m.Reason}}
	if m.Nearest != nil {
		list = append(list, &traffic.Header{Name: "x-speedscale-nearest", Value: m.NearestUUID()})
	}
	if d := differs(m); d != "" {
		list = append(list, &traffic.Header{Name: "x-speedscale-differs", Value: strings.TrimPrefix(d, "; differs in ")})
	}
	return list
}

// differs names the fields of a miss, in characters that a field value can have.
func differs(m *Miss) string {
	var names []string
	for _, f := range m.Fields[:min(len(m.Fields), 10)] {
		names = append(names, strings.Map(func(c rune) rune {
			if c < ' ' || c > '~' || c == ',' {
				return '?'
			}
			return c
		}, f.Key))
	}
	if names = slices.Compact(names); len(names) == 0 {
		return ""
	}
	return "; differs in " + strings.Join(names, ", ")
}

// plain is a response of our own.
func plain(status int, contentType string, body []byte, extra []*traffic.Header) *traffic.HTTPResponse {
	return &traffic.HTTPResponse{
		StatusCode: int32(status), StatusMessage: http.StatusText(status), ContentType: contentType,
		Headers: append([]*traffic.Header{
			{Name: "content-type", Value: contentType}, {Name: "content-length", Value: strconv.Itoa(len(body))},
		}, extra...),
		Body: body, BodySize: int64(len(body)),
	}
}

// grpcStatus is a response without messages, which has its status in the headers.
func grpcStatus(code, message string, m *Miss) *traffic.HTTPResponse {
	return &traffic.HTTPResponse{
		StatusCode: http.StatusOK, ContentType: "application/grpc",
		Headers: append([]*traffic.Header{
			{Name: "content-type", Value: "application/grpc"}, {Name: "grpc-status", Value: code}, {Name: "grpc-message", Value: message},
		}, explained(m)...),
	}
}
