package collector_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect"

	"github.com/speedscale/speedscale/agents/collector"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/api/v1/cloudv1connect"
	"github.com/speedscale/speedscale/cloud/client"
	"github.com/speedscale/speedscale/traffic/mask"
)

// cloud answers for one snapshot and its masking key.
type cloud struct {
	cloudv1connect.UnimplementedSnapshotServiceHandler
	cloudv1connect.UnimplementedMaskingServiceHandler
	snapshot string
	key      *cloudv1.Masking // nil: another cloud has it
	away     atomic.Int32     // calls that fail first
}

func (c *cloud) Get(context.Context, *cloudv1.GetSnapshotRequest) (*cloudv1.GetSnapshotResponse, error) {
	if c.away.Add(-1) >= 0 {
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("starting"))
	}
	if c.snapshot == "" {
		return nil, connect.NewError(connect.CodePermissionDenied, errors.New("the token does not open it"))
	}
	return &cloudv1.GetSnapshotResponse{Snapshot: []byte(c.snapshot)}, nil
}

type maskingOf struct{ *cloud }

func (m maskingOf) Get(_ context.Context, r *cloudv1.GetMaskingRequest) (*cloudv1.Masking, error) {
	if m.key == nil || r.GetKeyId() != m.key.GetKeyId() {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("no such key"))
	}
	return m.key, nil
}

func (c *cloud) client(t *testing.T) *client.Client {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(cloudv1connect.NewSnapshotServiceHandler(c))
	mux.Handle(cloudv1connect.NewMaskingServiceHandler(maskingOf{c}))
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	cl, err := client.New(client.Options{URL: s.URL, Key: "token"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func TestLinesAreMaskedAsTheSnapshotIs(t *testing.T) {
	key := mask.NewKey()
	const rules = `{"version":1,"id":"s1","info":{"name":"shop"},"masking":{"keyId":"k1","config":{"id":"own","discoverPatterns":false,"redactlist":{"entries":{"all":["customer"]}}}}}`
	const line = "customer=ann total=12"
	c := &cloud{snapshot: rules, key: &cloudv1.Masking{KeyId: "k1", Key: key.Secret}}
	c.away.Store(1)
	m, err := collector.AwaitMasker(t.Context(), c.client(t), "s1", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	own, err := mask.New(m.Config(), mask.Key{ID: "k1", Secret: key.Secret})
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Text(line); got != own.Text(line) || strings.Contains(got, "ann") || !strings.Contains(got, "total=12") {
		t.Errorf("%q", got)
	}
	c.key = nil
	if m, err = collector.AwaitMasker(t.Context(), c.client(t), "s1", slog.New(slog.DiscardHandler)); err != nil || strings.Contains(m.Text(line), "ann") {
		t.Errorf("with the key of another cloud: %v", err)
	}
	c.snapshot = `{"version":1,"id":"s1","info":{"name":"shop"}}`
	if m, err = collector.AwaitMasker(t.Context(), c.client(t), "s1", slog.New(slog.DiscardHandler)); err != nil || strings.Contains(m.Text("password=hunter2"), "hunter2") {
		t.Errorf("of a snapshot that is not masked: %v", err)
	}
}

func TestWithoutRulesNothingIsCollected(t *testing.T) {
	c := &cloud{}
	if m, err := collector.AwaitMasker(t.Context(), c.client(t), "s1", slog.New(slog.DiscardHandler)); m != nil || err == nil || !strings.Contains(err.Error(), `snapshot "s1"`) {
		t.Errorf("%v, %v", m, err)
	}
	c.away.Store(1 << 30)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if m, err := collector.AwaitMasker(ctx, c.client(t), "s1", slog.New(slog.DiscardHandler)); m != nil || err == nil {
		t.Errorf("%v, %v", m, err)
	}
}
