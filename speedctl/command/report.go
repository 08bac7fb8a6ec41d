package command

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/speedscale/speedscale/speedctl/printer"
	"github.com/speedscale/speedscale/traffic/compare"
	"github.com/speedscale/speedscale/traffic/report"
)

// showReport prints a report in the form that was asked for.
func showReport(g *global, out *printer.Flag, r *report.Report) error {
	if done, err := out.Encode(g.Out, r); done {
		return err
	}
	switch out.Format {
	case printer.JSONL:
		return json.NewEncoder(g.Out).Encode(map[string]any{"report": r})
	case printer.Name:
		_, err := fmt.Fprintln(g.Out, r.ID)
		return err
	}
	color := "2"
	if r.Verdict() != report.Passed {
		color = "1"
	}
	fmt.Fprintf(g.Out, "%s  snapshot %s against %s\n", g.Paint(string(r.Status), color, true), r.Snapshot.Name, r.Target)
	fmt.Fprintf(g.Out, "report %s\n", r.ID)
	fmt.Fprintf(g.Out, "%d requests in %s: %d passed, %d differ, %d errors, %d skipped\n", r.Requests.Sent,
		r.Finished.Sub(r.Started).Round(10*time.Millisecond), r.Requests.Passed, r.Requests.Failed, r.Requests.Errors, r.Requests.Skipped)
	fmt.Fprintf(g.Out, "latency:  p50 %s  p95 %s  p99 %s\nrecorded: p50 %s  p95 %s  p99 %s\n",
		ms(r.Latency.Sent.P50), ms(r.Latency.Sent.P95), ms(r.Latency.Sent.P99), ms(r.Latency.Recorded.P50), ms(r.Latency.Recorded.P95), ms(r.Latency.Recorded.P99))
	if m := r.Mocks; m != nil {
		fmt.Fprintf(g.Out, "mocks:    %d requests, %d matched, %d missed (%.1f %%)\n", m.Requests, m.Matched, m.Missed, m.MatchRate)
	}
	if err := showEndpoints(g, r); err != nil {
		return err
	}
	showMisses(g, r)
	if err := showCluster(g, r); err != nil {
		return err
	}
	for i, n := range r.Noise {
		if i == 10 {
			fmt.Fprintf(g.Out, "… and %d other places\n", len(r.Noise)-i)
			break
		}
		fmt.Fprintf(g.Out, "left out as noise: %s %s %s (%d pairs)\n", n.Method, n.Path, n.Location, n.Pairs)
	}
	for i, c := range r.Carried {
		if i == 10 {
			fmt.Fprintf(g.Out, "… and %d other values carried over or transformed\n", len(r.Carried)-i)
			break
		}
		what := "carried over"
		if c.Transformed() {
			what = "transformed"
		}
		fmt.Fprintf(g.Out, "%s: %s to %s, %s\n", what, c.From, c.To, c.Summary())
	}
	for _, goal := range r.Goals {
		fmt.Fprintf(g.Out, "goal %s %s %v: %s (was %.4g)\n", goal.Metric, goal.Op, goal.Value, goal.Status, goal.Actual)
	}
	for _, w := range r.Warnings {
		g.Warnf("%s", w)
	}
	return nil
}

func showEndpoints(g *global, r *report.Report) error {
	if len(r.Endpoints) == 0 {
		return nil
	}
	rows := [][]string{{"ENDPOINT", "REQUESTS", "FAILED", "P50", "P95", "FIRST DIFFERENCE"}}
	for _, e := range r.Endpoints {
		first := e.Error
		if e.First != nil {
			first = difference(*e.First)
		}
		rows = append(rows, []string{e.Method + " " + e.Path, strconv.FormatInt(e.Requests, 10), strconv.FormatInt(e.Failed+e.Errors, 10), ms(e.Latency.P50), ms(e.Latency.P95), first})
	}
	fmt.Fprintln(g.Out)
	return printer.Rows(g.Out, rows)
}

func showMisses(g *global, r *report.Report) {
	if r.Mocks == nil {
		return
	}
	for i, m := range r.Mocks.Misses {
		if i == 5 {
			fmt.Fprintf(g.Out, "… and %d other requests that were not recorded\n", len(r.Mocks.Misses)-i)
			return
		}
		var fields []string
		for _, f := range m.Fields {
			fields = append(fields, fmt.Sprintf("%s was %s, is %s", f.Key, f.Want, f.Got))
		}
		fmt.Fprintf(g.Out, "not recorded: %s (%d times); nearest: %s; %s\n", m.Request, m.Count, m.Nearest, strings.Join(fields, "; "))
	}
}

// showCluster shows what the workload's containers used, and what Kubernetes
// warned of.
func showCluster(g *global, r *report.Report) error {
	if len(r.Usage) > 0 {
		rows := [][]string{{"POD", "CONTAINER", "CPU AVG", "CPU MAX", "MEMORY AVG", "MEMORY MAX"}}
		for _, u := range r.Usage {
			rows = append(rows, []string{u.Pod, u.Container, millicores(u.CPU.Avg), millicores(u.CPU.Max), mebibytes(u.Memory.Avg), mebibytes(u.Memory.Max)})
		}
		fmt.Fprintln(g.Out)
		if err := printer.Rows(g.Out, rows); err != nil {
			return err
		}
	}
	shown := 0
	for _, e := range r.ClusterEvents {
		if e.Type != "Warning" {
			continue
		}
		if shown++; shown > 10 {
			fmt.Fprintln(g.Out, "… and other warnings of the cluster")
			break
		}
		fmt.Fprintf(g.Out, "%s %s (%d times): %s\n", e.Object, e.Reason, e.Count, e.Message)
	}
	return nil
}

func millicores(n int64) string { return strconv.FormatInt(n, 10) + "m" }

func mebibytes(n int64) string { return strconv.FormatInt(n>>20, 10) + "Mi" }

func difference(d compare.Difference) string {
	return fmt.Sprintf("%s: recorded %s, observed %s", d.Location, d.Recorded, d.Observed)
}

func ms(v float64) string {
	return strconv.FormatFloat(v, 'f', 1, 64) + "ms"
}
