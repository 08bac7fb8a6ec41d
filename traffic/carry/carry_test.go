package carry_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/carry"
)

// message is METHOD URI, or a status, then fields, an empty line and a body.
func message(text string) (start string, headers []*traffic.Header, body []byte) {
	head, rest, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		headers = append(headers, &traffic.Header{Name: name, Value: value})
	}
	return lines[0], headers, []byte(rest)
}

func response(text string) *traffic.HTTPResponse {
	start, headers, body := message(text)
	r := &traffic.HTTPResponse{Headers: headers, Body: body, BodySize: int64(len(body))}
	fmt.Sscan(start, &r.StatusCode)
	return r
}

// pair is number n of a session: a second after the one before, done in a
// millisecond.
func pair(n int, session, req, res string) *traffic.RRPair {
	start, headers, body := message(req)
	method, uri, _ := strings.Cut(start, " ")
	return &traffic.RRPair{
		Ts: int64(n+1) * 1e9, Duration: 1e6, Session: session,
		Http: &traffic.HTTP{
			Req: &traffic.HTTPRequest{Method: method, Uri: uri, Headers: headers, Body: body, BodySize: int64(len(body))},
			Res: response(res),
		},
	}
}

func written(r *traffic.HTTPRequest) string {
	if r == nil {
		return ""
	}
	text := r.Method + " " + r.Uri
	for _, h := range r.Headers {
		text += "\n" + h.Name + ": " + h.Value
	}
	if len(r.Body) > 0 {
		text += "\n\n" + string(r.Body)
	}
	return text
}

// run replays pairs whose responses are observed in place of the recorded ones, and
// returns the last request as it is sent.
func run(observed []string, pairs ...*traffic.RRPair) (*traffic.HTTPRequest, []carry.Outcome) {
	plan := carry.Find(pairs, nil)
	values := plan.NewValues()
	for i, p := range pairs {
		links := plan.Pairs[i]
		if links == nil {
			continue
		}
		if i == len(pairs)-1 {
			return links.Request(values, p.Http.Req)
		}
		if observed[i] == "" {
			links.NoResponse(values)
		} else {
			links.Response(values, p.Http.Res, response(observed[i]))
		}
	}
	return nil, nil
}

func TestWhereValuesComeFromAndGoTo(t *testing.T) {
	const jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl"
	for name, tt := range map[string]struct{ res, seen, req, want string }{
		"JSON to a header": {`200` + "\n\n" + `{"a":{"token":"` + jwt + `"}}`, `200` + "\n\n" + `{"a":{"token":"new"}}`,
			"GET /\nAuthorization: Bearer " + jwt, "GET /\nAuthorization: Bearer new"},
		"cookie": {"200\nSet-Cookie: sid=abcd1234efgh; Path=/", "200\nSet-Cookie: sid=new; Path=/other",
			"GET /\nCookie: a=b; sid=abcd1234efgh; c=d", "GET /\nCookie: a=b; sid=new; c=d"},
		"cookie to a field": {"200\nSet-Cookie: XSRF-TOKEN=abcd1234efgh", "200\nSet-Cookie: XSRF-TOKEN=new",
			"GET /\nX-XSRF-Token: abcd1234efgh", "GET /\nX-XSRF-Token: new"},
		"field to a path": {"201\nX-Id: 6f1b2c3d-0001", "201\nX-Id: a b/c", "GET /items/6f1b2c3d-0001/parts", "GET /items/a%20b%2Fc/parts"},
		"to a query":      {"200\n\n" + `["x",{"cursor":"Zm9vYmFyMTIz"}]`, "200\n\n" + `["y",{"cursor":"a&b"}]`, "GET /?c=Zm9vYmFyMTIz&d=1", "GET /?c=a%26b&d=1"},
		"to a form": {"200\nX-Csrf: aaaa1111bbbb", "200\nX-Csrf: n=w",
			"POST /\nContent-Type: application/x-www-form-urlencoded\n\na=1&csrf=aaaa1111bbbb", "POST /\nContent-Type: application/x-www-form-urlencoded\n\na=1&csrf=n%3Dw"},
		"to JSON": {"200\n\n" + `{"id":"ord_123456"}`, "200\n\n" + `{"id":"ord_\"7"}`, "POST /\n\n" + `{"x":1, "order": "ord_123456"}`, "POST /\n\n" + `{"x":1, "order": "ord_\"7"}`},
		"a number to JSON": {"200\n\n" + `{"number":81726354}`, "200\n\n" + `{"number":99}`,
			"POST /\n\n" + `{"n":81726354,"s":"81726354"}`, "POST /\n\n" + `{"n":99,"s":"99"}`},
		"a text in the place of a number": {"200\n\n" + `{"number":81726354}`, "200\n\n" + `{"number":"x9"}`, "POST /\n\n" + `{"n":81726354}`, "POST /\n\n" + `{"n":"x9"}`},
		"a part of a text": {"200\n\n" + `{"id":"ord_123456"}`, "200\n\n" + `{"id":"ord_7"}`,
			"POST /\n\n" + `{"urn":"shop:ord_123456:open"}`, "POST /\n\n" + `{"urn":"shop:ord_7:open"}`},
		"the end of a Location": {"201\nLocation: http://a:1/orders/17", "201\nLocation: https://b/orders/4", "GET /orders/17", "GET /orders/4"},
		"ETag":                  {"200\nETag: \"abc123def456\"", "200\nETag: \"v2\"", "PUT /\nIf-Match: \"abc123def456\"", "PUT /\nIf-Match: \"v2\""},
		"a name that tells of what": {"200\n\n" + `{"cart":{"orderId":17}}`, "200\n\n" + `{"cart":{"orderId":4}}`,
			"POST /pay\n\n" + `{"order_id":17,"count":17}`, "POST /pay\n\n" + `{"order_id":4,"count":17}`},
		"masked": {"200\n\n" + `{"t":"REDACTED-JWT-0123456789abcdef01234567"}`, "200\n\n" + `{"t":"` + jwt + `"}`,
			"GET /\nAuthorization: Bearer REDACTED-JWT-0123456789abcdef01234567", "GET /\nAuthorization: Bearer " + jwt},
		"a page": {"200\nContent-Type: text/html\n\n<p>7 o'clock</p><input name=\"csrf\" value=\"aaaa1111bbbb\">", "200\nContent-Type: text/html\n\n<p>8 o'clock</p><input name=\"csrf\" value=\"new\">",
			"GET /?csrf=aaaa1111bbbb", "GET /?csrf=new"},
	} {
		t.Run(name, func(t *testing.T) {
			got, outcomes := run([]string{tt.seen}, pair(0, "a", "POST /things", tt.res), pair(1, "b", tt.req, "200"))
			if diff := cmp.Diff(tt.want, written(got)); diff != "" {
				t.Errorf("%s\n%+v", diff, outcomes)
			}
			for _, o := range outcomes {
				if o.Missing != "" {
					t.Errorf("%+v", o)
				}
			}
		})
	}
}

func TestWhatIsNotCarried(t *testing.T) {
	for name, tt := range map[string]struct{ before, res, req string }{
		"the client's own value": {`POST /` + "\n\n" + `{"key":"mine-12345"}`, "200\n\n" + `{"key":"mine-12345"}`, "GET /x/mine-12345"},
		"a word":                 {"GET /", "200\n\n" + `{"state":"confirmed"}`, "POST /\n\n" + `{"state":"confirmed"}`},
		"a date":                 {"GET /", "200\n\n" + `{"day":"2026-11-28"}`, "GET /?day=2026-11-28"},
		"a short number":         {"GET /", "200\n\n" + `{"count":17}`, "GET /pages/17"},
		"a short id elsewhere":   {"POST /orders", "201\n\n" + `{"id":17}`, "GET /pages/17"},
		"another's id":           {"POST /orders", "201\n\n" + `{"customerId":17}`, "GET /orders/17"},
		"an address":             {"GET /", "200\n\n" + `{"ip":"10.20.30.40"}`, "GET /?ip=10.20.30.40"},
		"a masked short number":  {"POST /orders", "201\n\n" + `{"id":1000}`, "GET /orders/1000"},
		"a media type":           {"GET /", "200\n\n" + `{"type":"application/vnd.v2+json"}`, "GET /\nX-Type: application/vnd.v2+json"},
	} {
		t.Run(name, func(t *testing.T) {
			plan := carry.Find([]*traffic.RRPair{pair(0, "a", tt.before, tt.res), pair(1, "a", tt.req, "200")}, nil)
			if links := plan.Pairs[1]; links != nil {
				_, outcomes := links.Request(plan.NewValues(), pair(1, "a", tt.req, "200").Http.Req)
				t.Errorf("%+v", *outcomes[0].Route)
			}
		})
	}
}

// A session that has a value of its own does not take another's.
func TestASessionTakesItsOwnValue(t *testing.T) {
	login := func(n int, session string) *traffic.RRPair {
		return pair(n, session, "GET /catalog", "200\n\n"+`{"item":"item-12345"}`)
	}
	got, _ := run([]string{"200\n\n" + `{"item":"of-a"}`, "200\n\n" + `{"item":"of-b"}`},
		login(0, "a"), login(1, "b"), pair(2, "b", "GET /items/item-12345", "200"))
	if written(got) != "GET /items/of-b" {
		t.Errorf("%v", got)
	}
	plan := carry.Find([]*traffic.RRPair{login(0, "a"), login(1, "b"), pair(2, "b", "GET /items/item-12345", "200")}, nil)
	if needs := plan.Pairs[2].Needs; !cmp.Equal(needs, []int{1}) {
		t.Errorf("needs %v", needs)
	}
}

// The first response decides; later ones only where it did not. The last cookie counts.
func TestWhichResponseDecides(t *testing.T) {
	const list, made = "200\n\n" + `{"all":[{"ref":"ref-12345"}]}`, "201\n\n" + `{"ref":"ref-12345"}`
	requests := []*traffic.RRPair{pair(0, "a", "POST /", made), pair(1, "a", "GET /", list), pair(2, "a", "GET /ref-12345", "200")}
	for name, tt := range map[string]struct {
		observed []string
		want     string
	}{
		"first": {[]string{"201\n\n" + `{"ref":"one"}`, "200\n\n" + `{"all":[{"ref":"two"}]}`}, "GET /one"},
		"later": {[]string{"500\n\n" + `{"ref":"trouble"}`, "200\n\n" + `{"all":[{"ref":"two"}]}`}, "GET /two"},
		"none":  {[]string{"", "200\n\n[]"}, ""},
	} {
		if got, outcomes := run(tt.observed, requests...); written(got) != tt.want {
			t.Errorf("%s: %s, %+v", name, written(got), outcomes)
		}
	}
	const set = "200\nSet-Cookie: sid=abcd1234"
	got, _ := run([]string{"200\nSet-Cookie: sid=one", "200\nSet-Cookie: sid=two"},
		pair(0, "a", "GET /", set), pair(1, "a", "GET /", set), pair(2, "a", "GET /\nCookie: sid=abcd1234", "200"))
	if written(got) != "GET /\nCookie: sid=two" {
		t.Errorf("%s", written(got))
	}
}

func TestWhyTheRecordedValueStands(t *testing.T) {
	for observed, want := range map[string]string{
		"":                                       carry.MissingResponse,
		"401\n\n" + `{"id":"err-1"}`:             carry.MissingStatus,
		"200\n\n{}":                              carry.MissingValue,
		"200\n\n" + `{"id":""}`:                  carry.MissingValue,
		"200\n\n" + `{"id":"a\r\nEvil: header"}`: carry.MissingForm,
	} {
		got, outcomes := run([]string{observed}, pair(0, "a", "GET /", "200\n\n"+`{"id":"ord_123456"}`), pair(1, "a", "GET /\nX-Order: ord_123456", "200"))
		if got != nil || len(outcomes) != 1 || outcomes[0].Missing != want {
			t.Errorf("%q: %v, %+v", observed, written(got), outcomes)
		}
	}
}

// What differs by carried values alone is as recorded; what differs otherwise stays.
func TestResponsesAreComparedWithoutCarriedValues(t *testing.T) {
	pairs := []*traffic.RRPair{
		pair(0, "a", "POST /orders", "201\nLocation: http://a/orders/ord_123456\n\n"+`{"id":"ord_123456","state":"new"}`),
		pair(1, "a", "GET /orders/ord_123456", "200\n\n"+`{"id":"ord_123456","self":"/orders/ord_123456","text":"ord_123456"}`),
	}
	plan := carry.Find(pairs, nil)
	values := plan.NewValues()
	made, _ := plan.Pairs[0].Response(values, pairs[0].Http.Res, response("201\nLocation: http://b:2/orders/ord_7\n\n"+`{"id":"ord_7","state":"old"}`))
	if got := made.Headers[0].Value + string(made.Body); got != `http://b:2/orders/ord_123456{"id":"ord_123456","state":"old"}` {
		t.Error(got)
	}
	shown, outcomes := plan.Pairs[1].Response(values, pairs[1].Http.Res, response("200\n\n"+`{ "id":"ord_7","self":"/orders/ord_7","text":"ord_8"}`))
	if got := string(shown.Body); got != `{ "id":"ord_123456","self":"/orders/ord_123456","text":"ord_8"}` || len(outcomes) != 2 {
		t.Error(got, outcomes)
	}
}

// FuzzFind carries between whatever responses and requests there are. Where the
// response is as recorded the request is too, and whatever it is, nothing panics.
func FuzzFind(f *testing.F) {
	f.Add("200\nSet-Cookie: sid=abcd1234efgh\n\n"+`{"id":"ord_123456","n":[81726354]}`, "POST /orders/ord_123456?n=81726354\nCookie: sid=abcd1234efgh\n\n"+`{"a":"ord_123456"}`, "new")
	f.Add("201\nLocation: /orders/17\n\n<p>aaaa1111bbbb</p>", "GET /orders/17\nX: aaaa1111bbbb, 2", "5")
	f.Add("200\n\n"+`{"orderId":17,"a.b":{"['":"abcdefgh1"}}`, "POST /\nContent-Type: application/x-www-form-urlencoded\n\norder_id=17&x=abcdefgh1%20", "x y")
	f.Fuzz(func(t *testing.T, res, req, replacement string) {
		pairs := []*traffic.RRPair{pair(0, "a", "POST /orders", res), pair(1, "b", req, res)}
		plan := carry.Find(pairs, nil)
		first, second := plan.Pairs[0], plan.Pairs[1]
		if first == nil || second == nil {
			return
		}
		values := plan.NewValues()
		if same, _ := first.Response(values, pairs[0].Http.Res, response(res)); string(same.Body) != string(pairs[0].Http.Res.Body) {
			t.Fatalf("%q becomes %q", pairs[0].Http.Res.Body, same.Body)
		}
		if sent, outcomes := second.Request(values, pairs[1].Http.Req); sent != nil {
			t.Fatalf("%q is sent as %q: %+v", req, written(sent), outcomes)
		}
		values = plan.NewValues()
		first.Response(values, pairs[0].Http.Res, response(strings.ReplaceAll(res, "1", replacement)))
		if sent, _ := second.Request(values, pairs[1].Http.Req); sent != nil && written(sent) == written(pairs[1].Http.Req) {
			t.Fatalf("changed, and the same: %q", written(sent))
		}
	})
}
