package http1_test

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
	"github.com/speedscale/speedscale/traffic/wire/http1"
)

type discard struct{ pairs int }

func (d *discard) Pair(*traffic.RRPair)    { d.pairs++ }
func (d *discard) Lost(string, int, int64) {}
func (d *discard) Opaque(string)           {}

// typical is what wrk and nginx, or a browser and an API, say to each other.
var typical = []struct{ name, request, response string }{
	{"Nginx500", "GET /index.html HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n",
		"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sun, 22 Nov 2026 18:00:00 GMT\r\nContent-Type: text/html\r\n" +
			"Content-Length: 500\r\nLast-Modified: Sun, 22 Nov 2026 17:00:00 GMT\r\nConnection: keep-alive\r\n" +
			"ETag: \"65a1-1f4\"\r\nAccept-Ranges: bytes\r\n\r\n" + strings.Repeat("x", 500)},
	{"API", "POST /v1/orders?customer=12 HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: okhttp/4.12.0\r\nAccept: application/json\r\n" +
		"Accept-Encoding: gzip\r\nAuthorization: Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMiJ9.abcdefghijklmnopqrstuvwxyz\r\n" +
		"X-Request-Id: 6f1b3c0e-4d1b-4b6e-9c55-4f0f3a2b1c0d\r\nContent-Type: application/json\r\nContent-Length: 64\r\nConnection: keep-alive\r\n\r\n" +
		`{"item":"a-123","quantity":2,"note":"leave at the door, please"}`,
		"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nDate: Sun, 22 Nov 2026 18:00:00 GMT\r\n\r\n" +
			"2a\r\n{\"id\":\"o-77\",\"state\":\"open\",\"total\":19.98}\r\n0\r\n\r\n"},
}

// cpuTime is what the process has used, collecting garbage included; it holds
// when the machine is busy with other things too.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkExchange(b *testing.B) {
	for _, bb := range typical {
		b.Run(bb.name, func(b *testing.B) {
			sink := &discard{}
			d := http1.New(wire.Options{Sink: sink, Scheme: "http", Budget: wire.NewBudget(1 << 30)})
			request, response, at := []byte(bb.request), []byte(bb.response), time.Now()
			b.ReportAllocs()
			b.SetBytes(int64(len(request) + len(response)))
			before := cpuTime(b)
			for b.Loop() {
				d.Data(wire.Client, request, at)
				d.Data(wire.Server, response, at)
			}
			b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
			if sink.pairs != b.N {
				b.Fatalf("%d pairs of %d", sink.pairs, b.N)
			}
		})
	}
}

func BenchmarkLargeBody(b *testing.B) {
	sink := &discard{}
	d := http1.New(wire.Options{Sink: sink, Scheme: "http"})
	head := []byte("HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n")
	chunk, at := make([]byte, 32<<10), time.Now()
	b.SetBytes(8 << 20)
	for b.Loop() {
		d.Data(wire.Client, []byte("GET / HTTP/1.1\r\nHost: h\r\n\r\n"), at)
		d.Data(wire.Server, head, at)
		for range 256 {
			d.Data(wire.Server, chunk, at)
		}
	}
}

// BenchmarkNetHTTP reads the same bytes with net/http, to compare.
func BenchmarkNetHTTP(b *testing.B) {
	for _, bb := range typical {
		b.Run(bb.name, func(b *testing.B) {
			request, response := strings.NewReader(""), strings.NewReader("")
			requests, responses := bufio.NewReader(request), bufio.NewReader(response)
			b.ReportAllocs()
			before := cpuTime(b)
			for b.Loop() {
				request.Reset(bb.request)
				response.Reset(bb.response)
				req, err := http.ReadRequest(requests)
				if err != nil {
					b.Fatal(err)
				}
				io.Copy(io.Discard, req.Body)
				res, err := http.ReadResponse(responses, req)
				if err != nil {
					b.Fatal(err)
				}
				io.Copy(io.Discard, res.Body)
			}
			b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}
