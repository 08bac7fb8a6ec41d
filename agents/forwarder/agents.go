package forwarder

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/bus"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
)

// Bounds of what is kept of sidecars.
const (
	maxSidecars = 4096
	// maxSidecarBytes bounds one's telemetry, and maxDocument that of all together on its
	// way to the cloud, in bytes.
	maxSidecarBytes = 16 << 10
	maxDocument     = 1 << 20
	// missedLimit is how many in a row may be missing before a sidecar counts as gone,
	// and graceTime what is given on top.
	missedLimit = 3
	graceTime   = 30 * time.Second
)

// sidecars keeps the latest telemetry of each. It is safe for concurrent use.
type sidecars struct {
	mu      sync.Mutex
	latest  map[string]*cloudv1.SidecarTelemetry // by pod, or by producer without one
	ignored uint64                               // there was no room, or it was not understood
}

// take keeps a message, which a sidecar published at a time. Whose it is says the
// subject alone.
func (s *sidecars) take(m *nats.Msg, now time.Time) {
	t := &cloudv1.SidecarTelemetry{}
	pod, producer, ofPod := bus.TelemetryPod(m.Subject)
	ok := len(m.Data) <= maxSidecarBytes && proto.Unmarshal(m.Data, t) == nil && t.GetProducer() == producer
	t.Namespace, t.Pod, t.Received = "", "", now.UnixNano()
	key := "producer " + producer
	if ofPod {
		t.Namespace, t.Pod, key = pod.Namespace, pod.Name, pod.String()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.latest[key]
	if !ok || old == nil && !s.room(now) {
		s.ignored++
		return
	}
	if t.GetGone() {
		// Another proxy of the same pod may have taken its place already.
		if old.GetProducer() == producer {
			delete(s.latest, key)
		}
		return
	}
	if old.GetProducer() != producer {
		old = nil
	}
	recent(t, old)
	s.latest[key] = t
}

// room says whether there is some for another one. The caller holds the lock.
func (s *sidecars) room(now time.Time) bool {
	if s.latest == nil {
		s.latest = map[string]*cloudv1.SidecarTelemetry{}
	}
	if len(s.latest) >= maxSidecars {
		s.expire(now)
	}
	return len(s.latest) < maxSidecars
}

// expire forgets those that were not heard for long. The caller holds the lock.
func (s *sidecars) expire(now time.Time) {
	for key, t := range s.latest {
		interval := min(max(time.Duration(t.GetInterval()), time.Second), time.Hour)
		if now.Sub(time.Unix(0, t.GetReceived())) > missedLimit*interval+graceTime {
			delete(s.latest, key)
		}
	}
}

// recent notes what was lost since the telemetry before, nil for none: then nobody knows.
func recent(t, before *cloudv1.SidecarTelemetry) {
	if before == nil {
		return
	}
	since := func(losses, old []*cloudv1.LossTelemetry) {
		for _, l := range losses {
			l.RecentPairs, l.RecentConnections = l.GetPairs(), l.GetConnections()
			for _, o := range old {
				if o.GetReason() == l.GetReason() {
					l.RecentPairs -= min(o.GetPairs(), l.RecentPairs)
					l.RecentConnections -= min(o.GetConnections(), l.RecentConnections)
				}
			}
		}
	}
	since(t.GetInbound().GetLost(), before.GetInbound().GetLost())
	since(t.GetOutbound().GetLost(), before.GetOutbound().GetLost())
	since(t.GetUnsent(), before.GetUnsent())
}

// unheard is how many messages were ignored.
func (s *sidecars) unheard() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ignored
}

// list returns those that were heard lately, by namespace and pod, as far as limit goes,
// in bytes, and how many there is no room for. The caller must not change them.
func (s *sidecars) list(now time.Time, limit int) (list []*cloudv1.SidecarTelemetry, omitted uint64) {
	s.mu.Lock()
	s.expire(now)
	for _, t := range s.latest {
		list = append(list, t)
	}
	s.mu.Unlock()
	slices.SortFunc(list, func(a, b *cloudv1.SidecarTelemetry) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetPod(), b.GetPod()), cmp.Compare(a.GetProducer(), b.GetProducer()))
	})
	for i, t := range list {
		if limit -= proto.Size(t) + 8; limit < 0 {
			return list[:i], uint64(len(list) - i)
		}
	}
	return list, 0
}
