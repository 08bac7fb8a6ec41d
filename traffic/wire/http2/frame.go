package http2

import (
	"encoding/binary"
	"time"

	"github.com/speedscale/speedscale/traffic"
)

// Frame types and flags (RFC 9113, section 6).
const (
	frameHeader = 9

	frameData         = 0x0
	frameHeaders      = 0x1
	framePriority     = 0x2
	frameRSTStream    = 0x3
	frameSettings     = 0x4
	framePushPromise  = 0x5
	framePing         = 0x6
	frameGoAway       = 0x7
	frameWindowUpdate = 0x8
	frameContinuation = 0x9

	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20

	settingTableSize = 0x1
	defaultTable     = 4096
)

// frame is a frame header.
type frame struct {
	length int
	kind   uint8
	flags  uint8
	stream uint32
}

func (f frame) has(flag uint8) bool { return f.flags&flag != 0 }

func parseFrame(b [frameHeader]byte) frame {
	return frame{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]),
		kind:   b[3],
		flags:  b[4],
		stream: binary.BigEndian.Uint32(b[5:]) & 0x7fffffff,
	}
}

// maxFrame bounds the payload of the frames that are read as a whole, which is
// more than any of them needs.
const maxFrame = 16 << 10

// startFrame acts on a complete frame header.
func (d *Decoder) startFrame(dir *direction, at time.Time) {
	f := parseFrame(dir.head)
	dir.f, dir.left, dir.pad = f, f.length, 0
	if dir.block.open && (f.kind != frameContinuation || f.stream != dir.block.stream) {
		d.malformed() // a header block has no other frames in it (RFC 9113, section 4.3)
		return
	}
	if !dir.started && f.kind != frameSettings {
		d.malformed() // the preface of each side has SETTINGS first (RFC 9113, section 3.4)
		return
	}
	dir.started = true
	switch f.kind {
	case frameData:
		if f.stream == 0 {
			d.malformed()
			return
		}
		d.wire(f.stream, frameHeader)
		dir.pad = -1 // its length is still to be read
		if !f.has(flagPadded) {
			dir.pad = 0
		} else if f.length == 0 {
			d.malformed()
			return
		}
	case frameHeaders, framePushPromise, frameContinuation:
		if f.stream == 0 || f.kind == frameContinuation && !dir.block.open {
			d.malformed()
			return
		}
	}
	if dir.left == 0 {
		d.endFrame(dir, nil, at)
	}
}

// readPayload takes bytes of a frame's payload. Data passes as it comes; what
// must be read as a whole is collected, if it does not come as a whole.
func (d *Decoder) readPayload(dir *direction, b []byte, at time.Time) []byte {
	n := min(len(b), dir.left)
	part := b[:n]
	switch dir.f.kind {
	case frameData:
		d.data(dir, part, at)
		return b[n:]
	case frameHeaders, framePushPromise, frameContinuation:
		return d.readBlock(dir, b, at)
	case frameSettings, frameRSTStream, frameGoAway:
		dir.left -= n
		if n == dir.f.length {
			d.endFrame(dir, part, at)
			return b[n:]
		}
		if !d.collect(dir, part, maxFrame) {
			return nil
		}
		if dir.left == 0 {
			d.endFrame(dir, dir.buf, at)
		}
	default: // PING, PRIORITY, WINDOW_UPDATE and unknown ones say nothing about pairs
		if dir.left -= n; dir.left == 0 {
			d.endFrame(dir, nil, at)
		}
	}
	return b[n:]
}

// collect appends to the direction's buffer, within a limit and the budget.
func (d *Decoder) collect(dir *direction, b []byte, limit int) bool {
	need := len(dir.buf) + len(b)
	if need > limit {
		d.stop(traffic.ReasonOversized)
		return false
	}
	if need > cap(dir.buf) {
		size := max(need, min(2*need, limit))
		if !d.opt.Budget.Take(int64(size - cap(dir.buf))) {
			d.stop(traffic.ReasonBudget)
			return false
		}
		buf := make([]byte, len(dir.buf), size)
		copy(buf, dir.buf)
		dir.buf = buf
	}
	dir.buf = append(dir.buf, b...)
	return true
}

// clear gives the direction's buffer back.
func (d *Decoder) clear(dir *direction) {
	if cap(dir.buf) > 0 {
		d.opt.Budget.Give(int64(cap(dir.buf)))
	}
	dir.buf = nil
}

// endFrame acts on a frame that is complete.
func (d *Decoder) endFrame(dir *direction, payload []byte, at time.Time) {
	f := dir.f
	dir.n = 0
	switch f.kind {
	case frameData:
		if f.has(flagEndStream) {
			d.endStream(dir.side, f.stream, at)
		}
		return
	case frameHeaders, framePushPromise, frameContinuation:
		d.endBlock(dir, payload, at)
		return
	case frameSettings:
		if len(payload)%6 != 0 {
			d.malformed()
			return
		}
		if !f.has(flagAck) {
			d.settings(dir, payload)
		}
	case frameRSTStream:
		d.reset(dir.side, f.stream, at)
	case frameGoAway:
		if len(payload) >= 8 {
			d.goAway(dir, binary.BigEndian.Uint32(payload)&0x7fffffff)
		}
	}
	d.clear(dir)
}

// settings notes how large a header table a side allows the other. The size is
// never taken back, since the encoder says itself when it goes below.
func (d *Decoder) settings(dir *direction, payload []byte) {
	peer := &d.client
	if dir == peer {
		peer = &d.server
	}
	for ; len(payload) >= 6; payload = payload[6:] {
		if binary.BigEndian.Uint16(payload) != settingTableSize {
			continue
		}
		peer.tableSize = max(peer.tableSize, min(binary.BigEndian.Uint32(payload[2:]), maxTable))
		if peer.table != nil {
			peer.table.SetAllowedMaxDynamicTableSize(peer.tableSize)
		}
	}
}

// malformed stops decoding at bytes that are no HTTP/2.
func (d *Decoder) malformed() { d.stop(traffic.ReasonMalformed) }
