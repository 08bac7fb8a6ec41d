package command

import (
	"net"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/speedscale/speedscale/demo/shop"
	"github.com/speedscale/speedscale/speedctl/home"
	"github.com/speedscale/speedscale/speedctl/local"
	"github.com/speedscale/speedscale/speedctl/printer"
	"github.com/speedscale/speedscale/speedctl/term"
	"github.com/speedscale/speedscale/traffic/report"
)

func newDemo(g *global) *cobra.Command {
	var keep string
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show the main job on a small shop: capture, snapshot, replay against two versions",
		Long: `Demo starts an orders service that depends on an HTTPS and a gRPC service, lets shoppers use it, and captures
both sides. It makes a snapshot, stops the dependencies, and replays the snapshot with the dependencies
mocked: against the same version, which passes, and against one with a regression, which does not. It uses
a folder and ports of its own.`,
		Example:     "  speedctl demo\n  speedctl demo --keep ./demo-home",
		Annotations: notRun("it takes half a minute: testdata/script/demo.txtar runs it"),
		Args:        args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			dir := keep
			if dir == "" {
				tmp, err := os.MkdirTemp("", "speedscale-demo-")
				if err != nil {
					return err
				}
				defer os.RemoveAll(tmp)
				dir = tmp
			}
			dir, err := filepath.Abs(dir)
			if err != nil {
				return err
			}
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return err
			}
			table := printer.NewFlag(printer.Table)
			err = local.Demo(c.Context(), local.DemoOptions{
				Home: home.Dir(dir), World: g.World, Logger: g.logger(),
				Show: func(r *report.Report) error { return showReport(g, table, r) },
			})
			if err == nil {
				g.Sayf("\nThe first replay passed; the second found the regression, as it should.")
			}
			return err
		},
	}
	c.Flags().StringVar(&keep, "keep", "", "use this folder as home, and keep it (default a temporary one)")
	return c
}

// newDemoShop is the service that the demo captures.
func newDemoShop(*global) *cobra.Command {
	var listen, version string
	c := &cobra.Command{
		Use:    "demo-shop",
		Short:  "Run the demo's orders service",
		Hidden: true,
		Args:   args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := net.Listen("tcp", listen)
			if err != nil {
				return term.WithCode(err, term.ExitUsage)
			}
			return shop.ServeOrders(c.Context(), l, version)
		},
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:8080", "address to listen on")
	c.Flags().StringVar(&version, "version", shop.V1, "version to be: v1 or v2")
	return c
}
