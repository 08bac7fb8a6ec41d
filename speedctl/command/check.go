package command

import (
	"cmp"
	"context"
	"errors"
	"net"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cluster/check"
	"github.com/speedscale/speedscale/cluster/forward"
	"github.com/speedscale/speedscale/cluster/install"
	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/printer"
)

// askLimit bounds what is asked of the cloud in one check.
const askLimit = 20 * time.Second

// A look asks the API server some dozens of things at once.
const lookQPS, lookBurst = 50, 100

func newCheck(g *global) *cobra.Command {
	var before bool
	var wait time.Duration
	out := printer.NewFlag(printer.Table, printer.JSON, printer.YAML)
	c := &cobra.Command{
		Use:   "check",
		Short: "Say what is wrong with the installation in a cluster, or in the way of one",
		Long: `Check looks at the cluster, the operator and what it runs, the way to the cloud, what forwarder and sidecars tell of
themselves, and every workload that asks for a sidecar. With --pre it says whether speedscale can be installed. It changes nothing:
that webhooks answer is tried by a dry run.

Each check has an id that stays, and a section of that name in
` + check.Docs + `

Exit codes: 0 when no check failed (there may be warnings), 1 when one did, also where --wait is over.`,
		Example: `  speedctl check
  speedctl check --pre
  speedctl check --wait 2m -o json`,
		Annotations: notRun("it wants an installed operator: test/kube runs the command, with flags of its own", "speedctl check", "speedctl check --wait 2m -o json"),
		Args:        args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			look, done, err := g.looker(before)
			if err != nil {
				return err
			}
			defer done()
			report := waitChecks(c.Context(), g, wait, look)
			return errors.Join(printReport(g, out, report), c.Context().Err())
		},
	}
	c.Flags().BoolVar(&before, "pre", false, "check whether it can be installed")
	c.Flags().DurationVar(&wait, "wait", 0, "check again until nothing fails, for so long")
	c.Flags().VarP(out, "output", "o", "form of the output")
	g.kube.add(c)
	return c
}

// operatorNamespace is that of -n or, unlike for workloads, always the same one.
func (g *global) operatorNamespace() string { return cmp.Or(*g.kube.Namespace, install.Namespace) }

// looker returns what makes the checks once, and what closes its connections.
func (g *global) looker(before bool) (look func(context.Context) check.Report, done func(), err error) {
	config, err := g.kube.ToRESTConfig()
	if err != nil {
		return nil, nil, noCluster(err)
	}
	clock := &check.Clock{}
	config = rest.CopyConfig(config)
	config.Timeout, config.QPS, config.Burst = cmp.Or(config.Timeout, requestLimit), lookQPS, lookBurst
	watched := rest.CopyConfig(config)
	watched.Wrap(clock.Wrap)
	kube, err := kubernetes.NewForConfig(watched)
	if err != nil {
		return nil, nil, err
	}
	objects, err := dynamic.NewForConfig(watched)
	if err != nil {
		return nil, nil, err
	}
	way := forward.New(forward.Options{Config: config, Client: kube, Namespace: g.operatorNamespace(), Service: install.Operator})
	sources := check.Sources{
		Client: kube, Dynamic: objects, Clock: clock, Namespace: g.operatorNamespace(), CloudNamespace: install.CloudNamespace, Before: before, Version: version,
		Operator: func(ctx context.Context) (net.Conn, error) { return way.DialContext(ctx, "tcp", "") },
	}
	return func(ctx context.Context) check.Report {
		facts := check.Gather(ctx, sources)
		if before {
			return check.Before(facts)
		}
		if facts.VersionError == nil {
			facts.Cloud = g.askCloud(ctx, check.ClusterOf(facts.Forwarder.Object))
		}
		return check.After(facts)
	}, func() { way.Close() }, nil
}

// waitChecks looks again until nothing fails, or the limit is over.
func waitChecks(ctx context.Context, g *global, limit time.Duration, look func(context.Context) check.Report) check.Report {
	deadline := time.Now().Add(limit)
	progress := g.StartProgress("checking")
	defer progress.Stop()
	for {
		report := look(ctx)
		if report.Success || ctx.Err() != nil || !time.Now().Before(deadline) {
			return report
		}
		for _, r := range report.All() {
			if r.Status == check.Failed {
				progress.Update("waiting until %s: %s", r.Title, r.Text)
				break
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(2*time.Second, time.Until(deadline))):
		}
	}
}

// askCloud asks the cloud that the operator sends to how it is, and what it has heard of
// the cluster.
func (g *global) askCloud(ctx context.Context, cluster check.Cluster) *check.Cloud {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	var state check.Cloud
	state.Err = g.withClusterCloud(ctx, func(cl *client.Client) error {
		res, err := cl.Traffic.Ingest(ctx, &cloudv1.IngestRequest{})
		state.Refused, state.Pairs = res.GetRefused(), res.GetPairs()
		if code := connect.CodeOf(err); err != nil && (code == connect.CodeUnauthenticated || code == connect.CodePermissionDenied) {
			state.Denied = true
		}
		if err == nil && cluster.Told {
			state.Telemetry, state.Clock = askTelemetry(ctx, cl, cluster.Name)
		}
		return client.Explain(err)
	})
	return &state
}

// askTelemetry asks for the latest of a cluster, and what the cloud's clock shows.
func askTelemetry(ctx context.Context, cl *client.Client, cluster string) (t check.Telemetry, clock check.Offset) {
	sent := time.Now()
	res, err := cl.Telemetry.Agents(ctx, &cloudv1.TelemetryAgentsRequest{Cluster: cluster})
	switch code := connect.CodeOf(err); {
	case err == nil:
		clock = check.Between(time.Unix(0, res.GetTime()), sent, time.Now())
	case code == connect.CodeUnimplemented || code == connect.CodeNotFound:
		t.Err = errors.New("the cloud is of a version that takes none")
	default:
		t.Err = client.Explain(err)
	}
	if list := res.GetClusters(); len(list) > 0 {
		t.Latest, t.Age = list[0], time.Duration(res.GetTime()-list[0].GetReceived())
	}
	return t, clock
}
