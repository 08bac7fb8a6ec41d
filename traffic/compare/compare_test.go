package compare_test

import (
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/compare"
)

// response makes a pair; headers are name, value, name, value.
func response(status int32, body string, headers ...string) *traffic.RRPair {
	res := &traffic.HTTPResponse{StatusCode: status, Body: []byte(body), BodySize: int64(len(body))}
	for i := 0; i < len(headers); i += 2 {
		res.Headers = append(res.Headers, &traffic.Header{Name: headers[i], Value: headers[i+1]})
	}
	return &traffic.RRPair{Http: &traffic.HTTP{Req: &traffic.HTTPRequest{Method: "GET", Uri: "/orders/42"}, Res: res}}
}

func texts(list []compare.Difference) []string {
	var got []string
	for _, d := range list {
		got = append(got, d.String())
	}
	return got
}

func TestCompare(t *testing.T) {
	trailers := func(p *traffic.RRPair, status string) *traffic.RRPair {
		p.Http.Res.Trailers = []*traffic.Header{{Name: "grpc-status", Value: status}}
		return p
	}
	for _, c := range []struct {
		name string
		cfg  compare.Config
		a, b *traffic.RRPair
		want []string
	}{
		{"alike", compare.Config{}, response(200, `{"a":1}`, "X", "1"), response(200, `{ "a": 1.0 }`, "X", "1"), nil},
		{"status", compare.Config{}, response(200, ""), response(500, ""), []string{"http.res.statusCode: recorded 200, observed 500"}},
		{
			"body by path", compare.Config{},
			response(200, `{"items":[{"price":10,"sku":"a"}],"n":1,"gone":true}`), response(200, `{"items":[{"price":"10","sku":"b"},{}],"n":1,"new":1}`),
			[]string{
				`http.res.body.items[0].price: recorded 10, observed "10"`, `http.res.body.items[0].sku: recorded "a", observed "b"`,
				`http.res.body.items[1]: {} was added`, `http.res.body.gone: true was removed`,
			},
		},
		{
			"headers in any order, of any case", compare.Config{},
			response(200, "", "A", "1", "Vary", "x", "Vary", "y"), response(200, "", "vary", "x", "VARY", "y", "a", "1"), nil,
		},
		{
			"headers", compare.Config{},
			response(200, "", "Cache-Control", "no-store", "X-Old", "1", "Same", "1"), response(200, "", "Cache-Control", "max-age=5", "Same", "1", "X-New", "2"),
			[]string{
				"http.res.headers.Cache-Control: recorded no-store, observed max-age=5", "http.res.headers.X-Old: 1 was removed",
				"http.res.headers.X-New: 2 was added",
			},
		},
		{
			"left out by default", compare.Config{},
			response(200, "", "Date", "a", "x-request-id", "1", "Content-Length", "5"), response(200, "", "Date", "b", "X-Request-ID", "2", "Connection", "close"), nil,
		},
		{
			"all headers", compare.Config{AllHeaders: true, IgnoreHeaders: []string{"age"}},
			response(200, "", "Date", "a", "Age", "1"), response(200, "", "Date", "b", "Age", "2"),
			[]string{"http.res.headers.Date: recorded a, observed b"},
		},
		{
			"content type", compare.Config{},
			response(200, "", "Content-Type", "application/json; charset=UTF-8"), response(200, "", "content-type", "application/json"), nil,
		},
		{
			"another content type", compare.Config{},
			response(200, "", "Content-Type", "application/json"), response(200, "", "Content-Type", "text/html; charset=latin1"),
			[]string{"http.res.headers.Content-Type: recorded application/json, observed text/html; charset=latin1"},
		},
		{
			"cookies by name", compare.Config{},
			response(200, "", "Set-Cookie", "sid=1; Path=/", "Set-Cookie", "old=1"), response(200, "", "Set-Cookie", "sid=2; Path=/", "Set-Cookie", "new=1"),
			[]string{"http.res.cookies.old: set was removed", "http.res.cookies.new: set was added"},
		},
		{
			"location on another host", compare.Config{},
			response(302, "", "Location", "http://shop:8080/a?b=1"), response(302, "", "Location", "http://127.0.0.1:9000/a?b=1"), nil,
		},
		{
			"location", compare.Config{},
			response(302, "", "Location", "http://shop/a"), response(302, "", "Location", "http://shop/b"),
			[]string{"http.res.headers.Location: recorded http://shop/a, observed http://shop/b"},
		},
		{
			"trailers", compare.Config{}, trailers(response(200, ""), "0"), trailers(response(200, ""), "13"),
			[]string{"http.res.trailers.grpc-status: recorded 0, observed 13"},
		},
		{
			"status only", compare.Config{StatusOnly: true}, response(200, "a", "X", "1"), response(200, "b"), nil,
		},
		{
			"ignored places", compare.Config{IgnorePaths: []string{"$.items[*].at", "trace", "$.meta"}},
			response(200, `{"items":[{"at":1,"n":1}],"meta":{"x":1},"traceId":1,"at":1}`), response(200, `{"items":[{"at":2,"n":1}],"meta":{"x":2},"traceId":2,"at":2}`),
			[]string{"http.res.body.at: recorded 1, observed 2"},
		},
		{
			"assertions", compare.Config{Assertions: []compare.Assertion{
				{Type: compare.AssertBody, IncludeOnly: []string{"price"}, RefuseNew: true},
				{Type: compare.AssertHeaders, Headers: []string{"x-a"}},
			}},
			response(200, `{"price":1,"name":"a"}`, "X-A", "1", "X-B", "1"), response(500, `{"price":2,"name":"b","priceTag":1}`, "X-A", "2", "X-B", "2"),
			[]string{"http.res.headers.X-A: recorded 1, observed 2", "http.res.body.price: recorded 1, observed 2", "http.res.body.priceTag: 1 was added"},
		},
		{
			"masked without the key", compare.Config{MaskedMatchAny: true},
			response(200, `{"mail":"REDACTED-EMAIL-0a1b","n":"REDACTED-ff","x":"a REDACTED-1 b REDACTED-2 c","y":"REDACTED-1!","z":1}`, "X-Auth", "Bearer REDACTED-12"),
			response(200, `{"mail":"ada@example.com","n":17,"x":"a 1 b 2 c","y":"1?","z":2}`, "X-Auth", "Bearer abc"),
			[]string{`http.res.body.y: recorded "REDACTED-1!", observed "1?"`, "http.res.body.z: recorded 1, observed 2"},
		},
		{
			"masked, with the key", compare.Config{}, response(200, `{"m":"REDACTED-1"}`), response(200, `{"m":"REDACTED-2"}`),
			[]string{`http.res.body.m: recorded "REDACTED-1", observed "REDACTED-2"`},
		},
		{"no response", compare.Config{}, response(200, ""), &traffic.RRPair{}, []string{"http.res: 200 was removed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.cfg.Check(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, texts(compare.New(c.cfg).Compare(c.a, c.b))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestOtherBodiesShowTheFirstDifference(t *testing.T) {
	got := compare.New(compare.Config{}).Compare(response(200, "hello world\x00"), response(200, "hello there"))
	if len(got) != 1 || got[0].Location != "http.res.body" {
		t.Fatalf("differences are %v", got)
	}
	for text, want := range map[string]string{
		got[0].Recorded: `12 bytes, sha256`, got[0].Observed: `from byte 6: "there"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q does not say %q", text, want)
		}
	}
}

func TestCutBodiesAreComparedAsFarAsTheyGo(t *testing.T) {
	cut := func(body string, size int64) *traffic.RRPair {
		p := response(200, body)
		p.Http.Res.BodySize = size
		return p
	}
	c := compare.New(compare.Config{})
	for _, test := range []struct {
		a, b *traffic.RRPair
		want []string
	}{
		{cut(`{"a":`, 9), cut(`{"a":`, 9), nil},
		{cut(`{"a":`, 9), response(200, `{"a":123}`), nil},
		{cut(`{"a":`, 9), cut(`{"a":`, 10), []string{"http.res.body: recorded 9 bytes, observed 10 bytes"}},
	} {
		if diff := cmp.Diff(test.want, texts(c.Compare(test.a, test.b))); diff != "" {
			t.Errorf("%v (-want +got):\n%s", test.a.Http.Res, diff)
		}
	}
	if got := c.Compare(cut(`{"a":`, 9), cut(`{"b":`, 9)); len(got) != 1 || !strings.Contains(got[0].Observed, "from byte 2") {
		t.Errorf("differences are %v", got)
	}
}

func TestDifferencesAreBounded(t *testing.T) {
	array := func(n int) string { return "[" + strings.Repeat(fmt.Sprint(n)+",", 9999) + "0]" }
	got := compare.New(compare.Config{}).Compare(response(200, array(1)), response(200, array(2)))
	if len(got) != compare.MaxDifferences {
		t.Errorf("%d differences, want %d", len(got), compare.MaxDifferences)
	}
}

func TestAssertionsAreReadAsDocumented(t *testing.T) {
	var got []compare.Assertion
	doc := `[{"type":"httpStatusCode"},{"type":"httpResponseBody","config":{"ignore":"durationMs, traceId","allowNew":"false"}},
		{"type":"httpHeaders","config":{"headers":["X-A"]}}]`
	if err := json.Unmarshal([]byte(doc), &got); err != nil {
		t.Fatal(err)
	}
	want := []compare.Assertion{
		{Type: "httpStatusCode"}, {Type: "httpResponseBody", Ignore: []string{"durationMs", "traceId"}, RefuseNew: true},
		{Type: "httpHeaders", Headers: []string{"X-A"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for doc, want := range map[string]string{
		`[{"type":"httpBodyy"}]`: `"httpBodyy" is not one of`,
		`[{"type":"httpResponseBody","config":{"ignore":["$.a[x]"]}}]`: `$.a[x]`,
	} {
		if err := json.Unmarshal([]byte(doc), &got); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v, want %q", doc, err, want)
		}
	}
}

// recording is the responses to the same three requests.
func recording(run int) iter.Seq2[*traffic.RRPair, error] {
	pairs := []*traffic.RRPair{
		response(200, fmt.Sprintf(`{"at":%d,"items":[{"id":%d,"n":1},{"id":%d,"n":2}]}`, run, run*10, run*10+1), "X-Run", fmt.Sprint(run)),
		response(200, `{"n":1}`),
		response(200+int32(run), fmt.Sprintf(`{"error":%d}`, run)),
	}
	pairs[1].Http.Req.Uri, pairs[2].Http.Req.Uri = "/stable", "/flaky"
	return func(yield func(*traffic.RRPair, error) bool) {
		for _, p := range pairs {
			if !yield(p, nil) {
				return
			}
		}
	}
}

func TestNoiseIsFoundAndLeftOut(t *testing.T) {
	noise := compare.New(compare.Config{}).Noise(recording(1), recording(2))
	want := []compare.Noise{
		{Method: "GET", Path: "/orders/{id}", Location: "http.res.body.at", Pairs: 1},
		{Method: "GET", Path: "/orders/{id}", Location: "http.res.body.items[*].id", Pairs: 1},
		{Method: "GET", Path: "/orders/{id}", Location: "http.res.headers.X-Run", Pairs: 1},
	}
	if diff := cmp.Diff(want, noise); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	c := compare.New(compare.Config{Noise: noise})
	a := response(200, `{"at":5,"items":[{"id":1,"n":1}]}`)
	b := response(200, `{"at":6,"items":[{"id":2,"n":7}]}`)
	b.Http.Req.Uri = "/orders/43"
	if got, want := texts(c.Compare(a, b)), []string{"http.res.body.items[0].n: recorded 1, observed 7"}; !slices.Equal(got, want) {
		t.Errorf("differences are %q, want %q", got, want)
	}
	a.Http.Req.Uri = "/elsewhere"
	if got := c.Compare(a, b); len(got) != 3 {
		t.Errorf("noise of one endpoint hides %v of another", texts(got))
	}
}

func FuzzCompare(f *testing.F) {
	f.Add("X", "1", []byte(`{"a":[1]}`), []byte(`{"a":[2],"b":1}`))
	f.Add("Set-Cookie", "a=b", []byte("REDACTED-12 x"), []byte("y x"))
	f.Fuzz(func(t *testing.T, name, value string, x, y []byte) {
		for _, cfg := range []compare.Config{{}, {MaskedMatchAny: true, AllHeaders: true}} {
			c := compare.New(cfg)
			a, b := response(200, string(x), name, value), response(200, string(y), name, value)
			if got := c.Compare(a, response(200, string(x), name, value)); got != nil {
				t.Fatalf("equal responses differ: %v", got)
			}
			for _, d := range c.Compare(a, b) {
				if strings.ContainsFunc(d.Recorded+d.Observed+d.Location, func(r rune) bool { return r < ' ' }) {
					t.Fatalf("%q is not printable", d)
				}
			}
		}
	})
}

func jsonBody(at string) string {
	return `{"id":"o-1","at":"` + at + `","customer":{"id":"c-1","name":"Ada Lovelace"},"items":[` +
		strings.Repeat(`{"sku":"abc-123","n":2,"price":19.99},`, 10) + `{}],"total":199.9}`
}

func BenchmarkCompare(b *testing.B) {
	of := func(date, at string) *traffic.RRPair {
		return response(200, jsonBody(at), "Content-Type", "application/json", "Date", date, "Server", "x", "Cache-Control", "no-store", "Content-Length", "500", "Vary", "Accept")
	}
	c := compare.New(compare.Config{IgnorePaths: []string{"$.at"}})
	b.Run("equal", func(b *testing.B) {
		x, y := of("a", "1"), of("b", "1")
		b.ReportAllocs()
		for b.Loop() {
			if c.Compare(x, y) != nil {
				b.Fatal("they differ")
			}
		}
	})
	b.Run("ignored difference", func(b *testing.B) {
		x, y := of("a", "1"), of("b", "2")
		b.ReportAllocs()
		for b.Loop() {
			if c.Compare(x, y) != nil {
				b.Fatal("they differ")
			}
		}
	})
}
