package http2

import (
	"encoding/binary"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
)

// block is a header block, from its HEADERS or PUSH_PROMISE frame to the last
// CONTINUATION frame.
type block struct {
	open   bool
	first  frame  // the frame that started it
	stream uint32 // the stream of its frames
	size   int    // bytes on the wire, with frame headers
	began  time.Time
}

// readBlock takes bytes of a header block. A block that is in b as a whole, as
// nearly all are, is decoded where it is.
func (d *Decoder) readBlock(dir *direction, b []byte, at time.Time) []byte {
	n := min(len(b), dir.left)
	if !dir.block.open && n == dir.f.length && dir.f.has(flagEndHeaders) {
		dir.left = 0
		d.endFrame(dir, b[:n], at)
		return b[n:]
	}
	if !d.collect(dir, b[:n], d.opt.MaxHead) {
		return nil
	}
	if dir.left -= n; dir.left == 0 {
		d.endFrame(dir, dir.buf, at)
	}
	return b[n:]
}

// endBlock acts on a complete frame of a header block. payload is the first
// frame's; that of the others has been collected.
func (d *Decoder) endBlock(dir *direction, payload []byte, at time.Time) {
	bl := &dir.block
	if bl.open {
		bl.size += frameHeader + dir.f.length
		payload = dir.buf
	} else {
		*bl = block{open: true, first: dir.f, stream: dir.f.stream, size: frameHeader + dir.f.length, began: dir.began}
		// Padding is at the end of its frame, so it must go before the next one comes.
		fragment, ok := unpad(dir.f, payload)
		if !ok {
			d.malformed()
			return
		}
		if len(dir.buf) > 0 {
			dir.buf = dir.buf[:copy(dir.buf, fragment)]
			fragment = dir.buf
		}
		payload = fragment
	}
	if !dir.f.has(flagEndHeaders) {
		return
	}
	bl.open = false
	d.headerBlock(dir, payload, at)
	d.clear(dir)
}

// unpad removes padding and priority from the payload of a HEADERS frame, and
// padding from that of a PUSH_PROMISE frame (RFC 9113, sections 6.2 and 6.6).
func unpad(f frame, b []byte) ([]byte, bool) {
	if f.has(flagPadded) {
		if len(b) == 0 || int(b[0]) > len(b)-1 {
			return nil, false
		}
		b = b[1 : len(b)-int(b[0])]
	}
	if f.kind == frameHeaders && f.has(flagPriority) {
		if len(b) < 5 {
			return nil, false
		}
		b = b[5:]
	}
	return b, true
}

// headerBlock decodes a header block and hands it to its stream.
func (d *Decoder) headerBlock(dir *direction, b []byte, at time.Time) {
	id := dir.block.stream
	if dir.block.first.kind == framePushPromise {
		if len(b) < 4 || dir.side == wire.Client {
			d.malformed()
			return
		}
		id = binary.BigEndian.Uint32(b) & 0x7fffffff
		b = b[4:]
	}
	h := &headers{limit: d.opt.MaxHead}
	h.list = h.space[:0]
	if dir.table == nil {
		dir.table = hpack.NewDecoder(defaultTable, nil)
		dir.table.SetAllowedMaxDynamicTableSize(dir.tableSize)
	}
	dir.table.SetEmitFunc(h.add)
	_, err := dir.table.Write(b)
	if err == nil {
		err = dir.table.Close()
	}
	dir.table.SetEmitFunc(nil)
	if err != nil {
		// The header table is out of step from here on.
		d.malformed()
		return
	}
	if dir.block.first.kind == framePushPromise {
		d.promise(id, h, at)
		return
	}
	d.headers(dir, id, h, at)
}

// headers is a decoded header list.
type headers struct {
	limit int
	size  int // as RFC 9113, section 6.5.2, counts it
	text  int // bytes of names and values
	list  []hpack.HeaderField
	space [12]hpack.HeaderField // of list, for most

	method, path, authority, scheme, status string
}

// add takes one field, in the order of the block. Beyond the limit, fields are
// decoded but not kept.
func (h *headers) add(f hpack.HeaderField) {
	h.size += int(f.Size())
	if h.oversized() {
		h.list = nil
		return
	}
	if !f.IsPseudo() {
		h.text += len(f.Name) + len(f.Value)
		h.list = append(h.list, f)
		return
	}
	switch f.Name {
	case ":method":
		h.method = f.Value
	case ":path":
		h.path = f.Value
	case ":authority":
		h.authority = f.Value
	case ":scheme":
		h.scheme = f.Value
	case ":status":
		h.status = f.Value
	}
}

func (h *headers) oversized() bool { return h.size > h.limit }

// drop is the reason for which a stream with these headers is not recorded.
func (h *headers) drop() string {
	if h.oversized() {
		return traffic.ReasonOversized
	}
	return ""
}
