package tap

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/speedscale/speedscale/traffic"
)

// Stats is what a tap saw in one direction.
type Stats struct {
	// Connections is how many were opened, Pairs how many pairs were recorded.
	Connections, Pairs uint64
	// Bytes were relayed, both ways; those that nobody looks at are counted at the end of
	// their connection.
	Bytes uint64
	// Lost counts by reason.
	Lost map[string]Lost
	// LastSeen is when the last connection was opened or pair recorded; zero
	// where there was none.
	LastSeen time.Time
}

// Lost counts what was not captured, for one reason.
type Lost struct {
	Pairs, Connections, Bytes uint64
}

// directions is how many values traffic.Direction has.
const directions = 3

// counters of one direction.
type counters struct {
	connections, pairs, bytes atomic.Uint64
	lastSeen                  atomic.Int64

	mu   sync.Mutex
	lost map[string]Lost
}

func (c *counters) addLost(l *traffic.Loss) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost == nil {
		c.lost = map[string]Lost{}
	}
	n := c.lost[l.Reason]
	n.Pairs += l.Pairs
	n.Connections += l.Connections
	n.Bytes += l.Bytes
	c.lost[l.Reason] = n
}

// Stats returns what was seen in a direction until now.
func (t *Tap) Stats(d traffic.Direction) Stats {
	if t == nil {
		return Stats{}
	}
	c := &t.stats[d]
	s := Stats{Connections: c.connections.Load(), Pairs: c.pairs.Load(), Bytes: c.bytes.Load()}
	if ns := c.lastSeen.Load(); ns != 0 {
		s.LastSeen = time.Unix(0, ns)
	}
	c.mu.Lock()
	s.Lost = maps.Clone(c.lost)
	c.mu.Unlock()
	return s
}

// Lose reports a loss that the tap's owner found itself, such as a connection
// that was relayed unseen.
func (t *Tap) Lose(d traffic.Direction, reason string, n Lost) {
	if t == nil {
		return
	}
	now := time.Now().UnixNano()
	t.report(&traffic.Loss{
		Reason: reason, Direction: d, From: now, To: now,
		Pairs: n.Pairs, Connections: n.Connections, Bytes: n.Bytes,
	})
}

func (t *Tap) report(l *traffic.Loss) {
	l.Service, l.Namespace = t.opts.Identity.Service, t.opts.Identity.Namespace
	t.stats[l.Direction].addLost(l)
	t.opts.Recorder.Lost(l)
}
