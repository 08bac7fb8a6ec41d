package report_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/speedscale/speedscale/traffic/report"
)

func TestParseGoals(t *testing.T) {
	got, err := report.ParseGoals("latency.p95 > 100", "requests.failed!=0 ,requests.result-match-pct<99.5")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]report.Goal{
		{Metric: "latency.p95", Op: ">", Value: 100}, {Metric: "requests.failed", Op: "!=", Value: 0}, {Metric: "requests.result-match-pct", Op: "<", Value: 99.5},
	}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for text, want := range map[string]string{
		"":                                   "at byte 1: expected METRIC OP VALUE",
		"latency.p95":                        "at byte 1: expected METRIC OP VALUE",
		" latency.p94 > 1":                   `at byte 2: metric "latency.p94" is not known, use one of latency.avg`,
		"latency.p95 => 1":                   `at byte 13: operator "=>" is not known`,
		"latency.p95 > 1, requests.total >x": `at byte 34: value "x" is not a number`,
		"latency.p95 > 100ms":                `at byte 15: value "100ms"`,
		"latency.p95 > NaN":                  `value "NaN"`,
		"latency.p95 > 1,":                   "at byte 17: expected",
	} {
		if _, err := report.ParseGoals(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error is %v, want %q", text, err, want)
		}
	}
}

func FuzzParseGoals(f *testing.F) {
	f.Add("latency.p95 > 100, requests.failed == 0")
	f.Add("requests.per-second<=1e-9")
	f.Fuzz(func(t *testing.T, text string) {
		goals, err := report.ParseGoals(text)
		if err != nil {
			return
		}
		for _, g := range goals {
			again, err := report.ParseGoals(g.String())
			if err != nil || len(again) != 1 || again[0] != g {
				t.Fatalf("%q is %+v, read back as %+v, %v", text, g, again, err)
			}
		}
	})
}
