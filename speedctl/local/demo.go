package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/demo/shop"
	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/home"
	"github.com/speedscale/speedscale/speedctl/term"
	"github.com/speedscale/speedscale/traffic/report"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

// shoppers is how many sessions the demo captures; each makes nine requests.
const shoppers = 20

// startLimit is how long a service may take until it listens.
const startLimit = 30 * time.Second

// DemoOptions are what the demo runs with.
type DemoOptions struct {
	// Home is a folder of its own, so that the demo leaves the user's alone.
	Home   home.Dir
	World  *term.World
	Logger *slog.Logger
	// Show prints a report.
	Show func(*report.Report) error
}

type demo struct {
	DemoOptions
	addr  string // where the orders service listens
	cloud *client.Client
}

// Demo captures the demo shop, and replays it against the same version, which
// has to pass, and against one with a regression, which must not. It returns an
// error when either replay ends in another way.
func Demo(ctx context.Context, o DemoOptions) (err error) {
	d := &demo{DemoOptions: o}
	if d.cloud, err = client.Connect(ctx, client.Options{Home: o.Home, Logger: o.Logger, Say: func(string, ...any) {}}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.cloud.Close()) }()
	if d.addr, err = freePort(); err != nil {
		return err
	}
	started := time.Now()
	if err := d.capture(ctx); err != nil {
		return err
	}
	snap, masking, err := d.snapshot(ctx, started)
	if err != nil {
		return err
	}
	o.World.Sayf("\nThe dependencies are stopped. Replaying against the same version, with both mocked:\n")
	if err := d.replay(ctx, snap, masking, shop.V1, report.Passed); err != nil {
		return err
	}
	o.World.Sayf("\nReplaying against a new version that has a regression:\n")
	return d.replay(ctx, snap, masking, shop.V2, report.MissedGoals)
}

// capture lets shoppers use the orders service, both sides of it proxied.
func (d *demo) capture(ctx context.Context) error {
	ca, err := shop.NewCA()
	if err != nil {
		return err
	}
	roots := filepath.Join(string(d.Home), "shop-ca.crt")
	if err := os.WriteFile(roots, ca.PEM(), 0o644); err != nil {
		return err
	}
	deps, err := shop.StartDependencies(ca)
	if err != nil {
		return err
	}
	defer deps.Close()
	d.World.Sayf("Started the shop: orders (HTTP), which depends on payments (HTTPS) and inventory (gRPC over TLS).")
	c, err := StartCapture(ctx, CaptureOptions{
		Proxy: Proxy{
			Service: "orders", InListen: "127.0.0.1:0", App: d.addr, OutListen: "127.0.0.1:0",
			Aliases: deps.Aliases(), UpstreamCA: []string{roots}, TLSOut: true,
		},
		Command: d.orders(shop.V1), Home: d.Home, Cloud: d.cloud, World: d.World, Logger: d.Logger,
	})
	if err != nil {
		return err
	}
	if err = c.Child().WaitListening(ctx, d.addr, startLimit); err == nil {
		var n int
		if n, err = shop.Visit(ctx, "http://"+c.InAddr(), shoppers); err == nil {
			d.World.Sayf("%d shoppers made %d requests.", shoppers, n)
		}
	}
	status, err2 := c.Stop()
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	d.World.Sayf("%s", summary(status))
	return nil
}

func (d *demo) snapshot(ctx context.Context, since time.Time) (*snapshot.Snapshot, *Masking, error) {
	sel := &cloudv1.Selection{Start: since.UnixNano()}
	id, err := d.cloud.CreateSnapshot(ctx, "demo", sel, func(uint64) {})
	if err != nil {
		return nil, nil, err
	}
	dir, err := d.cloud.PullSnapshot(ctx, d.Home, id)
	if err != nil {
		return nil, nil, err
	}
	snap, err := snapshot.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	d.World.Sayf("Made snapshot %s of %d pairs.", id, snap.Meta().RecordsProcessed)
	masking, err := FetchMasking(ctx, d.cloud, snap.Meta().Masking)
	return snap, masking, err
}

// replay runs a version of the orders service, mocked, and wants a verdict.
func (d *demo) replay(ctx context.Context, snap *snapshot.Snapshot, masking *Masking, version string, want report.Status) error {
	r, err := Replay(ctx, ReplayOptions{
		Mock: MockOptions{
			Proxy:    Proxy{OutListen: "127.0.0.1:0", TLSOut: true},
			Snapshot: snap, Masking: masking, Keys: []string{"*"}, Command: d.orders(version),
			Home: d.Home, World: d.World, Logger: d.Logger,
		},
		Target: &url.URL{Scheme: "http", Host: d.addr}, Keys: []string{"*"},
		// The one field that differs between any two runs.
		Ignore: []string{"createdAt"},
		Speed:  1, Times: 1, Timeout: 10 * time.Second, BuildTag: version,
	})
	if err != nil {
		return err
	}
	if err := d.Show(r); err != nil {
		return err
	}
	if err := d.cloud.PutReport(ctx, r); err != nil {
		return err
	}
	if r.Verdict() != want {
		return fmt.Errorf("the replay against %s ended with %q, want %q", version, r.Verdict(), want)
	}
	return nil
}

func (d *demo) orders(version string) []string {
	return []string{d.World.Self, "demo-shop", "--listen", d.addr, "--version", version}
}
