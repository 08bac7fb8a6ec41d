package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/cluster/replay"
	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/term"
	"github.com/speedscale/speedscale/traffic/report"
)

func newWait(g *global) *cobra.Command {
	c := &cobra.Command{
		Use:     "wait",
		Short:   "Wait for a replay or a report, and end with its verdict",
		Example: "  speedctl wait replay checkout-x7k2p --for passed --timeout 20m",
	}
	c.AddCommand(newWaitReplay(g), newWaitReport(g))
	return group(c)
}

func newWaitReplay(g *global) *cobra.Command {
	var condition string
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "replay NAME",
		Short: "Wait until a replay of the cluster has ended, has passed, or has its mocks ready",
		Long: `--for says until when: ready (it has ended, whatever the verdict), passed, or mocks-ready. A replay that ends without
having passed, or before its mocks were ready, ends the wait with the exit code of its verdict: 3 goals missed, 1 error,
130 cancelled.`,
		Example: `  speedctl wait replay checkout-x7k2p -n shop
  speedctl wait replay checkout-x7k2p --for mocks-ready --timeout 2m`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			kind, ok := map[string]string{"ready": v1.ConditionReady, "passed": v1.ConditionPassed, "mocks-ready": v1.ConditionMocksReady}[condition]
			if !ok {
				return term.WithCode(fmt.Errorf("--for %q: want ready, passed or mocks-ready", condition), term.ExitUsage)
			}
			namespace, err := g.kube.namespace()
			if err != nil {
				return err
			}
			kube, err := g.replays()
			if err != nil {
				return err
			}
			progress := g.StartProgress("waiting for " + a[0])
			r, err := replay.Wait(c.Context(), kube, namespace, a[0], kind, timeout)
			progress.Stop()
			if err != nil {
				return workloadCode(err)
			}
			g.Sayf("trafficreplay %s/%s: %s", r.Namespace, r.Name, replay.Status(r))
			if held := r.Status.Condition(kind); held != nil && held.Status == "True" {
				return nil
			}
			return ending(r)
		},
	}
	c.Flags().StringVar(&condition, "for", "ready", "until when: ready, passed or mocks-ready")
	c.Flags().DurationVar(&timeout, "timeout", 30*time.Minute, "limit of the wait")
	g.kube.add(c)
	return c
}

func newWaitReport(g *global) *cobra.Command {
	var timeout time.Duration
	c := &cobra.Command{
		Use:     "report ID",
		Short:   "Wait until a report is there, and end with its verdict",
		Long:    "The exit code is the verdict's: 0 passed, 3 goals missed, 1 error, 130 cancelled.",
		Example: "  speedctl wait report 3f0e6a52-1f5d-4c56-9a53-0d7e3f1f5b8e --timeout 10m",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			var r *report.Report
			err := g.withCloud(c.Context(), func(cl *client.Client) (err error) {
				progress := g.StartProgress("waiting for report " + a[0])
				defer progress.Stop()
				r, err = waitReport(c.Context(), cl, a[0], timeout)
				return err
			})
			if err != nil {
				return err
			}
			g.Sayf("%s: %s", a[0], r.Status)
			return verdict(r)
		},
	}
	c.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "limit of the wait")
	return c
}

// waitReport asks for a report until it is there.
func waitReport(ctx context.Context, cl *client.Client, id string, limit time.Duration) (*report.Report, error) {
	waiting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		res, err := cl.Reports.Get(waiting, &cloudv1.GetReportRequest{Id: id})
		if err == nil {
			return decodeReport(res.GetReport())
		}
		if connect.CodeOf(err) != connect.CodeNotFound && waiting.Err() == nil {
			return nil, client.Explain(err)
		}
		select {
		case <-tick.C:
		case <-waiting.Done():
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, term.WithCode(errors.New("no report "+id+" after "+limit.String()), term.ExitNotFound)
		}
	}
}
