package exchange

import (
	"github.com/speedscale/speedscale/traffic/wire"
)

// body collects what is kept of a message body: its beginning, up to the first
// of the limit, a refusal of the budget, and a gap.
type body struct {
	data    []byte
	size    int64 // all bytes, kept or not
	refused int64 // bytes not kept for want of budget
	cut     bool  // nothing more is kept
	noRoom  bool  // cut by the budget
}

// minBody is the first allocation for a body of unknown length.
const minBody = 512

func (b *body) drop() { b.data, b.cut = nil, true }

func (e *Exchange) body(side wire.Side) *body {
	if side == wire.Client {
		return &e.req
	}
	return &e.res
}

// Body takes the next bytes of a side's body. rest is how many follow, -1 where
// that is not known; it saves growing.
func (e *Exchange) Body(side wire.Side, p []byte, rest int64) {
	b := e.body(side)
	b.size += int64(len(p))
	if b.noRoom {
		b.refused += int64(len(p))
	}
	if b.cut || e.rec == nil {
		return
	}
	limit := e.opt.MaxBody
	if limit <= 0 {
		limit = wire.DefaultMaxBody
	}
	if room := limit - len(b.data); len(p) > room {
		p = p[:room]
		b.cut = true
	}
	if !e.grow(b, len(p), rest, limit) {
		b.cut, b.noRoom = true, true
		b.refused += int64(len(p))
		return
	}
	b.data = append(b.data, p...)
}

// grow makes room for n more bytes. What is announced is not believed beyond
// twice what has come, or a small head-of-body would reserve the limit.
func (e *Exchange) grow(b *body, n int, rest int64, limit int) bool {
	need := len(b.data) + n
	if need <= cap(b.data) {
		return true
	}
	want := max(2*need, minBody)
	if rest >= 0 {
		want = int(min(int64(want), int64(need)+rest))
	}
	want = min(want, limit)
	if !e.reserve(int64(want - cap(b.data))) {
		want = need
		if !e.reserve(int64(want - cap(b.data))) {
			return false
		}
	}
	data := make([]byte, len(b.data), want)
	copy(data, b.data)
	b.data = data
	return true
}

// Missing says that the next n bytes of a side's body were dropped before they
// came here: the body is cut.
func (e *Exchange) Missing(side wire.Side, n int64) {
	b := e.body(side)
	b.size += n
	b.cut = true
}

// Announced sets the full length of a body that its sender did not finish.
func (e *Exchange) Announced(side wire.Side, n int64) {
	b := e.body(side)
	b.size = max(b.size, n)
}
