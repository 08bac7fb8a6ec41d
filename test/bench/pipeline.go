package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/api/v1/cloudv1connect"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

// pipeline is a forwarder with a cloud behind it, as binaries of their own.
type pipeline struct {
	cloud, forwarder *process
	// addr is where the forwarder listens, metrics where it says what it counted.
	addr, metrics string
	// busURL and key open the cloud's bus.
	busURL, key string
	// token is what proxies prove themselves by, in the file tokenFile.
	token, tokenFile string

	traffic   cloudv1connect.TrafficServiceClient
	snapshots cloudv1connect.SnapshotServiceClient
}

// cloud starts a cloud in a folder of its own.
func (b *bench) cloud(ctx context.Context, name string) (*pipeline, error) {
	listen, busListen := port(), port()
	cloud, err := start(ctx, nil, filepath.Join(b.bin, "cloud"), "-data", filepath.Join(b.dir, name), "-listen", listen, "-bus-listen", busListen, "-log-level", "warn")
	if err != nil {
		return nil, err
	}
	p := &pipeline{cloud: cloud, busURL: "nats://" + busListen}
	if err := cloud.listening(listen); err != nil {
		p.stop()
		return nil, err
	}
	if p.key, err = cloud.said("the first API key, which is shown this once: "); err != nil {
		p.stop()
		return nil, err
	}
	client := &http.Client{Transport: bearer(p.key)}
	p.traffic = cloudv1connect.NewTrafficServiceClient(client, "http://"+listen)
	p.snapshots = cloudv1connect.NewSnapshotServiceClient(client, "http://"+listen)
	return p, nil
}

// pipeline starts a cloud, and a forwarder with its default rules before it.
func (b *bench) pipeline(ctx context.Context, name string) (*pipeline, error) {
	p, err := b.cloud(ctx, name+"-cloud")
	if err != nil {
		return nil, err
	}
	p.addr, p.metrics, p.token = port(), port(), "bench-token-of-proxies"
	p.tokenFile = filepath.Join(b.dir, name+"-token")
	health := port()
	if err := os.WriteFile(p.tokenFile, []byte(p.token), 0o600); err != nil {
		p.stop()
		return nil, err
	}
	p.forwarder, err = start(ctx, []string{
		"CLUSTER_NAME=bench", "LOG_LEVEL=warn", "SPEEDSCALE_API_KEY=" + p.key, "SPEEDSCALE_APP_URL=" + p.busURL,
		"FORWARDER_LISTEN=" + p.addr, "FORWARDER_TOKEN_FILE=" + p.tokenFile, "FORWARDER_SPOOL=" + filepath.Join(b.dir, name+"-spool"),
		"HEALTH_HTTP_PORT=" + portOf(health), "METRICS_HTTP_PORT=" + portOf(p.metrics),
	}, filepath.Join(b.bin, "forwarder"))
	if err == nil {
		err = p.forwarder.answers("http://" + health + "/readyz")
	}
	if err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

func (p *pipeline) stop() {
	if p.forwarder != nil {
		p.forwarder.stop()
	}
	p.cloud.stop()
}

// archived waits until everything that the forwarder acknowledged is in the
// archive, and counts what it has.
func (p *pipeline) archived(ctx context.Context) (uint64, error) {
	deadline := time.Now().Add(time.Minute)
	for {
		queued, err := metric(p.metrics, "messages_queued")
		if err != nil {
			return 0, err
		}
		if queued == 0 {
			break
		}
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("forwarder still has %v batches", queued)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return p.flush(ctx)
}

// flush waits until the archive has everything that the cloud acknowledged, and
// counts what it has. One request to flush waits for a limited time.
func (p *pipeline) flush(ctx context.Context) (uint64, error) {
	for {
		in, err := p.traffic.Ingest(ctx, &cloudv1.IngestRequest{Flush: true})
		if err == nil || connect.CodeOf(err) != connect.CodeUnavailable || ctx.Err() != nil {
			return in.GetPairs(), err
		}
	}
}

// snapshot makes a snapshot by a query over all times.
func (p *pipeline) snapshot(ctx context.Context, query string) (*snapshot.Meta, error) {
	stream, err := p.snapshots.Create(ctx, &cloudv1.CreateSnapshotRequest{
		Selection: &cloudv1.Selection{Query: query, Start: 1, End: math.MaxInt64},
	})
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	var meta *snapshot.Meta
	for stream.Receive() {
		if doc := stream.Msg().GetSnapshot(); doc != nil {
			meta = new(snapshot.Meta)
			if err := json.Unmarshal(doc, meta); err != nil {
				return nil, err
			}
		}
	}
	if meta == nil && stream.Err() == nil {
		return nil, errors.New("the cloud sent no snapshot")
	}
	return meta, stream.Err()
}

// bearer adds an API key to each request.
type bearer string

func (k bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(k))
	return http.DefaultTransport.RoundTrip(r)
}

// metric adds up a metric of an agent over all of its labels.
func metric(addr, name string) (sum float64, err error) {
	text, err := get("http://" + addr + "/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		f := strings.Fields(rest[strings.LastIndexByte(rest, '}')+1:])
		v, err := strconv.ParseFloat(f[0], 64)
		if err != nil {
			return 0, fmt.Errorf("metric %q: %w", line, err)
		}
		sum += v
	}
	return sum, nil
}

// received is how many requests a backend was sent until now.
func received(addr string) (int64, error) {
	text, err := get("http://" + addr + "/stub_status")
	if err != nil {
		return 0, err
	}
	// The third line has the numbers of connections accepted, handled, and of
	// requests, of which this is one.
	lines := strings.Split(text, "\n")
	if len(lines) < 3 || len(strings.Fields(lines[2])) != 3 {
		return 0, fmt.Errorf("nginx says %q", text)
	}
	return strconv.ParseInt(strings.Fields(lines[2])[2], 10, 64)
}

// get returns the body of an answer 200.
func get(url string) (string, error) {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, res.Status, strings.TrimSpace(string(data)))
	}
	return string(data), err
}

// said waits for what stands behind a prefix on standard error.
func (p *process) said(prefix string) (string, error) {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		_, after, _ := strings.Cut(p.stderr.String(), prefix)
		if text, _, ok := strings.Cut(after, "\n"); ok {
			return text, nil
		}
	}
	return "", fmt.Errorf("%s did not say %q: %s", p.cmd.Path, prefix, strings.TrimSpace(p.stderr.String()))
}

// answers waits until url is answered with 200.
func (p *process) answers(url string) error {
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if _, err = get(url); err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended: %s", p.cmd.Path, strings.TrimSpace(p.stderr.String()))
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s is not ready: %w: %s", p.cmd.Path, err, strings.TrimSpace(p.stderr.String()))
}

func portOf(addr string) string {
	_, p, err := net.SplitHostPort(addr)
	if err != nil {
		panic(err) // port made it
	}
	return p
}
