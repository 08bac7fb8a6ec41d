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
)

type reportFlags struct {
	junit, html, markdown string
	fail                  bool
}

func newGetReport(g *global) *cobra.Command {
	var f reportFlags
	var web, browser bool
	out := printer.NewFlag(printer.Table, printer.JSON, printer.YAML, printer.Name)
	c := &cobra.Command{
		Use:     "report [ID|latest]",
		Aliases: []string{"reports"},
		Short:   "List reports, or show one",
		Long: `Without an id, get reports lists them, newest first. With --web the report, or the list, is shown by a browser:
speedctl serves the cloud's pages on a port of this machine until it is interrupted, also where the cloud is in a
cluster and has no address.`,
		Example: `  speedctl get reports
  speedctl get report latest --junit report.xml --html report.html
  speedctl get report latest --web`,
		Annotations: notRun("it opens a browser, and serves until it is interrupted", "speedctl get report latest --web"),
		Args:        args(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			if web {
				return showPage(c.Context(), g, append(a, "")[0], browser)
			}
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
	c.Flags().BoolVar(&web, "web", false, "print the address of its page on this machine, open it in a browser, and serve it until interrupted")
	c.Flags().BoolVar(&browser, "browser", true, "with --web: open a browser")
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

// showPage serves a report's page, or the list where id is empty, until it is
// interrupted.
func showPage(ctx context.Context, g *global, id string, browser bool) error {
	return g.withCloud(ctx, func(c *client.Client) error {
		if id != "" { // a browser would be opened for nothing
			if _, err := c.Reports.Get(ctx, &cloudv1.GetReportRequest{Id: id}); err != nil {
				return client.Explain(err)
			}
		}
		return c.Web(ctx, id, func(url string) {
			fmt.Fprintln(g.Out, url)
			if browser {
				if err := term.OpenBrowser(url); err != nil {
					g.Warnf("no browser was opened: %v", err)
				}
			}
			g.Sayf("Served until speedctl is interrupted.")
		})
	})
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
	var r *report.Report
	err := g.withCloud(ctx, func(c *client.Client) error {
		res, err := c.Reports.Get(ctx, &cloudv1.GetReportRequest{Id: id})
		if err != nil {
			return client.Explain(err)
		}
		r, err = decodeReport(res.GetReport())
		return err
	})
	return r, err
}

func decodeReport(text []byte) (*report.Report, error) {
	r := &report.Report{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("the cloud's answer: %w", err)
	}
	return r, nil
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
