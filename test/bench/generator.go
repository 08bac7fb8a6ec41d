package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/report"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

// generatorCPU measures the generator beside wrk, which compares nothing.
func generatorCPU(ctx context.Context, b *bench) error {
	dir, err := b.requests("generator-cpu")
	if err != nil {
		return err
	}
	backend := port()
	nginx, err := b.backend(ctx, backend)
	if err != nil {
		return err
	}
	defer nginx.stop()
	var ours, theirs, perSec []float64
	for range b.rounds {
		r, used, err := b.replay(ctx, dir, backend, "REPLAY_VUS=64", "REPLAY_FOR="+b.length.String())
		if err != nil {
			return err
		}
		ours = append(ours, float64(used.Microseconds())/float64(r.Requests.Sent))
		perSec = append(perSec, float64(r.Requests.Sent)/r.Finished.Sub(r.Started).Seconds())
		l, err := wrk(ctx, 64, b.length, "http://"+backend+"/item/7")
		if err != nil {
			return err
		}
		theirs = append(theirs, float64(l.cpu.Microseconds())/float64(l.requests))
	}
	b.add(
		against("generator", "64 connections, every response compared", median(ours), "CPU µs/request", "wrk", median(theirs), 2.5),
		row{Part: "generator", Figure: "64 connections, every response compared", Measured: median(perSec), Unit: "requests/s"},
	)
	return nil
}

// requests writes a snapshot of requests that the backends here answer.
func (b *bench) requests(name string) (dir string, err error) {
	dir = filepath.Join(b.dir, name)
	w, err := snapshot.Create(dir, snapshot.Meta{Info: snapshot.Info{Name: "bench"}})
	if err != nil {
		return "", err
	}
	defer w.Abort()
	for i := range 100 {
		if err := w.Add(get500(i, "app:80", traffic.Direction_DIRECTION_IN)); err != nil {
			return "", err
		}
	}
	_, err = w.Commit()
	return dir, err
}

// generatorLatency measures what the generator itself adds to latency.
func generatorLatency(ctx context.Context, b *bench) error {
	dir, err := b.requests("generator-latency")
	if err != nil {
		return err
	}
	s, err := newSlow(10 * time.Millisecond)
	if err != nil {
		return err
	}
	defer s.close()
	var over, server, threads []float64
	for range calmRounds * b.rounds {
		r, _, err := b.replay(ctx, dir, s.addr, "REPLAY_RATE=500", "REPLAY_FOR="+(b.length/2).String())
		if err != nil {
			return err
		}
		own := s.took()
		if len(own) != int(r.Requests.Sent) {
			return fmt.Errorf("the server answered %d requests of %d", len(own), r.Requests.Sent)
		}
		server = append(server, quantile(own, 0.5))
		over = append(over, r.Latency.Planned.P50-quantile(own, 0.5))
		// What system calls cost here: threads that do nothing but send and wait.
		took, err := pace(ctx, s.addr, 16, 500, b.length/2)
		if err != nil {
			return err
		}
		threads = append(threads, quantile(took, 0.5)-quantile(s.took(), 0.5))
	}
	b.add(
		row{Part: "generator", Figure: "500 requests/s: p50 from the planned time, over the server's own", Measured: slices.Min(over), Unit: "ms", AtMost: 0.2},
		row{Part: "generator", Figure: "500 requests/s: p50 of bare threads from the send, over it", Measured: slices.Min(threads), Unit: "ms"},
		row{Part: "generator", Figure: "500 requests/s: the server's own p50", Measured: slices.Min(server), Unit: "ms"},
	)
	return nil
}

// replay runs the generator to its end, and returns its report and the CPU that it
// used in all.
func (b *bench) replay(ctx context.Context, dir, target string, plan ...string) (*report.Report, time.Duration, error) {
	file := filepath.Join(b.dir, "report.json")
	health, metrics := port(), port()
	ctx, cancel := context.WithTimeout(ctx, b.length+time.Minute)
	defer cancel()
	p, err := start(ctx, append([]string{
		"SNAPSHOT_DIR=" + dir, "REPLAY_TARGET=http://" + target, "REPORT_FILE=" + file, "LOG_LEVEL=warn",
		"HEALTH_HTTP_PORT=" + portOf(health), "METRICS_HTTP_PORT=" + portOf(metrics),
	}, plan...), filepath.Join(b.bin, "generator"))
	if err != nil {
		return nil, 0, err
	}
	<-p.done
	state := p.cmd.ProcessState
	if !state.Success() {
		return nil, 0, fmt.Errorf("generator: %v: %s", state, strings.TrimSpace(p.stderr.String()))
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, 0, err
	}
	r := new(report.Report)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, 0, err
	}
	if r.Requests.Passed != r.Requests.Sent || r.Requests.Sent == 0 {
		return nil, 0, fmt.Errorf("generator: %d of %d requests passed: %v", r.Requests.Passed, r.Requests.Sent, r.Endpoints[0].First)
	}
	return r, state.UserTime() + state.SystemTime(), nil
}
