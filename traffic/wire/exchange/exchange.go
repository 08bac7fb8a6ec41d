// Package exchange is one HTTP request with its response while a decoder reads
// them, whatever the version of HTTP: the record, the bodies up to their limit,
// the memory taken for them, and what the heads say in protocol-neutral words
// (RFC 9110).
package exchange

import (
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
)

// Exchange is one request and its response. A decoder calls Begin, fills in
// Request and Response, hands over body bytes as they come, and ends with
// Finish or Abandon, after which the value may be used again. A dropped
// exchange goes on taking bytes, since the decoder must find its end all the
// same, but keeps none. It is not safe for concurrent use.
type Exchange struct {
	opt     *wire.Options
	rec     *record // nil once dropped
	dropped string  // why, one of traffic's reasons
	taken   int64   // from opt.Budget
	size    int64   // bytes on the wire
	start   int64
	req     body
	res     body
}

// record is everything that a pair always has, in one allocation.
type record struct {
	pair traffic.RRPair
	http traffic.HTTP
	req  traffic.HTTPRequest
	res  traffic.HTTPResponse
	tech [6]string
}

// Sizes that the budget is charged for what is not text.
const (
	recordSize = int64(unsafe.Sizeof(record{}))
	fieldSize  = int64(unsafe.Sizeof(traffic.Header{}) + unsafe.Sizeof(uintptr(0)))
)

// Begin starts an exchange whose first byte was read at the given time. If the
// budget has no room for it, it starts as dropped.
func (e *Exchange) Begin(opt *wire.Options, at time.Time) {
	*e = Exchange{opt: opt, start: at.UnixNano()}
	if !e.reserve(recordSize) {
		e.Drop(traffic.ReasonBudget)
		return
	}
	rec := new(record)
	rec.pair.Ts = e.start
	rec.pair.Http = &rec.http
	rec.http.Req = &rec.req
	rec.http.Res = &rec.res
	e.rec = rec
}

// Request is the request of the record, nil where the exchange is dropped.
func (e *Exchange) Request() *traffic.HTTPRequest {
	if e.rec == nil {
		return nil
	}
	return &e.rec.req
}

// Response is the response of the record, nil where the exchange is dropped.
func (e *Exchange) Response() *traffic.HTTPResponse {
	if e.rec == nil {
		return nil
	}
	return &e.rec.res
}

// Fields makes room for n header fields and text bytes of head. Where the
// budget has no room, the exchange is dropped and the result keeps nothing.
func (e *Exchange) Fields(n, text int) Fields {
	if e.rec == nil {
		return Fields{}
	}
	if !e.reserve(int64(n)*fieldSize + int64(text)) {
		e.Drop(traffic.ReasonBudget)
		return Fields{}
	}
	f := Fields{keep: true}
	switch { // one allocation for the fields and the pointers to them
	case n <= 4:
		a := new(struct {
			fields [4]traffic.Header
			list   [4]*traffic.Header
		})
		f.fields, f.list = a.fields[:], a.list[:0]
	case n <= 8:
		a := new(struct {
			fields [8]traffic.Header
			list   [8]*traffic.Header
		})
		f.fields, f.list = a.fields[:], a.list[:0]
	case n <= 16:
		a := new(struct {
			fields [16]traffic.Header
			list   [16]*traffic.Header
		})
		f.fields, f.list = a.fields[:], a.list[:0]
	default:
		f.fields, f.list = make([]traffic.Header, n), make([]*traffic.Header, 0, n)
	}
	return f
}

// Fields collects the header fields of one head without an allocation for each.
// The zero value keeps nothing.
type Fields struct {
	keep   bool
	fields []traffic.Header
	list   []*traffic.Header
}

// Add appends a field, whose name must be UTF-8.
func (f *Fields) Add(name, value string) {
	if !f.keep {
		return
	}
	var h *traffic.Header
	if n := len(f.list); n < len(f.fields) {
		h = &f.fields[n]
	} else {
		h = new(traffic.Header)
	}
	h.Name, h.Value = name, Text(value)
	f.list = append(f.list, h)
}

// Fold appends a continuation line to the last field (obs-fold, RFC 9112,
// section 5.2): the fold is replaced by one space.
func (f *Fields) Fold(more string) {
	if len(f.list) == 0 || more == "" {
		return
	}
	h := f.list[len(f.list)-1]
	h.Value = strings.TrimLeft(h.Value+" "+Text(more), " ")
}

// List returns the fields in order.
func (f *Fields) List() []*traffic.Header {
	if len(f.list) == 0 {
		return nil
	}
	return f.list
}

// Text returns s if it is UTF-8, which the record's strings must be. Other
// bytes are read as ISO-8859-1, as header fields once were (RFC 9110, section 5.5).
func Text(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + len(s)/2)
	for i := range len(s) {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}

// Target returns a request target if it is UTF-8. Other bytes, which a URI
// cannot have, are percent-encoded, which means the same (RFC 3986, section 2.1).
func Target(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < utf8.RuneSelf {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

// Wire counts n bytes of the exchange on the wire.
func (e *Exchange) Wire(n int) { e.size += int64(n) }

// Size is how many bytes were counted.
func (e *Exchange) Size() int64 { return e.size }

// Drop gives up the record and its memory; the exchange will be counted under
// the reason. The first reason stands.
func (e *Exchange) Drop(reason string) {
	if e.dropped == "" {
		e.dropped = reason
	}
	e.rec = nil
	e.req.drop()
	e.res.drop()
	e.release()
}

// Finish ends the exchange: its pair, or the count of its loss, goes to the
// sink. The last byte of the response was read at end.
func (e *Exchange) Finish(end time.Time) {
	if e.rec == nil {
		e.Abandon(e.dropped)
		return
	}
	p := &e.rec.pair
	p.Duration = max(end.UnixNano()-e.start, 0)
	p.WireformatSize = e.size
	e.rec.req.Body, e.rec.req.BodySize = e.req.data, e.req.size
	e.rec.res.Body, e.rec.res.BodySize = e.res.data, e.res.size
	refused := e.req.refused + e.res.refused
	e.release()
	sink := e.opt.Sink
	*e = Exchange{}
	if refused > 0 {
		sink.Lost(traffic.ReasonBudget, 0, refused)
	}
	sink.Pair(p)
}

// Abandon ends the exchange without a pair. It is counted under the reason it
// was dropped for, else under the one given.
func (e *Exchange) Abandon(reason string) {
	e.Drop(reason)
	sink, size := e.opt.Sink, e.size
	reason = e.dropped
	*e = Exchange{}
	sink.Lost(reason, 1, size)
}

func (e *Exchange) reserve(n int64) bool {
	if !e.opt.Budget.Take(n) {
		return false
	}
	e.taken += n
	return true
}

func (e *Exchange) release() {
	if e.taken > 0 {
		e.opt.Budget.Give(e.taken)
		e.taken = 0
	}
}
