package traffic_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/speedscale/speedscale/traffic"
)

func samplePair() *traffic.RRPair {
	return &traffic.RRPair{
		Uuid: bytes.Repeat([]byte{0xa5}, 16), Ts: 1782411507132643001, Duration: 21_000_001,
		Direction: traffic.Direction_DIRECTION_IN,
		Cluster:   "c", Namespace: "shop", Service: "checkout", Resource: "checkout",
		L7Protocol: "http", Tech: "JSON", DetectedTech: []string{"HTTP", "JSON"},
		Command: "POST", Location: "/orders", Status: "201", NetworkAddress: "checkout:8080",
		Http: &traffic.HTTP{
			Req: &traffic.HTTPRequest{
				Url: "http://checkout:8080/orders?x=1", Uri: "/orders?x=1", Version: "1.1", Method: "POST", Host: "checkout:8080",
				Headers: []*traffic.Header{{Name: "x-Zed", Value: "1"}, {Name: "Accept", Value: "a"}, {Name: "Accept", Value: "b \"q\" é"}},
				Body:    []byte(`{"a":1}`), BodySize: 7,
			},
			Res: &traffic.HTTPResponse{
				ContentType: "application/json", StatusCode: 201, StatusMessage: "Created", Version: "1.1",
				Headers: []*traffic.Header{{Name: "Content-Type", Value: "application/json"}},
				Body:    []byte{0, 1, 2, 255}, BodySize: 4000,
				Trailers: []*traffic.Header{{Name: "grpc-status", Value: "0"}},
			},
		},
		Signature: map[string][]byte{"http:host": []byte("checkout"), "http:queryparams": {}},
		Session:   "s",
		Netinfo: &traffic.NetInfo{Id: "7", StartTime: 5, Downstream: &traffic.Endpoint{Established: 1, IpAddress: "::1", Port: 65535, BytesSent: 9},
			Upstream: &traffic.Endpoint{Hostname: "h"}},
		PartOfStreamUuid: []byte{1}, StreamSeqNum: 3, DlpModified: true, DlpRule: "standard", MaskKeyId: "k1", WireformatSize: 1 << 40,
		Tags: map[string]string{"source": "goproxy", "a": "", "": "x"},
	}
}

func TestPairSurvivesJSON(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 500 {
		want := samplePair()
		if i > 0 {
			vary(r, want)
		}
		line, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got := new(traffic.RRPair)
		if err := json.Unmarshal(line, got); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Fatalf("after %s (-want +got):\n%s", line, diff)
		}
		if again := traffic.AppendJSON(nil, got); !bytes.Equal(again, traffic.AppendJSON(nil, want)) {
			t.Fatalf("the line changed:\n%s\n%s", line, again)
		}
	}
}

// vary empties and changes parts of a pair at random.
func vary(r *rand.Rand, p *traffic.RRPair) {
	maybe := func(clear func()) {
		if r.IntN(4) == 0 {
			clear()
		}
	}
	maybe(func() { p.Ts = 0 })
	maybe(func() { p.Duration = r.Int64() })
	maybe(func() { p.Duration = -r.Int64() })
	maybe(func() { p.Ts = r.Int64() })
	maybe(func() { p.Http.Req = nil })
	maybe(func() { p.Http.Res = &traffic.HTTPResponse{} })
	maybe(func() { p.Netinfo = &traffic.NetInfo{} })
	maybe(func() { p.Tags = nil })
	maybe(func() { p.Direction = traffic.Direction(r.IntN(3)) })
	maybe(func() { p.Service = randomText(r) })
	maybe(func() { p.Tags = map[string]string{randomText(r): randomText(r)} })
	maybe(func() { p.Signature = map[string][]byte{randomText(r): []byte(randomText(r))} })
	maybe(func() { p.StreamSeqNum = r.Uint32() })
	maybe(func() { p.WireformatSize = r.Int64() })
	if q := p.Http.Req; q != nil {
		maybe(func() { q.Headers = []*traffic.Header{{Name: randomText(r), Value: randomText(r)}} })
		maybe(func() { q.Body, q.BodySize = nil, 0 })
	}
	maybe(func() { p.Http = nil })
}

func randomText(r *rand.Rand) string {
	runes := make([]rune, r.IntN(8))
	for i := range runes {
		runes[i] = []rune{'a', '"', '\\', '\n', 0, 'é', '日', '😀', '<', ' ', '\u2028', 0x7f}[r.IntN(12)]
	}
	return string(runes)
}

func TestWritesDocumentedNames(t *testing.T) {
	want := `{"msgType":"rrpair","resource":"checkout","ts":"2026-06-25T18:18:27.132643001Z","l7protocol":"http","duration":21.000001,` +
		`"tags":{"":"x","a":"","source":"goproxy"},"uuid":"paWlpaWlpaWlpaWlpaWlpQ==","direction":"IN","cluster":"c","namespace":"shop","service":"checkout",` +
		`"tech":"JSON","detectedTech":["HTTP","JSON"],"command":"POST","location":"/orders","status":"201","network_address":"checkout:8080",` +
		`"http":{"req":{"url":"http://checkout:8080/orders?x=1","uri":"/orders?x=1","version":"1.1","method":"POST","host":"checkout:8080",` +
		`"headers":{"x-Zed":["1"],"Accept":["a","b \"q\" é"]},"bodyBase64":"eyJhIjoxfQ=="},` +
		`"res":{"contentType":"application/json","statusCode":201,"statusMessage":"Created","version":"1.1","headers":{"Content-Type":["application/json"]},` +
		`"bodyBase64":"AAEC/w==","bodySize":4000,"trailers":{"grpc-status":["0"]}}},` +
		`"signature":{"http:host":"Y2hlY2tvdXQ=","http:queryparams":""},"session":"s",` +
		`"netinfo":{"id":"7","startTime":"1970-01-01T00:00:00.000000005Z","downstream":{"established":"1970-01-01T00:00:00.000000001Z","ipAddress":"::1","port":65535,"bytesSent":"9"},"upstream":{"hostname":"h"}},` +
		`"partOfStreamUUID":"AQ==","streamSeqNum":3,"dlpModified":true,"dlpRule":"standard","maskKeyId":"k1","wireformatSize":"1099511627776"}`
	if diff := cmp.Diff(want, string(traffic.AppendJSON(nil, samplePair()))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestReadsDocumentedLines(t *testing.T) {
	data, err := os.ReadFile("testdata/documented.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var pairs []*traffic.RRPair
	for line := range bytes.Lines(data) {
		p := new(traffic.RRPair)
		if err := json.Unmarshal(line, p); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		pairs = append(pairs, p)
	}
	old, now, other := pairs[0], pairs[1], pairs[2]
	if got := old.Tags["proxyId"]; got != "orders-api-f655b4b74-s2qn4" {
		t.Errorf("the old form's meta was not read as tags: %q", got)
	}
	if string(old.Http.Res.Body) != "Cookie is set" || old.Duration != 383e6 {
		t.Errorf("old form: body %q, duration %d", old.Http.Res.Body, old.Duration)
	}
	if now.Http.Res.StatusCode != 200 || now.Netinfo.Downstream.Port != 39750 || now.Netinfo.Upstream.BytesSent != 568 {
		t.Errorf("numbers like 200.0 and \"568\": %v %v", now.Http.Res.StatusCode, now.Netinfo)
	}
	if v, _ := traffic.HeaderValue(now.Http.Req.Headers, "user-agent"); v != "curl/8.17.0" {
		t.Errorf("User-Agent is %q", v)
	}
	if other.L7Protocol != "postgres" || other.Http != nil || other.Location != "select 1" || other.Duration != 1_250_000 {
		t.Errorf("pair of another protocol: %v", other)
	}
}

func TestReadsLooseForms(t *testing.T) {
	line := `{"ts":null,"duration":"12.5","direction":"in","status":404,"unknown":{"a":[1,{"b":null}]},"uuid":"ac47257d-9df8-4009-adaa-d9c15840767b",` +
		`"http":{"req":{"headers":{"A":"one","B":["1",2],"C":null},"body":"plain"},"res":null}} `
	got := new(traffic.RRPair)
	if err := got.UnmarshalJSON([]byte(line)); err != nil {
		t.Fatal(err)
	}
	want := &traffic.RRPair{
		Duration: 12_500_000, Direction: traffic.Direction_DIRECTION_IN, Status: "404",
		Uuid: []byte{0xac, 0x47, 0x25, 0x7d, 0x9d, 0xf8, 0x40, 0x09, 0xad, 0xaa, 0xd9, 0xc1, 0x58, 0x40, 0x76, 0x7b},
		Http: &traffic.HTTP{Req: &traffic.HTTPRequest{
			Headers: []*traffic.Header{{Name: "A", Value: "one"}, {Name: "B", Value: "1"}, {Name: "B", Value: "2"}},
			Body:    []byte("plain"), BodySize: 5,
		}, Res: &traffic.HTTPResponse{}},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestErrorsNameFieldAndPlace(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{`{"http":{"res":{"statusCode":"ok"}}}`, `http.res.statusCode: is "ok", not a whole number`},
		{`{"http":{"res":{"bodyBase64":"%%"}}}`, `http.res.bodyBase64: is not base64`},
		{`{"ts":"yesterday"}`, `ts: is "yesterday", not an RFC 3339 time`},
		{`{"ts":"3000-01-01T00:00:00Z"}`, `ts: is "3000-01-01T00:00:00Z", which is out of range`},
		{`{"msgType":"metric"}`, `msgType: is "metric", not rrpair`},
		{`{"direction":"SIDEWAYS"}`, `direction: is "SIDEWAYS", not IN or OUT`},
		{`{"netinfo":{"upstream":{"port":-1}}}`, `netinfo.upstream.port: is "-1", which is out of range`},
		{`{"service":["a"]}`, `service: byte 11: expected a string`},
		{`{"service":"a"} {}`, `byte 16: more follows`},
		{`{"service":"a",}`, `byte 15: invalid JSON`},
		{`{"service":"a`, `service: byte 13: invalid string`},
		{`[]`, `byte 0: expected an object`},
		{``, `byte 0: expected an object`},
		{`{"tags":{"` + strings.Repeat("k", 200) + `":[]}}`, `tags.` + strings.Repeat("k", 64) + `…: byte`},
	} {
		err := new(traffic.RRPair).UnmarshalJSON([]byte(c.line))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error is %v, want it to contain %q", c.line, err, c.want)
		}
	}
}

func TestTextThatIsNotUTF8IsReplaced(t *testing.T) {
	line := traffic.AppendJSON(nil, &traffic.RRPair{Service: "a\xff\xfeb"})
	if !json.Valid(line) || !strings.Contains(string(line), "a\uFFFD\uFFFDb") {
		t.Errorf("line is %q", line)
	}
	p := new(traffic.RRPair)
	if err := p.UnmarshalJSON([]byte("{\"service\":\"a\xff\"}")); err != nil {
		t.Fatal(err)
	}
	if _, err := proto.Marshal(p); err != nil {
		t.Errorf("what was read does not fit protobuf: %v", err)
	}
}

func FuzzPairJSON(f *testing.F) {
	data, err := os.ReadFile("testdata/documented.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	for line := range bytes.Lines(data) {
		f.Add(line)
	}
	f.Add(traffic.AppendJSON(nil, samplePair()))
	f.Add([]byte(`{"http":{"req":{"headers":{"a":"b"},"body":"x","bodySize":9}}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		first := new(traffic.RRPair)
		if err := first.UnmarshalJSON(line); err != nil {
			return
		}
		if !json.Valid(line) {
			t.Fatalf("read %q, which is not JSON", line)
		}
		if _, err := proto.Marshal(first); err != nil {
			t.Fatal(err)
		}
		written := traffic.AppendJSON(nil, first)
		second := new(traffic.RRPair)
		if err := second.UnmarshalJSON(written); err != nil {
			t.Fatalf("%v in %s, from %q", err, written, line)
		}
		if again := traffic.AppendJSON(nil, second); !bytes.Equal(written, again) {
			t.Fatalf("changed from\n%s\nto\n%s", written, again)
		}
	})
}

func BenchmarkAppendJSON(b *testing.B) {
	p := samplePair()
	p.Http.Res.Body = bytes.Repeat([]byte("x"), 1500)
	var dst []byte
	for b.Loop() {
		dst = traffic.AppendJSON(dst[:0], p)
	}
	b.SetBytes(int64(len(dst)))
	b.ReportAllocs()
}

func BenchmarkUnmarshalJSON(b *testing.B) {
	p := samplePair()
	p.Http.Res.Body = bytes.Repeat([]byte("x"), 1500)
	line := traffic.AppendJSON(nil, p)
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		if err := p.UnmarshalJSON(line); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleAppendJSON() {
	fmt.Printf("%s\n", traffic.AppendJSON(nil, &traffic.RRPair{Service: "checkout", Duration: 1_500_000, Direction: traffic.Direction_DIRECTION_OUT}))
	// Output: {"msgType":"rrpair","duration":1.5,"direction":"OUT","service":"checkout"}
}
