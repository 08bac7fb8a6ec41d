package http1_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
	"github.com/speedscale/speedscale/traffic/wire/http1"
	"github.com/speedscale/speedscale/traffic/wire/wiretest"
)

func client(s string) wiretest.Event { return wiretest.Send(wire.Client, s) }
func server(s string) wiretest.Event { return wiretest.Send(wire.Server, s) }

// decode plays a script to a decoder with a budget, and checks that all of it
// is given back.
func decode(t *testing.T, script []wiretest.Event, size int, change func(*wire.Options)) *wiretest.Recorder {
	t.Helper()
	rec := &wiretest.Recorder{}
	opt := wire.Options{Sink: rec, Scheme: "http", Budget: wire.NewBudget(64 << 20)}
	if change != nil {
		change(&opt)
	}
	d := http1.New(opt)
	wiretest.Play(d, script, size)
	d.Close()
	d.Close()
	if n := opt.Budget.Used(); n != 0 {
		t.Errorf("budget after Close: %d bytes taken, want 0", n)
	}
	return rec
}

// summary writes a pair in one line: what was said, bodies, cuts.
func summary(p *traffic.RRPair) string {
	req, res := p.Http.Req, p.Http.Res
	s := fmt.Sprintf("%s %s %q", p.Command, p.Location, req.Body)
	if p.RequestCut() {
		s += fmt.Sprintf("/%d", req.BodySize)
	}
	s += fmt.Sprintf(" → %s %q", p.Status, res.Body)
	if p.ResponseCut() {
		s += fmt.Sprintf("/%d", res.BodySize)
	}
	return s
}

func summaries(pairs []*traffic.RRPair) []string {
	var all []string
	for _, p := range pairs {
		all = append(all, summary(p))
	}
	return all
}

const get = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

func TestWhatAnExchangeSays(t *testing.T) {
	script := []wiretest.Event{
		client("\r\nPOST /v1/orders?x=1 HTTP/1.1\r\nHost: shop.example\r\nX-b: 1\r\nx-B:  2 \r\n" +
			"Authorization: Bearer eyJh.b.c\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"a\":1}"),
		server("HTTP/1.1 201 Created It\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 2\r\n\r\n{}"),
	}
	rec := decode(t, script, 0, nil)
	want := &traffic.RRPair{
		Ts: wiretest.Start().UnixNano(), Duration: int64(time.Millisecond),
		L7Protocol: "http", Tech: "JSON", DetectedTech: []string{"HTTP", "JSON", "HTTP Auth", "Bearer", "JWT"},
		Command: "POST", Location: "/v1/orders", Status: "201", NetworkAddress: "shop.example:80",
		Http: &traffic.HTTP{
			Req: &traffic.HTTPRequest{
				Url: "http://shop.example/v1/orders?x=1", Uri: "/v1/orders?x=1", Version: "1.1", Method: "POST", Host: "shop.example",
				Headers: []*traffic.Header{{Name: "Host", Value: "shop.example"}, {Name: "X-b", Value: "1"}, {Name: "x-B", Value: "2"},
					{Name: "Authorization", Value: "Bearer eyJh.b.c"}, {Name: "Content-Type", Value: "application/json"}, {Name: "Content-Length", Value: "7"}},
				Body: []byte(`{"a":1}`), BodySize: 7,
			},
			Res: &traffic.HTTPResponse{
				Version: "1.1", StatusCode: 201, StatusMessage: "Created It", ContentType: "application/json; charset=utf-8",
				Headers: []*traffic.Header{{Name: "Content-Type", Value: "application/json; charset=utf-8"}, {Name: "Content-Length", Value: "2"}},
				Body:    []byte("{}"), BodySize: 2,
			},
		},
		WireformatSize: int64(len(script[0].Data) - 2 + len(script[1].Data)),
	}
	if len(rec.Pairs) != 1 {
		t.Fatalf("got %d pairs, losses %v", len(rec.Pairs), rec.Losses)
	}
	if diff := cmp.Diff(want, rec.Pairs[0], protocmp.Transform()); diff != "" {
		t.Errorf("pair (-want +got):\n%s", diff)
	}
}

// exchanges are scripts with what comes of them. Those without gaps must give
// the same however their data is split.
var exchanges = []struct {
	name   string
	script []wiretest.Event
	pairs  []string
	losses []string
	closed []string
}{
	{"keep-alive", []wiretest.Event{client(get), server(ok), client(get), server(ok)},
		[]string{`GET /a "" → 200 "hi"`, `GET /a "" → 200 "hi"`}, nil, nil},
	{"pipelined", []wiretest.Event{client(get + "GET /b HTTP/1.1\r\nHost: h\r\n\r\n"), server(ok + "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")},
		[]string{`GET /a "" → 200 "hi"`, `GET /b "" → 404 ""`}, nil, nil},
	{"response first", []wiretest.Event{server(ok), client(get), server(ok), wiretest.End(wire.Server), client(get)},
		[]string{`GET /a "" → 200 "hi"`, `GET /a "" → 200 "hi"`}, nil, nil},
	{"until close, response first", []wiretest.Event{server("HTTP/1.0 200 OK\r\n\r\nabc"), wiretest.End(wire.Server), client(get)},
		[]string{`GET /a "" → 200 "abc"`}, nil, nil},
	{"chunked with extension and trailer", []wiretest.Event{
		client("PUT /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x=\"y\"\r\nabc\r\n0A \r\n0123456789\r\n0\r\nT: 1\r\nU: 2\r\n\r\n"),
		server("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, Chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")},
		[]string{`PUT /c "abc0123456789" → 200 "hi"`}, nil, nil},
	{"chunked overrides content-length", []wiretest.Event{
		client("PUT /c HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n" + get), server(ok + ok)},
		[]string{`PUT /c "a" → 200 "hi"`, `GET /a "" → 200 "hi"`}, nil, nil},
	{"same length twice", []wiretest.Event{
		client("PUT /c HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\nContent-Length: 3\r\n\r\nabc" + get), server(ok + ok)},
		[]string{`PUT /c "abc" → 200 "hi"`, `GET /a "" → 200 "hi"`}, nil, nil},
	{"two lengths", []wiretest.Event{
		client(get + "PUT /c HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"), server(ok)},
		[]string{`GET /a "" → 200 "hi"`}, []string{"malformed 1"}, []string{"malformed"}},
	{"negative length", []wiretest.Event{client(get), server("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n")},
		nil, []string{"malformed 1"}, []string{"malformed"}},
	{"coding after chunked", []wiretest.Event{client("PUT /c HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n")},
		nil, []string{"malformed 1"}, []string{"malformed"}},
	{"chunked twice", []wiretest.Event{client(get), server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n")},
		nil, []string{"malformed 1"}, []string{"malformed"}},
	{"bare LF in chunk line", []wiretest.Event{client("PUT /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n")},
		nil, []string{"malformed 1"}, []string{"malformed"}},
	{"space before colon", []wiretest.Event{client("PUT /c HTTP/1.1\r\nContent-Length : 1\r\n\r\na")},
		nil, []string{"malformed 1"}, []string{"malformed"}},
	{"head", []wiretest.Event{client("HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n" + get), server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + ok)},
		[]string{`HEAD /a "" → 200 ""`, `GET /a "" → 200 "hi"`}, nil, nil},
	{"204 and 304", []wiretest.Event{client(get + get + get), server("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nHTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n" + ok)},
		[]string{`GET /a "" → 204 ""`, `GET /a "" → 304 ""`, `GET /a "" → 200 "hi"`}, nil, nil},
	{"100-continue and 103", []wiretest.Event{
		client("POST /c HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"),
		server("HTTP/1.1 100 Continue\r\n\r\n"), client("abc"), server("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + ok)},
		[]string{`POST /c "abc" → 200 "hi"`}, nil, nil},
	{"refused before the body", []wiretest.Event{
		client("POST /c HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"),
		server("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n"), wiretest.End(wire.Client), wiretest.End(wire.Server)},
		[]string{`POST /c ""/3 → 417 ""`}, nil, nil},
	{"answer before the end of the body", []wiretest.Event{
		client("POST /c HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc"), server(ok), client("def" + get), server(ok)},
		[]string{`POST /c "abcdef" → 200 "hi"`, `GET /a "" → 200 "hi"`}, nil, nil},
	{"upgrade", []wiretest.Event{
		client("GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
		client("\x81\x05hello"), server("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x02hi")},
		[]string{`GET /ws "" → 101 ""`}, nil, []string{"upgraded"}},
	{"upgrade declined", []wiretest.Event{
		client("GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\n\r\n" + get), server(ok + ok)},
		[]string{`GET /ws "" → 200 "hi"`, `GET /a "" → 200 "hi"`}, nil, nil},
	{"connect", []wiretest.Event{
		client("CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n\x00\x01"), server("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n\x02")},
		[]string{`CONNECT db:5432 "" → 200 ""`}, nil, []string{"upgraded"}},
	{"connect refused", []wiretest.Event{
		client("CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n" + get), server("HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n" + ok)},
		[]string{`CONNECT db:5432 "" → 407 ""`, `GET /a "" → 200 "hi"`}, nil, nil},
	{"bare LF, obs-fold, no reason, 1.0", []wiretest.Event{
		client("GET /a?q HTTP/1.0\nX: a\n  b\n\n"), server("HTTP/1.0 200\nA:\r\n \tb\r\n\nbody"), wiretest.End(wire.Server)},
		[]string{`GET /a "" → 200 "body"`}, nil, nil},
	{"not HTTP", []wiretest.Event{client("\x16\x03\x01\x02\x00\n")}, nil, []string{"malformed 1"}, []string{"malformed"}},
	{"not HTTP from the server", []wiretest.Event{client(get + get), server("SSH-2.0-x\r\n\r\n")},
		nil, []string{"malformed 1", "malformed 1"}, []string{"malformed"}},
	{"cut off in head", []wiretest.Event{client("GET / HT"), wiretest.End(wire.Client)}, nil, []string{"incomplete 1"}, nil},
	{"cut off in response", []wiretest.Event{client(get), server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi"), wiretest.End(wire.Server)},
		nil, []string{"incomplete 1"}, nil},
	{"no answer", []wiretest.Event{client(get), wiretest.End(wire.Client), wiretest.End(wire.Server)}, nil, []string{"incomplete 1"}, nil},
	{"half-close", []wiretest.Event{client(get), wiretest.End(wire.Client), server(ok), wiretest.End(wire.Server)},
		[]string{`GET /a "" → 200 "hi"`}, nil, nil},
}

func TestExchanges(t *testing.T) {
	for _, tt := range exchanges {
		t.Run(tt.name, func(t *testing.T) {
			for _, size := range []int{0, 1, 2, 3, 7} {
				rec := decode(t, tt.script, size, nil)
				if diff := cmp.Diff(tt.pairs, summaries(rec.Pairs)); diff != "" {
					t.Errorf("pieces of %d: pairs (-want +got):\n%s", size, diff)
				}
				if diff := cmp.Diff(tt.losses, rec.Losses); diff != "" {
					t.Errorf("pieces of %d: losses (-want +got):\n%s", size, diff)
				}
				if diff := cmp.Diff(tt.closed, rec.Closed); diff != "" {
					t.Errorf("pieces of %d: opaque (-want +got):\n%s", size, diff)
				}
				for _, p := range rec.Pairs {
					if _, err := proto.Marshal(p); err != nil {
						t.Errorf("pair cannot be sent: %v", err)
					}
				}
			}
		})
	}
}

func TestGaps(t *testing.T) {
	gap := wiretest.Gap
	tests := []struct {
		name   string
		script []wiretest.Event
		pairs  []string
		losses []string
		closed []string
	}{
		{"in a body of known length", []wiretest.Event{
			client("PUT /c HTTP/1.1\r\nContent-Length: 6\r\n\r\nab"), gap(wire.Client, 3), client("f" + get), server(ok + ok)},
			[]string{`PUT /c "ab"/6 → 200 "hi"`, `GET /a "" → 200 "hi"`}, nil, nil},
		{"in a chunk", []wiretest.Event{
			client(get), server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nab"), gap(wire.Server, 4), server("\r\n0\r\n\r\n"), client(get), server(ok)},
			[]string{`GET /a "" → 200 "ab"/6`, `GET /a "" → 200 "hi"`}, nil, nil},
		{"until close", []wiretest.Event{client(get), server("HTTP/1.1 200 OK\r\n\r\nab"), gap(wire.Server, 4), server("cd"), wiretest.End(wire.Server)},
			[]string{`GET /a "" → 200 "ab"/8`}, nil, nil},
		{"over the end of a chunk", []wiretest.Event{
			client(get), server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nab"), gap(wire.Server, 5), server("\n0\r\n\r\n"), client(get), server(ok)},
			[]string{`GET /a "" → 200 "hi"`}, []string{"gap 1"}, nil},
		{"in a request head", []wiretest.Event{
			client("GET /lost HTTP/1.1\r\nHo"), gap(wire.Client, 10), client("rest\r\n\r\n"), server(ok), client(get), server(ok)},
			[]string{`GET /a "" → 200 "hi"`}, []string{"gap 1"}, nil},
		{"whole requests", []wiretest.Event{
			client(get), server(ok), gap(wire.Client, 10), server(ok), client(get), server(ok), client(get), server(ok)},
			[]string{`GET /a "" → 200 "hi"`, `GET /a "" → 200 "hi"`, `GET /a "" → 200 "hi"`}, nil, nil},
		{"whole responses", []wiretest.Event{
			client(get), gap(wire.Server, 10), client("GET /b HTTP/1.1\r\n\r\n"), server(ok)},
			[]string{`GET /b "" → 200 "hi"`}, []string{"gap 1"}, nil},
		{"requests while an answer is due", []wiretest.Event{
			client(get), gap(wire.Client, 10), client(get), server(ok)},
			nil, []string{"gap 1"}, []string{"gap"}},
		{"pipelined responses", []wiretest.Event{client(get + get), gap(wire.Server, 10), server(ok)},
			nil, []string{"gap 1", "gap 1"}, []string{"gap"}},
		{"second request before the answer to the first", []wiretest.Event{
			client(get), gap(wire.Server, 10), client(get + get), server(ok + ok)},
			nil, []string{"gap 1", "gap 1", "gap 1"}, []string{"gap"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rec := decode(t, tt.script, 0, nil)
			if diff := cmp.Diff(tt.pairs, summaries(rec.Pairs)); diff != "" {
				t.Errorf("pairs (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.losses, rec.Losses); diff != "" {
				t.Errorf("losses (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.closed, rec.Closed); diff != "" {
				t.Errorf("opaque (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	long := strings.Repeat("x", 3000)
	script := []wiretest.Event{
		client("PUT /" + long + " HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nX: " + long + "\r\n\r\nabc" + get),
		server(ok + "HTTP/1.1 200 OK\r\nX: " + long + "\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nT: " + long + "\r\n\r\n"),
		client(get), server(ok),
		client(get), server("HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + long),
	}
	for _, size := range []int{0, 1, 100} {
		rec := decode(t, script, size, func(o *wire.Options) { o.MaxHead, o.MaxBody = 1000, 10 })
		want := []string{`GET /a "" → 200 "hi"`, `GET /a "" → 200 "xxxxxxxxxx"/3000`}
		if diff := cmp.Diff(want, summaries(rec.Pairs)); diff != "" {
			t.Errorf("pieces of %d: pairs (-want +got):\n%s", size, diff)
		}
		if diff := cmp.Diff(map[string]int{"oversized": 2}, rec.LostPairs); diff != "" {
			t.Errorf("pieces of %d: losses (-want +got):\n%s", size, diff)
		}
	}
}

func TestBudgetRefusesABodyButNotThePair(t *testing.T) {
	body := strings.Repeat("x", 100_000)
	script := []wiretest.Event{client(get), server("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + body), client(get), server(ok)}
	rec := decode(t, script, 4000, func(o *wire.Options) { o.Budget = wire.NewBudget(50_000) })
	if len(rec.Pairs) != 2 {
		t.Fatalf("got %d pairs, want 2; losses %v", len(rec.Pairs), rec.Losses)
	}
	res := rec.Pairs[0].Http.Res
	if len(res.Body) == 0 || len(res.Body) > 50_000 || res.BodySize != 100_000 {
		t.Errorf("body kept %d of %d, want a part of 100000", len(res.Body), res.BodySize)
	}
	if got, want := rec.LostBytes[traffic.ReasonBudget], 100_000-int64(len(res.Body)); got != want {
		t.Errorf("lost bytes %d, want %d", got, want)
	}
}

func TestNoBudgetCostsCountedPairs(t *testing.T) {
	for _, size := range []int{0, 1, 5} {
		rec := decode(t, []wiretest.Event{client(get), server(ok), client(get), server(ok)}, size,
			func(o *wire.Options) { o.Budget = wire.NewBudget(10) })
		if len(rec.Pairs) != 0 || rec.LostPairs[traffic.ReasonBudget] != 2 {
			t.Errorf("pieces of %d: %d pairs, losses %v; want none, 2 for the budget", size, len(rec.Pairs), rec.LostPairs)
		}
	}
}

func TestKeepDropsAndCounts(t *testing.T) {
	script := []wiretest.Event{client("GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"), server(ok), client(get), server(ok)}
	rec := decode(t, script, 0, func(o *wire.Options) {
		o.Keep = func(head *traffic.RRPair) string {
			if head.Location == "/healthz" {
				return traffic.ReasonFiltered
			}
			return ""
		}
	})
	if diff := cmp.Diff([]string{`GET /a "" → 200 "hi"`}, summaries(rec.Pairs)); diff != "" {
		t.Error(diff)
	}
	if rec.LostPairs[traffic.ReasonFiltered] != 1 {
		t.Errorf("losses %v, want one filtered", rec.LostPairs)
	}
}

func TestOneFieldThatIsNotUTF8LeavesTheOthers(t *testing.T) {
	rec := decode(t, []wiretest.Event{client("GET / HTTP/1.1\r\nA: gr\xfcn\r\nB: grün\r\n\r\n"), server(ok)}, 0, nil)
	for _, h := range rec.Pairs[0].Http.Req.Headers {
		if h.Value != "grün" {
			t.Errorf("%s: %q, want %q", h.Name, h.Value, "grün")
		}
	}
}

func TestTargets(t *testing.T) {
	tests := []struct{ scheme, head, url, host, address, location string }{
		{"http", "GET /p HTTP/1.1\r\nHost: a:81", "http://a:81/p", "a:81", "a:81", "/p"},
		{"https", "GET /p HTTP/1.1\r\nHost: a", "https://a/p", "a", "a:443", "/p"},
		{"http", "GET /p HTTP/1.1\r\nHost: [::1]", "http://[::1]/p", "[::1]", "[::1]:80", "/p"},
		{"http", "GET /p HTTP/1.1\r\nHost: [::1]:8", "http://[::1]:8/p", "[::1]:8", "[::1]:8", "/p"},
		{"http", "GET HTTP://u:p@b/q?r HTTP/1.1\r\nHost: a", "HTTP://u:p@b/q?r", "b", "b:80", "/q"},
		{"http", "GET http://b?r HTTP/1.1\r\nHost: a", "http://b?r", "b", "b:80", "/"},
		{"http", "OPTIONS * HTTP/1.1\r\nHost: a", "http://a", "a", "a:80", "*"},
		{"http", "GET /p HTTP/1.0\r\nX: y", "/p", "", "", "/p"},
		{"http", "GET /p HTTP/1.1\r\nHost: a\r\nX: caf\xe9", "http://a/p", "a", "a:80", "/p"},
	}
	for _, tt := range tests {
		rec := decode(t, []wiretest.Event{client(tt.head + "\r\n\r\n"), server(ok)}, 0, func(o *wire.Options) { o.Scheme = tt.scheme })
		if len(rec.Pairs) != 1 {
			t.Fatalf("%q: no pair, losses %v", tt.head, rec.Losses)
		}
		p := rec.Pairs[0]
		got := []string{p.Http.Req.Url, p.Http.Req.Host, p.NetworkAddress, p.Location}
		if diff := cmp.Diff([]string{tt.url, tt.host, tt.address, tt.location}, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.head, diff)
		}
		if _, err := proto.Marshal(p); err != nil {
			t.Errorf("%q: pair cannot be sent: %v", tt.head, err)
		}
	}
}
