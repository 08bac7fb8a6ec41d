package command_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/broker"
	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/agents/forwarder"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
)

// TestForwarderIsListed: a real one tells a real cloud how it is.
func TestForwarderIsListed(t *testing.T) {
	r := startRemote(t)
	f, err := forwarder.New(t.Context(), forwarder.Options{
		Cluster: "prod.eu", Cloud: bus.ConnectOptions{URLs: []string{r.bus}, Token: r.key}, DataOff: true,
		Spool: broker.StoreOptions{Dir: t.TempDir()}, Telemetry: forwarder.Telemetry{Interval: time.Second, Version: "v9"},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	defer func() {
		cancel()
		if err := errors.Join(<-done, f.Close()); err != nil {
			t.Error(err)
		}
	}()
	var out string
	for end := time.Now().Add(20 * time.Second); !strings.Contains(out, "v9"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("agents are\n%s", out)
		}
		_, out, _ = r.speedctl(t, "get", "agents", "--cluster", "prod.eu")
	}
}

func TestGetAgents(t *testing.T) {
	r := startRemote(t)
	if code, out, said := r.speedctl(t, "get", "agents", "-o", "json"); code != 0 || strings.TrimSpace(out) != "[]" {
		t.Errorf("without agents: %d, %s%s", code, out, said)
	}
	nc, err := bus.Connect(t.Context(), bus.ConnectOptions{URLs: []string{r.bus}, Token: r.key})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	data, err := proto.Marshal(&cloudv1.ClusterTelemetry{
		Forwarder: &cloudv1.ForwarderTelemetry{Version: "v2", DataOff: true},
		Sidecars: []*cloudv1.SidecarTelemetry{{
			Namespace: "shop", Pod: "cart-1", Mode: "forward", Version: "v1", Received: time.Now().UnixNano(),
			Outbound: &cloudv1.DirectionTelemetry{Pairs: 7, LastSeen: time.Now().Add(-90 * time.Second).UnixNano()},
		}},
		Omitted: 3,
	})
	if err != nil {
		t.Fatal(err)
	}
	var out string
	for end := time.Now().Add(10 * time.Second); !strings.Contains(out, "prod"); time.Sleep(20 * time.Millisecond) {
		if err := nc.Publish(bus.ClusterTelemetry(r.id, "prod"), data); err != nil && time.Now().After(end) {
			t.Fatal(err)
		}
		if time.Now().After(end) {
			t.Fatalf("agents are\n%s", out)
		}
		_, out, _ = r.speedctl(t, "get", "agents")
	}
	var rows []string
	for line := range strings.Lines(out) {
		rows = append(rows, strings.Join(strings.Fields(line), " "))
	}
	if len(rows) != 4 || !strings.HasPrefix(rows[1], "prod forwarder v2 ") || !strings.HasPrefix(rows[2], "prod shop cart-1 forward v1 - 7 9") || rows[3] != "prod and 3 more" {
		t.Errorf("agents are\n%s", out)
	}
	var list []struct {
		Forwarder struct {
			DataOff bool `json:"data_off"`
		}
	}
	_, out, said := r.speedctl(t, "get", "agents", "--cluster", "prod", "-o", "json")
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 || !list[0].Forwarder.DataOff {
		t.Errorf("%v: %s%s", err, out, said)
	}
	if _, out, _ := r.speedctl(t, "get", "agents", "--cluster", "elsewhere", "-o", "json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("of a cluster that nobody knows: %s", out)
	}
}
