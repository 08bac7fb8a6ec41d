package responder_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/speedscale/speedscale/agents/responder"
	"github.com/speedscale/speedscale/traffic"
)

// BenchmarkAnswer sends requests for 10,000 recorded ones, pipelined, so that
// what is measured is the responder and not the sockets.
func BenchmarkAnswer(b *testing.B) {
	const n, batch = 10_000, 50
	list := make([]*traffic.RRPair, n)
	for i := range list {
		list[i] = recorded("GET", fmt.Sprintf("/items/%d?page=%d", i, i%7), "", strings.Repeat("x", 500), "Content-Type", "text/plain", "Server", "bench")
	}
	_, addr := start(b, responder.Options{Reactions: pairs(list...)})
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	answer := len("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nServer: bench\r\nContent-Length: 500\r\n\r\n") + 500
	in := make([]byte, batch*answer)
	var out strings.Builder
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		fmt.Fprintf(&out, "GET /items/%d?page=%d HTTP/1.1\r\nHost: api.test\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n", i%n, i%n%7)
		if i%batch != batch-1 {
			continue
		}
		if _, err := io.WriteString(nc, out.String()); err != nil {
			b.Fatal(err)
		}
		out.Reset()
		if _, err := io.ReadFull(nc, in); err != nil {
			b.Fatal(err)
		}
	}
}
