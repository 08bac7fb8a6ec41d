package bus_test

import (
	"testing"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/broker"
	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/traffic/wire"
)

// BenchmarkPair is what the sidecar pays for one pair: marshalling and its share
// of a batch, with a receiver that takes every batch at once.
func BenchmarkPair(b *testing.B) {
	s := startServer(b, broker.Options{})
	receiveDiscard(b, s)
	p := publisher(b, bus.PublisherOptions{Conn: inProcess(b, s), MaxDelay: bus.DefaultMaxDelay})
	pr := pair(1)
	b.ReportMetric(float64(proto.Size(pr)), "bytes/pair")
	b.ReportAllocs()
	for b.Loop() {
		p.Pair(pr)
	}
	b.StopTimer()
	b.ReportMetric(float64(p.Stats().LostPairs)/float64(b.N), "lost/op")
}

// BenchmarkPairDropped is what the sidecar pays for one pair while nobody
// acknowledges and the budget is used up.
func BenchmarkPairDropped(b *testing.B) {
	s := startServer(b, broker.Options{})
	p := publisher(b, bus.PublisherOptions{Conn: inProcess(b, s), Budget: wire.NewBudget(1 << 20)})
	pr := pair(1)
	for !p.Full() {
		p.Pair(pr)
	}
	b.ReportAllocs()
	for b.Loop() {
		p.Pair(pr)
	}
}

// receiveDiscard answers each batch without a look at it, so that the
// receiver's work is not in the numbers.
func receiveDiscard(b *testing.B, s *broker.Server) {
	_, err := inProcess(b, s).Subscribe(bus.RawPairs+">", func(m *nats.Msg) {
		if err := m.Respond(nil); err != nil {
			b.Error(err)
		}
	})
	if err != nil {
		b.Fatal(err)
	}
}
