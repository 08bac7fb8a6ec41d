package main

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/speedscale/speedscale/traffic"
)

// pairs makes pairs of about 2 KB each, as an order service sees them: no two are
// alike, half of a body is hard to compress, and there is something to mask.
type pairs struct {
	rand  *rand.Rand
	began time.Time
	n     int
	// noise is cut into pieces, which costs next to nothing while time is
	// measured; it is so much longer than a page of the archive that a page
	// does not compress by what it repeats.
	noise string
}

const noiseBytes = 16 << 20

func newPairs() *pairs {
	raw := make([]byte, noiseBytes/2)
	rand.NewChaCha8([32]byte{1}).Read(raw) // never fails
	return &pairs{rand: rand.New(rand.NewPCG(1, 2)), began: time.Now(), noise: hex.EncodeToString(raw)}
}

func (g *pairs) hex(n int) string {
	at := g.rand.IntN(len(g.noise) - n)
	return g.noise[at : at+n]
}

// next is of one of ten services, and of one of ten tenants.
func (g *pairs) next() *traffic.RRPair {
	i := g.n
	g.n++
	request := fmt.Sprintf(`{"customer":{"name":"Customer %d","email":"customer%d@example.com","phone":"+49 30 901820 %04d"},"card":"4111111111111111","comment":%q}`,
		i%1000, i%1000, i%10_000, g.hex(40))
	response := fmt.Sprintf(`{"id":%d,"state":"shipped","created":"2026-11-22T18:%02d:%02d.%03dZ","total":%d.%02d,"lines":[{"sku":"a-%d","count":%d,"price":19.99},{"sku":"b-%d","count":1,"price":5.49}],"token":%q,"trace":%q,"notes":%q}`,
		i, i/60%60, i%60, i%1000, g.rand.IntN(500), g.rand.IntN(100), g.rand.IntN(500), 1+g.rand.IntN(9), g.rand.IntN(500), g.hex(64), g.hex(32), g.hex(720))
	path := fmt.Sprintf("/tenant%d/orders/%d", i%10, i)
	service := "svc" + strconv.Itoa(g.rand.IntN(10))
	p := &traffic.RRPair{
		Uuid: traffic.NewUUID(), Ts: g.began.UnixNano() + int64(i)*50_000, Duration: 3e6, Direction: traffic.Direction_DIRECTION_IN,
		Namespace: "shop", Service: service, Resource: service + "-7d4b9", L7Protocol: traffic.HTTPProtocol, Tech: "JSON",
		Command: "POST", Location: path, Status: "201", NetworkAddress: "orders:80", Session: "session-" + strconv.Itoa(i%500),
	}
	p.Http = &traffic.HTTP{
		Req: &traffic.HTTPRequest{
			Url: "http://orders" + path, Uri: path, Version: "1.1", Method: "POST", Host: "orders", Body: []byte(request), BodySize: int64(len(request)),
			Headers: []*traffic.Header{
				{Name: "Host", Value: "orders"}, {Name: "User-Agent", Value: "shop/1.0 (linux; amd64)"}, {Name: "Accept", Value: "application/json"},
				{Name: "Content-Type", Value: "application/json"}, {Name: "Content-Length", Value: strconv.Itoa(len(request))},
				{Name: "Authorization", Value: "Bearer " + g.hex(64)}, {Name: "Traceparent", Value: "00-" + g.hex(32) + "-" + g.hex(16) + "-01"},
				{Name: "X-Request-Id", Value: g.hex(32)},
			},
		},
		Res: &traffic.HTTPResponse{
			StatusCode: 201, StatusMessage: "Created", ContentType: "application/json", Version: "1.1", Body: []byte(response), BodySize: int64(len(response)),
			Headers: []*traffic.Header{
				{Name: "Content-Type", Value: "application/json"}, {Name: "Content-Length", Value: strconv.Itoa(len(response))},
				{Name: "Date", Value: "Sun, 22 Nov 2026 18:00:00 GMT"}, {Name: "Server", Value: "shop"}, {Name: "Cache-Control", Value: "no-store"},
				{Name: "Set-Cookie", Value: "session=" + g.hex(48) + "; Path=/; HttpOnly"},
			},
		},
	}
	return p
}
