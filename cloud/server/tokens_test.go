package server_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/server"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

func TestTokenOpensItsReplayOnly(t *testing.T) {
	var text log
	c := start(t, server.Options{DataDir: t.TempDir(), BusListen: "127.0.0.1:0", Logger: slog.New(slog.NewTextHandler(&text, nil))}, "")
	meta, other := c.snapshotOf(t, "mine"), c.snapshotOf(t, "other")
	r, another := c.startReplay(t, meta.ID), c.startReplay(t, meta.ID)
	for _, id := range []string{meta.ID, meta.Info.Name} {
		if _, err := r.agent.snapshots.Get(t.Context(), &cloudv1.GetSnapshotRequest{Id: id}); err != nil {
			t.Errorf("its snapshot as %q: %v", id, err)
		}
	}
	if _, err := r.agent.masking.Get(t.Context(), &cloudv1.GetMaskingRequest{KeyId: meta.Masking.KeyID}); err != nil {
		t.Errorf("its masking key: %v", err)
	}
	for name, err := range map[string]error{
		"other snapshot":   second(r.agent.snapshots.Get(t.Context(), &cloudv1.GetSnapshotRequest{Id: other.ID})),
		"latest snapshot":  second(r.agent.snapshots.Get(t.Context(), &cloudv1.GetSnapshotRequest{Id: "latest"})),
		"unknown snapshot": second(r.agent.snapshots.Get(t.Context(), &cloudv1.GetSnapshotRequest{Id: "nope"})),
		"download": func() error {
			s, err := r.agent.snapshots.Download(t.Context(), &cloudv1.DownloadSnapshotRequest{Id: other.ID})
			if err != nil {
				return err
			}
			defer s.Close()
			for s.Receive() {
			}
			return s.Err()
		}(),
		"current key":     second(r.agent.masking.Get(t.Context(), &cloudv1.GetMaskingRequest{})),
		"other key":       second(r.agent.masking.Get(t.Context(), &cloudv1.GetMaskingRequest{KeyId: "other"})),
		"publish":         r.agent.publishEvents(t, another.id, progress(1)),
		"publish nowhere": r.agent.publishEvents(t, "", progress(1)),
		"phase":           r.agent.publishEvents(t, r.id, phase("report")),
		"part":            r.agent.putPart(t, another.id, "generator-0", generated(t, 1)),
	} {
		if code(err) != connect.CodePermissionDenied {
			t.Errorf("%s: %v", name, err)
		}
	}
	// calls are about nothing of the replay's.
	for name, e := range calls() {
		if err := e.call(t.Context(), r.agent); code(err) != connect.CodePermissionDenied {
			t.Errorf("%s: %v", name, err)
		}
	}
	if keys, err := c.keys.List(t.Context(), &cloudv1.ListKeysRequest{}); err != nil || len(keys.GetKeys()) != 1 {
		t.Errorf("tokens are among the API keys: %v, %v", keys, err)
	}
	if nc, err := nats.Connect(c.BusURL(), nats.Token(r.agent.key), nats.MaxReconnects(0)); err == nil {
		nc.Close()
		t.Error("a token opens the bus")
	}
	wrong := client(c.URL(), r.agent.key[:len(r.agent.key)-4]+"0000")
	defer wrong.web.CloseIdleConnections()
	if err := wrong.publishEvents(t, r.id, progress(1)); code(err) != connect.CodeUnauthenticated {
		t.Errorf("a wrong token: %v", err)
	}
	if secret := r.agent.key[strings.LastIndex(r.agent.key, "_")+1:]; strings.Contains(text.String(), secret) {
		t.Error("the log holds a token's secret")
	}
}

func TestWrongReplayRequests(t *testing.T) {
	c, meta := withSnapshot(t, t.TempDir())
	r := c.startReplay(t, meta.ID)
	good := func() *cloudv1.StartReplayRequest {
		return &cloudv1.StartReplayRequest{Id: uuid.NewString(), SnapshotId: meta.ID, TestConfigId: "standard", Expires: time.Now().Add(time.Hour).Unix()}
	}
	for name, e := range map[string]struct {
		change func(*cloudv1.StartReplayRequest)
		want   connect.Code
	}{
		"id":           {func(r *cloudv1.StartReplayRequest) { r.Id = "x" }, connect.CodeInvalidArgument},
		"id's form":    {func(r *cloudv1.StartReplayRequest) { r.Id = "{" + r.Id + "}" }, connect.CodeInvalidArgument},
		"over":         {func(r *cloudv1.StartReplayRequest) { r.Expires = time.Now().Unix() - 1 }, connect.CodeInvalidArgument},
		"for ever":     {func(r *cloudv1.StartReplayRequest) { r.Expires = 1 << 60 }, connect.CodeInvalidArgument},
		"control":      {func(r *cloudv1.StartReplayRequest) { r.Name = "a\nb" }, connect.CodeInvalidArgument},
		"no snapshot":  {func(r *cloudv1.StartReplayRequest) { r.SnapshotId = "" }, connect.CodeInvalidArgument},
		"its snapshot": {func(r *cloudv1.StartReplayRequest) { r.SnapshotId = "nope" }, connect.CodeNotFound},
		"its config":   {func(r *cloudv1.StartReplayRequest) { r.TestConfigId = "nope" }, connect.CodeNotFound},
	} {
		req := good()
		e.change(req)
		if err := second(c.replays.Start(t.Context(), req)); code(err) != e.want {
			t.Errorf("start with another %s: %v", name, err)
		}
	}
	end := &cloudv1.ReplayEvent{Source: "generator-0", Event: &cloudv1.ReplayEvent_End{End: &cloudv1.ReplayEnd{}}}
	for name, err := range map[string]error{
		"no source":     r.agent.publishEvents(t, r.id, &cloudv1.ReplayEvent{Event: logLine("x").Event}),
		"cloud's":       r.agent.publishEvents(t, r.id, &cloudv1.ReplayEvent{Source: "cloud", Event: logLine("x").Event}),
		"empty":         r.agent.publishEvents(t, r.id, &cloudv1.ReplayEvent{Source: "collector"}),
		"end":           c.publishEvents(t, r.id, end),
		"too large":     r.agent.publishEvents(t, r.id, logLine(strings.Repeat("x", 1<<20))),
		"part's name":   r.agent.putPart(t, r.id, "../x", generated(t, 1)),
		"part's JSON":   r.agent.putPart(t, r.id, "generator-0", []byte("{")),
		"part's schema": r.agent.putPart(t, r.id, "generator-0", []byte(`{"version":99}`)),
		"both ends":     second(c.replays.End(t.Context(), &cloudv1.EndReplayRequest{Id: r.id, Error: "a", Canceled: "b"})),
	} {
		if code(err) != connect.CodeInvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := r.agent.publishEvents(t, r.id, logLine(strings.Repeat("x", 3<<20))); code(err) != connect.CodeResourceExhausted {
		t.Errorf("far too large: %v", err)
	}
	unknown := uuid.NewString()
	for name, err := range map[string]error{
		"publish": c.publishEvents(t, unknown, progress(1)),
		"part":    c.putPart(t, unknown, "generator-0", generated(t, 1)),
		"end":     second(c.replays.End(t.Context(), &cloudv1.EndReplayRequest{Id: unknown})),
		"watch":   second(c.watch(t.Context(), unknown, 0)),
	} {
		if code(err) != connect.CodeNotFound {
			t.Errorf("%s of an unknown replay: %v", name, err)
		}
	}
}

// snapshotOf makes a snapshot of a service, masked with the cloud's key.
func (c *cloud) snapshotOf(t testing.TB, service string) *snapshot.Meta {
	t.Helper()
	m, err := c.masking.Get(t.Context(), &cloudv1.GetMaskingRequest{})
	if err != nil {
		t.Fatal(err)
	}
	nc := c.agent(t, c.key)
	waitConnected(t, nc)
	b := newBatch(service, 1, 1)
	b.Pairs[0].Service, b.Pairs[0].MaskKeyId = service, m.GetKeyId()
	if err := publish(t, nc, b); err != nil {
		t.Fatal(err)
	}
	meta, err := c.create(t, &cloudv1.CreateSnapshotRequest{Name: service, Selection: &cloudv1.Selection{Service: service}})
	if err != nil {
		t.Fatal(err)
	}
	return meta
}
