package server_test

import (
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/bus"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/server"
)

// TestTelemetryOfClusters: the latest of each is kept, whose it is says the key, and no key
// speaks for another.
func TestTelemetryOfClusters(t *testing.T) {
	c := start(t, server.Options{DataDir: t.TempDir(), BusListen: "127.0.0.1:0"}, "")
	forwarder := func() (id string, nc *nats.Conn) {
		id, key, err := c.Keyring().Create(t.Context(), "forwarder", []string{"ingest"}, 0)
		if err != nil {
			t.Fatal(err)
		}
		if nc, err = bus.Connect(t.Context(), bus.ConnectOptions{URLs: []string{c.BusURL()}, Token: key}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		for end := time.Now().Add(10 * time.Second); !nc.IsConnected(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("not connected")
			}
		}
		return id, nc
	}
	tell := func(nc *nats.Conn, id, cluster string, m *cloudv1.ClusterTelemetry) {
		data, err := proto.Marshal(m)
		if err == nil {
			err = nc.Publish(bus.ClusterTelemetry(id, cluster), data)
		}
		if err == nil {
			err = nc.Flush()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	id, nc := forwarder()
	otherID, other := forwarder()
	tell(nc, otherID, "prod", &cloudv1.ClusterTelemetry{SidecarCount: 100})
	tell(nc, id, "prod", &cloudv1.ClusterTelemetry{SidecarCount: 1})
	tell(nc, id, "prod", &cloudv1.ClusterTelemetry{Name: "another", Key: "x", Received: 1, SidecarCount: 2, Sidecars: []*cloudv1.SidecarTelemetry{{Pod: "cart-1"}, {Pod: "cart-2"}}})
	tell(nc, id, "a", &cloudv1.ClusterTelemetry{})
	if err := nc.Publish(bus.ClusterTelemetry(id, "broken"), []byte("no message")); err != nil {
		t.Fatal(err)
	}
	var list []*cloudv1.ClusterTelemetry
	for end := time.Now().Add(10 * time.Second); len(list) < 2 || list[1].SidecarCount != 2; time.Sleep(5 * time.Millisecond) {
		res, err := c.telemetry.Clusters(t.Context(), &cloudv1.TelemetryClustersRequest{})
		if err != nil || time.Now().After(end) {
			t.Fatalf("%v, %v", list, err)
		}
		list = res.GetClusters()
	}
	if len(list) != 2 || list[0].Name != "a" || list[1].Name != "prod" || list[1].Key != id || len(list[1].Sidecars) != 0 ||
		time.Since(time.Unix(0, list[1].Received)) > time.Minute {
		t.Errorf("clusters are %v", list)
	}
	// Both are shown where two keys send for one name, the latest first.
	tell(other, otherID, "prod", &cloudv1.ClusterTelemetry{SidecarCount: 3})
	var res *cloudv1.TelemetryAgentsResponse
	for end := time.Now().Add(10 * time.Second); len(res.GetClusters()) < 2; time.Sleep(5 * time.Millisecond) {
		var err error
		if res, err = c.telemetry.Agents(t.Context(), &cloudv1.TelemetryAgentsRequest{Cluster: "prod"}); err != nil || time.Now().After(end) {
			t.Fatalf("%v, %v", res, err)
		}
	}
	if first, second := res.Clusters[0], res.Clusters[1]; first.Key != otherID || second.Key != id || len(second.Sidecars) != 2 || res.Time < first.Received {
		t.Errorf("agents are %v", res)
	}
	if _, err := c.telemetry.Agents(t.Context(), &cloudv1.TelemetryAgentsRequest{}); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("without a cluster: %v", err)
	}
}
