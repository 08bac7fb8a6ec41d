package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/bus"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/api/v1/cloudv1connect"
	"github.com/speedscale/speedscale/cloud/server"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cloud is a running server with clients of it.
type cloud struct {
	*server.Server
	key       string
	web       *http.Client
	traffic   cloudv1connect.TrafficServiceClient
	snapshots cloudv1connect.SnapshotServiceClient
	reports   cloudv1connect.ReportServiceClient
	keys      cloudv1connect.KeyServiceClient
	masking   cloudv1connect.MaskingServiceClient
	replays   cloudv1connect.ReplayServiceClient
	configs   cloudv1connect.TestConfigServiceClient
	control   cloudv1connect.ControlServiceClient
	telemetry cloudv1connect.TelemetryServiceClient
	stop      func()
}

// start runs a server on a folder; key is that of a folder that was used before.
func start(t testing.TB, o server.Options, key string) *cloud {
	t.Helper()
	s, err := server.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if key == "" {
		key = s.InitialKey()
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	c := client(s.URL(), key)
	c.Server = s
	stopped := false
	c.stop = func() {
		if stopped {
			return
		}
		stopped = true
		c.web.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("server: %v", err)
		}
	}
	t.Cleanup(c.stop)
	return c
}

func client(url, key string) *cloud {
	web := &http.Client{Transport: &http.Transport{}}
	auth := connect.WithInterceptors(bearer(key))
	return &cloud{
		key: key, web: web,
		traffic:   cloudv1connect.NewTrafficServiceClient(web, url, auth),
		snapshots: cloudv1connect.NewSnapshotServiceClient(web, url, auth),
		reports:   cloudv1connect.NewReportServiceClient(web, url, auth),
		keys:      cloudv1connect.NewKeyServiceClient(web, url, auth),
		masking:   cloudv1connect.NewMaskingServiceClient(web, url, auth),
		replays:   cloudv1connect.NewReplayServiceClient(web, url, auth),
		configs:   cloudv1connect.NewTestConfigServiceClient(web, url, auth),
		control:   cloudv1connect.NewControlServiceClient(web, url, auth),
		telemetry: cloudv1connect.NewTelemetryServiceClient(web, url, auth),
	}
}

// bearer sends a value of the Authorization header, if it is not empty.
type bearer string

func (b bearer) set(h http.Header) {
	if b != "" {
		h.Set("Authorization", "Bearer "+string(b))
	}
}

func (b bearer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		b.set(r.Header())
		return next(ctx, r)
	}
}

func (b bearer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, s connect.Spec) connect.StreamingClientConn {
		c := next(ctx, s)
		b.set(c.RequestHeader())
		return c
	}
}

func (b bearer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// agent connects to the bus as an agent does.
func (c *cloud) agent(t testing.TB, key string) *nats.Conn {
	t.Helper()
	nc, err := bus.Connect(t.Context(), bus.ConnectOptions{URLs: []string{c.BusURL()}, Token: key, Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func newBatch(producer string, sequence uint64, pairs int) *traffic.Batch {
	b := &traffic.Batch{Producer: producer, Sequence: sequence, FirstPair: (sequence-1)*uint64(pairs) + 1, PairCount: uint32(pairs)}
	for i := range pairs {
		d := traffic.Direction_DIRECTION_IN
		if i%2 == 1 {
			d = traffic.Direction_DIRECTION_OUT
		}
		b.Pairs = append(b.Pairs, &traffic.RRPair{
			Uuid: traffic.NewUUID(), Ts: time.Now().UnixNano(), Duration: 1e6, Direction: d,
			Service: fmt.Sprint("svc", i%3), L7Protocol: traffic.HTTPProtocol, Command: "GET", Location: "/cart", Status: "200",
			NetworkAddress: "cart:80", MaskKeyId: "k",
			Http: &traffic.HTTP{
				Req: &traffic.HTTPRequest{Method: "GET", Url: "http://cart/cart", Uri: "/cart", Host: "cart", Version: "1.1"},
				Res: &traffic.HTTPResponse{StatusCode: 200, Body: []byte("{}"), BodySize: 2, ContentType: "application/json"},
			},
		})
	}
	return b
}

func publish(t testing.TB, nc *nats.Conn, b *traffic.Batch) error {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	data, err := proto.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err = js.Publish(ctx, bus.IngestPairs+b.Producer, data)
	return err
}

func (c *cloud) search(t testing.TB, r *cloudv1.SearchRequest) ([]*traffic.RRPair, error) {
	t.Helper()
	stream, err := c.traffic.Search(t.Context(), r)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	var got []*traffic.RRPair
	for stream.Receive() {
		got = append(got, stream.Msg().GetPairs()...)
	}
	return got, stream.Err()
}

func (c *cloud) create(t testing.TB, r *cloudv1.CreateSnapshotRequest) (*snapshot.Meta, error) {
	t.Helper()
	stream, err := c.snapshots.Create(t.Context(), r)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	var doc []byte
	for stream.Receive() {
		if b := stream.Msg().GetSnapshot(); len(b) > 0 {
			doc = b
		}
	}
	if stream.Err() != nil {
		return nil, stream.Err()
	}
	return snapshot.ParseMeta(doc)
}

func TestIngestSearchSnapshot(t *testing.T) {
	for _, listen := range []string{"", "127.0.0.1:0"} { // bus by WebSocket, and on its own port
		dir := t.TempDir()
		c := start(t, server.Options{DataDir: dir, BusListen: listen}, "")
		nc := c.agent(t, c.key)
		waitConnected(t, nc)
		for seq := range uint64(10) {
			b := newBatch("p1", seq+1, 60)
			if seq == 9 {
				b.Losses = []*traffic.Loss{{Reason: traffic.ReasonBudget, Service: "svc1", From: b.Pairs[0].Ts, To: b.Pairs[0].Ts, Pairs: 7}}
			}
			if err := publish(t, nc, b); err != nil {
				t.Fatal(err)
			}
		}
		got, err := c.search(t, &cloudv1.SearchRequest{})
		if err != nil || len(got) != 600 {
			t.Fatalf("%d pairs, %v", len(got), err)
		}
		got, err = c.search(t, &cloudv1.SearchRequest{Limit: 150, Selection: &cloudv1.Selection{Query: `(service IS "svc1")`}})
		if err != nil || len(got) != 150 || got[0].Service != "svc1" {
			t.Fatalf("%d pairs, %v", len(got), err)
		}
		meta, err := c.create(t, &cloudv1.CreateSnapshotRequest{Name: "first", Selection: &cloudv1.Selection{Service: "svc1"}})
		if err != nil {
			t.Fatal(err)
		}
		if meta.RecordsProcessed != 200 || len(meta.Losses) != 1 || meta.Losses[0].Pairs != 7 || meta.Masking == nil || meta.Masking.KeyID != "k" {
			t.Errorf("snapshot: %+v", meta)
		}
		for _, id := range []string{meta.ID, "first", "latest"} {
			res, err := c.snapshots.Get(t.Context(), &cloudv1.GetSnapshotRequest{Id: id})
			if err != nil || !strings.Contains(string(res.GetSnapshot()), meta.ID) {
				t.Errorf("get %q: %v", id, err)
			}
		}
		// Everything is found again after a restart, and nothing is made twice.
		key := c.key
		nc.Close()
		c.stop()
		c = start(t, server.Options{DataDir: dir}, key)
		if c.InitialKey() != "" {
			t.Error("a second first key")
		}
		if got, err = c.search(t, &cloudv1.SearchRequest{}); err != nil || len(got) != 600 {
			t.Fatalf("after a restart: %d pairs, %v", len(got), err)
		}
		in, err := c.traffic.Ingest(t.Context(), &cloudv1.IngestRequest{Flush: true})
		if err != nil || in.GetPairs() != 600 || in.GetWaiting() != 0 || in.GetRefused() != "" {
			t.Errorf("ingest: %v, %v", in, err)
		}
		c.stop()
	}
}

func waitConnected(t testing.TB, nc *nats.Conn) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !nc.IsConnected(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the bus is not reached: %v", nc.LastError())
		}
	}
}

func code(err error) connect.Code {
	if err == nil {
		return 0
	}
	return connect.CodeOf(err)
}

func TestWrongSelectionsAreExplained(t *testing.T) {
	c := start(t, server.Options{DataDir: t.TempDir()}, "")
	for _, sel := range []*cloudv1.Selection{{Query: `(service IS`}, {Start: 5, End: 5}, {Start: -1}} {
		if _, err := c.search(t, &cloudv1.SearchRequest{Selection: sel}); code(err) != connect.CodeInvalidArgument {
			t.Errorf("%v: %v", sel, err)
		}
	}
	if _, err := c.create(t, &cloudv1.CreateSnapshotRequest{Name: "empty"}); code(err) != connect.CodeFailedPrecondition {
		t.Errorf("a snapshot of nothing: %v", err)
	}
	if _, err := c.create(t, &cloudv1.CreateSnapshotRequest{Name: "latest"}); code(err) != connect.CodeInvalidArgument {
		t.Errorf("a snapshot named latest: %v", err)
	}
	for what, err := range map[string]error{
		"get":    second(c.snapshots.Get(t.Context(), &cloudv1.GetSnapshotRequest{Id: "../../etc"})),
		"latest": second(c.snapshots.Get(t.Context(), &cloudv1.GetSnapshotRequest{Id: "latest"})),
		"delete": second(c.snapshots.Delete(t.Context(), &cloudv1.DeleteSnapshotRequest{Id: "nope"})),
		"report": second(c.reports.Get(t.Context(), &cloudv1.GetReportRequest{Id: "nope"})),
		"key":    second(c.keys.Revoke(t.Context(), &cloudv1.RevokeKeyRequest{Id: "nope"})),
	} {
		if code(err) != connect.CodeNotFound {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestLock(t *testing.T) {
	dir := t.TempDir()
	if _, ok, err := server.Find(dir); ok || err != nil {
		t.Fatal(ok, err)
	}
	c := start(t, server.Options{DataDir: dir}, "")
	_, err := server.Open(t.Context(), server.Options{DataDir: dir})
	if !errors.Is(err, server.ErrLocked) || !strings.Contains(err.Error(), c.URL()) {
		t.Errorf("a second server: %v", err)
	}
	r, ok, err := server.Find(dir)
	if err != nil || !ok || r.URL != c.URL() || r.BusURL != c.BusURL() || r.PID != os.Getpid() {
		t.Errorf("found %+v, %v, %v", r, ok, err)
	}
	c.stop()
	if _, ok, err := server.Find(dir); ok || err != nil {
		t.Error("a server is found that has ended", err)
	}
}

func TestReports(t *testing.T) {
	c := start(t, server.Options{DataDir: t.TempDir()}, "")
	put := func(doc string) error {
		return second(c.reports.Put(t.Context(), &cloudv1.PutReportRequest{Report: []byte(doc)}))
	}
	for _, bad := range []string{"", "[]", `{"id":"a/b","status":"Passed"}`, `{"status":"Passed"}`, `{"id":"r1"}`} {
		if err := put(bad); code(err) != connect.CodeInvalidArgument {
			t.Errorf("%s: %v", bad, err)
		}
	}
	doc := `{"id":"r%d","status":"Passed","finished":"2026-11-22T10:00:0%dZ","endpoints":[1],"failures":[2],"extra":true}`
	for i := range 3 {
		if err := put(fmt.Sprintf(doc, i, i)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := c.reports.Get(t.Context(), &cloudv1.GetReportRequest{Id: "latest"})
	if err != nil || string(got.GetReport()) != fmt.Sprintf(doc, 2, 2) {
		t.Errorf("latest is %s, %v", got.GetReport(), err)
	}
	list, err := c.reports.List(t.Context(), &cloudv1.ListReportsRequest{Limit: 2})
	if err != nil || len(list.GetReports()) != 2 {
		t.Fatalf("%d reports, %v", len(list.GetReports()), err)
	}
	var summary map[string]any
	if err := json.Unmarshal(list.GetReports()[0], &summary); err != nil {
		t.Fatal(err)
	}
	if summary["id"] != "r2" || summary["extra"] != true || summary["endpoints"] != nil || summary["failures"] != nil {
		t.Errorf("summary: %v", summary)
	}
}

func TestHealth(t *testing.T) {
	c := start(t, server.Options{DataDir: t.TempDir()}, "")
	for path, want := range map[string]string{"/healthz": "ok", "/readyz": "ok", "/metrics": "speedscale_cloud_archive_pairs 0"} {
		res, err := c.web.Get(c.URL() + path)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if err := res.Write(&b); err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != http.StatusOK || !strings.Contains(b.String(), want) {
			t.Errorf("%s: %s", path, b.String())
		}
	}
}

func TestFilesAreForTheOwnerOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	c := start(t, server.Options{DataDir: dir}, "")
	c.stop()
	for _, f := range []string{"", "catalog.db", "cloud.lock", "archive", "snapshots"} {
		info, err := os.Stat(filepath.Join(dir, f))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%q has mode %v", f, info.Mode())
		}
	}
}
