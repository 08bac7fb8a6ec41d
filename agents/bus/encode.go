package bus

import (
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/speedscale/speedscale/traffic"
)

// This file writes the wire form of a pair (traffic/rrpair.proto) in one pass,
// several times faster than package proto, since the sidecar does it for every
// request. A nested message gets a length of fixed width (a varint that is
// padded), so that it need not be measured before. TestEncodedPairs compares the
// two field by field, so a field that is added to the schema is missed here there.

// encoder appends fields. It remembers text that is not UTF-8, which a proto3
// string may not hold and which would have the whole batch refused.
type encoder struct {
	b   []byte
	bad bool
}

// lengthWidth is the width of a padded length: less than 2^28 bytes.
const (
	lengthWidth   = 4
	maxNestedSize = 1<<(7*lengthWidth) - 1
)

// tag appends a field's key; no field of the schema has a number past 255.
func (e *encoder) tag(field protowire.Number, t protowire.Type) {
	if field < 16 {
		e.b = append(e.b, byte(field)<<3|byte(t))
		return
	}
	e.b = append(e.b, byte(field)<<3|byte(t)|0x80, byte(field>>4))
}

func (e *encoder) uint(field protowire.Number, v uint64) {
	if v != 0 {
		e.tag(field, protowire.VarintType)
		e.b = protowire.AppendVarint(e.b, v)
	}
}

func (e *encoder) bool(field protowire.Number, v bool) {
	if v {
		e.uint(field, 1)
	}
}

func (e *encoder) text(field protowire.Number, s string) {
	if s != "" {
		e.element(field, s)
	}
}

// element is a string that is written where it is empty too.
func (e *encoder) element(field protowire.Number, s string) {
	if !utf8.ValidString(s) {
		e.bad = true
	}
	e.tag(field, protowire.BytesType)
	e.b = protowire.AppendString(e.b, s)
}

func (e *encoder) bytes(field protowire.Number, v []byte) {
	if len(v) > 0 {
		e.tag(field, protowire.BytesType)
		e.b = protowire.AppendBytes(e.b, v)
	}
}

// begin opens a nested message, which end closes.
func (e *encoder) begin(field protowire.Number) (start int) {
	e.tag(field, protowire.BytesType)
	e.b = append(e.b, 0x80, 0x80, 0x80, 0)
	return len(e.b)
}

func (e *encoder) end(start int) {
	n := len(e.b) - start
	if n > maxNestedSize {
		e.bad = true
		return
	}
	length := e.b[start-lengthWidth : start]
	for i := range lengthWidth - 1 {
		length[i] = byte(n>>(7*i)) | 0x80
	}
	length[lengthWidth-1] = byte(n >> (7 * (lengthWidth - 1)))
}

func (e *encoder) pair(p *traffic.RRPair) {
	e.bytes(1, p.Uuid)
	e.uint(2, uint64(p.Ts))
	e.uint(3, uint64(p.Duration))
	e.uint(4, uint64(p.Direction))
	e.text(5, p.Cluster)
	e.text(6, p.Namespace)
	e.text(7, p.Service)
	e.text(8, p.Resource)
	e.text(9, p.L7Protocol)
	e.text(10, p.Tech)
	for _, s := range p.DetectedTech {
		e.element(11, s)
	}
	e.text(12, p.Command)
	e.text(13, p.Location)
	e.text(14, p.Status)
	e.text(15, p.NetworkAddress)
	e.http(16, p.Http)
	for k, v := range p.Signature {
		start := e.begin(20)
		e.text(1, k)
		e.bytes(2, v)
		e.end(start)
	}
	e.text(21, p.Session)
	e.netInfo(22, p.Netinfo)
	e.bytes(23, p.PartOfStreamUuid)
	e.uint(24, uint64(p.StreamSeqNum))
	e.bool(25, p.DlpModified)
	e.text(26, p.DlpRule)
	e.text(27, p.MaskKeyId)
	e.uint(28, uint64(p.WireformatSize))
	for k, v := range p.Tags {
		start := e.begin(40)
		e.text(1, k)
		e.text(2, v)
		e.end(start)
	}
}

func (e *encoder) http(field protowire.Number, h *traffic.HTTP) {
	if h == nil {
		return
	}
	start := e.begin(field)
	if r := h.Req; r != nil {
		start := e.begin(1)
		e.text(1, r.Url)
		e.text(2, r.Uri)
		e.text(3, r.Version)
		e.text(4, r.Method)
		e.text(5, r.Host)
		e.headers(6, r.Headers)
		e.bytes(7, r.Body)
		e.uint(8, uint64(r.BodySize))
		e.headers(9, r.Trailers)
		e.end(start)
	}
	if r := h.Res; r != nil {
		start := e.begin(2)
		e.text(1, r.ContentType)
		e.uint(2, uint64(int64(r.StatusCode)))
		e.text(3, r.StatusMessage)
		e.headers(4, r.Headers)
		e.bytes(5, r.Body)
		e.uint(6, uint64(r.BodySize))
		e.headers(7, r.Trailers)
		e.text(8, r.Version)
		e.end(start)
	}
	e.end(start)
}

func (e *encoder) headers(field protowire.Number, headers []*traffic.Header) {
	for _, h := range headers {
		start := e.begin(field)
		e.text(1, h.GetName())
		e.text(2, h.GetValue())
		e.end(start)
	}
}

func (e *encoder) netInfo(field protowire.Number, n *traffic.NetInfo) {
	if n == nil {
		return
	}
	start := e.begin(field)
	e.text(1, n.Id)
	e.uint(2, uint64(n.StartTime))
	e.endpoint(3, n.Downstream)
	e.endpoint(4, n.Upstream)
	e.end(start)
}

func (e *encoder) endpoint(field protowire.Number, p *traffic.Endpoint) {
	if p == nil {
		return
	}
	start := e.begin(field)
	e.uint(1, uint64(p.Established))
	e.text(2, p.IpAddress)
	e.uint(3, uint64(p.Port))
	e.uint(4, uint64(p.BytesSent))
	e.text(5, p.Hostname)
	e.end(start)
}

// Bounds of what a field takes beside its content: tag and length, or a number.
const (
	fieldOverhead  = 2 + 10
	headerOverhead = 2 + lengthWidth + 2*(1+5)
)

// sizeBound is an upper bound of what pair appends, in bytes.
func sizeBound(p *traffic.RRPair) int {
	n := 40*fieldOverhead + len(p.Uuid) + len(p.Cluster) + len(p.Namespace) + len(p.Service) + len(p.Resource) +
		len(p.L7Protocol) + len(p.Tech) + len(p.Command) + len(p.Location) + len(p.Status) + len(p.NetworkAddress) +
		len(p.Session) + len(p.PartOfStreamUuid) + len(p.DlpRule) + len(p.MaskKeyId)
	for _, s := range p.DetectedTech {
		n += fieldOverhead + len(s)
	}
	for k, v := range p.Signature {
		n += 3*fieldOverhead + len(k) + len(v)
	}
	for k, v := range p.Tags {
		n += 3*fieldOverhead + len(k) + len(v)
	}
	if r := p.Http.GetReq(); r != nil {
		n += 10*fieldOverhead + len(r.Url) + len(r.Uri) + len(r.Version) + len(r.Method) + len(r.Host) + len(r.Body) +
			headersBound(r.Headers) + headersBound(r.Trailers)
	}
	if r := p.Http.GetRes(); r != nil {
		n += 10*fieldOverhead + len(r.ContentType) + len(r.StatusMessage) + len(r.Body) + len(r.Version) +
			headersBound(r.Headers) + headersBound(r.Trailers)
	}
	if i := p.Netinfo; i != nil {
		n += 20*fieldOverhead + len(i.Id) + len(i.Downstream.GetIpAddress()) + len(i.Downstream.GetHostname()) +
			len(i.Upstream.GetIpAddress()) + len(i.Upstream.GetHostname())
	}
	return n
}

func headersBound(headers []*traffic.Header) int {
	n := len(headers) * headerOverhead
	for _, h := range headers {
		n += len(h.GetName()) + len(h.GetValue())
	}
	return n
}
