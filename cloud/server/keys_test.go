package server_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/bus"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/auth"
	"github.com/speedscale/speedscale/cloud/server"
)

// log is a concurrent buffer that a test reads at the end.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (c *cloud) newKey(t testing.TB, scopes ...string) (id, key string) {
	t.Helper()
	res, err := c.keys.Create(t.Context(), &cloudv1.CreateKeyRequest{Name: strings.Join(scopes, "+"), Scopes: scopes})
	if err != nil {
		t.Fatal(err)
	}
	return res.GetId(), res.GetKey()
}

// calls are one of each procedure, with the scopes that open it.
func calls() map[string]struct {
	call   func(ctx context.Context, c *cloud) error
	scopes string
} {
	type entry = struct {
		call   func(ctx context.Context, c *cloud) error
		scopes string
	}
	return map[string]entry{
		"Search": {func(ctx context.Context, c *cloud) error {
			s, err := c.traffic.Search(ctx, &cloudv1.SearchRequest{})
			if err != nil {
				return err
			}
			defer s.Close()
			for s.Receive() {
			}
			return s.Err()
		}, "read"},
		"Ingest": {func(ctx context.Context, c *cloud) error {
			return second(c.traffic.Ingest(ctx, &cloudv1.IngestRequest{}))
		}, "read"},
		"Telemetry.Clusters": {func(ctx context.Context, c *cloud) error {
			return second(c.telemetry.Clusters(ctx, &cloudv1.TelemetryClustersRequest{}))
		}, "read"},
		"Telemetry.Agents": {func(ctx context.Context, c *cloud) error {
			return second(c.telemetry.Agents(ctx, &cloudv1.TelemetryAgentsRequest{Cluster: "x"}))
		}, "read"},
		"Snapshot.Create": {func(ctx context.Context, c *cloud) error {
			s, err := c.snapshots.Create(ctx, &cloudv1.CreateSnapshotRequest{})
			if err != nil {
				return err
			}
			defer s.Close()
			for s.Receive() {
			}
			return s.Err()
		}, "admin"},
		"Snapshot.Get": {func(ctx context.Context, c *cloud) error {
			return second(c.snapshots.Get(ctx, &cloudv1.GetSnapshotRequest{Id: "x"}))
		}, "read control"},
		"Snapshot.List": {func(ctx context.Context, c *cloud) error {
			return second(c.snapshots.List(ctx, &cloudv1.ListSnapshotsRequest{}))
		}, "read"},
		"Snapshot.Delete": {func(ctx context.Context, c *cloud) error {
			return second(c.snapshots.Delete(ctx, &cloudv1.DeleteSnapshotRequest{Id: "x"}))
		}, "admin"},
		"Snapshot.Download": {func(ctx context.Context, c *cloud) error {
			s, err := c.snapshots.Download(ctx, &cloudv1.DownloadSnapshotRequest{Id: "x"})
			if err != nil {
				return err
			}
			defer s.Close()
			for s.Receive() {
			}
			return s.Err()
		}, "read"},
		"Snapshot.Upload": {func(ctx context.Context, c *cloud) error {
			s, err := c.snapshots.Upload(ctx)
			if err != nil {
				return err
			}
			return second(s.CloseAndReceive())
		}, "admin"},
		"Report.Put": {func(ctx context.Context, c *cloud) error {
			return second(c.reports.Put(ctx, &cloudv1.PutReportRequest{}))
		}, "control"},
		"Report.Get": {func(ctx context.Context, c *cloud) error {
			return second(c.reports.Get(ctx, &cloudv1.GetReportRequest{Id: "x"}))
		}, "read"},
		"Report.List": {func(ctx context.Context, c *cloud) error {
			return second(c.reports.List(ctx, &cloudv1.ListReportsRequest{}))
		}, "read"},
		"Key.Create": {func(ctx context.Context, c *cloud) error {
			return second(c.keys.Create(ctx, &cloudv1.CreateKeyRequest{}))
		}, "admin"},
		"Key.List": {func(ctx context.Context, c *cloud) error {
			return second(c.keys.List(ctx, &cloudv1.ListKeysRequest{}))
		}, "admin"},
		"Key.Revoke": {func(ctx context.Context, c *cloud) error {
			return second(c.keys.Revoke(ctx, &cloudv1.RevokeKeyRequest{Id: "x"}))
		}, "admin"},
		"Masking.Get": {func(ctx context.Context, c *cloud) error {
			return second(c.masking.Get(ctx, &cloudv1.GetMaskingRequest{}))
		}, "ingest control"},
		"Replay.Start": {func(ctx context.Context, c *cloud) error {
			return second(c.replays.Start(ctx, &cloudv1.StartReplayRequest{}))
		}, "control"},
		"Replay.Publish": {func(ctx context.Context, c *cloud) error {
			return second(c.replays.Publish(ctx, &cloudv1.PublishRequest{}))
		}, "control"},
		"Replay.PutPart": {func(ctx context.Context, c *cloud) error {
			return second(c.replays.PutPart(ctx, &cloudv1.PutPartRequest{}))
		}, "control"},
		"Replay.End": {func(ctx context.Context, c *cloud) error {
			return second(c.replays.End(ctx, &cloudv1.EndReplayRequest{}))
		}, "control"},
		"Replay.Watch": {func(ctx context.Context, c *cloud) error {
			return second(c.watch(ctx, "x", 0))
		}, "read control"},
		"TestConfig.Get": {func(ctx context.Context, c *cloud) error {
			return second(c.configs.Get(ctx, &cloudv1.GetTestConfigRequest{}))
		}, "read control"},
		"TestConfig.List": {func(ctx context.Context, c *cloud) error {
			return second(c.configs.List(ctx, &cloudv1.ListTestConfigsRequest{}))
		}, "read control"},
		"TestConfig.Put": {func(ctx context.Context, c *cloud) error {
			return second(c.configs.Put(ctx, &cloudv1.PutTestConfigRequest{}))
		}, "admin"},
		"TestConfig.Delete": {func(ctx context.Context, c *cloud) error {
			return second(c.configs.Delete(ctx, &cloudv1.DeleteTestConfigRequest{}))
		}, "admin"},
		"Control.Clusters": {func(ctx context.Context, c *cloud) error {
			return second(c.control.Clusters(ctx, &cloudv1.ClustersRequest{}))
		}, "admin"},
		"Control.Run": {func(ctx context.Context, c *cloud) error {
			return second(c.control.Run(ctx, &cloudv1.RunRequest{}))
		}, "admin"},
		"Control.Audit": {func(ctx context.Context, c *cloud) error {
			return second(c.control.Audit(ctx, &cloudv1.AuditRequest{}))
		}, "admin"},
		"Masking.Put": {func(ctx context.Context, c *cloud) error {
			return second(c.masking.Put(ctx, &cloudv1.PutMaskingRequest{}))
		}, "admin"},
	}
}

func TestEachCallNeedsItsScope(t *testing.T) {
	c := start(t, server.Options{DataDir: t.TempDir()}, "")
	revoked, revokedKey := c.newKey(t, auth.AllScopes()...)
	if _, err := c.keys.Revoke(t.Context(), &cloudv1.RevokeKeyRequest{Id: revoked}); err != nil {
		t.Fatal(err)
	}
	refused := map[string]connect.Code{"": connect.CodeUnauthenticated, "hunter2": connect.CodeUnauthenticated, revokedKey: connect.CodeUnauthenticated}
	byScope := map[string]*cloud{}
	for _, s := range auth.AllScopes() {
		_, key := c.newKey(t, s)
		byScope[s] = client(c.URL(), key)
		defer byScope[s].web.CloseIdleConnections()
	}
	for name, e := range calls() {
		for key, want := range refused {
			cl := client(c.URL(), key)
			if err := e.call(t.Context(), cl); code(err) != want {
				t.Errorf("%s with key %.4q: %v", name, key, err)
			}
			cl.web.CloseIdleConnections()
		}
		for scope, cl := range byScope {
			err := e.call(t.Context(), cl)
			denied := code(err) == connect.CodePermissionDenied || code(err) == connect.CodeUnauthenticated
			if allowed := strings.Contains(e.scopes, scope); denied == allowed {
				t.Errorf("%s with scope %s: %v", name, scope, err)
			}
		}
	}
}

func TestBusNeedsAKeyWithScope(t *testing.T) {
	var text log
	c := start(t, server.Options{DataDir: t.TempDir(), BusListen: "127.0.0.1:0", Logger: slog.New(slog.NewTextHandler(&text, nil))}, "")
	_, ingest := c.newKey(t, auth.ScopeIngest)
	_, control := c.newKey(t, auth.ScopeControl)
	_, read := c.newKey(t, auth.ScopeRead)
	for name, key := range map[string]string{"none": "", "wrong": "hunter2", "read": read} {
		for _, url := range []string{c.BusURL(), strings.Replace(c.URL(), "http", "ws", 1)} {
			nc, err := nats.Connect(url, nats.Token(key), nats.MaxReconnects(0))
			if err == nil {
				nc.Close()
				t.Errorf("key %s is let in at %s", name, url)
			}
		}
	}
	in := c.agent(t, ingest)
	waitConnected(t, in)
	if err := publish(t, in, newBatch("p", 1, 1)); err != nil {
		t.Errorf("ingest cannot publish: %v", err)
	}
	ctl := c.agent(t, control)
	waitConnected(t, ctl)
	if err := publish(t, ctl, newBatch("q", 1, 1)); err == nil {
		t.Error("control may publish pairs")
	}
	for _, nc := range []*nats.Conn{in, ctl} {
		m, err := nc.Request(bus.ControlMasking, nil, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var masking cloudv1.Masking
		if err := proto.Unmarshal(m.Data, &masking); err != nil || len(masking.GetKey()) < 16 || masking.GetKeyId() == "" {
			t.Errorf("masking: %v", err)
		}
	}
	// An agent hears only what is meant for it, and reaches nothing else.
	heard := make(chan *nats.Msg, 10)
	for _, subject := range []string{">", "_INBOX.>", bus.IngestPairs + ">", "$JS.>"} {
		if _, err := in.ChanSubscribe(subject, heard); err != nil {
			t.Fatal(err)
		}
	}
	if err := in.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := ctl.Request(bus.ControlMasking, nil, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Request("$JS.API.STREAM.DELETE."+bus.IngestStream, nil, 300*time.Millisecond); err == nil {
		t.Error("an agent may delete the stream")
	}
	select {
	case m := <-heard:
		t.Errorf("an agent hears %q", m.Subject)
	case <-time.After(100 * time.Millisecond):
	}
	for _, key := range []string{ingest, control, read, c.key} {
		if strings.Contains(text.String(), key[strings.LastIndex(key, "_")+1:]) {
			t.Error("the log holds a key's secret")
		}
	}
}

func TestRevokedKeyIsCutOff(t *testing.T) {
	c := start(t, server.Options{DataDir: t.TempDir(), BusListen: "127.0.0.1:0"}, "")
	id, key := c.newKey(t, auth.ScopeIngest)
	_, other := c.newKey(t, auth.ScopeIngest)
	closed := make(chan struct{})
	cut, err := nats.Connect(c.BusURL(), nats.Token(key), nats.MaxReconnects(2), nats.ReconnectWait(10*time.Millisecond),
		nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err != nil {
		t.Fatal(err)
	}
	defer cut.Close()
	stays := c.agent(t, other)
	waitConnected(t, stays)
	if _, err := c.keys.Revoke(t.Context(), &cloudv1.RevokeKeyRequest{Id: id}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Error("the client of a revoked key is still connected")
	}
	if err := publish(t, stays, newBatch("p", 1, 1)); err != nil || stays.Reconnects != 0 {
		t.Errorf("another key was cut off too: %v", err)
	}
}

func TestMaskingRules(t *testing.T) {
	dir := t.TempDir()
	c := start(t, server.Options{DataDir: dir}, "")
	first, err := c.masking.Get(t.Context(), &cloudv1.GetMaskingRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []*cloudv1.PutMaskingRequest{{Config: []byte("{")}, {Filter: []byte(`{"conditions":1}`)}} {
		if err := second(c.masking.Put(t.Context(), bad)); code(err) != connect.CodeInvalidArgument {
			t.Errorf("%s%s: %v", bad.Config, bad.Filter, err)
		}
	}
	if err := second(c.masking.Put(t.Context(), &cloudv1.PutMaskingRequest{Config: first.Config})); err != nil {
		t.Fatal(err)
	}
	if err := second(c.masking.Get(t.Context(), &cloudv1.GetMaskingRequest{KeyId: "nope"})); code(err) != connect.CodeNotFound {
		t.Errorf("an unknown key: %v", err)
	}
	key := c.key
	c.stop()
	c = start(t, server.Options{DataDir: dir}, key)
	again, err := c.masking.Get(t.Context(), &cloudv1.GetMaskingRequest{KeyId: first.GetKeyId()})
	if err != nil || !bytes.Equal(again.GetKey(), first.GetKey()) {
		t.Errorf("the key changed over a restart: %v", err)
	}
}
