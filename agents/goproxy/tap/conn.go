package tap

import (
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
)

// Info is what is known of a connection before its first byte.
type Info struct {
	Direction traffic.Direction
	// Scheme is http or https: whether the bytes were under TLS.
	Scheme string
	// Client is the peer that opened the connection, Server where it went.
	Client, Server netip.AddrPort
	// Host is the name of the server, where one is known, without port.
	Host string
	// Address is the host:port that the client asked for.
	Address string
	// Fixed says that the connection goes to Address whatever host its requests name: they
	// name the proxy's own port.
	Fixed bool
	// Established is when the client connected.
	Established time.Time
}

// Conn is the capture of one connection. The relay calls Data and End for each
// side from one goroutine, and Close after both. A nil *Conn captures nothing.
type Conn struct {
	tap    *Tap
	worker *worker
	info   Info
	id     uint64
	names  names
	side   [2]half
	opaque atomic.Bool
	parse  parser // the worker's part
}

// half is one direction of a connection, written by the relay's goroutine.
type half struct {
	bytes atomic.Int64 // moved in this direction
	taken atomic.Int64 // of those, given to the parser or reported as a gap
	gap   int64        // dropped and not yet reported; guarded by the queue's lock
}

// names of a connection in its pairs, made once.
type names struct{ id, client, server string }

func newNames(id uint64, info *Info) names {
	text := func(a netip.AddrPort) string {
		if !a.Addr().IsValid() {
			return ""
		}
		return a.Addr().Unmap().String()
	}
	return names{strconv.FormatUint(id, 10), text(info.Client), text(info.Server)}
}

// Conn starts to capture a connection.
func (t *Tap) Conn(info Info) *Conn {
	if t == nil {
		return nil
	}
	id := t.next.Add(1)
	c := &Conn{tap: t, worker: t.workers[id%uint64(len(t.workers))], info: info, id: id, names: newNames(id, &info)}
	s := &t.stats[info.Direction]
	s.connections.Add(1)
	s.lastSeen.Store(info.Established.UnixNano())
	return c
}

// Opaque counts a connection that is relayed without capture, for a reason. The
// Conn that it returns only counts bytes.
func (t *Tap) Opaque(info Info, reason string) *Conn {
	c := t.Conn(info)
	if c == nil {
		return nil
	}
	c.opaque.Store(true)
	c.parse.done, c.parse.reason = true, reason
	t.Lose(info.Direction, reason, Lost{Connections: 1})
	return c
}

// Opaque says that nothing looks at the connection's bytes any more, so that
// the relay may move them without copying; it then reports them with Moved.
func (c *Conn) Opaque() bool { return c == nil || c.opaque.Load() }

// Now is the time of a read, to be given to Data.
func (c *Conn) Now() Time {
	if c == nil {
		return 0
	}
	return c.tap.now()
}

// Data takes the n bytes at the start of buf, which a side sent and the relay read
// at the given time and has written to the peer. It never blocks: bytes that find
// no room are counted as lost.
func (c *Conn) Data(from wire.Side, at Time, n int, buf *Buffer) {
	if c == nil {
		return
	}
	h := &c.side[from]
	h.bytes.Add(int64(n))
	c.tap.stats[c.info.Direction].bytes.Add(uint64(n))
	if c.opaque.Load() {
		return
	}
	h.taken.Add(int64(n))
	if full := c.tap.opts.Full; full != nil && full() {
		c.worker.queue.skip(c, from, n)
		return
	}
	r := record{conn: c, at: at, kind: kindData, from: from}
	if reason := c.worker.queue.put(r, buf.B[:n], buf); reason != "" {
		c.worker.queue.refuse(c.info.Direction, reason, n)
	}
}

// Moved counts bytes of a side that were relayed without being looked at.
func (c *Conn) Moved(from wire.Side, n int64) {
	if c != nil {
		c.side[from].bytes.Add(n)
		c.tap.stats[c.info.Direction].bytes.Add(uint64(n))
	}
}

// End says that a side sends nothing more.
func (c *Conn) End(from wire.Side) {
	if c == nil {
		return
	}
	c.worker.queue.put(record{conn: c, at: c.tap.now(), kind: kindEnd, from: from}, nil, nil)
}

// Close says that the connection is gone. It may be called once, after both
// sides' goroutines have ended.
func (c *Conn) Close() {
	if c != nil {
		c.worker.queue.put(record{conn: c, at: c.tap.now(), kind: kindClose}, nil, nil)
	}
}
