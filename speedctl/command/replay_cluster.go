package command

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/client-go/dynamic"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/cluster/replay"
	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/printer"
	"github.com/speedscale/speedscale/speedctl/term"
	"github.com/speedscale/speedscale/traffic/report"
	"github.com/speedscale/speedscale/traffic/snapshot"
	"github.com/speedscale/speedscale/traffic/testconfig"
)

// clusterFlags are those of a replay against workloads of a cluster.
type clusterFlags struct {
	snapshot, testConfig, mode, cleanup, name string

	noMocks, yes, wait bool
	ttl                time.Duration
	secretRefs         []string
	// own and others are the names of the flags that only this form has, and that
	// only the other one has.
	own, others map[string]bool
}

// shared are flags that mean something in both forms.
func shared() []string {
	return []string{"tests", "mocks", "build-tag", "timeout", "junit", "html", "markdown", "output", "no-tui", "help"}
}

// add is called when the flags of the other form are there.
func (f *clusterFlags) add(c *cobra.Command, k kubeFlags) {
	f.others = names(c)
	c.Flags().StringVar(&f.snapshot, "snapshot", "", "snapshot to replay against workloads of the cluster: an id, a name, or latest")
	c.Flags().StringVar(&f.testConfig, "test-config", testconfig.Standard, "test config, which says the load, what is compared, and the goals")
	c.Flags().StringVar(&f.mode, "mode", string(v1.ModeFullReplay), "full-replay, generator-only (nothing is mocked) or responder-only (mocks, until the replay is deleted)")
	c.Flags().BoolVar(&f.noMocks, "no-mocks", false, "leave all dependencies real")
	c.Flags().StringVar(&f.cleanup, "cleanup", string(v1.CleanupInventory), "what becomes of the workloads: inventory (as before), all (deleted) or none (left, to be looked at)")
	c.Flags().StringVar(&f.name, "name", "", "name of the replay (default one of the workload's)")
	c.Flags().BoolVarP(&f.yes, "yes", "y", false, "restart and mock the workloads without being asked")
	c.Flags().BoolVar(&f.wait, "wait", true, "follow the replay to its end")
	c.Flags().StringSliceVar(&f.secretRefs, "secret-refs", nil, "Secrets of the namespace that the transforms of the test config read")
	c.Flags().DurationVar(&f.ttl, "ttl", 0, "delete the replay so long after its end (default "+`"never"`+")")
	k.add(c)
	f.own = names(c)
	for name := range f.others {
		delete(f.own, name)
	}
	for _, name := range shared() {
		delete(f.others, name)
	}
}

func names(c *cobra.Command) map[string]bool {
	found := map[string]bool{}
	c.Flags().VisitAll(func(flag *pflag.Flag) { found[flag.Name] = true })
	return found
}

// check wants flags of one form only.
func (f *clusterFlags) check(c *cobra.Command) error {
	for name := range f.others {
		if f.snapshot != "" && c.Flags().Changed(name) {
			return term.WithCode(term.WithHint(fmt.Errorf("--%s is for a replay on this machine", name), "in a cluster the test config says it: --test-config"), term.ExitUsage)
		}
	}
	for name := range f.own {
		if f.snapshot == "" && c.Flags().Changed(name) {
			return term.WithCode(term.WithHint(fmt.Errorf("--%s is for a replay in a cluster", name), "--snapshot names what is replayed there, and KIND/NAME against what"), term.ExitUsage)
		}
	}
	return nil
}

// inCluster replays against workloads of the cluster.
func (f *replayFlags) inCluster(c *cobra.Command, g *global, out *printer.Flag, workloads []string) error {
	o := replay.Options{
		Name: f.cluster.name, NoMocks: f.cluster.noMocks, Mode: v1.Mode(f.cluster.mode), Cleanup: v1.Cleanup(f.cluster.cleanup),
		TestConfig: f.cluster.testConfig, BuildTag: f.buildTag, TTL: f.cluster.ttl,
		SecretRefs: f.cluster.secretRefs,
	}
	if c.Flags().Changed("tests") {
		o.Tests = f.tests
	}
	if c.Flags().Changed("mocks") {
		o.Mocks = f.mocks
	}
	if c.Flags().Changed("timeout") {
		o.Timeout = f.timeout
	}
	var err error
	if o.Workloads, err = g.refs(workloads); err != nil {
		return err
	}
	o.Namespace = o.Workloads[0].Namespace
	kube, err := g.replays()
	if err != nil {
		return err
	}
	return g.withClusterCloud(c.Context(), func(cl *client.Client) error {
		meta, err := fetchSnapshot(c.Context(), cl, f.cluster.snapshot)
		if term.CodeOf(err) == term.ExitNotFound {
			err = term.WithHint(err, g.otherCloud())
		}
		if err != nil {
			return err
		}
		planned, targets, err := replay.Plan(meta, o)
		if err != nil {
			return term.WithCode(err, term.ExitUsage)
		}
		announce(g, meta, o, targets)
		if !f.cluster.yes {
			if err := g.Confirm(c.Context(), "Start the replay?", "--yes"); err != nil {
				return err
			}
		}
		made, err := kube.Create(c.Context(), planned)
		if err != nil {
			return workloadCode(err)
		}
		g.Sayf("trafficreplay %s/%s", made.Namespace, made.Name)
		if !f.cluster.wait {
			_, err := fmt.Fprintln(g.Out, made.Name)
			return err
		}
		return f.follow(c.Context(), g, out, kube, cl, made)
	})
}

// replays reads and writes the cluster's TrafficReplays.
func (g *global) replays() (replay.Client, error) {
	config, err := g.kube.ToRESTConfig()
	if err != nil {
		return replay.Client{}, noCluster(err)
	}
	d, err := dynamic.NewForConfig(config)
	return replay.Client{Dynamic: d}, err
}

func fetchSnapshot(ctx context.Context, cl *client.Client, ref string) (*snapshot.Meta, error) {
	res, err := cl.Snapshots.Get(ctx, &cloudv1.GetSnapshotRequest{Id: ref})
	if err != nil {
		return nil, fmt.Errorf("--snapshot %q: %w", ref, client.Explain(err))
	}
	meta := &snapshot.Meta{}
	if err := json.Unmarshal(res.GetSnapshot(), meta); err != nil {
		return nil, fmt.Errorf("the cloud's answer: %w", err)
	}
	return meta, nil
}

// otherCloud says that a cluster's cloud is not that of the current context, in which a
// snapshot may have been made instead; "" where it is, or was chosen.
func (g *global) otherCloud() string {
	dir, err := g.dir()
	if err != nil || g.context != "" {
		return ""
	}
	cfg, err := dir.Load()
	if err != nil {
		return ""
	}
	name := g.contextOfCluster(dir)
	if name == "" || name == cfg.CurrentContext {
		return ""
	}
	return fmt.Sprintf("it was looked for in the cluster's cloud, that of context %q, and the current context is %q: speedctl config use-context %s before the snapshot is made",
		name, cfg.CurrentContext, name)
}

// announce names what a replay does to whom.
func announce(g *global, meta *snapshot.Meta, o replay.Options, targets []replay.Target) {
	g.Sayf("Snapshot %s (%s) is replayed:", meta.Info.Name, meta.ID)
	restarted, restored := "is restarted", "and is restarted again to be as before"
	if o.Mode == v1.ModeGeneratorOnly {
		// The operator changes a workload only whose sidecar has to know of the replay.
		restarted, restored = "is restarted if its traffic is captured", "and is then as before"
	}
	for _, t := range targets {
		does := []string{restarted}
		if len(t.Tests) > 0 {
			does = append(does, fmt.Sprintf("is sent %d recorded requests", t.Requests))
		}
		if len(t.Mocks) > 0 {
			does = append(does, "has mocks for "+strings.Join(t.Mocks, ", "))
		}
		switch o.Cleanup {
		case v1.CleanupAll:
			does = append(does, "and is deleted afterwards")
		case v1.CleanupNone:
			does = append(does, "and stays as the replay made it")
		default:
			does = append(does, restored)
		}
		g.Sayf("  %s %s", t.Ref, strings.Join(does, ", "))
	}
}

const (
	// followLimit is for a replay with no timeout of its own, and cleaningLimit what
	// one may take beyond its timeout: the operator tries for 5 minutes to have the
	// report, and for one to restore a workload.
	followLimit   = 2 * time.Hour
	cleaningLimit = 7 * time.Minute
	// cancelLimit bounds the wait for a workload to be as before.
	cancelLimit = 2 * time.Minute
)

// follow shows a replay until its end, and returns its verdict. An interrupt cancels
// the replay.
func (f *replayFlags) follow(ctx context.Context, g *global, out *printer.Flag, kube replay.Client, cl *client.Client, r *v1.TrafficReplay) error {
	if f.screen(g, out) && r.Spec.Mode != v1.ModeResponderOnly {
		return f.followOnScreen(ctx, g, out, kube, cl, r)
	}
	show := follower{g: g, progress: g.StartProgress("waiting for the operator"), warned: map[string]bool{}}
	sink := show.sink()
	if out.Format == printer.JSONL {
		lines := &eventLines{out: g.Out}
		sink.Event, sink.Condition = lines.event, lines.condition
	}
	r, err := watch(ctx, g, kube, cl, r, sink, show.progress.Stop)
	if err != nil {
		return err
	}
	if !replay.Ended(r) {
		g.Sayf("The mocks are ready. They end with: speedctl delete replay %s -n %s", r.Name, r.Namespace)
		_, err := fmt.Fprintln(g.Out, r.Name)
		return err
	}
	rep, err := reportOf(ctx, cl, r)
	if err != nil {
		return err
	}
	return f.conclude(g, out, r, rep)
}

// watch follows a replay until it has ended, or only mocks. What cannot be followed is
// deleted: a replay that nobody takes up, and one whose user interrupts. Stopped is
// called before anything is said of that.
func watch(ctx context.Context, g *global, kube replay.Client, cl *client.Client, r *v1.TrafficReplay, sink replay.Sink, stopped func()) (*v1.TrafficReplay, error) {
	limit := followLimit
	if r.Spec.Timeout != nil {
		// It may wait for its workloads as long as it may run after that.
		limit = 2*r.Spec.Timeout.Duration + cleaningLimit
	}
	r, err := replay.Follow(ctx, kube, cl.Replays, r, limit, sink)
	stopped()
	switch {
	case err != nil && ctx.Err() != nil:
		return r, cancel(ctx, g, kube, r)
	case errors.Is(err, replay.ErrNotTakenUp):
		return r, errors.Join(term.WithHint(err, "speedctl check says what is wrong with the operator"), kube.Delete(ctx, r.Namespace, r.Name))
	}
	return r, err
}

// reportOf fetches the report of a replay that has ended; nil where there is none.
func reportOf(ctx context.Context, cl *client.Client, r *v1.TrafficReplay) (*report.Report, error) {
	res, err := cl.Reports.Get(ctx, &cloudv1.GetReportRequest{Id: string(r.UID)})
	if err != nil && connect.CodeOf(err) == connect.CodeNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, client.Explain(err)
	}
	return decodeReport(res.GetReport())
}

// conclude shows the report of a replay that has ended, where there is one.
func (f *replayFlags) conclude(g *global, out *printer.Flag, r *v1.TrafficReplay, rep *report.Report) error {
	if rep == nil {
		return ending(r)
	}
	err := f.finish(g, out, rep)
	if r.Status.ReportURL != "" {
		g.Sayf("Its page: %s, or speedctl get report %s --web", r.Status.ReportURL, rep.ID)
	}
	return err
}

// ending is what a replay ends with by its conditions alone: nil when it passed.
func ending(r *v1.TrafficReplay) error {
	text := fmt.Errorf("trafficreplay %s/%s: %s", r.Namespace, r.Name, replay.Status(r))
	switch replay.Verdict(r) {
	case v1.ReasonTestSucceeded:
		return nil
	case v1.ReasonTestFailed:
		return term.WithCode(text, term.ExitMissedGoals)
	case v1.ReasonCanceled:
		return term.WithCode(text, term.ExitCanceled)
	}
	return text
}

// cancel deletes a replay and waits until its workloads are as before.
func cancel(ctx context.Context, g *global, kube replay.Client, r *v1.TrafficReplay) error {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cancelLimit)
	defer stop()
	progress := g.StartProgress("cancelling: the workloads become as before")
	err := kube.Delete(ctx, r.Namespace, r.Name)
	if err == nil {
		err = replay.WaitGone(ctx, kube, r.Namespace, r.Name, cancelLimit)
	}
	progress.Stop()
	if err != nil {
		return term.WithCode(fmt.Errorf("cancelled, but %w", err), term.ExitCanceled)
	}
	return term.WithCode(fmt.Errorf("the replay was cancelled; nothing of it is left"), term.ExitCanceled)
}

// follower tells a person how a replay goes, a line for each step and progress below.
type follower struct {
	g        *global
	progress *term.Progress
	phases   bool            // the cloud has told of one
	warned   map[string]bool // of a kind of object, with a reason
	sent     string
	mocks    string
}

func (f *follower) sink() replay.Sink {
	return replay.Sink{
		Condition: func(reason, message string) {
			if !f.phases && message != "" {
				f.g.Sayf("%s  %s: %s", time.Now().Format(time.TimeOnly), reason, message)
			}
		},
		Event: f.event,
		Lost:  func(err error) { f.g.Warnf("the replay is followed by its conditions only: %v", err) },
	}
}

func (f *follower) event(e *cloudv1.ReplayEvent) {
	switch {
	case e.GetPhase() != nil:
		f.phase(time.Unix(0, e.GetTime()), e.GetPhase())
	case e.GetProgress() != nil:
		f.sent = sending(e.GetProgress())
	case e.GetMocks() != nil:
		m := e.GetMocks()
		f.mocks = fmt.Sprintf("mocks: %d requests, %d missed", m.GetRequests(), m.GetMissed())
	case e.GetClusterEvent().GetType() == "Warning":
		f.warning(e.GetClusterEvent())
	}
	if text := strings.Join(slices.DeleteFunc([]string{f.sent, f.mocks}, func(s string) bool { return s == "" }), "; "); text != "" {
		f.progress.Update("%s", text)
	}
}

func (f *follower) phase(at time.Time, p *cloudv1.ReplayPhase) {
	f.phases = true
	line := fmt.Sprintf("%s  %-9s %s", at.Local().Format(time.TimeOnly), p.GetName(), p.GetState())
	if p.GetText() != "" {
		line += "  " + p.GetText()
	}
	f.g.Sayf("%s", line)
	f.sent, f.mocks = "", ""
	f.progress.Update("%s: %s", p.GetName(), cmp.Or(p.GetText(), p.GetState()))
}

// warning tells of each reason once: probes fail again and again while pods are replaced.
func (f *follower) warning(e *cloudv1.ClusterEvent) {
	kind, _, _ := strings.Cut(e.GetObject(), "/")
	key := kind + " " + e.GetReason()
	if f.warned[key] {
		return
	}
	f.warned[key] = true
	f.g.Warnf("%s: %s: %s", e.GetObject(), e.GetReason(), e.GetMessage())
}

func sending(p *cloudv1.ReplayProgress) string {
	of := ""
	if p.GetTotal() >= 0 {
		of = fmt.Sprintf(" of %d", p.GetTotal())
	}
	return fmt.Sprintf("%d%s requests, %d passed, %d differ, %d errors; %.0f/s, p95 %s",
		p.GetSent(), of, p.GetPassed(), p.GetFailed(), p.GetErrors(), p.GetRate(), ms(p.GetP95()))
}
