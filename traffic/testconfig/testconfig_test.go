package testconfig_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/speedscale/speedscale/traffic/compare"
	"github.com/speedscale/speedscale/traffic/report"
	"github.com/speedscale/speedscale/traffic/testconfig"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parse(t testing.TB, doc string) testconfig.Config {
	t.Helper()
	c, err := testconfig.Parse([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEverythingSupported(t *testing.T) {
	c := parse(t, string(read(t, "all.json")))
	want := []compare.Assertion{
		{Type: "httpStatusCode"},
		{Type: "httpResponseBody", Ignore: []string{"durationMs", "$.items[*].id"}, RefuseNew: true},
		{Type: "httpHeaders", Headers: []string{"Location", "ETag"}},
	}
	if diff := cmp.Diff(want, c.Assertions()); diff != "" {
		t.Error(diff)
	}
	goals := []report.Goal{
		{Metric: "latency.p95", Op: ">", Value: 1500},
		{Metric: "requests.result-match-pct", Op: "<", Value: 95},
		{Metric: "requests.per-second", Op: "<", Value: 0.5},
	}
	if diff := cmp.Diff(goals, c.Goals()); diff != "" {
		t.Error(diff)
	}
	load := testconfig.Load{Stages: []testconfig.Stage{
		{Rate: 100, For: 30 * time.Second}, {Rate: 100, For: 30 * time.Second},
		{Rate: 20, For: 1}, {Rate: 20, For: time.Minute - 1}, {Rate: 0, For: 10 * time.Second},
	}}
	if diff := cmp.Diff(load, c.Load()); diff != "" {
		t.Error(diff)
	}
	if c.ID() != "daily" || c.Protected() || c.Replicas() != 3 || c.RequestTimeout() != 2500*time.Millisecond ||
		c.CarriesValues() || c.Latency() != (testconfig.Latency{Multiple: 1.5}) || !c.Passthrough() || !c.LogsCollected() || c.LogLevel() != "debug" {
		t.Errorf("%s", c.JSON())
	}
	if diff := cmp.Diff(testconfig.Resources{Limits: map[string]string{"cpu": "1", "memory": "2147483648"}}, c.GeneratorResources()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(testconfig.Resources{Requests: map[string]string{"cpu": "250m", "memory": "0.5Gi"}}, c.ResponderResources()); diff != "" {
		t.Error(diff)
	}
	if again := parse(t, string(c.JSON())); !bytes.Equal(again.JSON(), c.JSON()) {
		t.Errorf("%s\nis read as\n%s", c.JSON(), again.JSON())
	}
}

func TestLoads(t *testing.T) {
	for stages, want := range map[string]testconfig.Load{
		`[]`: {Speed: 1},
		`[{"virtual_users":{"virtual_users":"5","request_delay":{}},"arrivals":null}]`: {Users: 5},
		`[{"duration":"60s","virtualUsers":{"virtualUsers":5}}]`:                       {Users: 5, For: time.Minute},
		`[{"arrivals":{"recordedMultiple":2},"virtualUsers":{}}]`:                      {Speed: 2},
		`[{"duration":"1m","arrivals":{"rate":"12.5","timeUnit":"1s"}}]`:               {Rate: 12.5, For: time.Minute},
		`[{"arrivals":{"rate":9}}]`:                                                    {Rate: 9},
		`[{"duration":"1m","rampFor":"1m","arrivals":{"rate":9}}]`:                     {Stages: []testconfig.Stage{{Rate: 9, For: time.Minute}}},
	} {
		got := parse(t, `{"id":"x","generator":{"stages":`+stages+`}}`).Load()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", stages, diff)
		}
	}
}

func TestResponseDelays(t *testing.T) {
	for delay, want := range map[string]testconfig.Latency{
		`{}`:                                 {},
		`{"mode":"NONE"}`:                    {},
		`{"mode":"recorded"}`:                {Multiple: 1},
		`{"mode":"MULTIPLE","multiple":"2"}`: {Multiple: 2},
		`{"mode":"CONSTANT","delay":"50ms"}`: {Fixed: 50 * time.Millisecond},
	} {
		if got := parse(t, `{"id":"x","responder":{"responseDelay":`+delay+`}}`).Latency(); got != want {
			t.Errorf("%s: %+v", delay, got)
		}
	}
}

// Each line of bad.txt is a document, and the next one what the error must say.
func TestWhatIsWrongIsNamedByItsPath(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(string(read(t, "bad.txt"))), "\n")
	for i := 0; i+1 < len(lines); i += 3 {
		_, err := testconfig.Parse([]byte(lines[i]))
		if err == nil || err.Error() != "test config: "+lines[i+1] {
			t.Errorf("%s\n got %v\nwant test config: %s", lines[i], err, lines[i+1])
		}
	}
}

func TestBuiltinsGolden(t *testing.T) {
	var got bytes.Buffer
	for _, c := range testconfig.Builtins() {
		got.Write(append(c.JSON(), '\n'))
		again := parse(t, string(c.JSON()))
		if !bytes.Equal(again.JSON(), c.JSON()) || !c.Protected() {
			t.Errorf("%s", c.JSON())
		}
		if found, ok := testconfig.Builtin(c.ID()); !ok || found.ID() != c.ID() {
			t.Errorf("%q is not found", c.ID())
		}
	}
	if *update {
		if err := os.WriteFile(filepath.Join("testdata", "builtins.jsonl"), got.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(read(t, "builtins.jsonl")), got.String()); diff != "" {
		t.Error(diff)
	}
	if _, ok := testconfig.Builtin("daily"); ok {
		t.Error("daily is built in")
	}
}

// The goals of every config are such as speedctl's --fail-if takes.
func TestGoalsAreKnownToReports(t *testing.T) {
	for _, metric := range []string{
		"minLatency", "maxLatency", "avgLatency", "p50Latency", "p75Latency", "p90Latency", "p95Latency", "p99Latency",
		"transactionsPerSecond", "transactionsPerMinute", "passAssertPct", "failAssertPct", "totalTransactionCount", "failTransactionCount", "responseRate",
	} {
		for _, kind := range []string{"TOO_LOW", "TOO_HIGH"} {
			c := parse(t, `{"id":"x","rules":[{"metric_name":"`+metric+`","type":"`+kind+`","value":7,"action":"ALERT","location":".*"}]}`)
			if _, err := report.ParseGoals(c.Goals()[0].String()); err != nil {
				t.Errorf("%s %s: %v", metric, kind, err)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(read(f, "all.json"))
	for _, c := range testconfig.Builtins() {
		f.Add(c.JSON())
	}
	for line := range strings.Lines(string(read(f, "bad.txt"))) {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		c, err := testconfig.Parse(doc)
		if err != nil {
			return
		}
		again, err := testconfig.Parse(c.JSON())
		if err != nil || !bytes.Equal(again.JSON(), c.JSON()) {
			t.Fatalf("%s becomes\n%s: %v", doc, c.JSON(), err)
		}
		if diff := cmp.Diff(c.Load(), again.Load()); diff != "" {
			t.Fatal(diff)
		}
		if err := (compare.Config{Assertions: c.Assertions()}).Check(); err != nil {
			t.Fatal(err)
		}
		l := c.Load()
		models := 0
		for _, set := range []bool{l.Speed > 0, l.Rate > 0, len(l.Stages) > 0, l.Users > 0} {
			if set {
				models++
			}
		}
		if models != 1 {
			t.Fatalf("%s is the load %+v", doc, l)
		}
	})
}
