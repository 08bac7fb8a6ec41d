package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/agents/goproxy"
	"github.com/speedscale/speedscale/agents/responder"
	"github.com/speedscale/speedscale/speedctl/home"
	"github.com/speedscale/speedscale/speedctl/term"
	"github.com/speedscale/speedscale/traffic/report"
	"github.com/speedscale/speedscale/traffic/signature"
	"github.com/speedscale/speedscale/traffic/snapshot"
	"github.com/speedscale/speedscale/traffic/transform"
)

// MockOptions say what is mocked, and how mocks answer.
type MockOptions struct {
	Proxy    Proxy
	Snapshot *snapshot.Snapshot
	// Masking masks requests as the snapshot was; nil lets masked values match any.
	Masking *Masking
	// Keys choose the dependencies that are mocked.
	Keys []string
	// OnMiss and Latency are the responder's.
	OnMiss  string
	Latency responder.Latency
	// Ignore names parts of requests that do not count for a match.
	Ignore []string
	// Transforms rewrite requests and answers; nil where none do. Secrets is the folder
	// of those that they name.
	Transforms *transform.Config
	Secrets    string
	// Passthrough lets hosts that are not mocked be reached.
	Passthrough bool
	// Results takes each answer; nil where nobody asks.
	Results *report.Builder
	// Command is started with the proxy's variables.
	Command []string
	// Duration ends Mock by itself; 0 does not.
	Duration time.Duration

	Home   home.Dir
	World  *term.World
	Logger *slog.Logger
}

// ParseOnMiss reads what a request gets that was not recorded.
func ParseOnMiss(s string) (string, error) {
	switch s {
	case responder.NotFound, responder.Passthrough:
		return s, nil
	}
	return "", fmt.Errorf("--on-miss %q: want %s or %s", s, responder.NotFound, responder.Passthrough)
}

// ParseLatency reads how long mocks wait: none, recorded, a multiple such as 2x,
// or a duration.
func ParseLatency(s string) (responder.Latency, error) {
	switch s {
	case "none":
		return responder.Latency{}, nil
	case "recorded":
		return responder.Latency{Multiple: 1}, nil
	}
	if m, ok := strings.CutSuffix(s, "x"); ok {
		if n, err := strconv.ParseFloat(m, 64); err == nil && n >= 0 {
			return responder.Latency{Multiple: n}, nil
		}
	} else if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return responder.Latency{Fixed: d}, nil
	}
	return responder.Latency{}, fmt.Errorf("--latency %q: want none, recorded, a multiple such as 2x, or a duration such as 50ms", s)
}

// ReadTransforms reads the transforms of a test config from a file, in JSON or YAML.
// Without a name there are none.
func ReadTransforms(name string) (*transform.Config, error) {
	if name == "" {
		return nil, nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("--transforms: %w", err)
	}
	doc, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, fmt.Errorf("--transforms: %s: %w", name, err)
	}
	c, err := transform.Parse(doc)
	if err != nil {
		return nil, fmt.Errorf("--transforms: %s: %w", name, err)
	}
	return c, nil
}

// Mocking is a proxy with a responder behind it.
type Mocking struct {
	responder *responder.Responder
	proxy     *running
	child     *Child
	cancel    context.CancelFunc
	served    chan error
}

// Mock answers until the context, the command or the duration ends, and says what
// it answered. It returns the command's error.
func Mock(ctx context.Context, o MockOptions) error {
	m, err := StartMock(ctx, o)
	if err != nil {
		return err
	}
	if len(o.Command) == 0 {
		o.World.Sayf("Mocking %s", strings.Join(m.responder.Keys(), ", "))
		m.proxy.instructions(o.World, o.Home)
		o.World.Sayf("Interrupt to end.")
	}
	ended := ended(ctx, m.child, o.Duration)
	err = m.Stop()
	stats := m.responder.Stats()
	o.World.Sayf("Answered %d requests: %d matched, %d missed, %d passed through.", stats.Requests, stats.Matched, stats.Missed, stats.Passthrough)
	for i, miss := range stats.Misses {
		if i == 10 {
			o.World.Sayf("… and %d other requests that were not recorded", len(stats.Misses)-i)
			break
		}
		o.World.Sayf("not recorded: %s", describeMiss(miss))
	}
	return errors.Join(ended, err)
}

func describeMiss(m responder.Miss) string {
	if m.Nearest == nil || len(m.Fields) == 0 {
		return m.Request + ": " + m.Reason
	}
	var fields []string
	for _, f := range m.Fields {
		fields = append(fields, fmt.Sprintf("%s: recorded %s, got %s", f.Key, f.Want, f.Got))
	}
	return fmt.Sprintf("%s; nearest was %s (%s)", m.Request, m.Nearest.GetCommand()+" "+m.Nearest.GetLocation(), strings.Join(fields, "; "))
}

// StartMock starts the responder, the proxy that leads to it, and the command.
func StartMock(ctx context.Context, o MockOptions) (m *Mocking, err error) {
	sig := signature.Options{Headers: nil, IgnorePaths: o.Ignore}
	if err := sig.Check(); err != nil {
		return nil, term.WithCode(fmt.Errorf("--ignore-in-request: %w", err), term.ExitUsage)
	}
	transforms, err := o.Transforms.ResponderSet(transform.Environment{Secrets: o.Secrets})
	if err != nil {
		return nil, term.WithCode(fmt.Errorf("--transforms: %w", err), term.ExitUsage)
	}
	m = &Mocking{served: make(chan error, 1)}
	m.responder, err = responder.New(responder.Options{
		Reactions: o.Snapshot.Reactions(), Keys: o.Keys, Signature: sig, Masker: o.Masking,
		Transforms: transforms, OnMiss: o.OnMiss, Latency: o.Latency, Proxy: responder.ProxyRequired, Report: o.Results, Logger: o.Logger,
	})
	if err != nil {
		return nil, term.WithCode(err, term.ExitUsage)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	serve, cancel := context.WithCancel(context.WithoutCancel(ctx))
	m.cancel = cancel
	go func() { m.served <- m.responder.Serve(serve, l) }()
	cfg, err := o.Proxy.settings(o.Home)
	if err != nil {
		return nil, errors.Join(err, m.Stop())
	}
	cfg.Route = &config.Route{Responder: l.Addr().String(), Mocks: m.responder.Mocks(), Default: config.RouteRefuse}
	if o.Passthrough || o.OnMiss == responder.Passthrough {
		cfg.Route.Default = config.RoutePassthrough
	}
	if m.proxy, err = start(o.World, o.Home, cfg, goproxy.Options{Logger: o.Logger}); err != nil {
		return nil, errors.Join(err, m.Stop())
	}
	if len(o.Command) > 0 {
		if m.child, err = startChild(ctx, o.World, o.Command, m.proxy.env); err != nil {
			return nil, errors.Join(err, m.Stop())
		}
	}
	return m, nil
}

// Child is the command, nil when there is none.
func (m *Mocking) Child() *Child { return m.child }

// Stop ends the command, the proxy and the responder.
func (m *Mocking) Stop() (err error) {
	if m.child != nil {
		m.child.Stop()
	}
	if m.proxy != nil {
		err = m.proxy.stop()
	}
	m.cancel()
	return errors.Join(err, <-m.served)
}
