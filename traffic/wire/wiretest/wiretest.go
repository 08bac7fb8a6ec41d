// Package wiretest helps to test decoders: a sink that records, and scripts of
// what a connection's sides send.
package wiretest

import (
	"fmt"
	"time"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
)

// Recorder is a wire.Sink that keeps what it is given.
type Recorder struct {
	Pairs []*traffic.RRPair
	// Losses has "reason pairs" for each loss of pairs, in order.
	Losses []string
	// LostPairs and LostBytes add up the losses by reason.
	LostPairs map[string]int
	LostBytes map[string]int64
	// Closed are the reasons given to Opaque.
	Closed []string
}

// Pair records a pair.
func (r *Recorder) Pair(p *traffic.RRPair) { r.Pairs = append(r.Pairs, p) }

// Lost records a loss.
func (r *Recorder) Lost(reason string, pairs int, bytes int64) {
	if r.LostPairs == nil {
		r.LostPairs = map[string]int{}
		r.LostBytes = map[string]int64{}
	}
	r.LostPairs[reason] += pairs
	r.LostBytes[reason] += bytes
	if pairs > 0 {
		r.Losses = append(r.Losses, fmt.Sprintf("%s %d", reason, pairs))
	}
}

// Opaque records that decoding stopped.
func (r *Recorder) Opaque(reason string) { r.Closed = append(r.Closed, reason) }

// Event is one thing that a side does: it sends Data, Gap bytes of its data are
// missing, or (with neither) it ends.
type Event struct {
	From wire.Side
	Data []byte
	Gap  int64
}

// Send and the functions below make events.
func Send(from wire.Side, data string) Event { return Event{From: from, Data: []byte(data)} }

// Gap is a gap of n bytes.
func Gap(from wire.Side, n int64) Event { return Event{From: from, Gap: n} }

// End is the end of a side.
func End(from wire.Side) Event { return Event{From: from} }

// Start is when the first event of a script happens; each later one is a
// millisecond after the one before.
func Start() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

// Play feeds a script to a decoder. The data is overwritten after each call,
// since a decoder may keep no reference to it. size, unless 0, splits data into
// pieces of that many bytes.
func Play(d wire.Decoder, script []Event, size int) {
	at := Start()
	for _, e := range script {
		switch {
		case e.Data != nil:
			data := e.Data
			for len(data) > 0 {
				n := len(data)
				if size > 0 {
					n = min(n, size)
				}
				piece := append([]byte(nil), data[:n]...)
				d.Data(e.From, piece, at)
				for i := range piece {
					piece[i] = '#'
				}
				data = data[n:]
			}
		case e.Gap > 0:
			d.Gap(e.From, e.Gap, at)
		default:
			d.End(e.From, at)
		}
		at = at.Add(time.Millisecond)
	}
}
