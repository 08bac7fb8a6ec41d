// Package telemetry keeps the latest that the forwarders of clusters say of themselves and
// of their sidecars, in memory: what is lost with the process comes again within a minute.
package telemetry

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/bus"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
)

// Bounds of what is kept.
const (
	maxClusters = 512
	maxBytes    = 64 << 20
	// keepFor is how long a cluster is remembered that says nothing any more, so that a
	// forwarder which has stopped is seen to have.
	keepFor = time.Hour
)

// Store is safe for concurrent use.
type Store struct {
	log *slog.Logger

	mu     sync.Mutex
	latest map[string]entry // by subject
	bytes  int              // of all entries
	full   bool             // said already
}

type entry struct {
	data     []byte // a cloudv1.ClusterTelemetry
	received time.Time
}

// Follow keeps what comes on a connection that may use every subject, until that is
// closed, which is up to the caller.
func Follow(conn *nats.Conn, log *slog.Logger) (*Store, error) {
	s := &Store{log: log, latest: map[string]entry{}}
	if _, err := conn.Subscribe(bus.ClusterTelemetries("*"), func(m *nats.Msg) { s.take(m.Subject, m.Data, time.Now()) }); err != nil {
		return nil, fmt.Errorf("follow telemetry: %w", err)
	}
	return s, nil
}

func (s *Store) take(subject string, data []byte, now time.Time) {
	keyID, cluster, ok := bus.TelemetryCluster(subject)
	if !ok || proto.Unmarshal(data, &cloudv1.ClusterTelemetry{}) != nil {
		s.log.Warn("telemetry is not understood", "key", keyID, "cluster", cluster, "bytes", len(data))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(now)
	old, known := s.latest[subject]
	full := !known && len(s.latest) >= maxClusters || s.bytes-len(old.data)+len(data) > maxBytes
	if full && !s.full {
		s.log.Warn("no room for the telemetry of a cluster", "key", keyID, "cluster", cluster, "clusters", len(s.latest), "bytes", s.bytes)
	}
	if s.full = full; full {
		return // what is known of it grows old, which its reader sees
	}
	s.bytes += len(data) - len(old.data)
	s.latest[subject] = entry{data, now}
}

// expire forgets clusters that said nothing for long. The caller holds the lock.
func (s *Store) expire(now time.Time) {
	for subject, e := range s.latest {
		if now.Sub(e.received) > keepFor {
			s.bytes -= len(e.data)
			delete(s.latest, subject)
		}
	}
}

// Clusters returns what is known of those with a name, or of all where it is empty: by
// name, and of the same name the one heard last first.
func (s *Store) Clusters(name string) []*cloudv1.ClusterTelemetry {
	s.mu.Lock()
	s.expire(time.Now())
	found := map[string]entry{}
	for subject, e := range s.latest {
		if _, cluster, _ := bus.TelemetryCluster(subject); name == "" || cluster == name {
			found[subject] = e
		}
	}
	s.mu.Unlock()
	var list []*cloudv1.ClusterTelemetry
	for subject, e := range found {
		t := &cloudv1.ClusterTelemetry{}
		if err := proto.Unmarshal(e.data, t); err != nil {
			continue // take has seen that it can be read
		}
		t.Key, t.Name, _ = bus.TelemetryCluster(subject)
		t.Received = e.received.UnixNano()
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b *cloudv1.ClusterTelemetry) int {
		return cmp.Or(cmp.Compare(a.GetName(), b.GetName()), cmp.Compare(b.GetReceived(), a.GetReceived()), cmp.Compare(a.GetKey(), b.GetKey()))
	})
	return list
}
