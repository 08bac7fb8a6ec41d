package traffic

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/speedscale/speedscale/speedctl/tui/style"
	"github.com/speedscale/speedscale/traffic"
)

// line of the detail of a pair.
type line struct {
	kind lineKind
	// name is that of a heading, a header field or a fact, text what it is.
	name, text string
}

type lineKind int

const (
	plainLine lineKind = iota
	headLine
	fieldLine
	noteLine
)

// describe is a pair in full, line by line.
func describe(p *traffic.RRPair, loc *time.Location) (request, response, facts details) {
	grpc := p.L7Protocol == traffic.GRPCProtocol
	if r := p.GetHttp().GetReq(); r != nil {
		request.add(headLine, "Request", "")
		request.add(plainLine, "", fmt.Sprintf("%s %s HTTP/%s", r.Method, cmp.Or(r.Url, r.Uri), r.Version))
		request.message(message{headers: r.Headers, body: r.Body, size: r.BodySize, grpc: grpc}, r.Trailers)
	}
	if r := p.GetHttp().GetRes(); r != nil {
		response.add(headLine, "Response", "")
		response.add(plainLine, "", strings.TrimSpace(fmt.Sprintf("HTTP/%s %d %s", r.Version, r.StatusCode, r.StatusMessage)))
		response.message(message{headers: r.Headers, mime: r.ContentType, body: r.Body, size: r.BodySize, grpc: grpc}, r.Trailers)
	}
	facts.add(headLine, "Pair", "")
	facts.field("time", time.Unix(0, p.Ts).In(loc).Format("2006-01-02 15:04:05.000000 MST"))
	facts.field("duration", duration(p.Duration))
	facts.field("service", serviceOf(p))
	facts.field("direction", direction(p))
	facts.field("address", p.NetworkAddress)
	facts.field("cluster", p.Cluster)
	facts.field("protocol", strings.TrimSpace(p.L7Protocol+" "+p.Tech))
	if grpc {
		facts.field("gRPC status", p.Status)
	}
	facts.field("session", p.Session)
	if id, err := uuid.FromBytes(p.Uuid); err == nil {
		facts.field("uuid", id.String())
	}
	if p.MaskKeyId != "" {
		facts.field("masked", "with key "+p.MaskKeyId)
	}
	return request, response, facts
}

type details []line

func (d *details) add(kind lineKind, name, text string) {
	*d = append(*d, line{kind, style.Clean(name), style.Clean(text)})
}

// field adds a fact, if there is one.
func (d *details) field(name, text string) {
	if text != "" {
		d.add(fieldLine, name, text)
	}
}

func (d *details) message(m message, trailers []*traffic.Header) {
	for _, h := range m.headers {
		d.add(fieldLine, h.Name, h.Value)
	}
	if c := readable(m); c.kind != "" || c.note != "" {
		d.add(plainLine, "", "")
		d.add(noteLine, "", "── "+strings.Trim(c.kind+"; "+c.note, "; "))
		for _, l := range c.lines {
			d.add(plainLine, "", strings.TrimSuffix(l, "\r"))
		}
	}
	if len(trailers) > 0 {
		d.add(plainLine, "", "")
		d.add(noteLine, "", "── trailers")
		for _, h := range trailers {
			d.add(fieldLine, h.Name, h.Value)
		}
	}
}

// duration is rounded to what matters of it.
func duration(ns int64) string {
	d := time.Duration(ns)
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}
