package report_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/speedscale/speedscale/traffic/carry"
	"github.com/speedscale/speedscale/traffic/compare"
	"github.com/speedscale/speedscale/traffic/report"
	"github.com/speedscale/speedscale/traffic/signature"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

// contribution is one thing that an agent tells a builder.
type contribution func(b *report.Builder)

// contributions are what the agents of a replay see, in the order of time.
func contributions(r *rand.Rand, start time.Time) []contribution {
	var list []contribution
	add := func(c contribution) { list = append(list, c) }
	span := time.Duration(1+r.IntN(2000)) * time.Second
	n := 1 + r.IntN(300)
	for i := range n {
		at := start.Add(span*time.Duration(i)/time.Duration(n) + time.Duration(i))
		result := report.Result{
			Recorded: pair([]string{"GET", "POST"}[r.IntN(2)], fmt.Sprintf("/%s/%d", []string{"orders", "items", "users"}[r.IntN(3)], r.IntN(1000)), 200, "{}"),
			Observed: pair("GET", "/", 200, "{}"), At: at,
			Planned: time.Duration(r.ExpFloat64() * float64(50*time.Millisecond)), Sent: time.Duration(r.ExpFloat64() * float64(20*time.Millisecond)),
		}
		result.Recorded.Duration = int64(r.ExpFloat64() * float64(10*time.Millisecond))
		switch r.IntN(10) {
		case 0:
			result.Observed, result.Err = nil, fmt.Errorf("reset %d", i)
		case 1:
			result.Differences = []compare.Difference{{Location: "http.res.body.n", Kind: compare.Changed, Recorded: "1", Observed: fmt.Sprint(i)}}
		}
		for range r.IntN(3) {
			result.Carried = append(result.Carried, carry.Outcome{
				Route:   &carry.Route{From: "POST /login", To: fmt.Sprint("GET /", r.IntN(5))},
				Missing: []string{"", "", carry.MissingValue, carry.MissingResponse}[r.IntN(4)],
			})
		}
		add(func(b *report.Builder) { b.AddResult(result) })
		text, route, outcome := fmt.Sprint(r.IntN(5)), fmt.Sprintf("/rates/of/%c", 'a'+rune(r.IntN(5))), []report.Outcome{report.Match, report.NoMatch, report.Passthrough}[r.IntN(3)]
		switch r.IntN(6) {
		case 0:
			add(func(b *report.Builder) { b.Skip("reason " + text) })
		case 1:
			add(func(b *report.Builder) { b.Warn("warning " + text) })
		case 2:
			add(func(b *report.Builder) {
				b.AddMock(report.MockResult{
					Request: pair("GET", route, 404, ""), Outcome: outcome, Nearest: pair("GET", "/rates", 200, ""),
					Fields: []signature.Field{{Key: "http:url", Want: "/rates", Got: route}},
				})
			})
		case 3:
			s := report.UsageSample{Time: at, CPU: r.Int64N(1000), Memory: r.Int64N(1 << 30)}
			add(func(b *report.Builder) { b.AddUsage("pod-"+text, "app", s) })
		case 4:
			e := report.ClusterEvent{Type: "Warning", Reason: "BackOff", Object: "Pod/" + text, Message: "restarting", Count: int32(i), Time: at}
			add(func(b *report.Builder) { b.AddClusterEvent(e) })
		case 5:
			from := report.Received{Address: "10.0.0." + text, Requests: r.Int64N(10), Connections: r.Int64N(2)}
			add(func(b *report.Builder) { b.AddReceived(from) })
			add(func(b *report.Builder) { b.SendFrom([]string{"10.0.0.1"}) })
		}
	}
	return list
}

// TestMergedPartsAreOneReport: whichever agent saw what, the report is the one of a
// single builder that saw everything.
func TestMergedPartsAreOneReport(t *testing.T) {
	meta := &snapshot.Meta{ID: "s-1", Info: snapshot.Info{Name: "nightly"}, Vanished: []string{"p"}}
	start := time.Now().Add(-time.Hour).Round(0)
	goals, err := report.ParseGoals("latency.p95 > 100, requests.failed > 20")
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		o := report.Options{ID: "id", Started: start, Target: "http://shop", Goals: goals, MaxFailures: 1 + r.IntN(8)}
		one := report.NewBuilder(meta, o)
		split := make([]*report.Builder, 1+r.IntN(4))
		for i := range split {
			split[i] = report.NewBuilder(meta, report.Options{Started: start.Add(time.Duration(r.IntN(100)) * time.Microsecond), MaxFailures: o.MaxFailures})
		}
		for _, c := range contributions(r, start.Add(time.Millisecond)) {
			c(one)
			c(split[r.IntN(len(split))])
		}
		noise := []compare.Noise{{Method: "GET", Path: "/orders/{id}", Location: "http.res.body.at", Pairs: 3}}
		one.SetNoise(noise)
		var parts []report.Part
		for i, b := range split {
			b.SetNoise(noise)
			parts = append(parts, sent(t, fmt.Sprintf("generator-%d", i), b.Part()))
		}
		merged, err := report.Merge(meta, parts, o)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(one.Finish(), merged, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("seed %d, %d parts: one builder's report and the merged one differ (-want +got):\n%s", seed, len(parts), diff)
		}
	}
}

// sent is a part on its way from an agent to the cloud.
func sent(t *testing.T, name string, p report.Part) report.Part {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	again, err := report.ParsePart(name, text)
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// TestPartWhileRunning: a part is what was gathered until then, and later results
// change nothing in it.
func TestPartWhileRunning(t *testing.T) {
	b := report.NewBuilder(nil, report.Options{})
	result := report.Result{Recorded: pair("GET", "/", 200, ""), Observed: pair("GET", "/", 200, ""), At: time.Now(), Sent: time.Millisecond}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 2000 {
			b.AddResult(result)
			b.AddUsage("p", "c", report.UsageSample{Time: time.Now()})
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		p := b.Part()
		r, err := report.Merge(nil, []report.Part{p}, report.Options{})
		if err != nil {
			t.Fatal(err)
		}
		ticks := int64(0)
		for _, tick := range p.Timeline.Ticks {
			ticks += tick.Requests
		}
		if n := p.Requests.Sent; r.Latency.Sent.Count != n || ticks != n || n > 0 && r.Endpoints[0].Requests != n {
			t.Fatalf("a part of %d requests has %d latencies, %d in its timeline, endpoints %+v", n, r.Latency.Sent.Count, ticks, r.Endpoints)
		}
	}
	if n := b.Part().Requests.Sent; n != 2000 {
		t.Errorf("%d requests at the end", n)
	}
}

func TestMergedVerdict(t *testing.T) {
	ok := report.NewBuilder(nil, report.Options{})
	ok.AddResult(report.Result{Recorded: pair("GET", "/", 200, ""), Observed: pair("GET", "/", 200, ""), At: time.Now()})
	canceled, failed := report.NewBuilder(nil, report.Options{}), report.NewBuilder(nil, report.Options{})
	canceled.Cancel("by the user")
	failed.Fail(errors.New("no route"))
	for _, c := range []struct {
		name  string
		parts []report.Part
		want  report.Status
		text  string
	}{
		{"one that passed", []report.Part{ok.Part()}, report.Passed, ""},
		{"canceled", []report.Part{ok.Part(), canceled.Part()}, report.Canceled, "by the user"},
		{"canceled before an error", []report.Part{canceled.Part(), failed.Part(), ok.Part()}, report.Error, "no route"},
		{"an error before canceled", []report.Part{failed.Part(), canceled.Part()}, report.Error, "no route"},
		{"none", nil, report.Error, "no request was sent"},
	} {
		r, err := report.Merge(nil, c.parts, report.Options{})
		if err != nil || r.Status != c.want || r.Error != c.text {
			t.Errorf("%s: %q (%q), %v; want %q (%q)", c.name, r.Status, r.Error, err, c.want, c.text)
		}
	}
}

// TestReplayBeginsWithItsFirstRequest: a collector that runs before the generator
// does not make the replay look slower.
func TestReplayBeginsWithItsFirstRequest(t *testing.T) {
	at := time.Now().Add(-time.Minute)
	collector := report.NewBuilder(nil, report.Options{Started: at})
	generator := report.NewBuilder(nil, report.Options{Started: at.Add(50 * time.Second)})
	for i := range 10 {
		generator.AddResult(report.Result{Recorded: pair("GET", "/", 200, ""), Observed: pair("GET", "/", 200, ""), At: at.Add(50*time.Second + time.Duration(i+1)*time.Second)})
	}
	r, err := report.Merge(nil, []report.Part{collector.Part(), generator.Part()}, report.Options{})
	if err != nil || r.Throughput.PerSecond < 0.99 || r.Throughput.PerSecond > 1.01 {
		t.Errorf("%v requests/s, %v; want 1", r.Throughput.PerSecond, err)
	}
}

func TestPartThatCannotBeRead(t *testing.T) {
	b := report.NewBuilder(nil, report.Options{})
	b.AddResult(report.Result{Recorded: pair("GET", "/", 200, ""), Observed: pair("GET", "/", 200, ""), At: time.Now(), Sent: time.Second})
	good, err := json.Marshal(b.Part())
	if err != nil {
		t.Fatal(err)
	}
	var endpoint struct {
		Endpoints []struct {
			Latency string `json:"latency"`
		} `json:"endpoints"`
	}
	if err := json.Unmarshal(good, &endpoint); err != nil {
		t.Fatal(err)
	}
	with := func(name, value string) string {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(good, &fields); err != nil {
			t.Fatal(err)
		}
		fields[name] = json.RawMessage(value)
		text, _ := json.Marshal(fields)
		return string(text)
	}
	for text, want := range map[string]string{
		"{":                            "unexpected end",
		with("version", "9"):           "version 9",
		with("status", `"Passed"`):     `status "Passed"`,
		with("sent", `"eNoB"`):         "histogram",
		with("requests", `{"sent":3}`): "do not add up",
		with("timeline", `{"ticks":[{"requests":1}]}`):         "interval 0",
		with("timeline", `{"interval":3}`):                     "interval 3",
		with("timeline", `{"interval":1,"first":-5}`):          "first tick -5",
		with("endpoints", "[null]"):                            "null",
		with("planned", `"`+endpoint.Endpoints[0].Latency+`"`): "2 digits, want 3",
	} {
		p, err := report.ParsePart("generator-1", []byte(text))
		if err == nil {
			_, err = report.Merge(nil, []report.Part{p}, report.Options{})
		}
		if err == nil || !strings.Contains(err.Error(), "generator-1") || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s…: error is %v, want one that names generator-1 and has %q", text, err, want)
		}
	}
}

func FuzzParsePart(f *testing.F) {
	b := report.NewBuilder(nil, report.Options{Started: time.Unix(1_800_000_000, 0)})
	b.AddResult(report.Result{Recorded: pair("GET", "/", 200, ""), Err: errRefused, At: time.Unix(1_800_000_001, 0), Sent: time.Second})
	b.AddUsage("p", "c", report.UsageSample{Time: time.Unix(1_800_000_002, 0), CPU: 7, Memory: 1 << 20})
	text, err := json.Marshal(b.Part())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := report.ParsePart("p", data)
		if err != nil {
			return
		}
		r, err := report.Merge(nil, []report.Part{p, p}, report.Options{})
		if err == nil && len(r.Throughput.Timeline) > 240 {
			t.Errorf("%d ticks", len(r.Throughput.Timeline))
		}
	})
}

func TestUsageAndClusterEventsAreBounded(t *testing.T) {
	b := report.NewBuilder(nil, report.Options{})
	start := time.Now()
	for i := range 1000 {
		b.AddUsage("pod", "app", report.UsageSample{Time: start.Add(time.Duration(i) * time.Second), CPU: int64(i), Memory: int64(2 * i)})
		b.AddUsage(fmt.Sprint("pod-", i), "app", report.UsageSample{Time: start})
		b.AddClusterEvent(report.ClusterEvent{Object: fmt.Sprint("Pod/", i), Count: 1, Time: start})
		b.AddClusterEvent(report.ClusterEvent{Object: "Pod/0", Count: int32(i), Time: start.Add(time.Duration(i) * time.Second)})
	}
	b.AddMock(report.MockResult{Request: pair("GET", "/", 200, ""), Outcome: report.Match})
	r := b.Finish()
	if len(r.Usage) != 100 || len(r.ClusterEvents) != 200 || len(r.Warnings) != 2 {
		t.Errorf("%d containers, %d events, warnings %q", len(r.Usage), len(r.ClusterEvents), r.Warnings)
	}
	u := r.Usage[0]
	if len(u.Samples) != 240 || u.Count != 1000 || u.CPU != (report.Gauge{Min: 0, Avg: 499, Max: 999, Sum: 499_500}) || u.Memory.Max != 1998 {
		t.Errorf("usage has %d samples of %d, CPU %+v, memory %+v", len(u.Samples), u.Count, u.CPU, u.Memory)
	}
	if last := r.ClusterEvents[len(r.ClusterEvents)-1]; last.Object != "Pod/0" || last.Count != 999 {
		t.Errorf("last event is %+v", last)
	}
}
