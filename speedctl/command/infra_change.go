package command

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/speedscale/speedscale/agents/inspector"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cluster/annotation"
	v1 "github.com/speedscale/speedscale/cluster/api/v1"
	"github.com/speedscale/speedscale/cluster/replay"
	"github.com/speedscale/speedscale/cluster/workload"
	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/term"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

// remoteWorkload reads KIND/NAME, or NAME of the kind.
func remoteWorkload(text, kind, namespace string) (workload.Ref, error) {
	if !strings.Contains(text, "/") {
		text = kind + "/" + text
	}
	r, err := workload.ParseRef(text, namespace)
	return r, term.WithCode(err, term.ExitUsage)
}

func newInfraSidecar(g *global) *cobra.Command {
	c := &cobra.Command{
		Use:     "sidecar",
		Short:   "Have a workload's traffic captured, or not any more",
		Example: "  speedctl infra sidecar add deployment/checkout -n shop",
	}
	var sidecar sidecarFlags
	add := newInfraSidecarVerb(g, "add", "Have a workload's traffic captured, by a sidecar in its pods", "added to", func() map[string]string {
		set := sidecar.annotations()
		set[annotation.Inject] = "true"
		return set
	})
	sidecar.add(add)
	remove := newInfraSidecarVerb(g, "remove", "Take the sidecar out of a workload's pods", "removed from", func() map[string]string {
		return map[string]string{annotation.Prefix + "*": ""}
	})
	c.AddCommand(add, remove)
	return group(c)
}

func newInfraSidecarVerb(g *global, verb, short, done string, annotations func() map[string]string) *cobra.Command {
	var f remoteFlags
	var kind string
	c := &cobra.Command{
		Use:     verb + " KIND/NAME",
		Short:   short,
		Long:    short + ". The operator then replaces the pods, as in any rollout; speedctl infra workloads shows how far that is.",
		Example: fmt.Sprintf("  speedctl infra sidecar %s deployment/checkout --cluster my-cluster -n shop", verb),
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			if err := f.needed(); err != nil {
				return err
			}
			ref, err := remoteWorkload(a[0], kind, f.namespace)
			if err != nil {
				return err
			}
			var changed inspector.Changed
			_, err = f.run(c.Context(), g, &cloudv1.Command{Command: &cloudv1.Command_Injection{Injection: &cloudv1.SetInjection{
				Namespace: ref.Namespace, Kind: ref.Kind, Name: ref.Name, Annotations: annotations(),
			}}}, &changed)
			if err == nil {
				g.Sayf("sidecar %s %s: %s", done, ref, cmp.Or(changed.Held, "its pods are replaced"))
			}
			return err
		},
	}
	f.add(c, "namespace of the workload")
	c.Flags().StringVar(&kind, "workload-type", "deployment", "kind of a workload that is given by its name only, such as statefulset or argorollout")
	return c
}

// infraReplay are the flags of infra replay.
type infraReplay struct {
	remoteFlags
	options            replay.Options
	snapshot, kind     string
	mode, cleanup, url string
	idOnly             bool
}

func newInfraReplay(g *global) *cobra.Command {
	var f infraReplay
	c := &cobra.Command{
		Use:   "replay [KIND/NAME]",
		Short: "Start a replay in a cluster",
		Long: `Replay starts a TrafficReplay of a snapshot against a workload, whose pods are replaced for it and afterwards, or
against a URL. It prints the report's id, which speedctl wait and get take, and does not wait itself.`,
		Example: `  speedctl infra replay deployment/checkout --snapshot-id latest --cluster my-cluster -n shop
  speedctl infra replay --test-against http://checkout.staging -n shop --snapshot-id checkout --id-only`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			if err := f.check(c, a); err != nil {
				return err
			}
			return f.start(c.Context(), g, a)
		},
	}
	f.add(c, "namespace of the workload")
	flags := c.Flags()
	flags.StringVar(&f.snapshot, "snapshot-id", "latest", "id or name of the snapshot, or latest")
	flags.StringVar(&f.options.TestConfig, "test-config-id", "standard", "id of the test config")
	flags.StringVar(&f.options.BuildTag, "build-tag", "", "what was built, kept with the report")
	flags.StringVar(&f.mode, "mode", string(v1.ModeFullReplay), "full-replay, generator-only or responder-only")
	flags.StringVar(&f.cleanup, "cleanup", string(v1.CleanupInventory), "inventory, all or none: what becomes of the workload")
	flags.BoolVar(&f.options.NoMocks, "no-mocks", false, "leave all dependencies real")
	flags.StringSliceVar(&f.options.Mocks, "mock-only", nil, "keys of the dependencies that are mocked, or parts of them; all of the workload's without it")
	flags.StringVar(&f.url, "test-against", "", "URL that the requests go to, instead of a workload")
	flags.DurationVar(&f.options.Timeout, "timeout", 0, "limit of the replay; the operator's without it")
	flags.StringVar(&f.kind, "workload-type", "deployment", "kind of a workload that is given by its name only, such as statefulset or argorollout")
	flags.BoolVar(&f.idOnly, "id-only", false, "print the id alone")
	return c
}

// check wants a workload or a URL, and with a URL no flags that are about a workload.
func (f *infraReplay) check(c *cobra.Command, a []string) error {
	if err := f.needed(); err != nil {
		return err
	}
	if (len(a) == 0) == (f.url == "") {
		return term.WithCode(term.WithHint(fmt.Errorf("want a workload or --test-against"), "name a workload as KIND/NAME, or a URL"), term.ExitUsage)
	}
	if f.url == "" {
		return nil
	}
	for _, name := range []string{"mode", "cleanup", "mock-only", "workload-type"} {
		if c.Flags().Changed(name) && (name != "mode" || f.mode != string(v1.ModeGeneratorOnly)) {
			return term.WithCode(term.WithHint(fmt.Errorf("--%s is for a replay against a workload", name),
				"a URL given as --test-against is sent the requests, and nothing is mocked: leave the flag out"), term.ExitUsage)
		}
	}
	return nil
}

func (f *infraReplay) start(ctx context.Context, g *global, a []string) error {
	var started inspector.Started
	err := g.withCloud(ctx, func(c *client.Client) error {
		res, err := c.Snapshots.Get(ctx, &cloudv1.GetSnapshotRequest{Id: f.snapshot})
		if err != nil {
			return client.Explain(err)
		}
		var meta snapshot.Meta
		if err := json.Unmarshal(res.GetSnapshot(), &meta); err != nil {
			return fmt.Errorf("the cloud's answer: %w", err)
		}
		name, spec, err := f.plan(&meta, a)
		if err != nil {
			return term.WithCode(err, term.ExitUsage)
		}
		output, err := f.give(ctx, c, &cloudv1.Command{Command: &cloudv1.Command_StartReplay{StartReplay: &cloudv1.StartReplay{
			Namespace: f.namespace, Name: name, Spec: spec,
		}}})
		if err != nil {
			return err
		}
		return json.Unmarshal(output, &started)
	})
	if err != nil {
		return err
	}
	if f.idOnly {
		_, err = fmt.Fprintln(g.Out, started.UID)
		return err
	}
	_, err = fmt.Fprintf(g.Out, "TrafficReplay %s/%s started, its report will be %s\n", started.Namespace, started.Name, started.UID)
	return err
}

// plan returns the name and the spec of the TrafficReplay.
func (f *infraReplay) plan(meta *snapshot.Meta, a []string) (name string, spec []byte, err error) {
	o := f.options
	o.Namespace, o.Mode, o.Cleanup = f.namespace, v1.Mode(f.mode), v1.Cleanup(f.cleanup)
	name = "replay"
	planned := v1.TrafficReplaySpec{
		SnapshotID: meta.ID, TestConfigID: o.TestConfig, Mode: v1.ModeGeneratorOnly, CustomURL: f.url, BuildTag: o.BuildTag,
	}
	if o.Timeout > 0 {
		planned.Timeout = &metav1.Duration{Duration: o.Timeout}
	}
	if len(a) == 1 {
		ref, err := remoteWorkload(a[0], f.kind, f.namespace)
		if err != nil {
			return "", nil, err
		}
		o.Workloads = []workload.Ref{ref}
		r, _, err := replay.Plan(meta, o)
		if err != nil {
			return "", nil, err
		}
		name, planned = ref.Name[:min(len(ref.Name), 40)], r.Spec
	}
	spec, err = json.Marshal(planned)
	return fmt.Sprintf("%s-%s", name, strings.ToLower(rand.Text()[:5])), spec, err
}

func newInfraCancelReplay(g *global) *cobra.Command {
	var f remoteFlags
	c := &cobra.Command{
		Use:     "cancel-replay NAME|REPORT_ID",
		Short:   "Cancel a replay in a cluster",
		Long:    "Cancel-replay deletes a TrafficReplay, by its name or its report's id. The operator then restores the workloads.",
		Example: "  speedctl infra cancel-replay checkout-x7k2p --cluster my-cluster -n shop",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			if err := f.needed(); err != nil {
				return err
			}
			var canceled inspector.Started
			_, err := f.run(c.Context(), g, &cloudv1.Command{Command: &cloudv1.Command_CancelReplay{CancelReplay: &cloudv1.CancelReplay{
				Namespace: f.namespace, Name: a[0],
			}}}, &canceled)
			if err == nil {
				g.Sayf("TrafficReplay %s/%s is canceled", canceled.Namespace, canceled.Name)
			}
			return err
		},
	}
	f.add(c, "namespace of the replay")
	return c
}
