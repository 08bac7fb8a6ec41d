package command

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/cluster/replay"
	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/local"
	"github.com/speedscale/speedscale/speedctl/printer"
	screen "github.com/speedscale/speedscale/speedctl/tui/replay"
	"github.com/speedscale/speedscale/speedctl/tui/style"
	"github.com/speedscale/speedscale/traffic/report"
)

// screen says whether a replay is shown on a screen.
func (f *replayFlags) screen(g *global, out *printer.Flag) bool {
	return !f.noTUI && out.Format == printer.Table && g.Screen()
}

// onScreen replays on this machine and shows how it goes on a screen. The report is
// printed when the user has left it, since the screen is gone then.
func (f *replayFlags) onScreen(ctx context.Context, g *global, out *printer.Flag, o local.ReplayOptions) error {
	options := screen.Options{
		Title: o.Mock.Snapshot.Meta().Info.Name + " → " + o.Target.String(), Phases: o.Phases(),
		Question: "Cancel the replay?", Source: "speedctl",
	}
	if len(o.Mock.Command) > 0 {
		options.Source = o.Mock.Command[0]
	}
	var r *report.Report
	outcome, err := show(ctx, g, options, func(replaying context.Context, feed *screen.Feed) (outcome screen.Outcome) {
		o.Events = feed.Event
		if r, outcome.Err = local.Replay(replaying, o); outcome.Err != nil {
			outcome.Canceled = replaying.Err() != nil
			return outcome
		}
		outcome.Report = r
		if keep(ctx, g, r) {
			outcome.Address = "speedctl get report " + r.ID + " --web"
		}
		return outcome
	})
	if outcome.Err != nil {
		return outcome.Err
	}
	return errors.Join(f.finish(g, out, r), err)
}

// followOnScreen shows a replay in a cluster on a screen, until its end and beyond.
func (f *replayFlags) followOnScreen(ctx context.Context, g *global, out *printer.Flag, kube replay.Client, cl *client.Client, r *v1.TrafficReplay) error {
	var targets []string
	for _, w := range r.Spec.Workloads {
		targets = append(targets, strings.ToLower(w.Ref.Kind)+"/"+w.Ref.Name)
	}
	options := screen.Options{
		Title:  f.cluster.snapshot + " → " + strings.Join(targets, ", ") + " in " + r.Namespace,
		Phases: []string{"prepare", "responder", "workload", "generator", "report", "cleanup"}, Pods: true,
		Question: "Cancel the replay? The workloads become as before.", Source: "speedctl",
	}
	outcome, err := show(ctx, g, options, func(following context.Context, feed *screen.Feed) (outcome screen.Outcome) {
		sink := replay.Sink{
			Condition: func(reason, message string) { feed.Status(reason + ": " + message) },
			Event:     feed.Event, Lost: feed.Lost,
		}
		if r, outcome.Err = watch(following, g, kube, cl, r, sink, func() {}); outcome.Err == nil {
			outcome.Address = r.Status.ReportURL
			outcome.Report, outcome.Err = reportOf(ctx, cl, r)
		}
		if outcome.Err == nil && outcome.Report == nil {
			outcome.Err = ending(r)
		}
		outcome.Canceled = following.Err() != nil || replay.Verdict(r) == v1.ReasonCanceled
		if outcome.Report != nil && outcome.Address == "" {
			outcome.Address = "speedctl get report " + outcome.Report.ID + " --web"
		}
		return outcome
	})
	if outcome.Err != nil {
		return outcome.Err
	}
	return errors.Join(f.conclude(g, out, r, outcome.Report), err)
}

// show runs work with the terminal given to a screen. Warnings that were given meanwhile
// are repeated afterwards, when they can be read.
func show(ctx context.Context, g *global, o screen.Options, work func(context.Context, *screen.Feed) screen.Outcome) (screen.Outcome, error) {
	o.In, o.Out, o.Now = g.In, g.Out, time.Now
	o.Theme = style.New(g.Out, g.Colors())
	var said warnings
	outcome, err := screen.Run(ctx, o, func(ctx context.Context, feed *screen.Feed) screen.Outcome {
		said.to = feed
		defer g.Redirect(&said)()
		return work(ctx, feed)
	})
	for _, line := range said.lines {
		g.Sayf("%s", line)
	}
	return outcome, err
}

// warnings passes on what is written, and keeps the lines that are warnings, up to a bound.
type warnings struct {
	to io.Writer

	mu    sync.Mutex
	lines []string
}

const mostWarnings = 100

func (w *warnings) Write(p []byte) (int, error) {
	w.mu.Lock()
	if bytes.HasPrefix(p, []byte("warning:")) && len(w.lines) < mostWarnings {
		w.lines = append(w.lines, strings.TrimSuffix(string(p), "\n"))
	}
	w.mu.Unlock()
	return w.to.Write(p)
}
