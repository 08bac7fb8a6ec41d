package signature_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"iter"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/signature"
)

// request makes a pair; headers are name, value, name, value.
func request(method, host, uri, body string, headers ...string) *traffic.RRPair {
	req := &traffic.HTTPRequest{Method: method, Host: host, Uri: uri, Body: []byte(body), BodySize: int64(len(body))}
	for i := 0; i < len(headers); i += 2 {
		req.Headers = append(req.Headers, &traffic.Header{Name: headers[i], Value: headers[i+1]})
	}
	return &traffic.RRPair{L7Protocol: "http", Http: &traffic.HTTP{Req: req}}
}

func text(s signature.Signature) string {
	var lines []string
	for _, e := range s {
		lines = append(lines, e.Key+" "+string(e.Value))
	}
	return strings.Join(lines, "\n")
}

func TestSignatureOfDocumentedPairIsTheDocumentedOne(t *testing.T) {
	data, err := os.ReadFile("../testdata/documented.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	p := new(traffic.RRPair)
	if err := p.UnmarshalJSON(bytes.Split(data, []byte("\n"))[1]); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p.Signature, signature.Of(p, signature.Options{}).Map()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOf(t *testing.T) {
	const jsonType, form = "application/json", "application/x-www-form-urlencoded; charset=utf-8"
	for _, c := range []struct {
		name string
		p    *traffic.RRPair
		opts signature.Options
		want string
	}{
		{
			"query sorted, order of values kept",
			request("GET", "Shop.Local:8080", "/a%20b?b=2&a=1%2B1&b=1&c&a=x+y#top", ""), signature.Options{},
			"http:host shop.local\nhttp:method GET\nhttp:queryparams a=1%2B1&a=x+y&b=2&b=1&c=\nhttp:url /a%20b",
		},
		{
			"absolute target, IPv6",
			request("GET", "[::1]:80", "http://[::1]?x=1", ""), signature.Options{},
			"http:host ::1\nhttp:method GET\nhttp:queryparams x=1\nhttp:url /",
		},
		{
			"JSON without its type, numbers as written",
			request("POST", "h", "/", ` {"b":1.0,"a":[1e2]}`), signature.Options{},
			"http:host h\nhttp:method POST\nhttp:queryparams \nhttp:requestBodyJSON {\"a\":[1e2],\"b\":1.0}\nhttp:url /",
		},
		{
			"form",
			request("POST", "h", "/", "b=%41&a=1", "content-type", form), signature.Options{},
			"http:host h\nhttp:method POST\nhttp:queryparams \nhttp:requestBodyForm a=1&b=A\nhttp:url /",
		},
		{
			"JSON that is cut goes by its hash",
			request("POST", "h", "/", `{"a":`, "Content-Type", jsonType), signature.Options{},
			fmt.Sprintf("http:host h\nhttp:method POST\nhttp:queryparams \nhttp:requestBodyHash %x\nhttp:url /", sha256.Sum256([]byte(`{"a":`))),
		},
		{
			"left out and put in",
			request("POST", "h", "/?ts=1&q=2", `{"id":1,"user":{"id":2,"n":3}}`, "X-B", "2", "x-a", "1", "X-B", "3"),
			signature.Options{Headers: []string{"X-b", "X-A", "X-C"}, IgnoreKeys: []string{"http:host"}, IgnorePaths: []string{"$.user.id", "ts"}},
			"http:headers x-a: 1\nx-b: 2\nx-b: 3\n\nhttp:method POST\nhttp:queryparams q=2\nhttp:requestBodyJSON {\"id\":1,\"user\":{\"n\":3}}\nhttp:url /",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := signature.Of(c.p, c.opts)
			if !slices.IsSortedFunc(got, func(a, b signature.Entry) int { return strings.Compare(a.Key, b.Key) }) {
				t.Errorf("keys are not sorted: %s", text(got))
			}
			if diff := cmp.Diff(c.want, text(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestEqualRequestsHaveEqualHashes(t *testing.T) {
	multipart := func(boundary, value string) *traffic.RRPair {
		return request("POST", "h", "/", "--"+boundary+"\r\n\r\n"+value+"\r\n--"+boundary+"--\r\n", "Content-Type", `multipart/form-data; boundary="`+boundary+`"`)
	}
	for _, c := range []struct {
		name string
		a, b *traffic.RRPair
		same bool
	}{
		{"members in another order", request("POST", "h", "/", `{"a":1,"b":2}`), request("POST", "h", "/", `{"b": 2,"a": 1}`), true},
		{"another value", request("POST", "h", "/", `{"a":1}`), request("POST", "h", "/", `{"a":2}`), false},
		{"another port", request("GET", "h:1", "/", ""), request("GET", "H:2", "/", ""), true},
		{"another boundary", multipart("xxx", "v"), multipart("yyy", "v"), true},
		{"another part", multipart("xxx", "v"), multipart("xxx", "w"), false},
		{"value moved to another name", request("GET", "h", "/?a=bc&d=", ""), request("GET", "h", "/?a=b&d=c", ""), false},
		{"bytes that are neither", request("POST", "h", "/", "\x00\x01"), request("POST", "h", "/", "\x00\x02"), false},
	} {
		a, b := signature.Of(c.a, signature.Options{}), signature.Of(c.b, signature.Options{})
		if (a.Hash() == b.Hash()) != c.same || (a.Key() == b.Key()) != c.same {
			t.Errorf("%s: hashes equal %v, want %v:\n%s\n%s", c.name, !c.same, c.same, text(a), text(b))
		}
	}
}

func TestDiffNamesTheFields(t *testing.T) {
	of := func(p *traffic.RRPair) signature.Signature {
		return signature.Of(p, signature.Options{Headers: []string{"X-Tenant"}})
	}
	want := of(request("POST", "a", "/orders?page=1&size=5", `{"items":[{"sku":"x"}],"n":1,"old":true}`, "X-Tenant", "t1"))
	got := of(request("PUT", "a", "/orders?page=2&sort=up", `{"items":[{"sku":"y"}],"n":1.0}`, "X-Tenant", "t2"))
	if diff := cmp.Diff([]signature.Field{
		{Key: "http:headers.x-tenant", Want: "t1", Got: "t2"},
		{Key: "http:method", Want: "POST", Got: "PUT"},
		{Key: "http:queryparams.page", Want: "1", Got: "2"},
		{Key: "http:queryparams.size", Want: "5", Got: "-NONE-"},
		{Key: "http:queryparams.sort", Want: "-NONE-", Got: "up"},
		{Key: "http:requestBodyJSON.items[0].sku", Want: `"x"`, Got: `"y"`},
		{Key: "http:requestBodyJSON.old", Want: "true", Got: "-NONE-"},
	}, signature.Diff(want, got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// 1 and 1.0 are equal values, but not equal signatures: that is said too.
	one, oneDot := of(request("POST", "a", "/", `{"n":1}`)), of(request("POST", "a", "/", `{"n":1.0}`))
	if got := signature.Diff(one, oneDot); len(got) != 1 || got[0].Key != "http:requestBodyJSON" {
		t.Errorf("difference in writing only: %v", got)
	}
	if got := signature.Diff(want, want); got != nil {
		t.Errorf("equal signatures differ: %v", got)
	}
}

func TestDiffIsBoundedAndPrintable(t *testing.T) {
	var members []string
	for i := range 1000 {
		members = append(members, fmt.Sprintf(`"k%d":%d`, i, i))
	}
	a := signature.Of(request("POST", "h", "/", "{"+strings.Join(members, ",")+"}"), signature.Options{})
	b := signature.Of(request("POST", "h", "/", "{"+strings.ReplaceAll(strings.Join(members, ","), ":", ":-1")+"}"), signature.Options{})
	if got := signature.Diff(a, b); len(got) != signature.MaxFields {
		t.Errorf("%d fields, want %d", len(got), signature.MaxFields)
	}
	got := signature.Printable("a\x1b[31m" + strings.Repeat("日本", 100))
	if strings.ContainsRune(got, 0x1b) || len(got) > 2*signature.MaxText || !utf8.ValidString(got) || !strings.HasSuffix(got, "日…") && !strings.HasSuffix(got, "本…") {
		t.Errorf("text is %q", got)
	}
}

func TestNearest(t *testing.T) {
	of := func(method, host, uri, body string) signature.Signature {
		return signature.Of(request(method, host, uri, body), signature.Options{})
	}
	candidates := []signature.Signature{
		0: of("GET", "a", "/orders/1", ""),
		1: of("POST", "a", "/orders", `{"sku":"x","n":1,"who":"me"}`),
		2: of("POST", "a", "/orders", `{"sku":"y","n":1,"who":"me"}`),
		3: of("POST", "b", "/orders", `{"sku":"y","n":2,"who":"me"}`),
		4: of("DELETE", "c", "/", ""),
	}
	all := func() iter.Seq2[int, signature.Signature] { return slices.All(candidates) }
	for _, c := range []struct {
		name string
		got  signature.Signature
		want int
		keys []string
	}{
		{"fewest fields", of("POST", "a", "/orders", `{"sku":"y","n":2,"who":"me"}`), 2, []string{"http:requestBodyJSON.n"}},
		{"same endpoint", of("GET", "a", "/orders/2", ""), 0, []string{"http:url"}},
		{"another host", of("DELETE", "d", "/", ""), 4, []string{"http:host"}},
		{"nothing alike", of("GET", "z", "/none", ""), -1, nil},
	} {
		index, fields := signature.Nearest(c.got, all())
		var keys []string
		for _, f := range fields {
			keys = append(keys, f.Key)
		}
		if index != c.want || !slices.Equal(keys, c.keys) {
			t.Errorf("%s: %d %v, want %d %v", c.name, index, keys, c.want, c.keys)
		}
	}
}

func TestEndpoint(t *testing.T) {
	for path, want := range map[string]string{
		"/orders/42/items?x=1":                    "/orders/{id}/items",
		"/u/ac47257d-9df8-4009-adaa-d9c15840767b": "/u/{id}",
		"/o/507f1f77bcf86cd799439011/2026-01-31":  "/o/{id}/{id}",
		"/v1/oauth2/http2/md5":                    "/v1/oauth2/http2/md5",
		"/ord_00042/x":                            "/{id}/x",
		"/facade/decade":                          "/facade/decade",
		"":                                        "",
		"/files/01ARZ3NDEKTSV4RRFFQ69G5FAV/download": "/files/{id}/download",
	} {
		if got := signature.Endpoint(path); got != want {
			t.Errorf("%q is %q, want %q", path, got, want)
		}
	}
}

func TestBadOptionIsNamed(t *testing.T) {
	err := signature.Options{IgnorePaths: []string{"$.a["}}.Check()
	if err == nil || !strings.Contains(err.Error(), "$.a[") {
		t.Errorf("error is %v", err)
	}
}

func FuzzSignature(f *testing.F) {
	f.Add("/a?b=1", "application/json", []byte(`{"a":[1,2]}`), []byte(`{"a":[2,1]}`))
	f.Add("http://h", "multipart/form-data; boundary=x", []byte("--x"), []byte("--x--"))
	f.Add("?&%zz", "application/x-www-form-urlencoded", []byte("a=%zz&&="), []byte("+"))
	f.Fuzz(func(t *testing.T, uri, contentType string, x, y []byte) {
		opts := signature.Options{IgnorePaths: []string{"$.a", "b"}, Headers: []string{"content-type"}}
		a := signature.Of(request("POST", "h", uri, string(x), "Content-Type", contentType), opts)
		b := signature.Of(request("POST", "h", uri, string(y), "Content-Type", contentType), opts)
		if (a.Hash() == b.Hash()) != (len(signature.Diff(a, b)) == 0) {
			t.Fatalf("hashes equal: %v, differences: %v", a.Hash() == b.Hash(), signature.Diff(a, b))
		}
	})
}

func BenchmarkOf(b *testing.B) {
	p := request("POST", "api.local:8080", "/v1/orders/42?expand=items&page=2", `{"customer":{"id":"c-1","name":"Ada"},"items":[{"sku":"x","n":2},{"sku":"y","n":1}],"note":"none"}`, "Content-Type", "application/json")
	b.ReportAllocs()
	for b.Loop() {
		signature.Of(p, signature.Options{}).Hash()
	}
}

func BenchmarkOfGet(b *testing.B) {
	p := request("GET", "api.local:8080", "/v1/orders/42", "")
	b.ReportAllocs()
	for b.Loop() {
		signature.Of(p, signature.Options{}).Hash()
	}
}
