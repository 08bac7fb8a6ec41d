package tap_test

import (
	"strings"
	"testing"
	"time"

	"github.com/speedscale/speedscale/agents/goproxy/tap"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
)

type discard struct{}

func (discard) Pair(*traffic.RRPair) {}
func (discard) Lost(*traffic.Loss)   {}

// BenchmarkExchange is all that capture costs for one small HTTP/1.1 exchange:
// queue, decoder and what the sink adds.
func BenchmarkExchange(b *testing.B) {
	const (
		request  = "GET /items?x=1 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n\r\n"
		response = "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sun, 22 Nov 2026 10:00:00 GMT\r\nContent-Type: text/plain\r\nContent-Length: 300\r\nConnection: keep-alive\r\n\r\n"
	)
	t := tap.New(tap.Options{Recorder: discard{}, Workers: 1, Budget: wire.NewBudget(64 << 20)})
	defer t.Close(b.Context())
	pool := tap.NewPool()
	c := t.Conn(tap.Info{Direction: traffic.Direction_DIRECTION_IN, Scheme: "http", Established: time.Now()})
	defer c.Close()
	ask, answer := pool.Get(), pool.Get()
	n, m := copy(ask.B, request), copy(answer.B, response+strings.Repeat("x", 300))
	b.ReportAllocs()
	done := func() int { return int(t.Stats(traffic.Direction_DIRECTION_IN).Pairs) }
	for i := range b.N {
		for i-done() > 4096 { // the parser is never so far behind that it drops
			time.Sleep(100 * time.Microsecond)
		}
		c.Data(wire.Client, c.Now(), n, ask)
		c.Data(wire.Server, c.Now(), m, answer)
	}
	c.End(wire.Client)
	c.End(wire.Server)
	for done() < b.N {
		time.Sleep(100 * time.Microsecond)
	}
}
