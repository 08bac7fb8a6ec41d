package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/compare"
	"github.com/speedscale/speedscale/traffic/report"
	"github.com/speedscale/speedscale/traffic/signature"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

func pair(method, uri string, status int32, body string) *traffic.RRPair {
	return &traffic.RRPair{
		Uuid: []byte{1, 2, 3}, Duration: 20e6, Location: strings.Split(uri, "?")[0], Command: method,
		Http: &traffic.HTTP{
			Req: &traffic.HTTPRequest{Method: method, Host: "shop", Uri: uri},
			Res: &traffic.HTTPResponse{
				StatusCode: status, Body: []byte(body), BodySize: int64(len(body)),
				Headers: []*traffic.Header{{Name: "Content-Type", Value: "text/plain"}},
			},
		},
	}
}

var errRefused = errors.New("connection refused")

// build makes a report of 100 requests, of which 10 fail and 5 get no response.
func build(t *testing.T, opts report.Options) *report.Report {
	t.Helper()
	start := time.Now().Add(-10 * time.Second)
	opts.Started, opts.Target = start, "http://shop:8080"
	b := report.NewBuilder(&snapshot.Meta{ID: "s-1", Info: snapshot.Info{Name: "nightly"}}, opts)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			r := report.Result{
				Recorded: pair("GET", fmt.Sprintf("/orders/%d?q=<script>", i), 200, `{"n":1}`),
				Observed: pair("GET", "", 200, `{"n":2}`),
				At:       start.Add(time.Duration(i) * 50 * time.Millisecond), Planned: time.Duration(i+1) * time.Millisecond, Sent: time.Duration(i+1) * time.Millisecond / 2,
			}
			switch {
			case i < 10:
				r.Differences = []compare.Difference{{Location: "http.res.body.n", Kind: compare.Changed, Recorded: "1", Observed: "2<b>|`x`"}}
			case i < 15:
				r.Recorded.Http.Req.Method = "POST"
				r.Observed, r.Err = nil, errRefused
			}
			b.AddResult(r)
		})
	}
	wg.Wait()
	b.Skip("the body was cut")
	b.Skip("the body was cut")
	b.Warn("responses were not compared with the masking key")
	for i := range 3 {
		b.AddMock(report.MockResult{Request: pair("GET", "/rates", 200, ""), Outcome: []report.Outcome{report.Match, report.Passthrough, report.NoMatch}[i]})
	}
	b.AddMock(report.MockResult{
		Request: pair("GET", "/rates/7", 404, ""), Outcome: report.NoMatch, Nearest: pair("GET", "/rates/8", 200, ""),
		Fields: []signature.Field{{Key: "http:url", Want: "/rates/8", Got: "/rates/7"}},
	})
	for i := range 3 {
		b.AddUsage("shop-1", "app", report.UsageSample{Time: start.Add(time.Duration(i) * time.Second), CPU: int64(100 * i), Memory: int64(i) << 20})
	}
	b.AddClusterEvent(report.ClusterEvent{Type: "Warning", Reason: "BackOff", Object: "Pod/shop-1", Message: "<b>restarting|", Count: 3, Time: start})
	b.SetNoise([]compare.Noise{{Method: "GET", Path: "/orders/{id}", Location: "http.res.body.at", Pairs: 3}})
	return b.Finish()
}

func TestReportSumsUp(t *testing.T) {
	goals, err := report.ParseGoals("latency.p95 > 90, requests.failed >= 16")
	if err != nil {
		t.Fatal(err)
	}
	r := build(t, report.Options{Goals: goals, BuildTag: "pr-42"})
	if r.Verdict() != report.MissedGoals || r.Name != "nightly" || r.Snapshot.ID != "s-1" {
		t.Errorf("verdict %q of %q on %q", r.Verdict(), r.Name, r.Snapshot.ID)
	}
	if diff := cmp.Diff(report.Requests{Sent: 100, Passed: 85, Failed: 10, Errors: 5, Skipped: 2}, r.Requests); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if r.SuccessRate != 85 {
		t.Errorf("success rate is %v", r.SuccessRate)
	}
	// 95 responses: planned latencies of 1 to 10 and 16 to 100 ms.
	for name, v := range map[string][2]float64{
		"count": {float64(r.Latency.Planned.Count), 95}, "min": {r.Latency.Planned.Min, 1}, "p50": {r.Latency.Planned.P50, 53}, "p95": {r.Latency.Planned.P95, 95},
		"max": {r.Latency.Planned.Max, 100}, "sent max": {r.Latency.Sent.Max, 50}, "recorded": {r.Latency.Recorded.P99, 20},
	} {
		if math.Abs(v[0]-v[1]) > 0.01*v[1] {
			t.Errorf("%s is %v, want %v", name, v[0], v[1])
		}
	}
	sum := int64(0)
	for _, b := range r.Latency.Distribution {
		sum += b.Count
	}
	ticks := int64(0)
	for _, tick := range r.Throughput.Timeline {
		ticks += tick.Requests
	}
	if sum != 95 || ticks != 100 {
		t.Errorf("%d latencies are in the distribution, %d requests in the timeline; want 95 and 100", sum, ticks)
	}
	if len(r.Endpoints) != 2 || r.Endpoints[0].Path != "/orders/{id}" || r.Endpoints[0].Failed != 10 || r.Endpoints[0].First == nil || r.Endpoints[1].Error != "connection refused" {
		t.Errorf("endpoints are %+v", r.Endpoints)
	}
	if len(r.Failures) != 10 {
		t.Errorf("%d failures are kept, want 5 for each of 2 endpoints", len(r.Failures))
	}
	if diff := cmp.Diff([]report.GoalResult{
		{Goal: goals[0], Actual: r.Latency.Planned.P95, Status: report.Fail}, {Goal: goals[1], Actual: 15, Status: report.Pass},
	}, r.Goals); diff != "" {
		t.Errorf("goals (-want +got):\n%s", diff)
	}
	m := r.Mocks
	if m.Requests != 4 || m.Matched != 1 || m.Passthrough != 1 || m.Missed != 2 || m.MatchRate != 25 || len(m.Misses) != 2 || m.Misses[1].Nearest != "GET shop/rates/8" {
		t.Errorf("mocks are %+v", m)
	}
	if diff := cmp.Diff([]report.Skip{{Reason: "the body was cut", Count: 2}}, r.Skipped); diff != "" {
		t.Errorf("skipped (-want +got):\n%s", diff)
	}
}

func TestVerdicts(t *testing.T) {
	ok := report.Result{Recorded: pair("GET", "/", 200, ""), Observed: pair("GET", "/", 200, ""), At: time.Now()}
	failed := ok
	failed.Differences = []compare.Difference{{Location: "http.res.statusCode"}}
	goal := report.Options{Goals: []report.Goal{{Metric: "requests.failed", Op: ">", Value: 5}}}
	for _, c := range []struct {
		name string
		opts report.Options
		do   func(*report.Builder)
		want report.Status
	}{
		{"all pass", report.Options{}, func(b *report.Builder) { b.AddResult(ok) }, report.Passed},
		{"a failure without goals", report.Options{}, func(b *report.Builder) { b.AddResult(ok); b.AddResult(failed) }, report.MissedGoals},
		{"a failure within the goals", goal, func(b *report.Builder) { b.AddResult(failed) }, report.Passed},
		{"nothing sent", report.Options{}, func(*report.Builder) {}, report.Error},
		{"mocks only", report.Options{}, func(b *report.Builder) {
			b.AddMock(report.MockResult{Request: ok.Recorded, Outcome: report.Match})
		}, report.Passed},
		{"canceled", report.Options{}, func(b *report.Builder) { b.AddResult(ok); b.Cancel("by the user") }, report.Canceled},
		{"an error before the cancel", report.Options{}, func(b *report.Builder) { b.Fail(errRefused); b.Cancel("by the user") }, report.Error},
	} {
		b := report.NewBuilder(nil, c.opts)
		c.do(b)
		if got := b.Finish(); got.Verdict() != c.want || c.want == report.Error && got.Error == "" {
			t.Errorf("%s: %q (%q), want %q", c.name, got.Verdict(), got.Error, c.want)
		}
	}
}

func TestIncompleteSnapshotIsAWarning(t *testing.T) {
	for reason, want := range map[string]bool{traffic.ReasonBudget: true, traffic.ReasonFiltered: false} {
		meta := &snapshot.Meta{ID: "s", Losses: []snapshot.Loss{{Reason: reason, Pairs: 4}}}
		b := report.NewBuilder(meta, report.Options{})
		b.AddResult(report.Result{Recorded: pair("GET", "/", 200, ""), Observed: pair("GET", "/", 200, ""), At: time.Now()})
		r := b.Finish()
		if got := strings.Contains(strings.Join(r.Warnings, " "), "incomplete"); got != want || len(r.Losses) != 1 {
			t.Errorf("%s: warnings are %q, losses %v", reason, r.Warnings, r.Losses)
		}
	}
}

func TestBuilderIsBounded(t *testing.T) {
	b := report.NewBuilder(nil, report.Options{})
	bad := []compare.Difference{{Location: "x"}}
	start := time.Now()
	for i := range 5000 {
		path := "/" + strings.Repeat("a", i%1000+1)
		b.AddResult(report.Result{Recorded: pair("GET", path, 200, strings.Repeat("x", 10_000)), Observed: pair("GET", path, 200, ""), Differences: bad, At: start.Add(time.Duration(i) * time.Minute)})
		b.Warn(path)
		b.Skip(path)
		b.AddMock(report.MockResult{Request: pair("GET", path, 200, ""), Outcome: report.NoMatch})
	}
	r := b.Finish()
	var out bytes.Buffer
	if err := r.WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	if len(r.Endpoints) > 201 || len(r.Warnings) > 51 || len(r.Skipped) > 51 || len(r.Mocks.Misses) > 200 || len(r.Throughput.Timeline) > 240 || out.Len() > 5<<20 {
		t.Errorf("%d endpoints, %d warnings, %d skips, %d misses, %d ticks, %d bytes", len(r.Endpoints), len(r.Warnings), len(r.Skipped), len(r.Mocks.Misses), len(r.Throughput.Timeline), out.Len())
	}
	total, ticks := int64(0), int64(0)
	for _, e := range r.Endpoints {
		total += e.Requests
	}
	for _, tick := range r.Throughput.Timeline {
		ticks += tick.Requests
	}
	if total != 5000 || ticks != 5000 || r.Requests.Skipped != 5000 || r.Mocks.Missed != 5000 {
		t.Errorf("counts are lost: %d by endpoint, %d by time, %d skipped, %d missed", total, ticks, r.Requests.Skipped, r.Mocks.Missed)
	}
}

func TestJSONIsReadBack(t *testing.T) {
	r := build(t, report.Options{Tags: map[string]string{"a": "b"}})
	var out bytes.Buffer
	if err := r.WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	again, err := report.Parse(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, again); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var names map[string]json.RawMessage
	if err := json.Unmarshal(out.Bytes(), &names); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"id", "name", "status", "snapshot", "successRate", "requests", "latency", "throughput", "mocks", "endpoints", "failures", "noise", "skipped", "warnings", "usage", "clusterEvents"} {
		if names[name] == nil {
			t.Errorf("the JSON has no %s", name)
		}
	}
	if _, err := report.Parse([]byte(`{"version":9}`)); err == nil || !strings.Contains(err.Error(), "9") {
		t.Errorf("unknown version: %v", err)
	}
	if s := r.Summary(); s.Endpoints != nil || s.Failures != nil || s.Requests != r.Requests || r.Endpoints == nil {
		t.Error("the summary is not one, or changed the report")
	}
}

func TestJUnit(t *testing.T) {
	r := build(t, report.Options{Goals: []report.Goal{{Metric: "latency.max", Op: ">", Value: 10}}})
	var out bytes.Buffer
	if err := r.WriteJUnit(&out); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
		Cases    []struct {
			Name    string `xml:"name,attr"`
			Failure *struct {
				Message string `xml:"message,attr"`
				Text    string `xml:",chardata"`
			} `xml:"failure"`
			Error *struct{} `xml:"error"`
		} `xml:"testsuite>testcase"`
	}
	if err := xml.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Tests != 3 || got.Failures != 2 || got.Errors != 1 || len(got.Cases) != 3 {
		t.Fatalf("suites are %+v", got)
	}
	if f := got.Cases[0].Failure; got.Cases[0].Name != "GET /orders/{id}" || !strings.Contains(f.Message, "http.res.body.n: recorded 1, observed 2<b>") || !strings.Contains(f.Text, "/orders/") {
		t.Errorf("first case is %+v, %+v", got.Cases[0], f)
	}
}

func TestMarkdownShowsTrafficAsCode(t *testing.T) {
	var out bytes.Buffer
	if err := build(t, report.Options{Name: "a*b"}).WriteMarkdown(&out); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, want := range []string{
		`# a\*b: Missed Goals`, "| `GET /orders/{id}` | 95 | 10 |", "## Mocks", "- 2: the body was cut", "`http.res.body.at` in `GET /orders/{id}`",
		"`` http.res.body.n: recorded 1, observed 2<b>\\|`x` ``",
		"| `shop-1/app` | 0 | 100 | 200 | 0.0 | 1.0 | 2.0 |", "- Warning BackOff `Pod/shop-1`, 3 times: `<b>restarting\\|`",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
}

func TestHTMLIsSelfContainedAndEscaped(t *testing.T) {
	var out bytes.Buffer
	if err := build(t, report.Options{Name: "</title><script>alert(1)</script>"}).WriteHTML(&out); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, never := range []string{"<script", "<b>|", "http-equiv=\"refresh", "src=", "@import", "url(", "<link"} {
		if strings.Contains(text, never) {
			t.Errorf("the page has %q", never)
		}
	}
	for _, want := range []string{"&lt;script&gt;", "2&lt;b&gt;|", "<svg", "/orders/{id}", "prefers-color-scheme: dark", "connection refused", "Nearest recorded request", "shop-1/app", "at 2s: 200 millicores, 2.0 MiB", "&lt;b&gt;restarting"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	// Every element that is opened is closed.
	dec := xml.NewDecoder(strings.NewReader(text))
	dec.Strict, dec.AutoClose, dec.Entity = false, []string{"meta"}, xml.HTMLEntity
	depth := 0
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch tok.(type) {
		case xml.StartElement:
			depth++
		case xml.EndElement:
			depth--
		}
	}
	if depth != 0 {
		t.Errorf("%d elements are not closed", depth)
	}
}

func TestBodiesInFailuresAreReadableAndBounded(t *testing.T) {
	for body, want := range map[string]string{
		"plain\n":                       "plain\n",
		"\x00\xff":                      `2 bytes: "\x00\xff"`,
		strings.Repeat("é", 5000):       strings.Repeat("é", 2048),
		"a" + strings.Repeat("é", 5000): "a" + strings.Repeat("é", 2047),
	} {
		b := report.NewBuilder(nil, report.Options{})
		b.AddResult(report.Result{Recorded: pair("GET", "/", 200, body), Err: errRefused, At: time.Now()})
		m := b.Finish().Failures[0].Recorded
		if m.Body != want || m.Cut != (len(body) > 4096) {
			t.Errorf("body is %.40q (%d bytes, cut %v), want %.40q (%d)", m.Body, len(m.Body), m.Cut, want, len(want))
		}
	}
}

func BenchmarkAddResult(b *testing.B) {
	builder := report.NewBuilder(nil, report.Options{})
	r := report.Result{Recorded: pair("GET", "/orders/42/items", 200, ""), Observed: pair("GET", "/orders/42/items", 200, ""), At: time.Now(), Planned: time.Millisecond, Sent: time.Millisecond}
	b.ReportAllocs()
	for b.Loop() {
		builder.AddResult(r)
	}
}
