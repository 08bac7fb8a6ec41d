package filter_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/filter"
	"github.com/speedscale/speedscale/traffic/wire/body"
)

func pair() *traffic.RRPair {
	return &traffic.RRPair{
		Uuid: []byte("0123456789abcdef"), Ts: 1_767_225_600_000_000_000, // 2026-01-01T00:00:00Z
		Direction: traffic.Direction_DIRECTION_IN,
		Cluster:   "c1", Namespace: "shop", Service: "cart", L7Protocol: "http",
		Tech: "JSON", DetectedTech: []string{"HTTP", "JSON"},
		Command: "POST", Location: "/cart/items", Status: "201", NetworkAddress: "cart.shop:8080",
		Session: "alice", Tags: map[string]string{"source": "goproxy", "team": "a]b"},
		Http: &traffic.HTTP{
			Req: &traffic.HTTPRequest{
				Url: "http://cart.shop:8080/cart/items?x=1", Uri: "/cart/items?x=1", Method: "POST", Host: "cart.shop:8080",
				Headers: []*traffic.Header{{Name: "User-Agent", Value: "curl/8.1"}, {Name: "X-A", Value: "1"}, {Name: "x-a", Value: "2"}},
				Body:    []byte(`{"items":[{"sku":"a\u0062c","n":2},{"sku":"xyz","n":3}],"ok":true}`),
			},
			Res: &traffic.HTTPResponse{StatusCode: 201, StatusMessage: "Created",
				Headers: []*traffic.Header{{Name: "Content-Type", Value: "application/json"}},
				Body:    []byte(`{"id":"o-17","total":9.90}`)},
		},
	}
}

func TestMatch(t *testing.T) {
	xml := pair()
	xml.Http.Req.Body = []byte(`<?xml version="1.0"?><s:order xmlns:s="u"><item> a </item><item>b<c>no</c></item><x><item>deep</item></x></s:order>`)
	tests := []struct {
		query string
		want  bool
	}{
		{``, true},
		{" \n ", true},
		{`service IS "cart"`, true},
		{`service is "cart" and status not "200"`, true},
		{`service NOT "cart"`, false},
		{`service IS "Cart"`, false},
		{`service CONTAINS "ar"`, true},
		{`service NOT CONTAINS "ar"`, false},
		{`service REGEX "^c.*t$"`, true},
		{`service NOT REGEX "^c.*t$"`, false},
		{`(service IS "x" OR service IS "cart") AND (status IS "201")`, true},
		{`(service IS "x" OR service IS "y") OR (status IS "201" AND command IS "POST")`, true},
		{`(service IS "x" OR service IS "y") AND (status IS "201")`, false},
		{`cluster IS "c1" AND namespace IS "shop" AND location IS "/cart/items"`, true},
		{`direction IS "in"`, true},
		{`direction IS "OUT"`, false},
		{`header[user-agent] CONTAINS "curl"`, true},
		{`header[X-A] IS "2"`, true},
		{`header[X-A] NOT "2"`, false},
		{`header[X-A] NOT "3"`, true},
		{`header[X-B] IS ""`, false},
		{`header[X-B] NOT ""`, true},
		{`host IS "CART.shop"`, true},
		{`host IS "cart.shop:8080"`, true},
		{`host IS "cart"`, false},
		{`l7protocol IS "HTTP" AND tech IS "http"`, true},
		{`networkaddr IS "cart.shop:8080"`, true},
		{`url CONTAINS "x=1"`, true},
		{`session IS "alice" AND source IS "goproxy"`, true},
		{`tag["a\"b"] IS "x"`, false},
		{`tag[team] IS "a]b"`, true},
		{`tag[none] NOT "x"`, true},
		{`uuid IS "` + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef")) + `"`, true},
		{`uuid IS "30313233-3435-3637-3839-616263646566"`, true},
		{`uuid CONTAINS "3435-36"`, true},
		{`timerange "2026-01-01T00:00:00Z" "2026-01-01T00:00:01Z"`, true},
		{`timerange "2025-01-01T00:00:00Z" "2026-01-01T00:00:00Z"`, false},
		{`timerange "" "2026-01-01T00:00:00Z"`, false},
		{`timerange NOT "" "2026-01-01T00:00:00Z"`, true},
		{`timerange "2026-01-01T01:00:00+01:00" ""`, true},
		{`req_json[$.items[0].sku] IS "abc"`, true},
		{`req_json[items[*].sku] IS "xyz"`, true},
		{`req_json[items[1].sku] IS "abc"`, false},
		{`req_json[items[*].n] IS "3"`, true},
		{`req_json[$.ok] IS "true"`, true},
		{`req_json[$['items'][0]["n"]] IS "2"`, true},
		{`req_json[$.items] CONTAINS "xyz"`, true},
		{`resp_json[total] IS "9.90"`, true},
		{`resp_json[none] NOT "9.90"`, true},
		{`req_body_hash IS "AB"`, false},
		{`text CONTAINS "o-17"`, true},
		{`text CONTAINS "Created" AND text CONTAINS "curl"`, true},
		{`text CONTAINS "nowhere"`, false},
		{`sample "1/1"`, true},
		{`sample[rrpair] "0/5"`, false},
	}
	for _, tt := range tests {
		f, err := filter.Parse(tt.query)
		if err != nil {
			t.Errorf("%s: %v", tt.query, err)
			continue
		}
		if got := f.Match(pair()); got != tt.want {
			t.Errorf("%s: Match = %v, want %v", tt.query, got, tt.want)
		}
		sameFilter(t, f)
	}
	for query, want := range map[string]bool{
		`req_xml[/order/item] IS "a"`:      true,
		`req_xml[order/item] IS "b"`:       true,
		`req_xml[/order/item] IS "deep"`:   false,
		`req_xml[/order/x/item] IS "deep"`: true,
		`req_xml[/item] IS "a"`:            false,
	} {
		f, err := filter.Parse(query)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Match(xml); got != want {
			t.Errorf("%s: Match = %v, want %v", query, got, want)
		}
		sameFilter(t, f)
	}
}

func TestMatchReadsCodedBodies(t *testing.T) {
	p := pair()
	for coding, query := range map[string]string{"gzip": `resp_json[id] IS "o-17"`, "br": `text CONTAINS "o-17"`} {
		coded, err := body.Encode(coding, pair().Http.Res.Body)
		if err != nil {
			t.Fatal(err)
		}
		p.Http.Res.Body = coded
		p.Http.Res.Headers = []*traffic.Header{{Name: "content-encoding", Value: coding}}
		f, err := filter.Parse(query)
		if err != nil {
			t.Fatal(err)
		}
		if !f.Match(p) {
			t.Errorf("%s: %s does not match", coding, query)
		}
	}
}

// sameFilter checks that both written forms of a filter read back as the same.
func sameFilter(t *testing.T, f *filter.Filter) {
	t.Helper()
	again, err := filter.Parse(f.String())
	if err != nil || again.String() != f.String() {
		t.Errorf("String does not read back: %s: %v, %v", f, again, err)
	}
	fromJSON, err := filter.ParseJSON(f.JSON())
	if err != nil || fromJSON.String() != f.String() || string(fromJSON.JSON()) != string(f.JSON()) {
		t.Errorf("JSON does not read back: %s: %v, %v", f.JSON(), fromJSON, err)
	}
}

func TestSyntaxErrors(t *testing.T) {
	tests := []struct {
		query  string
		offset int
		msg    string
	}{
		{`service`, 7, `want IS, NOT, CONTAINS`},
		{`service = "x"`, 8, `found "="`},
		{`servce IS "x"`, 0, `"servce" is not a key, want one of cluster`},
		{`service IS x`, 11, `double quotes, found "x"`},
		{`service IS "x`, 11, `the value has no end`},
		{`(service IS "x"`, 15, `want AND, OR or ), found the end of the query`},
		{`service IS "x")`, 14, `want AND, OR or the end of the query, found ")"`},
		{`((service IS "x"))`, 1, `parentheses do not nest`},
		{`service IS "x" AND`, 18, `found the end of the query is not a key`[6:]},
		{`service IS "x" AND host IS "y" OR url IS "z"`, 31, `AND and OR cannot be mixed`},
		{`header IS "x"`, 6, `want the name of a header in brackets: header[…]`},
		{`header[] IS "x"`, 6, `the brackets are empty`},
		{`header[x IS "x"`, 6, `the bracket has no end`},
		{`service[x] IS "x"`, 7, `service takes nothing in brackets`},
		{`url REGEX "("`, 10, `missing closing )`},
		{`timerange "yesterday" ""`, 10, `want RFC 3339`},
		{`timerange IS "" ""`, 10, `want a quoted value or NOT after timerange`},
		{`sample "5"`, 7, `want a share like 1/5`},
		{`sample[x] "1/5"`, 10, `want sample or sample[rrpair]`},
		{`req_json[a..b] IS "x"`, 0, `at offset 1: a name is missing`},
		{`req_xpath[/a] IS "x"`, 0, `XPath is not supported`},
		{`snapshot IS "x"`, 0, `name the snapshot`},
		{`direction IS "both"`, 13, `want IN or OUT`},
		{"service IS \"a\xff\"", 13, `not UTF-8`},
	}
	for _, tt := range tests {
		_, err := filter.Parse(tt.query)
		se, ok := errors.AsType[*filter.SyntaxError](err)
		if !ok {
			t.Errorf("%s: error %v, want a *SyntaxError", tt.query, err)
			continue
		}
		if se.Offset != tt.offset || !strings.Contains(se.Msg, tt.msg) {
			t.Errorf("%s: at %d: %s; want at %d: %s", tt.query, se.Offset, se.Msg, tt.offset, tt.msg)
		}
	}
	_, err := filter.Parse("service IS \"x\" AND\n  hst IS \"y\"")
	want := "filter: at offset 21: \"hst\" is not a key"
	if got := err.Error(); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "\n    hst IS \"y\"\n    ^") {
		t.Errorf("error is\n%s", got)
	}
}

func TestParseJSON(t *testing.T) {
	f, err := filter.ParseJSON([]byte(`{"id":"x","operator":"OR","conditions":[
		{"operator":"OR","filters":[
			{"include":true,"operator":"CONTAINS","header":{"key":"User-Agent","value":"kube-probe"}},
			{"include":false,"operator":"REGEX","detectedLocation":"^/a"},
			{"timeRange":{"startTime":"2026-01-01T00:00:00Z"}}]},
		{"filters":[{"reqFilter":{"key":"$.a","value":"1","type":"REQ_FILTER_TYPE_JSON"}},
			{"requestBodyXml":{"key":"/a/b","value":"1"}},{"sample":{"rate":"1/5","by":"rrpair"}}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := `(header[User-Agent] CONTAINS "kube-probe" OR location NOT REGEX "^/a" OR timerange "2026-01-01T00:00:00Z" "") OR ` +
		`(req_json[$.a] IS "1" AND req_xml[/a/b] IS "1" AND sample[rrpair] "1/5")`
	if diff := cmp.Diff(want, f.String()); diff != "" || f.ID() != "x" {
		t.Errorf("id %q, query (-want +got):\n%s", f.ID(), diff)
	}
	sameFilter(t, f)
	for data, path := range map[string]string{
		`{`:                               "",
		`{"conditions":[]} x`:             "",
		`{"operator":"XOR"}`:              "operator",
		`{"conditions":[{"filters":[]}]}`: "conditions[0].filters",
		`{"conditions":[{"operator":1,"filters":[]}]}`:                                             "",
		`{"conditions":[{"filters":[{}]}]}`:                                                        "conditions[0].filters[0]",
		`{"conditions":[{"filters":[{"hst":"x"}]}]}`:                                               "conditions[0].filters[0].hst",
		`{"conditions":[{"filters":[{"host":1}]}]}`:                                                "conditions[0].filters[0].host",
		`{"conditions":[{"filters":[{"header":{"v":1}}]}]}`:                                        "conditions[0].filters[0].header",
		`{"conditions":[{"filters":[{"host":"a"},{"host":"x","service":"y"}]}]}`:                   "conditions[0].filters[1].service",
		`{"conditions":[{"filters":[{"operator":"REGEX","host":"("}]}]}`:                           "conditions[0].filters[0].host",
		`{"conditions":[{"filters":[{"operator":"LIKE","host":"("}]}]}`:                            "conditions[0].filters[0].operator",
		`{"conditions":[{"filters":[{"snapshotId":"x"}]}]}`:                                        "conditions[0].filters[0].snapshotId",
		`{"conditions":[{"filters":[{"reqFilter":{"key":"/a","type":"REQ_FILTER_TYPE_XPATH"}}]}]}`: "conditions[0].filters[0].reqFilter",
	} {
		_, err := filter.ParseJSON([]byte(data))
		je, ok := errors.AsType[*filter.JSONError](err)
		if !ok || je.Path != path {
			t.Errorf("%s: error %v, want one at %q", data, err, path)
		}
	}
}

func TestStandard(t *testing.T) {
	f := filter.Standard()
	if f.ID() != "standard" {
		t.Errorf("id is %q", f.ID())
	}
	sameFilter(t, f)
	if f.Excludes(pair()) {
		t.Error("excludes an ordinary pair")
	}
	for _, agent := range []string{"ELB-HealthChecker/2.0", "kube-probe/1.37", "Prometheus/3.1.0", "GoogleHC/1.0"} {
		p := pair()
		p.Http.Req.Headers[0].Value = agent
		if !f.Excludes(p) || !f.Head().Excludes(p) {
			t.Errorf("keeps %s", agent)
		}
	}
	for _, path := range []string{"/healthz", "/livez", "/readyz", "/hystrix.stream", "/actuator/hystrix.stream"} {
		p := pair()
		p.Location = path
		if !f.Excludes(p) {
			t.Errorf("keeps %s", path)
		}
	}
	p := pair()
	p.Http.Req.Host = "monitoring.eu-west-1.amazonaws.com"
	if !f.Excludes(p) {
		t.Errorf("keeps CloudWatch")
	}
}

func TestExcludesNothingWithoutConditions(t *testing.T) {
	empty, err := filter.Parse("")
	if err != nil {
		t.Fatal(err)
	}
	var none *filter.Filter
	if empty.Excludes(pair()) || none.Excludes(pair()) || empty.Head().Excludes(pair()) || none.Head().Excludes(pair()) {
		t.Error("a filter without conditions excludes pairs")
	}
	if !empty.Match(pair()) || none.Match(pair()) {
		t.Error("an empty filter matches all, none matches nothing")
	}
}

func TestSampleKeepsSessionsWhole(t *testing.T) {
	f, err := filter.Parse(`sample "1/5"`)
	if err != nil {
		t.Fatal(err)
	}
	kept := 0
	for s := range 5000 {
		p := pair()
		p.Session = fmt.Sprintf("session-%d", s)
		first := f.Match(p)
		for range 3 {
			p.Uuid = traffic.NewUUID()
			if f.Match(p) != first {
				t.Fatal("a session is split")
			}
		}
		if first {
			kept++
		}
	}
	if kept < 900 || kept > 1100 {
		t.Errorf("kept %d of 5000 sessions, want about 1000", kept)
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	f, err := filter.Parse(`(service NOT "x" AND header[User-Agent] CONTAINS "curl" AND url REGEX "items" AND tag[team] NOT "x" AND ` +
		`host IS "cart.shop" AND timerange "2026-01-01T00:00:00Z" "" AND req_json[items[1].sku] IS "xyz" AND sample "1/1")`)
	if err != nil {
		t.Fatal(err)
	}
	p := pair()
	if n := testing.AllocsPerRun(100, func() {
		if !f.Match(p) {
			t.Fatal("no match")
		}
	}); n != 0 {
		t.Errorf("%v allocations a match", n)
	}
}

func BenchmarkStandard(b *testing.B) {
	f, p := filter.Standard(), pair()
	b.ReportAllocs()
	for b.Loop() {
		f.Excludes(p)
	}
}
