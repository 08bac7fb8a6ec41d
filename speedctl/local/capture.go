package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/speedscale/speedscale/agents/goproxy"
	"github.com/speedscale/speedscale/agents/goproxy/tap"
	"github.com/speedscale/speedscale/speedctl/client"
	"github.com/speedscale/speedscale/speedctl/home"
	"github.com/speedscale/speedscale/speedctl/term"
)

// CaptureOptions say what is captured, and where to.
type CaptureOptions struct {
	Proxy Proxy
	// Sample keeps one in so many sessions; 0 and 1 keep all.
	Sample int
	// Command is started with the proxy's variables; capture ends with it.
	Command []string
	// Duration ends capture by itself; 0 does not.
	Duration time.Duration

	Home   home.Dir
	Cloud  *client.Client
	World  *term.World
	Logger *slog.Logger
}

// Capturing is a capture that runs.
type Capturing struct {
	world    *term.World
	proxy    *running
	pipeline *pipeline
	child    *Child
}

// Capture captures until the context, the command or the duration ends, and
// says what it captured. It returns the command's error.
func Capture(ctx context.Context, o CaptureOptions) error {
	c, err := StartCapture(ctx, o)
	if err != nil {
		return err
	}
	if a := c.proxy.InAddr(); a != nil {
		o.World.Sayf("Requests to %s go to %s, and are captured.", a, o.Proxy.App)
	}
	if len(o.Command) == 0 {
		c.proxy.instructions(o.World, o.Home)
		o.World.Sayf("Capturing as %q. Interrupt to end.", o.Proxy.Service)
	}
	ended := ended(ctx, c.child, o.Duration)
	status, err := c.Stop()
	o.World.Sayf("%s", summary(status))
	return errors.Join(ended, err)
}

// StartCapture starts the proxy, its pipeline to the cloud, and the command.
func StartCapture(ctx context.Context, o CaptureOptions) (*Capturing, error) {
	cfg, err := o.Proxy.settings(o.Home)
	if err != nil {
		return nil, err
	}
	cfg.Sample = o.Sample
	c := &Capturing{world: o.World}
	if c.pipeline, err = startPipeline(ctx, o); err != nil {
		return nil, err
	}
	c.proxy, err = start(o.World, o.Home, cfg, goproxy.Options{Recorder: c.pipeline.publisher, Logger: o.Logger, Budget: c.pipeline.budget})
	if err != nil {
		return nil, errors.Join(err, c.pipeline.stop())
	}
	if len(o.Command) > 0 {
		if c.child, err = startChild(ctx, o.World, o.Command, c.proxy.env); err != nil {
			_, err2 := c.Stop()
			return nil, errors.Join(err, err2)
		}
	}
	return c, nil
}

// InAddr is where clients of the service go.
func (c *Capturing) InAddr() string { return c.proxy.InAddr().String() }

// Child is the command, nil when there is none.
func (c *Capturing) Child() *Child { return c.child }

// Stop ends the command and the proxy, and waits until all that was captured is
// in the cloud, or in the spool for the next capture.
func (c *Capturing) Stop() (goproxy.Status, error) {
	if c.child != nil {
		c.child.Stop()
	}
	err := c.proxy.stop()
	err = errors.Join(err, c.pipeline.stop())
	return c.proxy.Status(), err
}

// summary says in a line what was captured, and what was not and why.
func summary(s goproxy.Status) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Captured %d inbound and %d outbound requests", s.Inbound.Pairs, s.Outbound.Pairs)
	lost := map[string]tap.Lost{}
	for _, d := range []goproxy.DirectionStatus{s.Inbound, s.Outbound} {
		for reason, n := range d.Lost {
			sum := lost[reason]
			lost[reason] = tap.Lost{Pairs: sum.Pairs + n.Pairs, Connections: sum.Connections + n.Connections, Bytes: sum.Bytes + n.Bytes}
		}
	}
	for i, reason := range slices.Sorted(maps.Keys(lost)) {
		b.WriteString([]string{"; not captured: ", ", "}[min(i, 1)])
		n := lost[reason]
		fmt.Fprintf(&b, "%s (%d requests, %d connections, %d bytes)", strings.ReplaceAll(reason, "_", " "), n.Pairs, n.Connections, n.Bytes)
	}
	b.WriteString(".")
	return b.String()
}
