package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/speedscale/speedscale/agents/generator"
	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/local"
	"github.com/speedscale/speedscale/speedctl/printer"
	"github.com/speedscale/speedscale/speedctl/term"
	"github.com/speedscale/speedscale/traffic/report"
)

// loadFlags say how requests are timed. Without one of them they are sent as
// they were recorded.
type loadFlags struct {
	speed    float64
	rate     float64
	vus      int
	times    int
	duration time.Duration
	timeout  time.Duration
}

func (f *loadFlags) add(c *cobra.Command) {
	c.Flags().Float64Var(&f.speed, "speed", 1, "times the recorded pace (open model)")
	c.Flags().Float64Var(&f.rate, "rate", 0, "constant rate, in requests a second (open model)")
	c.Flags().IntVar(&f.vus, "vus", 0, "virtual users, each waiting for its answers (closed model)")
	c.Flags().IntVar(&f.times, "times", 1, "go through the snapshot so many times")
	c.Flags().DurationVar(&f.duration, "for", 0, "go on for so long, through the snapshot again and again")
	c.Flags().DurationVar(&f.timeout, "timeout", 30*time.Second, "limit of one request; in a cluster, of the whole replay")
}

type replayFlags struct {
	mockFlags
	loadFlags
	reportFlags
	cluster  clusterFlags
	target   string
	tests    []string
	ignore   []string
	noise    string
	recorded bool
	failIf   []string
	buildTag string
	noTUI    bool
}

func newReplay(g *global) *cobra.Command {
	var f replayFlags
	out := printer.NewFlag(printer.Table, printer.JSON, printer.YAML, printer.Name, printer.JSONL)
	c := &cobra.Command{
		Use:   "replay SNAPSHOT --test-against URL [-- COMMAND [ARG...]] | KIND/NAME... --snapshot SNAPSHOT",
		Short: "Send a snapshot's requests to a service or to workloads of a cluster, and say what changed",
		Long: `Replay sends the inbound requests of a snapshot to the service at --test-against, at the recorded pace or as
a load, and compares every response with the recorded one. Given a command, replay starts the service with its
dependencies mocked from the same snapshot (as mock does), waits until it listens, and ends it afterwards.

Latency is measured from the time a request was planned for, so a slow service cannot hide by slowing the
generator down. The report is printed, kept in the cloud, and decides the exit code: 0 passed, 3 goals missed.

With --snapshot, replay does so in a cluster: the workloads are restarted with their dependencies mocked, are sent what
was recorded from workloads of their names, and are then as before. What will be restarted and mocked is named and asked
about; an interrupt cancels the replay. The load and what is compared are in the test config, and --timeout is the limit
of the whole replay.

On a terminal a screen shows how the replay goes: phases, requests and latencies over time, what fails first and in which
field, the pods of the workload, and their log. --no-tui, -o, --quiet or CI in the environment leave it out. With
-o jsonl, events are printed as they happen, one JSON object a line, and the report is the last of them.`,
		Example: `  speedctl replay checkout --test-against http://localhost:8080 -- ./shop-new
  speedctl replay latest --test-against http://localhost:8080 --rate 200 --for 10s --fail-if 'latency.p95 > 100'
  speedctl replay checkout --test-against http://staging:8080 --ignore createdAt --junit report.xml
  speedctl replay checkout --test-against http://localhost:8080 --noise-from checkout-again
  speedctl replay checkout --test-against http://localhost:8080 -o jsonl
  speedctl replay deployment/checkout -n shop --snapshot latest
  speedctl replay deployment/checkout --snapshot checkout --yes --timeout 20m --build-tag pr-42 --junit report.xml`,
		Annotations: notRun("it wants an operator in a cluster: test/kube runs the command, with flags of its own",
			"speedctl replay deployment/checkout -n shop --snapshot latest",
			"speedctl replay deployment/checkout --snapshot checkout --yes --timeout 20m --build-tag pr-42 --junit report.xml"),
		Args: args(func(c *cobra.Command, a []string) error {
			before, _ := splitCommand(c, a)
			if f.cluster.snapshot != "" {
				return cobra.MinimumNArgs(1)(c, a)
			}
			return cobra.ExactArgs(1)(c, before)
		}),
		RunE: func(c *cobra.Command, a []string) error {
			if err := f.cluster.check(c); err != nil {
				return err
			}
			if f.cluster.snapshot != "" {
				return f.inCluster(c, g, out, a)
			}
			before, argv := splitCommand(c, a)
			o, err := f.options(argv)
			if err != nil {
				return err
			}
			o.Mock.World, o.Mock.Logger = g.World, g.logger()
			if o.Mock.Home, err = g.dir(); err != nil {
				return err
			}
			if o.Mock.Snapshot, o.Mock.Masking, err = g.openSnapshot(c.Context(), before[0]); err != nil {
				return err
			}
			if f.noise != "" {
				if o.Baseline, _, err = g.openSnapshot(c.Context(), f.noise); err != nil {
					return fmt.Errorf("--noise-from: %w", err)
				}
			}
			return f.onThisMachine(c.Context(), g, out, o)
		},
	}
	f.mockFlags.add(c)
	f.loadFlags.add(c)
	f.reportFlags.add(c)
	c.Flags().StringVar(&f.target, "test-against", "", "where the service is, such as http://localhost:8080")
	c.Flags().StringSliceVar(&f.tests, "tests", []string{"*"}, "inbound traffic to send, by key (service:host:port) or a part of one")
	c.Flags().StringArrayVar(&f.ignore, "ignore", nil, "field that may differ: a header, or a part of a JSON path; repeatable")
	c.Flags().StringVar(&f.noise, "noise-from", "", "another recording of the same requests: where the two differ is no difference, and is shown")
	c.Flags().BoolVar(&f.recorded, "as-recorded", false, "carry no values from responses over to later requests")
	c.Flags().StringArrayVar(&f.failIf, "fail-if", nil, `condition that fails the replay, such as 'latency.p95 > 100' (default: any difference); repeatable`)
	c.Flags().StringVar(&f.buildTag, "build-tag", "", "kept with the report, such as a commit")
	c.Flags().VarP(out, "output", "o", "form of the output")
	c.Flags().BoolVar(&f.noTUI, "no-tui", false, "say how it goes line by line, on a terminal too")
	f.cluster.add(c, g.kube)
	return c
}

func (f *replayFlags) options(argv []string) (o local.ReplayOptions, err error) {
	if o.Mock, err = f.mockFlags.options(); err != nil {
		return o, err
	}
	o.Mock.Command = argv
	if f.target == "" {
		return o, term.WithCode(term.WithHint(errors.New("--test-against is missing"), "name the service's address, such as --test-against http://localhost:8080, or replay against a workload of a cluster: KIND/NAME --snapshot SNAPSHOT"), term.ExitUsage)
	}
	if o.Target, err = generator.ParseTarget(f.target); err != nil {
		return o, term.WithCode(fmt.Errorf("--test-against: %w", err), term.ExitUsage)
	}
	o.Target.Scheme = cmp.Or(o.Target.Scheme, "http")
	if o.Goals, err = report.ParseGoals(f.failIf...); err != nil {
		return o, term.WithCode(fmt.Errorf("--fail-if: %w", err), term.ExitUsage)
	}
	if f.vus > 0 && f.rate > 0 {
		return o, term.WithCode(fmt.Errorf("--vus and --rate exclude one another: the one waits for answers, the other does not"), term.ExitUsage)
	}
	if f.speed <= 0 || f.rate < 0 || f.vus < 0 || f.times < 1 {
		return o, term.WithCode(fmt.Errorf("--speed, --rate, --vus and --times: want positive numbers"), term.ExitUsage)
	}
	o.Speed, o.Rate, o.Users, o.Times, o.Duration, o.Timeout = f.speed, f.rate, f.vus, f.times, f.duration, f.timeout
	o.Keys, o.Ignore, o.BuildTag, o.AsRecorded = f.tests, f.ignore, f.buildTag, f.recorded
	return o, nil
}

// onThisMachine replays and shows how it goes: on a screen, as lines of JSON, or in a
// line of progress.
func (f *replayFlags) onThisMachine(ctx context.Context, g *global, out *printer.Flag, o local.ReplayOptions) error {
	if f.screen(g, out) {
		return f.onScreen(ctx, g, out, o)
	}
	if out.Format == printer.JSONL {
		o.Events = (&eventLines{out: g.Out}).event
	}
	r, err := local.Replay(ctx, o)
	if err != nil {
		return err
	}
	keep(ctx, g, r)
	return f.finish(g, out, r)
}

// keep puts the report into the cloud, and says whether it could.
func keep(ctx context.Context, g *global, r *report.Report) bool {
	err := g.withCloud(ctx, func(cl *client.Client) error { return cl.PutReport(ctx, r) })
	if err != nil {
		g.Warnf("the report is not kept in the cloud: %v", err)
	}
	return err == nil
}

// finish writes and prints the report, and returns the verdict.
func (f *replayFlags) finish(g *global, out *printer.Flag, r *report.Report) error {
	if err := f.write(r); err != nil {
		return err
	}
	if err := showReport(g, out, r); err != nil {
		return err
	}
	return verdict(r)
}
