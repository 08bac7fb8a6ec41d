package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Goal is a condition under which a replay misses its goals, like
// latency.p95 > 100. Latencies are from the planned time, in milliseconds;
// percentages are from 0 to 100.
type Goal struct {
	Metric string  `json:"metric"`
	Op     string  `json:"op"`
	Value  float64 `json:"value"`
}

func (g Goal) String() string {
	return g.Metric + " " + g.Op + " " + strconv.FormatFloat(g.Value, 'f', -1, 64)
}

// Values of GoalResult.Status, as documented.
const (
	Pass = "PASS"
	Fail = "FAIL"
)

// GoalResult is a goal and what came of it.
type GoalResult struct {
	Goal
	// Actual is the metric's value.
	Actual float64 `json:"actual"`
	// Status is Fail where the condition holds.
	Status string `json:"status"`
}

// metrics returns the names that goals may use, and what they mean. The
// metrics are those of proxymock's --fail-if.
func metrics() map[string]func(*Report) float64 {
	return map[string]func(*Report) float64{
		"latency.avg":               func(r *Report) float64 { return r.Latency.Planned.Avg },
		"latency.min":               func(r *Report) float64 { return r.Latency.Planned.Min },
		"latency.max":               func(r *Report) float64 { return r.Latency.Planned.Max },
		"latency.p50":               func(r *Report) float64 { return r.Latency.Planned.P50 },
		"latency.p75":               func(r *Report) float64 { return r.Latency.Planned.P75 },
		"latency.p90":               func(r *Report) float64 { return r.Latency.Planned.P90 },
		"latency.p95":               func(r *Report) float64 { return r.Latency.Planned.P95 },
		"latency.p99":               func(r *Report) float64 { return r.Latency.Planned.P99 },
		"requests.total":            func(r *Report) float64 { return float64(r.Requests.Sent) },
		"requests.succeeded":        func(r *Report) float64 { return float64(r.Requests.Passed) },
		"requests.failed":           func(r *Report) float64 { return float64(r.Requests.Failed + r.Requests.Errors) },
		"requests.per-second":       func(r *Report) float64 { return r.Throughput.PerSecond },
		"requests.per-minute":       func(r *Report) float64 { return r.Throughput.PerMinute },
		"requests.response-pct":     responsePct,
		"requests.result-match-pct": func(r *Report) float64 { return r.SuccessRate },
		"mocks.match-pct":           mockPct,
		"mocks.missed":              func(r *Report) float64 { return float64(r.mocks().Missed) },
	}
}

func responsePct(r *Report) float64 {
	if r.Requests.Sent == 0 {
		return 0
	}
	return 100 * float64(r.Requests.Sent-r.Requests.Errors) / float64(r.Requests.Sent)
}

// mockPct is 100 where nothing was asked of the mocks.
func mockPct(r *Report) float64 {
	if r.Mocks == nil {
		return 100
	}
	return r.Mocks.MatchRate
}

func (r *Report) mocks() Mocks {
	if r.Mocks == nil {
		return Mocks{}
	}
	return *r.Mocks
}

func (g Goal) judge(r *Report) GoalResult {
	result := GoalResult{Goal: g, Status: Pass}
	if metric := metrics()[g.Metric]; metric != nil {
		result.Actual = metric(r)
	}
	if g.holds(result.Actual) {
		result.Status = Fail
	}
	return result
}

func (g Goal) holds(actual float64) bool {
	switch g.Op {
	case "==":
		return actual == g.Value
	case "!=":
		return actual != g.Value
	case "<":
		return actual < g.Value
	case "<=":
		return actual <= g.Value
	case ">":
		return actual > g.Value
	case ">=":
		return actual >= g.Value
	}
	return false
}

// ParseGoals reads conditions that fail a replay, one or more in each text with
// commas between: METRIC OP VALUE. Errors name the text and the byte, from 1.
func ParseGoals(conditions ...string) ([]Goal, error) {
	var goals []Goal
	for _, text := range conditions {
		at := 0
		for part := range strings.SplitSeq(text, ",") {
			g, offset, err := parseGoal(part)
			if err != nil {
				return nil, fmt.Errorf("condition %q at byte %d: %w", text, at+offset+1, err)
			}
			goals = append(goals, g)
			at += len(part) + 1
		}
	}
	return goals, nil
}

// parseGoal returns, with an error, the offset that it is about.
func parseGoal(text string) (g Goal, offset int, err error) {
	const ops = "=!<>"
	start := len(text) - len(strings.TrimLeft(text, " \t"))
	i := strings.IndexAny(text, ops)
	if i < 0 {
		return g, start, fmt.Errorf("expected METRIC OP VALUE, like latency.p95 > 100")
	}
	g.Metric = strings.TrimSpace(text[:i])
	known := metrics()
	if known[g.Metric] == nil {
		names := make([]string, 0, len(known))
		for name := range known {
			names = append(names, name)
		}
		slices.Sort(names)
		return g, start, fmt.Errorf("metric %q is not known, use one of %s", g.Metric, strings.Join(names, ", "))
	}
	rest := strings.TrimLeft(text[i:], ops)
	g.Op = text[i : len(text)-len(rest)]
	switch g.Op {
	case "==", "!=", "<", "<=", ">", ">=":
	default:
		return g, i, fmt.Errorf("operator %q is not known, use one of == != < <= > >=", g.Op)
	}
	value := strings.TrimSpace(rest)
	g.Value, err = strconv.ParseFloat(value, 64)
	if err != nil || math.IsNaN(g.Value) || math.IsInf(g.Value, 0) {
		space := len(rest) - len(strings.TrimLeft(rest, " \t"))
		return g, len(text) - len(rest) + space, fmt.Errorf("value %q is not a number (milliseconds, requests or percent, without a unit)", value)
	}
	return g, 0, nil
}
