package command

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/local"
	"github.com/speedscale/speedscale/speedctl/term"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

// mockFlags say what the responder does.
type mockFlags struct {
	proxyFlags
	mocks       []string
	onMiss      string
	latency     string
	passthrough bool
	ignore      []string
	transforms  string
	secrets     string
}

func (f *mockFlags) add(c *cobra.Command) {
	f.proxyFlags.add(c)
	c.Flags().StringSliceVar(&f.mocks, "mocks", []string{"*"}, "dependencies to mock, by key (service:host:port) or a part of one")
	c.Flags().StringVar(&f.onMiss, "on-miss", "404", "what a request gets that was not recorded: 404 or passthrough")
	c.Flags().StringVar(&f.latency, "latency", "none", "how long mocks wait: none, recorded, a multiple (2x) or a duration (50ms)")
	c.Flags().BoolVar(&f.passthrough, "passthrough", false, "let hosts that are not mocked be reached; without it they are refused")
	c.Flags().StringArrayVar(&f.ignore, "ignore-in-request", nil, "part of a request that does not count for a match: a header, a query parameter, or a JSON path; repeatable")
	c.Flags().StringVar(&f.transforms, "transforms", "", "file with the transforms of a test config, in JSON or YAML")
	c.Flags().StringVar(&f.secrets, "secrets", "", "folder of the secrets that transforms name: NAME/KEY is a file in it")
}

func (f *mockFlags) options() (o local.MockOptions, err error) {
	if o.Proxy, err = f.proxy(); err != nil {
		return o, err
	}
	if o.OnMiss, err = local.ParseOnMiss(f.onMiss); err != nil {
		return o, term.WithCode(err, term.ExitUsage)
	}
	if o.Latency, err = local.ParseLatency(f.latency); err != nil {
		return o, term.WithCode(err, term.ExitUsage)
	}
	if o.Transforms, err = local.ReadTransforms(f.transforms); err != nil {
		return o, term.WithCode(err, term.ExitUsage)
	}
	o.Keys, o.Passthrough, o.Ignore, o.Secrets = f.mocks, f.passthrough, f.ignore, f.secrets
	return o, nil
}

func newMock(g *global) *cobra.Command {
	var f mockFlags
	var duration time.Duration
	c := &cobra.Command{
		Use:   "mock SNAPSHOT [-- COMMAND [ARG...]]",
		Short: "Answer for a service's dependencies from a snapshot, until interrupted or the command ends",
		Long: `Mock starts the proxy and a responder that answers as the dependencies did when the snapshot was taken: by
exact request first, the n-th time with the n-th answer. A request that was not recorded gets 404, and the
summary says which recorded request was nearest and in which field it differs. Mocked hosts are never
contacted; their names need not resolve.

SNAPSHOT is an id, a name, "latest", or the path of a folder.`,
		Example: `  speedctl mock checkout -- ./shop
  speedctl mock ./snapshots/checkout --latency recorded -- ./shop`,
		Args: args(func(c *cobra.Command, a []string) error {
			before, _ := splitCommand(c, a)
			return cobra.ExactArgs(1)(c, before)
		}),
		RunE: func(c *cobra.Command, a []string) error {
			before, argv := splitCommand(c, a)
			o, err := f.options()
			if err != nil {
				return err
			}
			o.Command, o.Duration = argv, duration
			snap, masking, err := g.openSnapshot(c.Context(), before[0])
			if err != nil {
				return err
			}
			o.Snapshot, o.Masking, o.World, o.Logger = snap, masking, g.World, g.logger()
			if o.Home, err = g.dir(); err != nil {
				return err
			}
			return local.Mock(c.Context(), o)
		},
	}
	f.add(c)
	c.Flags().DurationVar(&duration, "duration", 0, "end by itself after so long")
	return c
}

// openSnapshot opens a snapshot and fetches the key that its values were masked
// with. Without the key masked values match any value.
func (g *global) openSnapshot(ctx context.Context, ref string) (*snapshot.Snapshot, *local.Masking, error) {
	dir, err := g.dir()
	if err != nil {
		return nil, nil, err
	}
	snap, err := client.OpenSnapshot(ctx, dir, ref, g.connect)
	if err != nil {
		return nil, nil, term.WithCode(err, term.ExitUsage)
	}
	masking := snap.Meta().Masking
	if masking == nil || masking.KeyID == "" {
		return snap, nil, nil
	}
	var m *local.Masking
	err = g.withCloud(ctx, func(c *client.Client) (err error) {
		m, err = local.FetchMasking(ctx, c, masking)
		return err
	})
	if err != nil {
		g.Warnf("without the key %s, masked values match any value: %v", masking.KeyID, err)
		return snap, nil, nil
	}
	return snap, m, nil
}
