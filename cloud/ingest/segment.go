package ingest

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/cloud/archive"
	"github.com/speedscale/speedscale/cloud/catalog"
	"github.com/speedscale/speedscale/traffic"
)

// segment gathers what the next commit will hold.
type segment struct {
	first, last uint64    // stream sequences; 0 while empty
	stored      time.Time // when the first was stored
	began       time.Time // when the first was taken
	pairs       []archive.Pair
	bytes       int
	batches     int
	seen        map[string]*catalog.Ranges
	goodbyes    []string
	losses      map[catalog.Loss]*catalog.Loss // by all but its counts and times
	received    catalog.Received
}

// intake reads batches into segments. It is used by one goroutine.
type intake struct {
	in      *Ingest
	seg     segment
	decoder archive.Decoder
	// known are all batches seen of the producers at hand, committed or not.
	known map[string]*catalog.Ranges
}

// maxKnown bounds the producers whose batches are kept in memory.
const maxKnown = 1024

func newIntake(in *Ingest) *intake {
	t := &intake{in: in, known: make(map[string]*catalog.Ranges)}
	t.reset()
	return t
}

// reset starts a new segment.
func (t *intake) reset() {
	t.seg = segment{seen: make(map[string]*catalog.Ranges), losses: make(map[catalog.Loss]*catalog.Loss), received: make(catalog.Received)}
	if len(t.known) > maxKnown {
		clear(t.known)
	}
}

// due says whether the segment should be written now.
func (t *intake) due(target uint64) bool {
	s := &t.seg
	o := &t.in.o
	return s.last != 0 && (len(s.pairs) >= o.SegmentRows || s.bytes >= o.SegmentBytes ||
		time.Since(s.began) >= o.SegmentAge || target > 0 && s.first <= target && s.last >= target)
}

// add takes a message of the stream. An error is one of the catalog's; a batch
// that cannot be read is counted and passed over.
func (t *intake) add(ctx context.Context, m jetstream.Msg) error {
	meta, err := m.Metadata()
	if err != nil {
		return err
	}
	s := &t.seg
	seq := meta.Sequence.Stream
	if s.last == 0 {
		s.first, s.stored, s.began = seq, meta.Timestamp, time.Now()
	}
	s.last = seq
	producer := strings.ToValidUTF8(strings.TrimPrefix(m.Subject(), bus.IngestPairs), "\uFFFD")
	b, err := parseBatch(m.Data())
	if err == nil && b.producer != producer {
		err = fmt.Errorf("batch is of producer %q", b.producer)
	}
	if err != nil {
		t.in.log.Warn("a batch cannot be read, and is counted as lost", "producer", producer, "stream sequence", seq, "error", err)
		t.malformed(producer, meta.Timestamp, 0, len(m.Data()))
		return nil
	}
	known, err := t.knownOf(ctx, producer)
	if err != nil {
		return err
	}
	if known.Has(b.sequence) {
		t.in.counts.repeated.Add(1)
		return nil
	}
	from := len(s.pairs)
	t.take(b, known, meta.Timestamp)
	if len(s.pairs) > from {
		t.in.hand(seq, s.pairs[from:])
	}
	return nil
}

func (t *intake) knownOf(ctx context.Context, producer string) (*catalog.Ranges, error) {
	if known := t.known[producer]; known != nil {
		return known, nil
	}
	known, err := t.in.o.Catalog.Seen(ctx, producer)
	if err != nil {
		return nil, err
	}
	t.known[producer] = known
	return known, nil
}

// take adds a batch that is new.
func (t *intake) take(b *batch, known *catalog.Ranges, stored time.Time) {
	s := &t.seg
	r := catalog.Range{FirstBatch: b.sequence, LastBatch: b.sequence, FirstPair: b.firstPair, LastPair: b.firstPair + b.pairCount - 1}
	for i, record := range b.pairs {
		p, err := t.decoder.Decode(record, b.producer, b.sequence, b.firstPair+uint64(i))
		if err != nil {
			t.in.log.Warn("a pair cannot be read, and is counted as lost", "producer", b.producer, "batch", b.sequence, "error", err)
			t.malformed(b.producer, stored, 1, len(record))
			continue
		}
		if r.To == 0 {
			r.From, r.To = p.TS(), p.TS()
		}
		r.From, r.To = min(r.From, p.TS()), max(r.To, p.TS())
		if p.OfReplay() { // a forwarder drops these, but one of another version may not
			t.in.counts.replayed.Add(1)
			t.lose(p.Loss(traffic.ReasonReplay))
			continue
		}
		s.pairs = append(s.pairs, p)
		s.bytes += len(record)
	}
	s.batches++
	known.Add(r)
	seen := s.seen[b.producer]
	if seen == nil {
		seen = catalog.NewRanges()
		s.seen[b.producer] = seen
	}
	seen.Add(r)
	for _, l := range b.losses {
		t.lose(catalog.Loss{
			Producer: b.producer, Reason: l.Reason, Service: l.Service, Namespace: l.Namespace, Direction: l.Direction,
			From: l.From, To: l.To, Pairs: l.Pairs, Connections: l.Connections, Bytes: l.Bytes,
		})
		t.receive(l)
	}
	if b.goodbye {
		s.goodbyes = append(s.goodbyes, b.producer)
	}
}

// receive notes what a sidecar saw come in during a replay.
func (t *intake) receive(l *traffic.Loss) {
	if l.Replay == "" || l.Direction != traffic.Direction_DIRECTION_IN || l.Pairs+l.Connections == 0 {
		return
	}
	if l.Reason == traffic.ReasonUpgraded {
		return // the request that asked for it was counted
	}
	from := catalog.Source{Replay: l.Replay, Namespace: l.Namespace, Address: l.Source}
	t.seg.received.Add(from, catalog.Count{Requests: l.Pairs, Connections: l.Connections})
}

func (t *intake) malformed(producer string, at time.Time, pairs, size int) {
	t.in.counts.malformed.Add(1)
	t.lose(catalog.Loss{
		Producer: producer, Reason: traffic.ReasonMalformed, From: at.UnixNano(), To: at.UnixNano(),
		Pairs: uint64(pairs), Bytes: uint64(size),
	})
}

// lose adds a loss to those of its kind and minute.
func (t *intake) lose(l catalog.Loss) {
	kind := catalog.Loss{
		Producer: l.Producer, Reason: l.Reason, Service: l.Service, Namespace: l.Namespace, Direction: l.Direction,
		To: l.To / int64(time.Minute),
	}
	sum := t.seg.losses[kind]
	if sum == nil {
		t.seg.losses[kind] = &l
		return
	}
	sum.From, sum.To = min(sum.From, l.From), max(sum.To, l.To)
	sum.Pairs += l.Pairs
	sum.Connections += l.Connections
	sum.Bytes += l.Bytes
}

// batch is a traffic.Batch whose pairs are still encoded.
type batch struct {
	producer            string
	sequence, firstPair uint64
	pairCount           uint64
	pairs               [][]byte
	losses              []*traffic.Loss
	goodbye             bool
}

// parseBatch reads the fields of traffic.Batch (rrpair.proto), without copying
// the pairs, which go into the archive as they are.
func parseBatch(b []byte) (*batch, error) {
	var out batch
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, fmt.Errorf("not a batch: %w", protowire.ParseError(n))
		}
		b = b[n:]
		var v uint64
		var data []byte
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			data, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return nil, fmt.Errorf("not a batch: field %d: %w", num, protowire.ParseError(n))
		}
		b = b[n:]
		if err := out.set(num, typ, v, data); err != nil {
			return nil, err
		}
	}
	const most = math.MaxInt64 / 2 // what the catalog can count to, with room for sums
	switch {
	case out.sequence == 0 || out.sequence > most:
		return nil, fmt.Errorf("not a batch: sequence %d", out.sequence)
	case out.firstPair == 0 && len(out.pairs) > 0 || out.firstPair > most || out.pairCount > math.MaxUint32:
		return nil, fmt.Errorf("not a batch: %d pairs from %d", out.pairCount, out.firstPair)
	}
	out.pairCount = max(out.pairCount, uint64(len(out.pairs)))
	out.firstPair = max(out.firstPair, 1)
	return &out, nil
}

func (b *batch) set(num protowire.Number, typ protowire.Type, v uint64, data []byte) error {
	switch {
	case num == 1 && typ == protowire.BytesType:
		b.producer = string(data)
	case num == 2 && typ == protowire.VarintType:
		b.sequence = v
	case num == 3 && typ == protowire.VarintType:
		b.firstPair = v
	case num == 4 && typ == protowire.VarintType:
		b.pairCount = v
	case num == 5 && typ == protowire.BytesType:
		b.pairs = append(b.pairs, data)
	case num == 6 && typ == protowire.BytesType:
		l := &traffic.Loss{}
		if err := proto.Unmarshal(data, l); err != nil {
			return fmt.Errorf("not a batch: loss: %w", err)
		}
		b.losses = append(b.losses, l)
	case num == 7 && typ == protowire.VarintType:
		b.goodbye = v != 0
	}
	return nil
}
