package generator_test

import (
	"testing"

	"github.com/speedscale/speedscale/agents/generator"
)

// BenchmarkExchange sends and compares as fast as one connection can, to a server
// that answers without looking.
func BenchmarkExchange(b *testing.B) {
	server := newRawServer(b, func(conn, n int) (string, bool) { return okResponse, false })
	b.ReportAllocs()
	s, err := generator.Run(b.Context(), generator.Options{
		Actions: pairs(get("/", "a", 0)), Target: target(b, server.Addr().String()), Plan: generator.Plan{VUs: 1, Times: max(b.N, 1)},
	})
	if err != nil || s.Passed != int64(b.N) {
		b.Fatalf("%v, passed %d of %d", err, s.Passed, b.N)
	}
}
