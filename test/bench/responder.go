package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

const (
	answers    = 10_000
	answerHost = "inventory"
)

// responder measures it beside nginx, which serves the same answers as files.
func responder(ctx context.Context, b *bench) error {
	root := filepath.Join(b.dir, "answers")
	if err := os.MkdirAll(filepath.Join(root, "item"), 0o755); err != nil {
		return err
	}
	dir := filepath.Join(b.dir, "responder-snapshot")
	w, err := snapshot.Create(dir, snapshot.Meta{Info: snapshot.Info{Name: "bench"}})
	if err != nil {
		return err
	}
	defer w.Abort()
	for i := range answers {
		p := get500(i, answerHost+":80", traffic.Direction_DIRECTION_OUT)
		if err := w.Add(p); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(root, p.Location), p.Http.Res.Body, 0o644); err != nil {
			return err
		}
	}
	if _, err := w.Commit(); err != nil {
		return err
	}
	listen, health, metrics := port(), port(), port()
	r, err := start(ctx, []string{
		"SNAPSHOT_DIR=" + dir, "RESPONDER_LISTEN=" + listen, "LOG_LEVEL=warn",
		"HEALTH_HTTP_PORT=" + portOf(health), "METRICS_HTTP_PORT=" + portOf(metrics),
	}, filepath.Join(b.bin, "responder"))
	if err != nil {
		return err
	}
	defer r.stop()
	if err := r.answers("http://" + health + "/readyz"); err != nil {
		return err
	}
	files := port()
	n, err := b.nginx(ctx, "files", fmt.Sprintf("  server { listen %s backlog=4096; root %s; }", files, root), files)
	if err != nil {
		return err
	}
	defer n.stop()
	script, err := b.writeScript()
	if err != nil {
		return err
	}
	all := []*contender{
		{name: "responder", p: r, url: "http://" + listen},
		{name: "nginx files", p: n, url: "http://" + files},
	}
	if err := b.race(ctx, 64, all, "-s", script); err != nil {
		return err
	}
	b.addRace("responder", "10,000 signatures, 64 connections", all, 2.0)
	if _, err := wrk(ctx, 1000, b.length, "http://"+listen, "-s", script); err != nil {
		return err
	}
	b.add(row{Part: "responder", Figure: "1,000 connections: resident at most", Measured: r.peak(), Unit: "MiB", AtMost: 100})
	return nil
}

// get500 is a GET that was answered with 500 bytes of JSON.
func get500(i int, address string, d traffic.Direction) *traffic.RRPair {
	path := "/item/" + strconv.Itoa(i)
	data := body(500)
	return &traffic.RRPair{
		Uuid: traffic.NewUUID(), Ts: time.Now().UnixNano() + int64(i)*1e6, Duration: 1e6, Direction: d, Service: "bench",
		L7Protocol: traffic.HTTPProtocol, Tech: "JSON", Command: "GET", Location: path, Status: "200", NetworkAddress: address,
		Http: &traffic.HTTP{
			Req: &traffic.HTTPRequest{Url: "http://" + address + path, Uri: path, Version: "1.1", Method: "GET", Host: answerHost, Headers: []*traffic.Header{{Name: "Host", Value: answerHost}}},
			Res: &traffic.HTTPResponse{
				StatusCode: 200, StatusMessage: "OK", Version: "1.1", ContentType: "application/json", Body: []byte(data), BodySize: int64(len(data)),
				Headers: []*traffic.Header{
					{Name: "Server", Value: "nginx/1.22.1"}, {Name: "Date", Value: "Sun, 22 Nov 2026 18:00:00 GMT"}, {Name: "Content-Type", Value: "application/json"},
					{Name: "Content-Length", Value: strconv.Itoa(len(data))}, {Name: "Connection", Value: "keep-alive"},
				},
			},
		},
	}
}

// writeScript has wrk ask for every answer in turn.
func (b *bench) writeScript() (string, error) {
	file := filepath.Join(b.dir, "items.lua")
	return file, os.WriteFile(file, fmt.Appendf(nil, `local requests, n = {}, 0
function init(args)
  wrk.headers["Host"] = %q
  for i = 0, %d do requests[i] = wrk.format("GET", "/item/" .. i) end
end
function request()
  n = (n + 1) %% %d
  return requests[n]
end
`, answerHost, answers-1, answers), 0o644)
}
