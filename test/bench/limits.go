package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// What the sidecar's memory may be under overload, in MiB: the capture budget, the
// base that its garbage collector's limit adds, and what neither counts, which is
// the supervisor and the program itself.
const overloadMiB = 64 + 40 + 32

// sidecarIdle measures memory with 10,000 connections that made one request each
// and stay open. Where the limit of open files lets a proxy have fewer (it needs two
// for each), the figure is raised in proportion.
func sidecarIdle(ctx context.Context, b *bench) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	const wanted = 10_000
	connections := wanted
	if most := int(min(limit.Max, 1<<20))/2 - 100; most < connections {
		connections = most
	}
	s, err := b.sidecar(ctx, "idle")
	if err != nil {
		return err
	}
	defer s.stop()
	conns, err := idle(ctx, s.goproxy.addr, connections)
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	if err != nil {
		return err
	}
	time.Sleep(5 * time.Second)
	figure, more := "10,000 idle connections: resident", float64(wanted)/float64(connections)
	if more > 1 {
		figure = fmt.Sprintf("10,000 idle connections (from %d): resident", connections)
	}
	b.add(
		row{Part: "sidecar", Figure: figure + ", both processes", Measured: s.goproxy.rss() * more, Unit: "MiB", AtMost: 200},
		row{Part: "sidecar", Figure: figure + " at most, while they opened", Measured: s.goproxy.peak() * more, Unit: "MiB"},
	)
	return nil
}

// sidecarRestart measures how long a killed relay is away: until a new connection
// has its answer.
func sidecarRestart(ctx context.Context, b *bench) error {
	s, err := b.sidecar(ctx, "restart")
	if err != nil {
		return err
	}
	defer s.stop()
	var away []float64
	for range 2 { // after the third death in a minute it relays without capture
		relay := family(s.goproxy.cmd.Process.Pid)[1:]
		if len(relay) != 1 {
			return fmt.Errorf("goproxy has processes %v, want one that relays", relay)
		}
		if err := syscall.Kill(relay[0], syscall.SIGKILL); err != nil {
			return err
		}
		began := time.Now()
		for {
			if _, err = get("http://" + s.goproxy.addr + "/"); err == nil {
				break
			}
			if time.Since(began) > 10*time.Second {
				return fmt.Errorf("the relay is not back: %w", err)
			}
		}
		away = append(away, time.Since(began).Seconds()*1000)
	}
	b.add(row{Part: "sidecar", Figure: "relay killed: until it is back", Measured: slices.Max(away), Unit: "ms", AtMost: 100})
	return nil
}

// idle opens connections that each make a request.
func idle(ctx context.Context, addr string, n int) ([]net.Conn, error) {
	var mu sync.Mutex
	var conns []net.Conn
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(32)
	for range n {
		g.Go(func() error {
			var d net.Dialer
			d.Timeout = 10 * time.Second
			c, err := d.DialContext(ctx, "tcp", addr)
			if err != nil {
				return err
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
				return err
			}
			if _, err := fmt.Fprintf(c, "GET /item/7 HTTP/1.1\r\nHost: %s\r\n\r\n", addr); err != nil {
				return err
			}
			res, err := http.ReadResponse(bufio.NewReaderSize(c, 1024), nil)
			if err != nil {
				return err
			}
			return res.Body.Close()
		})
	}
	return conns, g.Wait()
}

// sidecarOverload takes the forwarder away under full load: the app's throughput
// is to be that of a relay without capture.
func sidecarOverload(ctx context.Context, b *bench) error {
	s, err := b.sidecar(ctx, "overload")
	if err != nil {
		return err
	}
	defer s.stop()
	plain, err := b.goproxy(ctx, s.pipeline, s.backend)
	if err != nil {
		return err
	}
	defer plain.stop()
	if err := plain.withoutCapture(); err != nil {
		return err
	}
	s.pipeline.forwarder.stop()
	if err := b.fill(ctx, s.goproxy); err != nil {
		return err
	}
	all := []*contender{
		{name: "goproxy", p: s.goproxy.process, url: "http://" + s.goproxy.addr + "/"},
		{name: "plain relay", p: plain.process, url: "http://" + plain.addr + "/"},
	}
	if err := b.race(ctx, 64, all); err != nil {
		return err
	}
	r := against("sidecar", "forwarder dead, 64 connections: throughput", median(all[0].perSec), "requests/s", all[1].name, median(all[1].perSec), 0)
	r.AtLeast = 0.9 // what rounds differ by
	b.add(r)
	b.addRace("sidecar", "forwarder dead, 64 connections", all, 0)
	b.add(row{Part: "sidecar", Figure: "forwarder dead, 64 connections: resident at most, both processes", Measured: s.goproxy.peak(), Unit: "MiB", AtMost: overloadMiB})
	return nil
}

// fill loads a proxy whose forwarder is dead until it holds as much as it may, and
// drops the rest.
func (b *bench) fill(ctx context.Context, g *goproxy) error {
	for range 20 {
		if _, err := wrk(ctx, 64, 2*time.Second, "http://"+g.addr+"/"); err != nil {
			return err
		}
		lost, err := metric(g.metrics, "speedscale_goproxy_lost_bytes_total")
		if err != nil || lost > 0 {
			return err
		}
	}
	return errors.New("goproxy drops nothing although its forwarder is dead")
}

// withoutCapture kills the relay until its supervisor has it do without capture.
func (g *goproxy) withoutCapture() error {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		disabled, err := metric(g.metrics, "speedscale_goproxy_capture_disabled")
		if err != nil {
			continue // it is starting
		}
		if disabled == 1 {
			return nil
		}
		for _, pid := range family(g.cmd.Process.Pid)[1:] {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return err
			}
		}
	}
	return errors.New("goproxy does not give up capture")
}
