package traffic

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

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
func describe(p *traffic.RRPair, loc *time.Location) []line {
	var d details
	d.add(headLine, "Pair", "")
	d.field("time", time.Unix(0, p.Ts).In(loc).Format("2006-01-02 15:04:05.000000 MST"))
	d.field("duration", duration(p.Duration))
	d.field("service", serviceOf(p))
	d.field("direction", direction(p))
	d.field("address", p.NetworkAddress)
	d.field("cluster", p.Cluster)
	d.field("protocol", strings.TrimSpace(p.L7Protocol+" "+p.Tech))
	d.field("session", p.Session)
	d.field("uuid", hex.EncodeToString(p.Uuid))
	if p.MaskKeyId != "" {
		d.field("masked", "with key "+p.MaskKeyId)
	}
	grpc := p.L7Protocol == traffic.GRPCProtocol
	if r := p.GetHttp().GetReq(); r != nil {
		d.add(headLine, "Request", "")
		d.add(plainLine, "", fmt.Sprintf("%s %s HTTP/%s", r.Method, cmp.Or(r.Url, r.Uri), r.Version))
		d.message(message{headers: r.Headers, body: r.Body, size: r.BodySize, grpc: grpc}, r.Trailers)
	}
	if r := p.GetHttp().GetRes(); r != nil {
		d.add(headLine, "Response", "")
		d.add(plainLine, "", strings.TrimSpace(fmt.Sprintf("HTTP/%s %d %s", r.Version, r.StatusCode, r.StatusMessage)))
		if grpc {
			d.field("gRPC status", p.Status)
		}
		d.message(message{headers: r.Headers, mime: r.ContentType, body: r.Body, size: r.BodySize, grpc: grpc}, r.Trailers)
	}
	return d
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
		if note := strings.TrimPrefix(c.kind+"; "+c.note, "; "); true {
			d.add(noteLine, "", strings.TrimSuffix(note, "; "))
		}
		for _, l := range c.lines {
			d.add(plainLine, "", strings.TrimSuffix(l, "\r"))
		}
	}
	if len(trailers) > 0 {
		d.add(plainLine, "", "")
		d.add(noteLine, "", "trailers")
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
