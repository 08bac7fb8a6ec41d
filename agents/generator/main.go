package generator

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/replay"
	"github.com/speedscale/speedscale/traffic/compare"
	"github.com/speedscale/speedscale/traffic/report"
)

// Settings are what the binary reads from its environment.
type Settings struct {
	replay.Settings
	Options
	// ReportFile is where the report goes, as JSON.
	ReportFile string
	// BuildTag is kept in the report.
	BuildTag string
}

// ReadSettings reads everything that the binary is told beside what
// replay.ReadSettings reads, and nothing else reads the environment. An error
// names each variable that is wrong.
//
//	REPLAY_TARGET        where requests go, as ParseTarget reads it; as recorded without it
//	REPLAY_REWRITE_HOST  true names the target in Host
//	REPLAY_SPEED, REPLAY_RATE, REPLAY_STAGES, REPLAY_VUS  one of the models of Plan; stages are RATE:DURATION between commas
//	REPLAY_TIMES, REPLAY_FOR      how often, or for how long
//	REPLAY_UNORDERED     true sends each request at its time, whatever its session waits for
//	REPLAY_CONCURRENCY   256; REPLAY_TIMEOUT 10s
//	REPORT_FILE          report.json
//	BUILD_TAG            kept in the report
func ReadSettings(v *agent.Vars) (*Settings, error) {
	s := &Settings{
		Settings:   replay.ReadSettings(v),
		ReportFile: v.String("REPORT_FILE", "report.json"),
		BuildTag:   v.String("BUILD_TAG", ""),
		Options: Options{
			RewriteHost: v.Bool("REPLAY_REWRITE_HOST", false),
			Unordered:   v.Bool("REPLAY_UNORDERED", false),
			Concurrency: int(v.Int("REPLAY_CONCURRENCY", DefaultConcurrency, 1, MaxConcurrency)),
			Timeout:     v.Duration("REPLAY_TIMEOUT", DefaultTimeout),
			Plan: Plan{
				Speed:  number(v, "REPLAY_SPEED"),
				Rate:   number(v, "REPLAY_RATE"),
				Stages: stages(v, "REPLAY_STAGES"),
				VUs:    int(v.Int("REPLAY_VUS", 0, 1, MaxConcurrency)),
				Times:  int(v.Int("REPLAY_TIMES", 0, 1, 1<<40)),
				For:    v.Duration("REPLAY_FOR", 0),
			},
		},
	}
	s.Options.Keys = s.Settings.Keys
	s.Options.Masker = s.Settings.Masker
	s.Comparer = compare.New(compare.Config{MaskedMatchAny: s.KeyMissing})
	s.TLS = &tls.Config{RootCAs: s.Roots}
	if text := v.String("REPLAY_TARGET", ""); text != "" {
		var err error
		if s.Target, err = ParseTarget(text); err != nil {
			v.Fail("REPLAY_TARGET", "…", err.Error())
		}
	}
	plan := s.Plan
	if err := plan.validate(); err != nil {
		v.Fail("REPLAY_SPEED, REPLAY_RATE, REPLAY_STAGES, REPLAY_VUS", "…", err.Error())
	}
	return s, v.Err()
}

func number(v *agent.Vars, name string) float64 {
	text := v.String(name, "")
	if text == "" {
		return 0
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !positive(f) {
		v.Fail(name, text, "want a number above 0")
	}
	return f
}

func stages(v *agent.Vars, name string) []Stage {
	var list []Stage
	for _, text := range v.List(name) {
		rate, length, _ := strings.Cut(text, ":")
		f, err := strconv.ParseFloat(rate, 64)
		d, lengthErr := time.ParseDuration(length)
		if err != nil || lengthErr != nil {
			v.Fail(name, text, "want RATE:DURATION, such as 100:30s")
			continue
		}
		list = append(list, Stage{Rate: f, For: d})
	}
	return list
}

// Main is the binary: one replay and its report.
func Main(ctx context.Context, env *agent.Env) error {
	s, err := ReadSettings(env.Vars)
	if err != nil {
		return err
	}
	target := "as recorded"
	if s.Target != nil {
		target = s.Target.String()
	}
	s.Logger = env.Log
	s.Report = report.NewBuilder(s.Snapshot.Meta(), report.Options{BuildTag: s.BuildTag, Target: target})
	s.Actions = s.Snapshot.Actions()
	if s.KeyMissing {
		s.Report.Warn("the snapshot is masked and its key is not at hand: masked values match any value")
	}
	serving, stop := context.WithCancel(ctx)
	defer stop()
	var g errgroup.Group
	if err := s.Serve(serving, &g, replay.NewRegistry()); err != nil {
		return err
	}
	summary, err := Run(ctx, s.Options)
	switch {
	case ctx.Err() != nil:
		s.Report.Cancel(context.Cause(ctx).Error())
	case err != nil:
		s.Report.Fail(err)
	}
	if summary != nil {
		env.Log.Info("replay ended", "sent", summary.Sent, "passed", summary.Passed, "failed", summary.Failed,
			"errors", summary.Errors, "lateStarts", summary.LateStarts, "maxStartLag", summary.MaxStartLag.String())
		if summary.LateStarts > 0 {
			s.Report.Warn(fmt.Sprintf("the generator itself sent %d requests late, by up to %v: latency from the planned time includes that",
				summary.LateStarts, summary.MaxStartLag.Round(time.Millisecond)))
		}
	}
	stop()
	return errors.Join(err, writeReport(s.ReportFile, s.Report.Finish()), g.Wait())
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
