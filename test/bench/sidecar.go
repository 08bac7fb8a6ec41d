package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// The sidecar is goproxy in reverse mode, as the supervised binary it is, with a
// forwarder and a cloud behind it.

// goproxy is a running sidecar.
type goproxy struct {
	*process
	addr, metrics, health string
}

func (b *bench) goproxy(ctx context.Context, p *pipeline, backend string, env ...string) (*goproxy, error) {
	g := &goproxy{addr: port(), metrics: port(), health: port()}
	var err error
	g.process, err = start(ctx, append([]string{
		"PROXY_TYPE=reverse", "PROXY_BIND=127.0.0.1", "PROXY_IN_PORT=" + portOf(g.addr),
		"REVERSE_PROXY_HOST=127.0.0.1", "REVERSE_PROXY_PORT=" + portOf(backend),
		"APP_LABEL=bench", "APP_POD_NAME=bench-0", "APP_POD_NAMESPACE=default", "LOG_LEVEL=warn",
		"FORWARDER_ADDR=" + p.addr, "FORWARDER_TOKEN_FILE=" + p.tokenFile,
		"METRICS_HTTP_PORT=" + portOf(g.metrics), "HEALTH_HTTP_PORT=" + portOf(g.health),
	}, env...), filepath.Join(b.bin, "goproxy"))
	if err != nil {
		return nil, err
	}
	if err := g.answers("http://" + g.health + "/readyz"); err != nil {
		g.stop()
		return nil, err
	}
	return g, nil
}

// sidecar is a goproxy before an app, with a pipeline behind it.
type sidecar struct {
	backend  string // where the app listens
	app      *process
	pipeline *pipeline
	goproxy  *goproxy
}

func (b *bench) sidecar(ctx context.Context, name string) (*sidecar, error) {
	s := &sidecar{backend: port()}
	var err error
	if s.app, err = b.backend(ctx, s.backend); err == nil {
		if s.pipeline, err = b.pipeline(ctx, name); err == nil {
			s.goproxy, err = b.goproxy(ctx, s.pipeline, s.backend)
		}
	}
	if err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// stop ends what was started, the last one first.
func (s *sidecar) stop() {
	if s.goproxy != nil {
		s.goproxy.stop()
	}
	if s.pipeline != nil {
		s.pipeline.stop()
	}
	if s.app != nil {
		s.app.stop()
	}
}

// contender is one of those that are measured in turn, so that whatever else the
// machine does hits all of them alike.
type contender struct {
	name     string
	p        *process
	url      string
	micros   []float64
	perSec   []float64
	requests int64 // of all rounds
}

// race measures the CPU that each contender uses for a request under the same
// load, round by round.
func (b *bench) race(ctx context.Context, connections int, all []*contender, extra ...string) error {
	for range b.rounds {
		for _, c := range all {
			if err := b.round(ctx, connections, c, extra...); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) round(ctx context.Context, connections int, c *contender, extra ...string) error {
	micros, l, err := perRequest(ctx, c.p, connections, b.length, c.url, extra...)
	if err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	c.micros, c.perSec = append(c.micros, micros), append(c.perSec, l.perSec)
	c.requests += l.requests
	return nil
}

// addRace adds a row for ours, which is first, against each other contender; goal
// is for the first of those.
func (b *bench) addRace(part, figure string, all []*contender, goal float64) {
	for i, peer := range all[1:] {
		r := against(part, figure, median(all[0].micros), "CPU µs/request", peer.name, median(peer.micros), 0)
		if i == 0 {
			r.AtMost = goal
		}
		b.add(r)
	}
}

// sidecarCPU is under full load, and every pair is to be captured.
func sidecarCPU(ctx context.Context, b *bench) error {
	s, err := b.sidecar(ctx, "sidecar")
	if err != nil {
		return err
	}
	defer s.stop()
	all := []*contender{{name: "goproxy", p: s.goproxy.process, url: "http://" + s.goproxy.addr + "/"}}
	for _, mode := range []string{"http", "tcp"} {
		listen := port()
		h, err := b.haproxy(ctx, mode, mode, listen, "", s.backend, "")
		if err != nil {
			return err
		}
		defer h.stop()
		all = append(all, &contender{name: "haproxy " + mode, p: h, url: "http://" + listen + "/"})
	}
	listen := port()
	n, err := b.nginxProxy(ctx, listen, s.backend)
	if err != nil {
		return err
	}
	defer n.stop()
	all = append(all, &contender{name: "nginx proxy_pass", p: n, url: "http://" + listen + "/"})
	t := &tally{backend: s.backend}
	for range b.rounds {
		for _, c := range all {
			measure := func() error { return b.round(ctx, 16, c) }
			if c.p == s.goproxy.process {
				err = t.through(measure)
			} else {
				err = measure()
			}
			if err != nil {
				return err
			}
		}
	}
	b.addRace("sidecar", "plain HTTP/1.1, 16 connections, all captured", all, 2.0)
	return t.close(ctx, b, "16 connections, full speed", s.goproxy, s.pipeline)
}

// tally holds what the app was sent against what became of it.
type tally struct {
	backend  string
	requests int64
}

// through counts the requests that the app is sent while load runs.
func (t *tally) through(load func() error) error {
	before, err := received(t.backend)
	if err != nil {
		return err
	}
	if err := load(); err != nil {
		return err
	}
	after, err := received(t.backend)
	t.requests += after - before - 1 // the second question is counted itself
	return err
}

// close ends a proxy in order, and compares the requests that the app was sent
// with the pairs that are in the archive and the losses that are stated there.
func (t *tally) close(ctx context.Context, b *bench, load string, g *goproxy, p *pipeline) error {
	// A snapshot needs a pair.
	if err := t.through(func() error { _, err := get("http://" + g.addr + "/marker"); return err }); err != nil {
		return err
	}
	g.stop()
	pairs, err := p.archived(ctx)
	if err != nil {
		return err
	}
	meta, err := p.snapshot(ctx, `(location IS "/marker")`)
	if err != nil {
		return err
	}
	lost := 0.0
	for _, l := range meta.Losses {
		fmt.Fprintf(b.log, "    counted loss: %s: %d pairs, %d connections, %d bytes\n", l.Reason, l.Pairs, l.Connections, l.Bytes)
		lost += float64(l.Pairs)
	}
	for _, gap := range meta.Gaps {
		fmt.Fprintf(b.log, "    gap: %s: %d to %d\n", gap.Producer, gap.From, gap.To)
	}
	b.add(
		row{Part: "sidecar", Figure: load + ": requests archived", Measured: 100 * float64(pairs) / float64(t.requests), Unit: "%", AtLeast: 100},
		row{Part: "sidecar", Figure: load + ": requests neither archived nor counted as lost", Measured: float64(t.requests) - float64(pairs) - lost, Unit: "requests", Zero: true},
	)
	return nil
}

// calmRounds: latency is taken in this many times as many rounds, of half the
// length. Whatever else the machine does can only add to latency, so the round
// with the least of it says most about what is measured.
const calmRounds = 4

// sidecarLatency measures what goproxy adds to latency at 1,000 requests/s, and how
// much memory it takes.
func sidecarLatency(ctx context.Context, b *bench) error {
	const connections, perSecond = 16, 1000
	s, err := b.sidecar(ctx, "paced")
	if err != nil {
		return err
	}
	defer s.stop()
	// In a cluster they run on nodes of their own.
	if err := errors.Join(s.pipeline.cloud.giveWay(), s.pipeline.forwarder.giveWay()); err != nil {
		return err
	}
	listen := port()
	h, err := b.haproxy(ctx, "paced", "http", listen, "", s.backend, "")
	if err != nil {
		return err
	}
	defer h.stop()
	t := &tally{backend: s.backend}
	places := []string{s.backend, s.goproxy.addr, listen}
	p50, p99 := make([][]float64, len(places)), make([][]float64, len(places))
	for range calmRounds * b.rounds {
		for i, addr := range places {
			measure := func() error {
				took, err := pace(ctx, addr, connections, perSecond, b.length/2)
				if err != nil {
					return err
				}
				p50[i], p99[i] = append(p50[i], quantile(took, 0.5)), append(p99[i], quantile(took, 0.99))
				return nil
			}
			if addr == s.goproxy.addr {
				err = t.through(measure)
			} else {
				err = measure()
			}
			if err != nil {
				return err
			}
		}
	}
	for _, q := range []struct {
		name   string
		ms     [][]float64
		atMost float64
	}{{"p50", p50, 0.15}, {"p99", p99, 0.5}} {
		direct := slices.Min(q.ms[0])
		b.add(
			row{Part: "sidecar", Figure: "1,000 requests/s: " + q.name + " over a direct connection", Measured: slices.Min(q.ms[1]) - direct, Unit: "ms", AtMost: q.atMost},
			row{Part: "sidecar", Figure: "1,000 requests/s: " + q.name + " of haproxy http over it", Measured: slices.Min(q.ms[2]) - direct, Unit: "ms"},
			row{Part: "sidecar", Figure: "1,000 requests/s: " + q.name + " of the direct connection", Measured: direct, Unit: "ms"},
		)
	}
	b.add(row{Part: "sidecar", Figure: "1,000 requests/s: resident, both processes", Measured: s.goproxy.rss(), Unit: "MiB", AtMost: 60})
	return t.close(ctx, b, "1,000 requests/s", s.goproxy, s.pipeline)
}

// sidecarTLS has both sides encrypted, by us and by haproxy.
func sidecarTLS(ctx context.Context, b *bench) error {
	cert, key, err := b.certificate()
	if err != nil {
		return err
	}
	backend := port()
	nginx, err := b.nginx(ctx, "tls", fmt.Sprintf("  server { listen %s ssl; ssl_certificate %s; ssl_certificate_key %s; location / { return 200 '%s'; } }", backend, cert, key, body(500)), backend)
	if err != nil {
		return err
	}
	defer nginx.stop()
	p, err := b.pipeline(ctx, "tls")
	if err != nil {
		return err
	}
	defer p.stop()
	g, err := b.goproxy(ctx, p, backend, "TLS_IN_UNWRAP=true", "TLS_IN_PUBLIC_KEY="+cert, "TLS_IN_PRIVATE_KEY="+key)
	if err != nil {
		return err
	}
	defer g.stop()
	listen := port()
	h, err := b.haproxy(ctx, "tls", "http", listen, "ssl crt "+filepath.Join(b.dir, "bench.pem"), backend, "ssl verify none")
	if err != nil {
		return err
	}
	defer h.stop()
	all := []*contender{
		{name: "goproxy", p: g.process, url: "https://" + g.addr + "/"},
		{name: "haproxy http", p: h, url: "https://" + listen + "/"},
	}
	if err := b.race(ctx, 16, all); err != nil {
		return err
	}
	b.addRace("sidecar", "TLS on both sides, 16 connections", all, 2.0)
	// What was relayed unopened would cost less and be no capture.
	time.Sleep(time.Second)
	pairs, err := metric(g.metrics, "speedscale_goproxy_pairs_total")
	if err != nil {
		return err
	}
	b.add(row{Part: "sidecar", Figure: "TLS on both sides: requests captured", Measured: min(100, 100*pairs/float64(all[0].requests)), Unit: "%", AtLeast: 100})
	return nil
}
