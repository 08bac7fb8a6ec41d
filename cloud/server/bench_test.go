package server_test

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/bus"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/server"
	"github.com/speedscale/speedscale/traffic"
)

// BenchmarkIngest takes in b.N pairs of about 2 KB, and then makes a snapshot of
// a tenth of them by filter. The producer runs in the same process, and is part of
// the resident memory reported. For the product's goal (20,000 pairs/s, a
// snapshot in 10 s, 500 MiB):
//
//	go test ./cloud/server -run '^$' -bench Ingest -benchtime 1000000x
func BenchmarkIngest(b *testing.B) {
	const perBatch = 100
	c := start(b, server.Options{DataDir: b.TempDir()}, "")
	nc, err := c.BusConn(b.Context(), "producer")
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(16))
	if err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	b.ResetTimer()
	var batch traffic.Batch
	var buf []byte
	for sent := 0; sent < b.N; {
		n := min(perBatch, b.N-sent)
		batch.Reset()
		batch.Producer, batch.Sequence, batch.FirstPair, batch.PairCount = "bench", uint64(sent/perBatch+1), uint64(sent+1), uint32(n)
		for i := range n {
			batch.Pairs = append(batch.Pairs, benchPair(sent+i, began))
		}
		if buf, err = (proto.MarshalOptions{}).MarshalAppend(buf[:0], &batch); err != nil {
			b.Fatal(err)
		}
		for {
			if _, err = js.PublishAsync(bus.IngestPairs+"bench", buf); err == nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		buf = nil // the publisher keeps it until it is acknowledged
		sent += n
	}
	<-js.PublishAsyncComplete()
	in, err := c.traffic.Ingest(b.Context(), &cloudv1.IngestRequest{Flush: true})
	if err != nil || in.GetPairs() != uint64(b.N) {
		b.Fatalf("%v pairs, %v", in.GetPairs(), err)
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pairs/s")
	b.ReportMetric(float64(in.GetBytes())/float64(b.N), "bytes/pair")
	b.ReportMetric(peakRSS(b), "MiB-peak-ingest")
	if b.N < 1000 {
		return // the benchmark's first, trial run
	}
	at := time.Now()
	meta, err := c.create(b, &cloudv1.CreateSnapshotRequest{Name: "tenth", Selection: &cloudv1.Selection{Query: `(url CONTAINS "/orders/7")`}})
	if err != nil || meta.RecordsProcessed != int64(b.N/10) {
		b.Fatalf("snapshot: %+v, %v", meta, err)
	}
	b.ReportMetric(time.Since(at).Seconds(), "s-snapshot")
	at = time.Now()
	if _, err = c.create(b, &cloudv1.CreateSnapshotRequest{Name: "service", Selection: &cloudv1.Selection{Query: `(service IS "svc3")`}}); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(time.Since(at).Seconds(), "s-snapshot-service")
	b.ReportMetric(peakRSS(b), "MiB-peak")
}

// benchPair makes a pair of about 2 KB, half of it hard to compress.
func benchPair(i int, began time.Time) *traffic.RRPair {
	noise := make([]byte, 400)
	for j := 0; j < len(noise); j += 8 {
		v := rand.Uint64()
		for k := range 8 {
			noise[j+k] = byte(v >> (8 * k))
		}
	}
	body := `{"id":` + strconv.Itoa(i) + `,"customer":"customer-` + strconv.Itoa(i%1000) + `","state":"shipped","lines":[{"sku":"a-1","count":1},{"sku":"b-2","count":3}],"token":"` + hex.EncodeToString(noise) + `"}`
	url := fmt.Sprintf("/orders/%d/%d", i%10, i)
	return &traffic.RRPair{
		Uuid: traffic.NewUUID(), Ts: began.UnixNano() + int64(i)*50_000, Duration: 3e6, Direction: traffic.Direction(1 + i%2),
		Namespace: "shop", Service: "svc" + strconv.Itoa(i%10), L7Protocol: traffic.HTTPProtocol, Tech: "JSON",
		Command: "GET", Location: url, Status: "200", NetworkAddress: "orders:80", Session: "session-" + strconv.Itoa(i%500),
		Http: &traffic.HTTP{
			Req: &traffic.HTTPRequest{Url: "http://orders" + url, Uri: url, Version: "1.1", Method: "GET", Host: "orders", Headers: []*traffic.Header{
				{Name: "Accept", Value: "application/json"}, {Name: "User-Agent", Value: "shop/1.0"}, {Name: "Authorization", Value: "REDACTED-9f86d081884c7d659a2feaa0c55ad015"},
				{Name: "Traceparent", Value: "00-" + hex.EncodeToString(noise[:16]) + "-" + hex.EncodeToString(noise[16:24]) + "-01"},
			}},
			Res: &traffic.HTTPResponse{StatusCode: 200, StatusMessage: "OK", ContentType: "application/json", Version: "1.1", Body: []byte(body), BodySize: int64(len(body)), Headers: []*traffic.Header{
				{Name: "Content-Type", Value: "application/json"}, {Name: "Date", Value: "Sun, 22 Nov 2026 18:00:00 GMT"}, {Name: "Server", Value: "shop"},
				{Name: "Set-Cookie", Value: "session=" + hex.EncodeToString(noise[24:56])}, {Name: "Cache-Control", Value: "no-store"},
			}},
		},
	}
}

// peakRSS is the largest resident memory of this process so far, in MiB; 0 where
// the system does not say.
func peakRSS(t testing.TB) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			if err != nil {
				t.Fatal(err)
			}
			return kb / 1024
		}
	}
	return 0
}
