// Package wire defines how the bytes of a connection become pairs. Each protocol
// is a package below it: a pure function of two byte streams, without goroutines
// and without clocks.
package wire

import (
	"sync/atomic"
	"time"

	"github.com/speedscale/speedscale/traffic"
)

// Side is an end of a connection.
type Side uint8

// The client opened the connection; the server accepted it.
const (
	Client Side = iota
	Server
)

// Decoder turns the two byte streams of one connection into pairs, which it
// hands to its Sink. It is fed from one goroutine at a time and never blocks.
// Bytes that make no sense cost a counted loss, never a panic.
type Decoder interface {
	// Data takes the next bytes that a side sent, read at the given time.
	// The decoder keeps no reference to b.
	Data(from Side, b []byte, at time.Time)
	// Gap says that the next n bytes of a side are missing.
	Gap(from Side, n int64, at time.Time)
	// End says that a side will send nothing more (FIN, reset or time-out).
	End(from Side, at time.Time)
	// Close ends decoding: what is incomplete is reported as lost, and all
	// memory goes back to the budget. It may be called more than once.
	Close()
}

// Sink takes what a decoder finds. A decoder calls it from within Data, Gap, End
// and Close.
type Sink interface {
	// Pair takes a complete pair. The decoder has filled in what the bytes say;
	// who and where (uuid, service, direction, netinfo, tags) is the sink's part.
	// The sink owns the pair.
	Pair(p *traffic.RRPair)
	// Lost counts pairs (0 where it is not known how many) and bytes that were
	// not captured, under one of traffic's reasons.
	Lost(reason string, pairs int, bytes int64)
	// Opaque says that the rest of the connection will not be decoded, so that
	// the relay need not copy it to the decoder any more.
	Opaque(reason string)
}

// Options are what every decoder is made with.
type Options struct {
	Sink Sink
	// Scheme is http or https: what the client spoke, below the protocol.
	Scheme string
	// MaxBody is how many bytes of each body are kept; the rest is counted in
	// body_size. 0 means DefaultMaxBody.
	MaxBody int
	// MaxHead is the longest head (request line and headers, or the
	// uncompressed header list) that is recorded. 0 means DefaultMaxHead.
	MaxHead int
	// Budget bounds what the decoders hold; nil means no bound.
	Budget *Budget
	// Keep is asked when the head of a request is known (command, location,
	// http.req without body and trailers). A reason drops the pair, counted;
	// an empty one keeps it. nil keeps all.
	Keep func(head *traffic.RRPair) (reason string)
}

// Limits that apply where Options has none.
const (
	DefaultMaxBody = 1 << 20
	DefaultMaxHead = 1 << 20
)

// Budget bounds the memory of capture: bytes in queues, partial pairs, and
// batches not yet acknowledged. It is safe for concurrent use; a nil Budget has
// no bound.
type Budget struct {
	limit int64
	used  atomic.Int64
}

// NewBudget returns a budget of so many bytes.
func NewBudget(bytes int64) *Budget { return &Budget{limit: bytes} }

// Take reserves n bytes, or reports that they are not to be had.
func (b *Budget) Take(n int64) bool {
	if b == nil {
		return true
	}
	if b.used.Add(n) > b.limit {
		b.used.Add(-n)
		return false
	}
	return true
}

// Give returns n bytes that were taken.
func (b *Budget) Give(n int64) {
	if b != nil {
		b.used.Add(-n)
	}
}

// Used returns how many bytes are taken.
func (b *Budget) Used() int64 {
	if b == nil {
		return 0
	}
	return b.used.Load()
}

// Limit returns the bound in bytes, 0 where there is none.
func (b *Budget) Limit() int64 {
	if b == nil {
		return 0
	}
	return b.limit
}
