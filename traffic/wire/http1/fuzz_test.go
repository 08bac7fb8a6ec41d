package http1_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
	"github.com/speedscale/speedscale/traffic/wire/exchange"
	"github.com/speedscale/speedscale/traffic/wire/http1"
	"github.com/speedscale/speedscale/traffic/wire/wiretest"
)

// script reads a fuzzer's input: a control byte says who sends how much of what
// follows, or that there is a gap or an end.
func script(control, data []byte) (events []wiretest.Event) {
	for _, c := range control {
		from := wire.Side(c & 1)
		switch {
		case c&0xf0 == 0xf0:
			events = append(events, wiretest.End(from))
		case c&0xe0 == 0xc0:
			events = append(events, wiretest.Gap(from, int64(c&0x1e)+1))
		case len(data) > 0:
			n := min(len(data), int(c>>1)*4+1)
			events = append(events, wiretest.Event{From: from, Data: data[:n]})
			data = data[n:]
		}
	}
	return events
}

func FuzzAnyBytes(f *testing.F) {
	for _, e := range exchanges {
		var control, data []byte
		for _, s := range e.script {
			if s.Data == nil {
				control = append(control, 0xf0|byte(s.From))
				continue
			}
			for n := len(s.Data); n > 0; n -= min(n, 50*4+1) {
				control = append(control, 100|byte(s.From))
			}
			data = append(data, s.Data...)
		}
		f.Add(control, data)
	}
	f.Fuzz(func(t *testing.T, control, data []byte) {
		rec := &wiretest.Recorder{}
		budget := wire.NewBudget(20_000)
		d := http1.New(wire.Options{Sink: rec, Scheme: "http", Budget: budget, MaxBody: 300, MaxHead: 700})
		wiretest.Play(d, script(control, data), 0)
		d.Close()
		if budget.Used() != 0 {
			t.Errorf("budget after Close: %d bytes taken", budget.Used())
		}
		if len(rec.Closed) > 1 {
			t.Errorf("opaque more than once: %v", rec.Closed)
		}
		for _, p := range rec.Pairs {
			if _, err := proto.Marshal(p); err != nil {
				t.Errorf("pair cannot be sent: %v", err)
			}
		}
	})
}

func FuzzSplit(f *testing.F) {
	for _, e := range exchanges {
		var c, s []byte
		for _, ev := range e.script {
			if ev.From == wire.Client {
				c = append(c, ev.Data...)
			} else {
				s = append(s, ev.Data...)
			}
		}
		f.Add(c, s, uint8(1), true)
	}
	f.Fuzz(func(t *testing.T, c, s []byte, size uint8, clientFirst bool) {
		events := []wiretest.Event{{From: wire.Client, Data: append([]byte{}, c...)}, {From: wire.Server, Data: append([]byte{}, s...)}}
		if !clientFirst {
			events[0], events[1] = events[1], events[0]
		}
		events = append(events, wiretest.End(wire.Client), wiretest.End(wire.Server))
		run := func(size int) *wiretest.Recorder {
			rec := &wiretest.Recorder{}
			d := http1.New(wire.Options{Sink: rec, Scheme: "http", MaxBody: 50, MaxHead: 200})
			wiretest.Play(d, events, size)
			d.Close()
			for _, p := range rec.Pairs { // when the first piece of a held message came
				p.Ts, p.Duration = 0, 0
			}
			return rec
		}
		whole, split := run(0), run(int(size)+1)
		if diff := cmp.Diff(whole.Pairs, split.Pairs, protocmp.Transform()); diff != "" {
			t.Errorf("pairs (-whole +split):\n%s", diff)
		}
		if !clientFirst && len(whole.Closed) > 0 {
			return // how many requests were there when decoding stopped depends on the pieces
		}
		if diff := cmp.Diff([][]string{whole.Losses, whole.Closed}, [][]string{split.Losses, split.Closed}); diff != "" {
			t.Errorf("losses (-whole +split):\n%s", diff)
		}
	})
}

// FuzzLikeNetHTTP compares with net/http: what it accepts as one request and
// one response is a pair here too, with the same fields and bodies.
func FuzzLikeNetHTTP(f *testing.F) {
	for _, e := range exchanges {
		var c, s []byte
		for _, ev := range e.script {
			if ev.From == wire.Client {
				c = append(c, ev.Data...)
			} else {
				s = append(s, ev.Data...)
			}
		}
		f.Add(c, s)
	}
	f.Add([]byte("GET /\x8fa HTTP/1.1\r\nHost: h\r\n\r\n"), []byte("HTTP/1.0 200 OK\r\n\r\nabc"))
	f.Fuzz(func(t *testing.T, c, s []byte) {
		req, reqBody, err := readRequest(c)
		if err != nil {
			return
		}
		res, resBody, err := readResponse(s, req)
		if err != nil {
			return
		}
		rec := &wiretest.Recorder{}
		d := http1.New(wire.Options{Sink: rec, Scheme: "http", MaxBody: 1 << 20, MaxHead: 1 << 20})
		events := []wiretest.Event{{From: wire.Client, Data: append([]byte{}, c...)}, {From: wire.Server, Data: append([]byte{}, s...)},
			wiretest.End(wire.Client), wiretest.End(wire.Server)}
		wiretest.Play(d, events, 0)
		d.Close()
		if len(rec.Pairs) == 0 {
			if !stricter(req, res, c, s) {
				t.Fatalf("net/http has a pair, the decoder has none: %v", rec.Losses)
			}
			return
		}
		got := rec.Pairs[0]
		if g := got.Http.Req; g.Method != req.Method || g.Uri != exchange.Target(req.RequestURI) || !bytes.Equal(g.Body, reqBody) || g.BodySize != int64(len(reqBody)) {
			t.Errorf("request %s %q body %q, net/http has %s %q body %q", g.Method, g.Uri, g.Body, req.Method, req.RequestURI, reqBody)
		}
		if g := got.Http.Res; int(g.StatusCode) != res.StatusCode || !bytes.Equal(g.Body, resBody) {
			t.Errorf("response %d body %q, net/http has %d body %q", g.StatusCode, g.Body, res.StatusCode, resBody)
		}
		sameFields(t, res.Header, got.Http.Res.Headers)
		req.Header.Set("Host", req.Host)
		sameFields(t, req.Header, got.Http.Req.Headers)
	})
}

func readRequest(b []byte) (*http.Request, []byte, error) {
	b = bytes.TrimLeft(b, "\r\n")
	req, err := http.ReadRequest(bufio.NewReaderSize(bytes.NewReader(b), len(b)+16))
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(req.Body)
	return req, body, err
}

func readResponse(b []byte, req *http.Request) (*http.Response, []byte, error) {
	r := bufio.NewReaderSize(bytes.NewReader(b), len(b)+16)
	for {
		res, err := http.ReadResponse(r, req)
		if err != nil {
			return nil, nil, err
		}
		switch {
		case res.StatusCode == 101, req.Method == "CONNECT" && res.StatusCode/100 == 2:
			return nil, nil, errors.New("not HTTP from here on")
		case res.StatusCode/100 == 1:
			continue
		}
		body, err := io.ReadAll(res.Body)
		return res, body, err
	}
}

// stricter says whether RFC 9112 asks for refusing what net/http accepts.
func stricter(req *http.Request, res *http.Response, c, s []byte) bool {
	for _, h := range []http.Header{req.Header, res.Header} {
		for name := range h {
			if strings.Contains(name, " ") { // section 5.1
				return true
			}
		}
	}
	other := func(major, minor int) bool { return major != 1 || minor > 1 }
	both := strings.ToLower(string(c) + string(s))
	for _, after := range strings.Split(strings.ToLower(string(s)), "http/")[1:] {
		if !strings.HasPrefix(after, "1.0") && !strings.HasPrefix(after, "1.1") { // of an interim response, too
			return true
		}
	}
	return other(req.ProtoMajor, req.ProtoMinor) || other(res.ProtoMajor, res.ProtoMinor) ||
		strings.Contains(both, "transfer-encoding") || // section 6.1: in HTTP/1.0, and not chunked
		strings.Contains(both, "content-length") || // "+1", folded
		strings.Contains(both, "trailer") ||
		len(req.Header) > 0 && strings.ContainsAny(req.RequestURI, "\t") ||
		res.StatusCode < 100
}

func sameFields(t *testing.T, want http.Header, got []*traffic.Header) {
	t.Helper()
	for name, values := range want {
		switch name {
		case "Content-Length", "Transfer-Encoding", "Trailer", "Host", "Cache-Control": // net/http changes these
			continue
		}
		var all []string
		for _, h := range got {
			if http.CanonicalHeaderKey(h.Name) == name {
				all = append(all, h.Value)
			}
		}
		for i, v := range values {
			values[i] = exchange.Text(strings.TrimRight(v, " \t"))
		}
		if diff := cmp.Diff(values, all); diff != "" {
			t.Errorf("%s (-net/http +decoder):\n%s", name, diff)
		}
	}
}
