// Package http2 decodes HTTP/2 connections into pairs, one for each stream (RFC
// 9113), gRPC among them. It follows both directions' header compression (RFC
// 7541) from the first byte on, so a gap in the bytes ends decoding.
//
// The two directions reach the decoder in no strict order: where a response
// comes before the request that it answers, it is held until then.
package http2

import (
	"bytes"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
)

// Bounds on what one connection may make the decoder keep.
const (
	maxStreams = 2048      // open streams that are recorded; others are counted
	maxHeld    = 256 << 10 // bytes that came before what they depend on
	maxTable   = 64 << 10  // dynamic table of each direction (RFC 7541, section 4.2)
)

// preface is what a client sends first (RFC 9113, section 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Decoder decodes one connection. It implements wire.Decoder.
type Decoder struct {
	opt     wire.Options
	client  direction
	server  direction
	streams map[uint32]*stream
	// lastClient is the highest stream that the client opened.
	lastClient uint32
	// canceled are streams that the client has reset, until it is known whether
	// they were answered before.
	canceled []uint32
	done     bool
}

var _ wire.Decoder = (*Decoder)(nil)

// direction is what one side sends.
type direction struct {
	side    wire.Side
	preface int // bytes of the preface that are still to come
	// head is the frame header as far as it is there.
	head [frameHeader]byte
	n    int
	f    frame
	// began is when the first byte of the frame was read.
	began   time.Time
	started bool // the first frame was SETTINGS
	left    int  // bytes left of the frame's payload
	pad     int  // of which padding, at the end
	// buf has the payload of a frame, or the header block of several, that is
	// not complete.
	buf   []byte
	block block

	table     *hpack.Decoder
	tableSize uint32 // the largest that the other side has allowed

	held     []segment
	heldSize int64
	ended    bool
}

// segment is data that came before it could be decoded.
type segment struct {
	data []byte
	at   time.Time
}

// New returns a decoder for one connection, from its preface on.
func New(opt wire.Options) *Decoder {
	if opt.MaxHead <= 0 {
		opt.MaxHead = wire.DefaultMaxHead
	}
	d := &Decoder{opt: opt}
	d.client = direction{side: wire.Client, preface: len(preface), tableSize: defaultTable}
	d.server = direction{side: wire.Server, tableSize: defaultTable}
	return d
}

// Data takes the next bytes that a side sent.
func (d *Decoder) Data(from wire.Side, b []byte, at time.Time) {
	if d.done || len(b) == 0 {
		return
	}
	dir := d.direction(from)
	if len(dir.held) > 0 {
		d.hold(dir, b, at)
		return
	}
	if rest := d.read(dir, b, at); len(rest) > 0 {
		d.hold(dir, rest, at)
	}
	if from == wire.Client {
		d.drain(&d.server)
	}
}

// Gap says that bytes are missing. They may have changed the header tables, so
// nothing after them can be decoded. The bytes of the gap itself are counted by
// who dropped them.
func (d *Decoder) Gap(from wire.Side, n int64, at time.Time) {
	if d.done || n <= 0 {
		return
	}
	dir := d.direction(from)
	inData := dir.n == frameHeader && dir.f.kind == frameData && dir.pad >= 0
	if inData && n <= int64(dir.left-dir.pad) && len(dir.held) == 0 {
		d.missing(dir, int(n), at) // one body is cut, and nothing else is lost
		return
	}
	d.stop(traffic.ReasonGap)
}

// End says that a side sends nothing more. Streams that it has not ended will
// not become pairs.
func (d *Decoder) End(from wire.Side, at time.Time) {
	if d.done {
		return
	}
	dir := d.direction(from)
	dir.ended = true
	d.drain(&d.server)
}

// Close ends decoding. Streams that are not complete are counted as lost.
func (d *Decoder) Close() {
	if !d.done {
		d.abandon(traffic.ReasonIncomplete)
	}
}

func (d *Decoder) direction(side wire.Side) *direction {
	if side == wire.Client {
		return &d.client
	}
	return &d.server
}

// read decodes b as far as it can be by now and returns the rest.
func (d *Decoder) read(dir *direction, b []byte, at time.Time) []byte {
	if dir.side == wire.Server && len(d.canceled) > 0 {
		d.sweep(at)
	}
	for len(b) > 0 && !d.done {
		switch {
		case dir.preface > 0:
			b = d.readPreface(dir, b)
		case dir.n < frameHeader:
			if dir.n == 0 {
				dir.began = at
			}
			n := copy(dir.head[dir.n:], b)
			if dir.n+n == frameHeader && d.early(dir) {
				return b
			}
			dir.n += n
			b = b[n:]
			if dir.n == frameHeader {
				d.startFrame(dir, at)
			}
		default:
			b = d.readPayload(dir, b, at)
		}
	}
	if d.done {
		return nil
	}
	return b
}

func (d *Decoder) readPreface(dir *direction, b []byte) []byte {
	n := min(len(b), dir.preface)
	at := len(preface) - dir.preface
	if !bytes.Equal(b[:n], []byte(preface[at:at+n])) {
		d.opt.Sink.Lost(traffic.ReasonMalformed, 0, int64(len(b)))
		d.stop(traffic.ReasonMalformed)
		return nil
	}
	dir.preface -= n
	return b[n:]
}

// early says whether the frame whose header is now complete answers a request
// that has not come yet.
func (d *Decoder) early(dir *direction) bool {
	if dir.side == wire.Client {
		return false
	}
	f := parseFrame(dir.head)
	return f.stream%2 == 1 && f.stream > d.lastClient && f.kind != framePriority && f.kind != frameWindowUpdate && !d.client.ended
}

// hold keeps bytes that cannot be decoded yet.
func (d *Decoder) hold(dir *direction, b []byte, at time.Time) {
	n := int64(len(b))
	if dir.heldSize+n > maxHeld || !d.opt.Budget.Take(n) {
		d.opt.Sink.Lost(traffic.ReasonBudget, 0, n)
		d.stop(traffic.ReasonBudget)
		return
	}
	dir.heldSize += n
	dir.held = append(dir.held, segment{data: append([]byte(nil), b...), at: at})
}

// drain goes on with held bytes.
func (d *Decoder) drain(dir *direction) {
	for len(dir.held) > 0 && !d.done {
		seg := dir.held[0]
		rest := d.read(dir, seg.data, seg.at)
		if d.done { // all that was held has been given back
			return
		}
		n := int64(len(seg.data) - len(rest))
		dir.heldSize -= n
		d.opt.Budget.Give(n)
		if len(rest) > 0 {
			dir.held[0].data = rest
			return
		}
		dir.held = dir.held[1:]
	}
	if len(dir.held) == 0 {
		dir.held = nil
		if dir.ended && !d.done && dir.side == wire.Server {
			d.abandonStreams(traffic.ReasonIncomplete)
		}
	}
}

// stop ends decoding and tells the sink so.
func (d *Decoder) stop(reason string) {
	if !d.done {
		d.abandon(reason)
		d.opt.Sink.Opaque(reason)
	}
}

// abandon counts all open streams as lost and gives all memory back.
func (d *Decoder) abandon(reason string) {
	d.done = true
	d.abandonStreams(reason)
	for _, dir := range []*direction{&d.client, &d.server} {
		d.clear(dir)
		if n := dir.heldSize; n > 0 {
			d.opt.Budget.Give(n)
			d.opt.Sink.Lost(reason, 0, n)
		}
		dir.held, dir.heldSize, dir.table = nil, 0, nil
	}
}
