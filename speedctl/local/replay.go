package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/speedscale/speedscale/agents/generator"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/speedctl/term"
	"github.com/speedscale/speedscale/traffic/compare"
	"github.com/speedscale/speedscale/traffic/report"
	"github.com/speedscale/speedscale/traffic/snapshot"
	"github.com/speedscale/speedscale/traffic/transform"
)

// ReplayOptions say what is sent where, how fast, and what may differ.
type ReplayOptions struct {
	// Mock has the snapshot, and the mocks that are started where it has a command.
	Mock MockOptions
	// Target is where the service is.
	Target *url.URL
	// Keys choose the inbound traffic.
	Keys []string
	// Speed, Rate, Users, Times and Duration are the plan: see generator.Plan.
	Speed, Rate float64
	Users       int
	Times       int
	Duration    time.Duration
	// Timeout bounds one request.
	Timeout time.Duration
	// AsRecorded carries no values from responses over to later requests.
	AsRecorded bool
	// Ignore names fields that may differ.
	Ignore []string
	// Baseline is another recording of the same requests; nil without one. Where
	// its responses differ from the snapshot's is noise, and left out.
	Baseline *snapshot.Snapshot
	// Goals decide the verdict; none means that nothing may differ.
	Goals    []report.Goal
	BuildTag string
	// Events is told how the replay goes, from several goroutines, as the cloud tells of
	// one in a cluster; nil shows its progress in a line instead.
	Events func(*cloudv1.ReplayEvent)
}

// Replay sends the snapshot's inbound requests and returns the report. The error
// says that the replay could not be run; a verdict is not an error.
func Replay(ctx context.Context, o ReplayOptions) (*report.Report, error) {
	world := o.Mock.World
	comparing := compare.Config{IgnoreHeaders: o.Ignore, IgnorePaths: o.Ignore, MaskedMatchAny: o.Mock.Masking == nil}
	if err := comparing.Check(); err != nil {
		return nil, term.WithCode(fmt.Errorf("--ignore: %w", err), term.ExitUsage)
	}
	if o.Baseline != nil {
		comparing.Noise = compare.New(comparing).Noise(o.Mock.Snapshot.Actions(), o.Baseline.Actions())
	}
	transforms, err := o.Mock.Transforms.GeneratorSet(transform.Environment{Secrets: o.Mock.Secrets})
	if err != nil {
		return nil, term.WithCode(fmt.Errorf("--transforms: %w", err), term.ExitUsage)
	}
	b := report.NewBuilder(o.Mock.Snapshot.Meta(), report.Options{
		BuildTag: o.BuildTag, Target: o.Target.String(), Goals: o.Goals, OnFailure: func(f report.Failure) { o.tell(generator.FailureEvent(f)) },
	})
	b.SetNoise(comparing.Noise)
	var m *Mocking
	if len(o.Mock.Command) > 0 {
		o.Mock.Results = b
		o.phase("responder", "started", "mocks are started")
		if m, err = StartMock(ctx, o.Mock); err != nil {
			return nil, err
		}
		defer func() {
			if err := m.Stop(); err != nil {
				world.Warnf("%v", err)
			}
		}()
		o.phase("responder", "done", strings.Join(m.responder.Keys(), ", "))
		o.phase("workload", "started", fmt.Sprintf("waits until %s listens on %s", o.Mock.Command[0], hostPort(o.Target)))
		if err := m.Child().WaitListening(ctx, hostPort(o.Target), startLimit); err != nil {
			o.phase("workload", "failed", "")
			return nil, err
		}
		o.phase("workload", "done", strings.Join(o.Mock.Command, " "))
	}
	show, stop := o.progress(m)
	o.phase("generator", "started", "requests are sent to "+o.Target.String())
	_, err = generator.Run(ctx, generator.Options{
		Actions: o.Mock.Snapshot.Actions(), Keys: o.Keys, Target: o.Target, Plan: o.plan(), Timeout: o.Timeout,
		Comparer: compare.New(comparing), AsRecorded: o.AsRecorded, Transforms: transforms,
		Masker: o.Mock.Masking, Report: b, Logger: o.Mock.Logger,
		Progress: show,
	})
	stop()
	switch {
	case err == nil:
		o.phase("generator", "done", "")
	case errors.Is(err, context.Canceled):
		o.phase("generator", "failed", "interrupted")
		b.Cancel("interrupted")
	default:
		o.phase("generator", "failed", "")
		return nil, err
	}
	return b.Finish(), nil
}

// progress is told of the generator's: it shows a line, or passes it on as events, with
// what the mocks have answered; m is nil where there are none.
func (o *ReplayOptions) progress(m *Mocking) (show func(generator.Progress), stop func()) {
	if o.Events == nil {
		line := o.Mock.World.StartProgress("replaying " + o.Mock.Snapshot.Meta().Info.Name)
		return func(p generator.Progress) { line.Update("%s", describe(p)) }, line.Stop
	}
	return func(p generator.Progress) {
		o.tell(p.Event())
		if m != nil {
			n := m.responder.Stats()
			o.tell(&cloudv1.ReplayEvent{Event: &cloudv1.ReplayEvent_Mocks{Mocks: &cloudv1.MockCounts{
				Requests: n.Requests, Matched: n.Matched, Missed: n.Missed, Passthrough: n.Passthrough,
			}}})
		}
	}, func() {}
}

// Phases are the phases that the events of a replay tell of.
func (o *ReplayOptions) Phases() []string {
	if len(o.Mock.Command) == 0 {
		return []string{"generator"}
	}
	return []string{"responder", "workload", "generator"}
}

func (o *ReplayOptions) phase(name, state, text string) {
	o.tell(&cloudv1.ReplayEvent{Event: &cloudv1.ReplayEvent_Phase{Phase: &cloudv1.ReplayPhase{Name: name, State: state, Text: text}}})
}

func (o *ReplayOptions) tell(e *cloudv1.ReplayEvent) {
	if o.Events != nil {
		e.Source, e.Time = "speedctl", time.Now().UnixNano()
		o.Events(e)
	}
}

func (o *ReplayOptions) plan() generator.Plan {
	p := generator.Plan{Speed: o.Speed, Rate: o.Rate, VUs: o.Users, Times: o.Times, For: o.Duration}
	if p.Rate > 0 || p.VUs > 0 {
		p.Speed = 0
	}
	if p.For > 0 && p.Times == 1 {
		p.Times = 0 // Again and again, until the time is over.
	}
	return p
}

func describe(p generator.Progress) string {
	of := ""
	if p.Total >= 0 {
		of = fmt.Sprintf(" of %d", p.Total)
	}
	return fmt.Sprintf("replaying: %d%s requests, %d passed, %d differ, %d errors", p.Sent, of, p.Passed, p.Failed, p.Errors)
}

// hostPort is where the server of a target listens, of which parts may be left out.
func hostPort(u *url.URL) string {
	port := cmp.Or(u.Port(), map[string]string{"https": "443"}[u.Scheme], "80")
	return net.JoinHostPort(cmp.Or(u.Hostname(), "localhost"), port)
}
