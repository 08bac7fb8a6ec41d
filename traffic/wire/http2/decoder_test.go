package http2_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
	"github.com/speedscale/speedscale/traffic/wire/http2"
	"github.com/speedscale/speedscale/traffic/wire/wiretest"
)

// side writes one side's frames, with the encoder and framer of x/net.
type side struct {
	from wire.Side
	out  bytes.Buffer
	*xhttp2.Framer
	block bytes.Buffer
	enc   *hpack.Encoder
}

func newSide(from wire.Side) *side {
	s := &side{from: from}
	if from == wire.Client {
		s.out.WriteString(xhttp2.ClientPreface)
	}
	s.Framer = xhttp2.NewFramer(&s.out, nil)
	s.AllowIllegalWrites = true
	s.enc = hpack.NewEncoder(&s.block)
	s.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingHeaderTableSize, Val: 8192})
	return s
}

// encode makes a header block of "name value" lines.
func (s *side) encode(fields string) []byte {
	s.block.Reset()
	for line := range strings.SplitSeq(fields, "|") {
		name, value, _ := strings.Cut(line, " ")
		s.enc.WriteField(hpack.HeaderField{Name: name, Value: value})
	}
	return bytes.Clone(s.block.Bytes())
}

func (s *side) headers(id uint32, end bool, fields string) *side {
	s.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, BlockFragment: s.encode(fields), EndStream: end, EndHeaders: true})
	return s
}

func (s *side) data(id uint32, end bool, body string) *side {
	s.WriteData(id, end, []byte(body))
	return s
}

// event takes what has been written since the last time.
func (s *side) event() wiretest.Event {
	e := wiretest.Send(s.from, s.out.String())
	s.out.Reset()
	return e
}

const getA = ":method GET|:scheme http|:authority h|:path /a?q"
const ok200 = ":status 200|content-type application/json"

func decode(t *testing.T, script []wiretest.Event, size int, change func(*wire.Options)) *wiretest.Recorder {
	t.Helper()
	rec := &wiretest.Recorder{}
	opt := wire.Options{Sink: rec, Scheme: "http", Budget: wire.NewBudget(64 << 20)}
	if change != nil {
		change(&opt)
	}
	d := http2.New(opt)
	wiretest.Play(d, script, size)
	d.Close()
	d.Close()
	if n := opt.Budget.Used(); n != 0 {
		t.Errorf("budget after Close: %d bytes taken, want 0", n)
	}
	for _, p := range rec.Pairs {
		if _, err := proto.Marshal(p); err != nil {
			t.Errorf("pair cannot be sent: %v", err)
		}
	}
	return rec
}

func summaries(pairs []*traffic.RRPair) (all []string) {
	for _, p := range pairs {
		req, res := p.Http.Req, p.Http.Res
		s := fmt.Sprintf("%s %s %q", p.Command, p.Location, req.Body)
		if p.RequestCut() {
			s += fmt.Sprintf("/%d", req.BodySize)
		}
		s += fmt.Sprintf(" → %s %q", p.Status, res.Body)
		if p.ResponseCut() {
			s += fmt.Sprintf("/%d", res.BodySize)
		}
		for _, h := range res.Trailers {
			s += " " + h.Name + "=" + h.Value
		}
		all = append(all, s)
	}
	return all
}

func TestWhatAStreamSays(t *testing.T) {
	c, s := newSide(wire.Client), newSide(wire.Server)
	script := []wiretest.Event{c.event(), s.event()}
	script = append(script, c.headers(1, false, ":method POST|:scheme http|:authority shop:81|:path /v1?x|content-type application/json|cookie a=1|cookie b=2").data(1, true, "{}").event())
	script = append(script, s.headers(1, false, ":status 201|content-type text/html; charset=utf-8").data(1, false, "<p>").headers(1, true, "t 1").event())
	size := int64(len(script[2].Data) + len(script[3].Data))
	rec := decode(t, script, 0, nil)
	want := &traffic.RRPair{
		Ts: wiretest.Start().Add(2 * time.Millisecond).UnixNano(), Duration: int64(time.Millisecond),
		L7Protocol: "http", Tech: "HTML", DetectedTech: []string{"HTTP", "HTML", "JSON"},
		Command: "POST", Location: "/v1", Status: "201", NetworkAddress: "shop:81", WireformatSize: size,
		Http: &traffic.HTTP{
			Req: &traffic.HTTPRequest{Url: "http://shop:81/v1?x", Uri: "/v1?x", Version: "2.0", Method: "POST", Host: "shop:81",
				Headers: []*traffic.Header{{Name: "content-type", Value: "application/json"}, {Name: "cookie", Value: "a=1"}, {Name: "cookie", Value: "b=2"}},
				Body:    []byte("{}"), BodySize: 2},
			Res: &traffic.HTTPResponse{Version: "2.0", StatusCode: 201, ContentType: "text/html; charset=utf-8",
				Headers: []*traffic.Header{{Name: "content-type", Value: "text/html; charset=utf-8"}},
				Body:    []byte("<p>"), BodySize: 3, Trailers: []*traffic.Header{{Name: "t", Value: "1"}}},
		},
	}
	if len(rec.Pairs) != 1 {
		t.Fatalf("got %d pairs, losses %v", len(rec.Pairs), rec.Losses)
	}
	if diff := cmp.Diff(want, rec.Pairs[0], protocmp.Transform()); diff != "" {
		t.Errorf("pair (-want +got):\n%s", diff)
	}
}

// connection is a test of one connection: write has it said.
type connection struct {
	name   string
	write  func(c, s *side) []wiretest.Event
	pairs  []string
	losses []string
	closed []string
}

// connections must give the same however their data is split.
var connections = []connection{
	{"interleaved", func(c, s *side) []wiretest.Event {
		c.headers(1, false, ":method PUT|:scheme http|:authority h|:path /1").headers(3, true, getA).data(1, false, "ab")
		s.headers(3, false, ok200).data(3, false, "x")
		c.data(1, true, "cd")
		s.headers(1, false, ok200).data(3, true, "y").data(1, true, "z")
		return []wiretest.Event{c.event(), s.event()}
	}, []string{`GET /a "" → 200 "xy"`, `PUT /1 "abcd" → 200 "z"`}, nil, nil},
	{"response first", func(c, s *side) []wiretest.Event {
		c.WriteSettingsAck()
		first := c.event()
		return []wiretest.Event{first, s.headers(1, false, ok200).data(1, true, "x").event(), c.headers(1, true, getA).event()}
	}, []string{`GET /a "" → 200 "x"`}, nil, nil},
	{"padding, priority, continuation, 1xx, unknown frames", func(c, s *side) []wiretest.Event {
		b := c.encode(":method PUT|:scheme http|:authority h|:path /c|a 1|b 2")
		c.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: b[:3], PadLength: 9,
			Priority: xhttp2.PriorityParam{StreamDep: 7, Weight: 3}})
		c.WriteContinuation(1, false, b[3:3])
		c.WriteContinuation(1, false, b[3:9])
		c.WriteContinuation(1, true, b[9:])
		c.WriteDataPadded(1, false, []byte("abc"), make([]byte, 20))
		c.WriteRawFrame(0xaa, 1, 7, []byte("what"))
		c.WriteDataPadded(1, true, nil, nil)
		c.WritePing(false, [8]byte{})
		s.headers(1, false, ":status 100").headers(1, false, ":status 103|link x").headers(1, false, ok200)
		s.WriteWindowUpdate(1, 10)
		s.data(1, true, "x")
		return []wiretest.Event{c.event(), s.event()}
	}, []string{`PUT /c "abc" → 200 "x"`}, nil, nil},
	{"larger header table", func(c, s *side) []wiretest.Event {
		c.enc.SetMaxDynamicTableSizeLimit(8192)
		c.enc.SetMaxDynamicTableSize(8192)
		long := strings.Repeat("v", 3000)
		for id := uint32(1); id < 9; id += 2 {
			c.headers(id, true, getA+"|x-1 "+long+"|x-2 "+long)
			s.headers(id, true, ":status 204")
		}
		return []wiretest.Event{s.event(), c.event()}
	}, []string{`GET /a "" → 204 ""`, `GET /a "" → 204 ""`, `GET /a "" → 204 ""`, `GET /a "" → 204 ""`}, nil, nil},
	{"push", func(c, s *side) []wiretest.Event {
		c.headers(1, true, getA)
		s.WritePushPromise(xhttp2.PushPromiseParam{StreamID: 1, PromiseID: 2, BlockFragment: s.encode(":method GET|:scheme http|:authority h|:path /pushed"), EndHeaders: true, PadLength: 3})
		s.headers(1, true, ok200).headers(2, false, ok200).data(2, true, "p")
		return []wiretest.Event{c.event(), s.event()}
	}, []string{`GET /a "" → 200 ""`, `GET /pushed "" → 200 "p"`}, nil, nil},
	{"reset", func(c, s *side) []wiretest.Event {
		c.headers(1, true, getA).headers(3, true, getA)
		s.headers(1, false, ok200)
		c.WriteRSTStream(1, xhttp2.ErrCodeCancel)
		s.headers(3, true, ok200)
		return []wiretest.Event{c.event(), s.event()}
	}, []string{`GET /a "" → 200 ""`}, []string{"incomplete 1"}, nil},
	{"answered, then the rest refused", func(c, s *side) []wiretest.Event {
		c.headers(1, false, ":method PUT|:scheme http|:authority h|:path /c|content-length 9").data(1, false, "abc")
		s.headers(1, true, ":status 413")
		s.WriteRSTStream(1, xhttp2.ErrCodeNo)
		return []wiretest.Event{c.event(), s.event()}
	}, []string{`PUT /c "abc"/9 → 413 ""`}, nil, nil},
	{"goaway", func(c, s *side) []wiretest.Event {
		c.headers(1, true, getA).headers(3, true, getA)
		s.WriteGoAway(1, xhttp2.ErrCodeNo, nil)
		s.headers(1, true, ok200)
		return []wiretest.Event{c.event(), s.event()}
	}, []string{`GET /a "" → 200 ""`}, []string{"incomplete 1"}, nil},
	{"unary call", func(c, s *side) []wiretest.Event {
		c.headers(1, false, ":method POST|:scheme http|:authority h|:path /pkg.Svc/Do|content-type application/grpc+proto|te trailers").data(1, true, "\x00\x00\x00\x00\x01a")
		s.headers(1, false, ":status 200|content-type application/grpc").data(1, false, "\x00\x00\x00\x00\x01b").headers(1, true, "grpc-status 5|grpc-message no")
		return []wiretest.Event{c.event(), s.event()}
	}, []string{`/pkg.Svc/Do /pkg.Svc/Do "\x00\x00\x00\x00\x01a" → 5 "\x00\x00\x00\x00\x01b" grpc-status=5 grpc-message=no`}, nil, nil},
	{"call with trailers only", func(c, s *side) []wiretest.Event {
		c.headers(1, true, ":method POST|:scheme http|:authority h|:path /pkg.Svc/Do|content-type application/grpc")
		s.headers(1, true, ":status 200|content-type application/grpc|grpc-status 12")
		return []wiretest.Event{c.event(), s.event()}
	}, []string{`/pkg.Svc/Do /pkg.Svc/Do "" → 12 ""`}, nil, nil},
	{"tunnel", func(c, s *side) []wiretest.Event {
		c.headers(1, false, ":method CONNECT|:authority db:5432").data(1, false, "abc")
		s.headers(1, false, ":status 200").data(1, true, "def")
		c.data(1, true, "")
		return []wiretest.Event{c.event(), s.event()}
	}, []string{`CONNECT db:5432 "abc" → 200 ""`}, nil, nil},
	{"not HTTP/2", func(c, s *side) []wiretest.Event {
		return []wiretest.Event{wiretest.Send(wire.Client, "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")}
	}, nil, nil, []string{"malformed"}},
	{"server speaks HTTP/1", func(c, s *side) []wiretest.Event {
		return []wiretest.Event{c.headers(1, true, getA).event(), wiretest.Send(wire.Server, "HTTP/1.1 400 Bad Request\r\n\r\n")}
	}, nil, []string{"malformed 1"}, []string{"malformed"}},
	{"bad header block", func(c, s *side) []wiretest.Event {
		c.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff, 0xff, 0xff}, EndHeaders: true})
		return []wiretest.Event{c.event()}
	}, nil, nil, []string{"malformed"}},
	{"frame within a header block", func(c, s *side) []wiretest.Event {
		c.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: c.encode(getA)})
		c.WritePing(false, [8]byte{})
		return []wiretest.Event{c.event()}
	}, nil, nil, []string{"malformed"}},
	{"connection ends", func(c, s *side) []wiretest.Event {
		c.headers(1, true, getA)
		return []wiretest.Event{c.event(), s.headers(1, false, ok200).event(), wiretest.End(wire.Server)}
	}, nil, []string{"incomplete 1"}, nil},
}

func TestConnections(t *testing.T) {
	for _, tt := range connections {
		t.Run(tt.name, func(t *testing.T) {
			script := tt.write(newSide(wire.Client), newSide(wire.Server))
			for _, size := range []int{0, 1, 2, 5, 30} {
				rec := decode(t, script, size, nil)
				got := [][]string{summaries(rec.Pairs), rec.Losses, rec.Closed}
				if diff := cmp.Diff([][]string{tt.pairs, tt.losses, tt.closed}, got); diff != "" {
					t.Errorf("pieces of %d: pairs, losses, opaque (-want +got):\n%s", size, diff)
				}
			}
		})
	}
}

func TestGapInDataCutsOneBody(t *testing.T) {
	c, s := newSide(wire.Client), newSide(wire.Server)
	script := []wiretest.Event{s.event(), c.headers(1, false, getA).data(1, true, "0123456789").headers(3, true, getA).event()}
	whole := script[1].Data
	i := bytes.Index(whole, []byte("0123"))
	script = append(script[:1],
		wiretest.Event{From: wire.Client, Data: whole[:i+2]}, wiretest.Gap(wire.Client, 5), wiretest.Event{From: wire.Client, Data: whole[i+7:]},
		s.headers(1, true, ok200).headers(3, true, ok200).event())
	rec := decode(t, script, 0, nil)
	if diff := cmp.Diff([]string{`GET /a "01"/10 → 200 ""`, `GET /a "" → 200 ""`}, summaries(rec.Pairs)); diff != "" {
		t.Errorf("pairs (-want +got):\n%s", diff)
	}
}

func TestGapElsewhereEndsDecoding(t *testing.T) {
	c, s := newSide(wire.Client), newSide(wire.Server)
	c.headers(1, true, getA).headers(3, false, getA)
	rec := decode(t, []wiretest.Event{s.event(), c.event(), wiretest.Gap(wire.Client, 1), s.headers(1, true, ok200).event()}, 0, nil)
	if len(rec.Pairs) != 0 || rec.LostPairs[traffic.ReasonGap] != 2 || cmp.Diff([]string{"gap"}, rec.Closed) != "" {
		t.Errorf("pairs %v, lost %v, opaque %v; want none, 2 for the gap, once", rec.Pairs, rec.LostPairs, rec.Closed)
	}
}

func TestAnswerReadBeforeTheResetThatCameFirst(t *testing.T) {
	c, s := newSide(wire.Client), newSide(wire.Server)
	rec := &wiretest.Recorder{}
	d := http2.New(wire.Options{Sink: rec, Scheme: "http"})
	at := wiretest.Start()
	c.headers(1, false, getA).headers(3, false, getA)
	d.Data(wire.Client, c.event().Data, at)
	c.WriteRSTStream(1, xhttp2.ErrCodeNo)
	c.WriteRSTStream(3, xhttp2.ErrCodeCancel)
	d.Data(wire.Client, c.event().Data, at.Add(3*time.Millisecond))
	d.Data(wire.Server, s.headers(1, true, ok200).event().Data, at.Add(2*time.Millisecond))
	d.Data(wire.Server, s.headers(3, true, ok200).event().Data, at.Add(4*time.Millisecond))
	if len(rec.Pairs) != 1 || rec.Pairs[0].Duration != int64(2*time.Millisecond) || rec.LostPairs[traffic.ReasonIncomplete] != 1 {
		t.Errorf("pairs %v, lost %v; want the first stream, and the second lost", summaries(rec.Pairs), rec.LostPairs)
	}
	d.Close()
}

func TestLimits(t *testing.T) {
	c, s := newSide(wire.Client), newSide(wire.Server)
	long := strings.Repeat("v", 1000)
	script := []wiretest.Event{
		c.headers(1, true, getA+"|x "+long).headers(3, true, getA).headers(5, true, getA).event(),
		s.headers(1, true, ok200).headers(3, false, ok200).data(3, true, long).headers(5, true, ok200+"|x "+long).event(),
	}
	rec := decode(t, script, 0, func(o *wire.Options) { o.MaxHead, o.MaxBody = 1000, 5 })
	if diff := cmp.Diff([]string{`GET /a "" → 200 "vvvvv"/1000`}, summaries(rec.Pairs)); diff != "" {
		t.Errorf("pairs (-want +got):\n%s", diff)
	}
	if rec.LostPairs[traffic.ReasonOversized] != 2 {
		t.Errorf("lost %v, want 2 oversized", rec.LostPairs)
	}
}

func TestStreamsBeyondTheBoundAreCounted(t *testing.T) {
	c, s := newSide(wire.Client), newSide(wire.Server)
	for i := range uint32(2050) {
		c.headers(2*i+1, true, getA)
	}
	for i := range uint32(2050) {
		s.headers(2*i+1, true, ok200)
	}
	rec := decode(t, []wiretest.Event{c.event(), s.event()}, 0, nil)
	if len(rec.Pairs) != 2048 || rec.LostPairs[traffic.ReasonBudget] != 2 {
		t.Errorf("%d pairs, lost %v; want 2048, and 2 for the budget", len(rec.Pairs), rec.LostPairs)
	}
}

func TestNoBudgetCostsCountedPairs(t *testing.T) {
	c, s := newSide(wire.Client), newSide(wire.Server)
	script := []wiretest.Event{c.headers(1, true, getA).event(), s.headers(1, true, ok200).event()}
	rec := decode(t, script, 0, func(o *wire.Options) { o.Budget = wire.NewBudget(10) })
	if len(rec.Pairs) != 0 || rec.LostPairs[traffic.ReasonBudget] != 1 {
		t.Errorf("%d pairs, lost %v; want none, 1 for the budget", len(rec.Pairs), rec.LostPairs)
	}
}

func FuzzAnyBytes(f *testing.F) {
	for _, tt := range connections {
		var control, data []byte
		for _, e := range tt.write(newSide(wire.Client), newSide(wire.Server)) {
			for n := len(e.Data); n > 0; n -= min(n, 401) {
				control = append(control, 200|byte(e.From))
			}
			data = append(data, e.Data...)
		}
		f.Add(control, data)
	}
	f.Fuzz(func(t *testing.T, control, data []byte) {
		var script []wiretest.Event
		for _, c := range control {
			from := wire.Side(c & 1)
			n := min(len(data), int(c>>1)*4+1)
			switch {
			case c>>1 == 0:
				script = append(script, wiretest.End(from))
			case c>>1 == 1:
				script = append(script, wiretest.Gap(from, 3))
			case n > 0:
				script = append(script, wiretest.Event{From: from, Data: data[:n]})
				data = data[n:]
			}
		}
		whole := decode(t, script, 0, func(o *wire.Options) { o.MaxHead, o.MaxBody = 2000, 50 })
		split := decode(t, script, 3, func(o *wire.Options) { o.MaxHead, o.MaxBody = 2000, 50 })
		if diff := cmp.Diff(whole.Pairs, split.Pairs, protocmp.Transform()); diff != "" {
			t.Errorf("pairs (-whole +split):\n%s", diff)
		}
		// After an end of the server, the reason depends on how much comes at once.
		if w, s := total(whole.LostPairs), total(split.LostPairs); w != s {
			t.Errorf("lost %v whole, %v split", whole.LostPairs, split.LostPairs)
		}
		if len(whole.Closed) > 1 || cmp.Diff(whole.Closed, split.Closed) != "" {
			t.Errorf("opaque: %v whole, %v split", whole.Closed, split.Closed)
		}
		decode(t, script, 0, func(o *wire.Options) { o.Budget = wire.NewBudget(6000) })
	})
}

func total(lost map[string]int) (n int) {
	for _, pairs := range lost {
		n += pairs
	}
	return n
}
