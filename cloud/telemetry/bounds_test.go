package telemetry

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/bus"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
)

func message(t *testing.T, size int) []byte {
	t.Helper()
	data, err := proto.Marshal(&cloudv1.ClusterTelemetry{Forwarder: &cloudv1.ForwarderTelemetry{Unready: string(make([]byte, size))}})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestStoreIsBounded(t *testing.T) {
	s := &Store{log: slog.New(slog.DiscardHandler), latest: map[string]entry{}}
	now, small := time.Now(), message(t, 10)
	for i := range maxClusters + 5 {
		s.take(bus.ClusterTelemetry("k", fmt.Sprint("c", i)), small, now.Add(-2*keepFor))
	}
	if len(s.latest) != maxClusters || s.bytes != maxClusters*len(small) {
		t.Errorf("%d clusters with %d bytes", len(s.latest), s.bytes)
	}
	// Those were not heard for long, and make room.
	s.take(bus.ClusterTelemetry("k", "large"), message(t, maxBytes/2), now)
	s.take(bus.ClusterTelemetry("k", "other"), message(t, maxBytes/2+1), now)
	s.take(bus.ClusterTelemetry("k", "large"), message(t, maxBytes/2+10), now)
	s.take(bus.ClusterTelemetry("k", "late"), small, now)
	list := s.Clusters("")
	if len(list) != 2 || list[0].GetName() != "large" || len(list[0].GetForwarder().GetUnready()) != maxBytes/2+10 || list[1].GetName() != "late" {
		t.Errorf("%d clusters are kept", len(list))
	}
	for subject, e := range s.latest {
		s.latest[subject] = entry{e.data, now.Add(-keepFor - time.Second)}
	}
	if list := s.Clusters(""); len(list) != 0 || s.bytes != 0 {
		t.Errorf("%d clusters and %d bytes are kept for ever", len(list), s.bytes)
	}
}
