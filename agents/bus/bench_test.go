package bus_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/broker"
	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/traffic/wire"
)

// BenchmarkPair is what one pair costs: encoding, its share of a batch, and sending
// that. cpu-us/pair is the CPU time of the whole process, so the server's and the
// receiver's shares are in it.
func BenchmarkPair(b *testing.B) {
	s := startServer(b, broker.Options{Listen: "127.0.0.1:0"})
	receiveDiscard(b, s)
	nc := connect(b, bus.ConnectOptions{URLs: []string{s.ClientURL()}})
	p := publisher(b, bus.PublisherOptions{Conn: nc, MaxDelay: bus.DefaultMaxDelay})
	pr := pair(1)
	b.ReportAllocs()
	before := cpu(b)
	i := 0
	for b.Loop() {
		if i++; i%1000 == 0 {
			for p.Stats().HeldBytes > 16<<20 {
				time.Sleep(100 * time.Microsecond)
			}
		}
		p.Pair(pr)
	}
	closeNow(b, p)
	b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/1000/float64(b.N), "cpu-us/pair")
	b.ReportMetric(float64(proto.Size(pr)), "bytes/pair")
	if lost := p.Stats().LostPairs; lost > 0 {
		b.Errorf("%d pairs are lost", lost)
	}
}

func cpu(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
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
