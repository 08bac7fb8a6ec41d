package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/speedscale/speedscale/agents/generator"
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
	b := report.NewBuilder(o.Mock.Snapshot.Meta(), report.Options{BuildTag: o.BuildTag, Target: o.Target.String(), Goals: o.Goals})
	b.SetNoise(comparing.Noise)
	if len(o.Mock.Command) > 0 {
		o.Mock.Results = b
		m, err := StartMock(ctx, o.Mock)
		if err != nil {
			return nil, err
		}
		defer func() {
			if err := m.Stop(); err != nil {
				world.Warnf("%v", err)
			}
		}()
		if err := m.Child().WaitListening(ctx, hostPort(o.Target), startLimit); err != nil {
			return nil, err
		}
	}
	progress := world.StartProgress("replaying " + o.Mock.Snapshot.Meta().Info.Name)
	_, err = generator.Run(ctx, generator.Options{
		Actions: o.Mock.Snapshot.Actions(), Keys: o.Keys, Target: o.Target, Plan: o.plan(), Timeout: o.Timeout,
		Comparer: compare.New(comparing), AsRecorded: o.AsRecorded, Transforms: transforms,
		Masker: o.Mock.Masking, Report: b, Logger: o.Mock.Logger,
		Progress: func(p generator.Progress) { progress.Update("%s", describe(p)) },
	})
	progress.Stop()
	switch {
	case err == nil:
	case errors.Is(err, context.Canceled):
		b.Cancel("interrupted")
	default:
		return nil, err
	}
	return b.Finish(), nil
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
