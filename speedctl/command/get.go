package command

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/printer"
	"github.com/speedscale/speedscale/speedctl/term"
	"github.com/speedscale/speedscale/traffic/report"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

func newGet(g *global) *cobra.Command {
	c := &cobra.Command{
		Use:   "get",
		Short: "Show snapshots, reports and captured traffic",
		Example: `  speedctl get snapshots
  speedctl get traffic '(command IS "POST")' --start 15m
  speedctl get report latest`,
		Args: args(cobra.NoArgs),
	}
	c.AddCommand(newGetSnapshot(g), newGetTraffic(g), newGetReport(g), newGetKeys(g))
	return c
}

func newGetSnapshot(g *global) *cobra.Command {
	out := printer.NewFlag(printer.Table, printer.JSON, printer.YAML, printer.Name)
	c := &cobra.Command{
		Use:     "snapshot [ID|NAME|latest]",
		Aliases: []string{"snapshots"},
		Short:   "List snapshots, or show one",
		Example: `  speedctl get snapshots
  speedctl get snapshot latest -o yaml`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			metas, err := snapshots(c.Context(), g, a)
			if err != nil {
				return err
			}
			return printSnapshots(g, out, metas, len(a) == 1)
		},
	}
	c.Flags().VarP(out, "output", "o", "form of the output")
	return c
}

// snapshots fetches the one that is named, or all.
func snapshots(ctx context.Context, g *global, a []string) (metas []*snapshot.Meta, err error) {
	var raw [][]byte
	err = g.withCloud(ctx, func(c *client.Client) error {
		if len(a) == 1 {
			res, err := c.Snapshots.Get(ctx, &cloudv1.GetSnapshotRequest{Id: a[0]})
			raw = [][]byte{res.GetSnapshot()}
			return client.Explain(err)
		}
		res, err := c.Snapshots.List(ctx, &cloudv1.ListSnapshotsRequest{})
		raw = res.GetSnapshots()
		return client.Explain(err)
	})
	if err != nil {
		return nil, err
	}
	for _, b := range raw {
		m := &snapshot.Meta{}
		if err := json.Unmarshal(b, m); err != nil {
			return nil, fmt.Errorf("the cloud's answer: %w", err)
		}
		metas = append(metas, m)
	}
	return metas, nil
}

func printSnapshots(g *global, out *printer.Flag, metas []*snapshot.Meta, one bool) error {
	var v any = metas
	if one {
		v = metas[0]
	}
	if done, err := out.Encode(g.Out, v); done {
		return err
	}
	if out.Format == printer.Name {
		for _, m := range metas {
			fmt.Fprintln(g.Out, m.ID)
		}
		return nil
	}
	rows := [][]string{{"ID", "NAME", "PAIRS", "IN", "OUT", "LOST", "CREATED"}}
	for _, m := range metas {
		rows = append(rows, []string{m.ID, m.Info.Name, strconv.FormatInt(m.RecordsProcessed, 10),
			requests(m.InTraffic), requests(m.OutTraffic), lost(m), m.Info.CreatedAt.Local().Format(time.DateTime)})
	}
	return printer.Rows(g.Out, rows)
}

func requests(slices map[string]*snapshot.Slice) string {
	var n int64
	for _, s := range slices {
		n += s.NumRequests
	}
	return strconv.FormatInt(n, 10)
}

// lost sums the pairs that a snapshot misses for another reason than a filter.
func lost(m *snapshot.Meta) string {
	var n uint64
	for _, l := range m.Losses {
		if !l.Intended() {
			n += l.Pairs
		}
	}
	return strconv.FormatUint(n, 10)
}

type reportFlags struct {
	junit, html, markdown string
	fail                  bool
}

func newGetReport(g *global) *cobra.Command {
	var f reportFlags
	out := printer.NewFlag(printer.Table, printer.JSON, printer.YAML, printer.Name)
	c := &cobra.Command{
		Use:     "report [ID|latest]",
		Aliases: []string{"reports"},
		Short:   "List reports, or show one",
		Example: `  speedctl get reports
  speedctl get report latest --junit report.xml --html report.html`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			if len(a) == 0 {
				return listReports(c.Context(), g, out)
			}
			r, err := fetchReport(c.Context(), g, a[0])
			if err != nil {
				return err
			}
			if err := f.write(r); err != nil {
				return err
			}
			if err := showReport(g, out, r); err != nil || !f.fail {
				return err
			}
			return verdict(r)
		},
	}
	c.Flags().VarP(out, "output", "o", "form of the output")
	c.Flags().BoolVar(&f.fail, "fail", false, "end with the exit code of the verdict")
	f.add(c)
	return c
}

func (f *reportFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.junit, "junit", "", "also write the report as JUnit XML to this file")
	c.Flags().StringVar(&f.html, "html", "", "also write the report as one HTML file")
	c.Flags().StringVar(&f.markdown, "markdown", "", "also write the report as Markdown")
}

// write makes the files that were asked for.
func (f *reportFlags) write(r *report.Report) error {
	for _, to := range []struct {
		file  string
		write func(*os.File) error
	}{
		{f.junit, func(w *os.File) error { return r.WriteJUnit(w) }},
		{f.html, func(w *os.File) error { return r.WriteHTML(w) }},
		{f.markdown, func(w *os.File) error { return r.WriteMarkdown(w) }},
	} {
		if to.file == "" {
			continue
		}
		w, err := os.Create(to.file)
		if err != nil {
			return err
		}
		if err := to.write(w); err != nil {
			w.Close()
			return fmt.Errorf("%s: %w", to.file, err)
		}
		if err := w.Close(); err != nil {
			return err
		}
	}
	return nil
}

func listReports(ctx context.Context, g *global, out *printer.Flag) error {
	var reports []*report.Report
	err := g.withCloud(ctx, func(c *client.Client) error {
		res, err := c.Reports.List(ctx, &cloudv1.ListReportsRequest{Limit: 100})
		if err != nil {
			return client.Explain(err)
		}
		for _, b := range res.GetReports() {
			r := &report.Report{}
			if err := json.Unmarshal(b, r); err != nil {
				return fmt.Errorf("the cloud's answer: %w", err)
			}
			reports = append(reports, r)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if done, err := out.Encode(g.Out, reports); done {
		return err
	}
	rows := [][]string{{"ID", "STATUS", "SNAPSHOT", "SENT", "FAILED", "P95", "STARTED"}}
	for _, r := range reports {
		if out.Format == printer.Name {
			fmt.Fprintln(g.Out, r.ID)
			continue
		}
		rows = append(rows, []string{r.ID, string(r.Status), r.Snapshot.Name, strconv.FormatInt(r.Requests.Sent, 10),
			strconv.FormatInt(r.Requests.Failed+r.Requests.Errors, 10), fmt.Sprintf("%.1fms", r.Latency.Sent.P95), r.Started.Local().Format(time.DateTime)})
	}
	if out.Format == printer.Name {
		return nil
	}
	return printer.Rows(g.Out, rows)
}

func fetchReport(ctx context.Context, g *global, id string) (*report.Report, error) {
	r := &report.Report{}
	err := g.withCloud(ctx, func(c *client.Client) error {
		res, err := c.Reports.Get(ctx, &cloudv1.GetReportRequest{Id: id})
		if err != nil {
			return client.Explain(err)
		}
		return json.Unmarshal(res.GetReport(), r)
	})
	return r, err
}

// verdict is the error that a replay ends with, nil when it passed.
func verdict(r *report.Report) error {
	switch r.Verdict() {
	case report.Passed:
		return nil
	case report.MissedGoals:
		return term.WithCode(fmt.Errorf("the replay missed its goals: %d of %d requests differ", r.Requests.Failed+r.Requests.Errors, r.Requests.Sent), term.ExitMissedGoals)
	case report.Canceled:
		return term.WithCode(fmt.Errorf("the replay was cancelled"), term.ExitCanceled)
	}
	return fmt.Errorf("the replay could not be run: %s", r.Error)
}
