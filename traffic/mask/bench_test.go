package mask_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/filter"
	"github.com/speedscale/speedscale/traffic/mask"
)

// typical is a pair of about 2 KB as an API has them: a dozen headers, a small
// request and a list as response, three secrets among them.
func typical() *traffic.RRPair {
	item := `{"id":"9f1c1c1e-8f2b-4f63-9d2a-0a3cf2f6a7b1","sku":"WIDGET-17","name":"A widget with a longer name","quantity":3,"price":19.90,` +
		`"available":true,"updatedAt":"2026-01-31T15:04:05.123Z"}`
	res := `{"items":[` + strings.Join([]string{item, item, item, item, item, item}, ",") + `],"contact":"shop@example.com","total":119.40}`
	req := `{"cartId":"c-1234567","password":"hunter2","quantity":3,"note":"please leave at the door"}`
	return &traffic.RRPair{
		Uuid: make([]byte, 16), Service: "cart", Command: "POST", Location: "/cart/c-1234567/items", Status: "200", NetworkAddress: "cart.shop:8080",
		Session: "c-1", Tags: map[string]string{"source": "goproxy", "captureMode": "proxy", "proxyLocation": "in", "k8sPodName": "cart-7b5-x"},
		Http: &traffic.HTTP{
			Req: &traffic.HTTPRequest{Url: "http://cart.shop:8080/cart/c-1234567/items?expand=true", Uri: "/cart/c-1234567/items?expand=true",
				Method: "POST", Host: "cart.shop:8080", Body: []byte(req), BodySize: int64(len(req)),
				Headers: []*traffic.Header{{Name: "Host", Value: "cart.shop:8080"}, {Name: "User-Agent", Value: "okhttp/4.12.0"}, {Name: "Accept", Value: "application/json"},
					{Name: "Accept-Encoding", Value: "gzip"}, {Name: "Content-Type", Value: "application/json; charset=utf-8"},
					{Name: "Authorization", Value: "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4ifQ.c2lnbmF0dXJlc2lnbmF0dXJl"},
					{Name: "traceparent", Value: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}, {Name: "Content-Length", Value: "87"}}},
			Res: &traffic.HTTPResponse{StatusCode: 200, StatusMessage: "OK", ContentType: "application/json", Body: []byte(res), BodySize: int64(len(res)),
				Headers: []*traffic.Header{{Name: "Content-Type", Value: "application/json"}, {Name: "Date", Value: "Sat, 31 Jan 2026 15:04:05 GMT"},
					{Name: "Server", Value: "nginx"}, {Name: "Content-Length", Value: "1290"}}},
		},
	}
}

// BenchmarkFilterAndMask is what the forwarder does with each pair.
func BenchmarkFilterAndMask(b *testing.B) {
	f, m, p := filter.Standard(), masker(b, mask.Standard()), typical()
	b.Logf("a pair of %d bytes", proto.Size(p))
	start := cpuTime(b)
	req, res, auth := p.Http.Req.Body, p.Http.Res.Body, p.Http.Req.Headers[5].Value
	b.ReportAllocs()
	for b.Loop() {
		p.Http.Req.Body, p.Http.Res.Body, p.Http.Req.Headers[5].Value, p.Session = req, res, auth, "c-1"
		p.Http.Req.BodySize, p.Http.Res.BodySize = int64(len(req)), int64(len(res))
		if f.Excludes(p) {
			b.Fatal("excluded")
		}
		if _, err := m.Mask(p); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpuTime(b)-start)/float64(b.N), "cpu-ns/op")
}

// cpuTime is what the process used of its processors: it holds when the machine
// is busy.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkHostile masks 1 MiB of what makes naive scanners look back or ahead
// again and again: the time must not grow faster than the text.
func BenchmarkHostile(b *testing.B) {
	m := masker(b, mask.Standard())
	for _, s := range []string{"%40", "a@", "eyJ.", "eyJaaaaaaa-", "sk-", "4111 ", "+1 ", "-----BEGIN ", "token=", "://", "<a ", "<", "a=\"",
		"REDACTED-", "&token=%", "x@x.", "<a b='"} {
		text := strings.Repeat(s, (1<<20)/len(s))
		b.Run(s, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, err := m.Mask(request("text/plain", text)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
