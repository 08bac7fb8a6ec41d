package testconfig

import (
	"maps"
	"slices"
	"strings"

	"github.com/speedscale/speedscale/traffic/report"
)

// Values of rule.Type.
const (
	tooLow  = "TOO_LOW"
	tooHigh = "TOO_HIGH"
)

// failAssertPct is 100 less passAssertPct, which reports have.
const failAssertPct = "failAssertPct"

// metricNames are the documented metrics and what reports call them.
func metricNames() map[string]string {
	return map[string]string{
		"minLatency": "latency.min", "maxLatency": "latency.max", "avgLatency": "latency.avg",
		"p50Latency": "latency.p50", "p75Latency": "latency.p75", "p90Latency": "latency.p90",
		"p95Latency": "latency.p95", "p99Latency": "latency.p99",
		"transactionsPerSecond": "requests.per-second", "transactionsPerMinute": "requests.per-minute",
		"passAssertPct": "requests.result-match-pct", failAssertPct: "requests.result-match-pct",
		"totalTransactionCount": "requests.total", "failTransactionCount": "requests.failed",
		"responseRate": "requests.response-pct",
	}
}

func (r rule) goal() report.Goal {
	g := report.Goal{Metric: metricNames()[r.MetricName], Op: ">", Value: r.Value}
	if r.Type == tooLow {
		g.Op = "<"
	}
	if r.MetricName == failAssertPct {
		g.Value = 100 - r.Value
		if g.Op == ">" {
			g.Op = "<"
		} else {
			g.Op = ">"
		}
	}
	return g
}

func readRules(doc object) []rule {
	var rules []rule
	for _, o := range doc.list("rules", maxRules) {
		r := rule{MetricName: o.text("metricName"), Type: o.text("type"), Action: o.text("action")}
		if metricNames()[r.MetricName] == "" {
			o.f.add(o.pathOf("metricName"), "%q: want one of %s", r.MetricName, strings.Join(slices.Sorted(maps.Keys(metricNames())), ", "))
		}
		if r.Type != tooLow && r.Type != tooHigh {
			o.f.add(o.pathOf("type"), "%q: want %s or %s", r.Type, tooLow, tooHigh)
		}
		if r.Action != "" && r.Action != "ALERT" {
			o.f.add(o.pathOf("action"), "%q: want ALERT, or leave it out", r.Action)
		}
		most := maxCounted
		if strings.HasSuffix(r.MetricName, "Pct") {
			most = 100
		}
		// A number that is 0 may be left out in protobuf's JSON.
		if v := o.number("value", 0, most); v != nil {
			r.Value = *v
		}
		if at := o.text("location"); at != "" && at != ".*" {
			o.f.add(o.pathOf("location"), "%q is not supported: goals are of the whole replay; leave it out", at)
		}
		o.end("metricName", "type", "value", "action")
		rules = append(rules, r)
	}
	return rules
}
