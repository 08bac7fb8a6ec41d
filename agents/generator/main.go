package generator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/replay"
	"github.com/speedscale/speedscale/traffic/compare"
	"github.com/speedscale/speedscale/traffic/report"
)

// Main is the binary: one replay, and its report or a part of that. The error says
// that the replay was not run; a verdict, or an end that was asked for, is none.
func Main(ctx context.Context, env *agent.Env) error {
	s, err := ReadSettings(env.Vars)
	if err != nil {
		return err
	}
	s.Logger = env.Log
	registry := replay.NewRegistry()
	var g errgroup.Group
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	if err := s.Serve(serving, &g, registry, agent.Checks{}); err != nil {
		return err
	}
	if s.Cloud == nil {
		err = s.alone(ctx)
	} else {
		var m *replay.Member
		if m, err = s.Cloud.Join(registry, env.Log); err == nil {
			err = s.member(ctx, m)
			m.Close()
		}
	}
	stop()
	return errors.Join(err, g.Wait())
}

// alone runs a replay that no cloud follows.
func (s *Settings) alone(ctx context.Context) error {
	target := "as recorded"
	if s.Target != nil {
		target = s.Target.String()
	}
	s.Report = report.NewBuilder(s.Snapshot.Meta(), report.Options{BuildTag: s.BuildTag, Target: target})
	err := s.replay(ctx)
	return errors.Join(err, writeReport(s.ReportFile, s.Report.Finish()))
}

// member runs a replay, or a share of it, that the cloud follows.
func (s *Settings) member(ctx context.Context, m *replay.Member) error {
	err := m.Load(ctx, &s.Settings)
	s.Report = report.NewBuilder(nil, report.Options{OnFailure: func(f report.Failure) { m.Events.Publish(FailureEvent(f)) }})
	s.Report.SendFrom(s.Addresses)
	s.Progress = func(p Progress) { m.Events.Publish(p.Event()) }
	if err == nil {
		s.reach(ctx)
		err = s.replay(ctx)
	} else if err = s.ended(ctx, err); err != nil {
		s.Logger.Error("the replay was not run", "error", err)
	}
	return errors.Join(err, m.PutPart(ctx, s.Report.Part()))
}

// replay sends the requests. Why it could not is in the report too.
func (s *Settings) replay(ctx context.Context) error {
	if s.Options.Masker = s.Settings.Masker; s.Options.Masker == nil {
		s.Options.Masker = s.Blind
	}
	s.Comparing.MaskedMatchAny = s.KeyMissing
	s.Comparer = compare.New(s.Comparing)
	s.Actions = s.Snapshot.Actions()
	if s.KeyMissing {
		s.Report.Warn("the snapshot is masked and its key is not at hand: masked values match any value")
	}
	summary, err := Run(ctx, s.Options)
	if summary != nil {
		s.Logger.Info("replay ended", "sent", summary.Sent, "passed", summary.Passed, "failed", summary.Failed,
			"errors", summary.Errors, "lateStarts", summary.LateStarts, "maxStartLag", summary.MaxStartLag.String())
		if summary.LateStarts > 0 {
			s.Report.Warn(fmt.Sprintf("the generator itself sent %d requests late, by up to %v: latency from the planned time includes that",
				summary.LateStarts, summary.MaxStartLag.Round(time.Millisecond)))
		}
	}
	return s.ended(ctx, err)
}

// ended states in the report why a replay ended early, and returns nil where it was
// told to.
func (s *Settings) ended(ctx context.Context, err error) error {
	switch {
	case err == nil:
	case ctx.Err() != nil:
		s.Report.Cancel("the generator was told to end: " + context.Cause(ctx).Error())
		return nil
	default:
		s.Report.Fail(err)
	}
	return err
}

// writeReport puts the report in place as a whole or not at all.
func writeReport(name string, r *report.Report) error {
	f, err := os.Create(name + ".part")
	if err != nil {
		return err
	}
	if err := errors.Join(r.WriteJSON(f), f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), name)
}
