package bus

import (
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/speedscale/speedscale/traffic"
)

// openBatch gathers pairs in their wire form: Batch.pairs is a repeated message,
// so each pair is a tag, a length and its bytes, in whatever order with the
// batch's other fields (Protocol Buffers, "Encoding": repeated elements).
type openBatch struct {
	buf   []byte
	pairs uint32
	kinds losses // what is lost when the batch is, but for the reason
}

// batch is a sealed batch; its bytes do not change while it is held.
type batch struct {
	sequence  uint64
	firstPair uint64
	pairs     uint32
	buf       []byte
	held      int64 // bytes taken from the budget
	kinds     losses
	losses    losses
	goodbye   bool
	emptied   bool // the pairs were dropped, and are counted in losses

	sealed   time.Time
	attempts int
	sent     bool  // in flight
	deadline int64 // when an unanswered batch is sent again (Unix ns)
}

// headerSize bounds the bytes of the batch's own fields without losses.
func headerSize(producer string) int { return 64 + len(producer) }

// appendPair appends a pair, or reports that it cannot be encoded.
func appendPair(b []byte, p *traffic.RRPair) ([]byte, bool) {
	e := encoder{b: b}
	start := e.begin(5)
	e.pair(p)
	e.end(start)
	return e.b, !e.bad
}

// appendHeader appends all of the batch but its pairs.
func (b *batch) appendHeader(buf []byte, producer string) []byte {
	buf = protowire.AppendTag(buf, 1, protowire.BytesType)
	buf = protowire.AppendString(buf, producer)
	buf = protowire.AppendTag(buf, 2, protowire.VarintType)
	buf = protowire.AppendVarint(buf, b.sequence)
	buf = protowire.AppendTag(buf, 3, protowire.VarintType)
	buf = protowire.AppendVarint(buf, b.firstPair)
	buf = protowire.AppendTag(buf, 4, protowire.VarintType)
	buf = protowire.AppendVarint(buf, uint64(b.pairs))
	buf = b.losses.appendTo(buf)
	if b.goodbye {
		buf = protowire.AppendTag(buf, 7, protowire.VarintType)
		buf = protowire.AppendVarint(buf, 1)
	}
	return buf
}
