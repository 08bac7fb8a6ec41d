package tap

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
)

// Bounds on what is held while the protocol is not known.
const (
	maxHeld   = 256 << 10 // bytes; a server may speak first, or be queued first
	maxChunks = 256
)

// parser is the part of a connection that its worker owns.
type parser struct {
	decoder wire.Decoder
	held    []chunk // what came before the protocol was known
	heldN   int
	gapped  bool   // bytes of the client were dropped before it was known
	done    bool   // nothing is decoded any more
	reason  string // why, where it was given up
}

// chunk is an event of a side: bytes, a gap or the end.
type chunk struct {
	from wire.Side
	gap  int64
	b    []byte
	at   time.Time
	end  bool
}

func (p *parser) event(c *Conn, k chunk) {
	switch {
	case p.done:
		c.lostLate(k)
	case p.decoder != nil:
		p.feed(k)
	default:
		p.sniff(c, k)
	}
}

// feed passes an event to the decoder.
func (p *parser) feed(k chunk) {
	switch {
	case k.gap > 0:
		p.decoder.Gap(k.from, k.gap, k.at)
	case k.end:
		p.decoder.End(k.from, k.at)
	default:
		p.decoder.Data(k.from, k.b, k.at)
	}
}

// sniff looks for the protocol by the first bytes of the client. What the server
// sent is held until then: it may speak first, and its bytes may be queued first.
func (p *parser) sniff(c *Conn, k chunk) {
	reason := ""
	p.gapped = p.gapped || k.gap > 0 && k.from == wire.Client
	if k.from == wire.Client && len(k.b) > 0 {
		var d wire.Decoder
		if d, reason = decoderFor(p.head(k.b), c.options()); d != nil {
			p.decoder = d
			held := p.held
			p.release(c)
			for _, h := range held {
				p.feed(h)
			}
			p.feed(k)
			return
		}
		if p.gapped && reason == traffic.ReasonUnknown {
			// The rest of a message whose start was dropped: the next chunk may
			// begin with a request.
			c.lost(traffic.ReasonGap, Lost{Bytes: uint64(len(k.b))})
			return
		}
	}
	n := len(k.b)
	if reason == "" && len(p.held) < maxChunks && p.heldN+n <= maxHeld && c.tap.opts.Budget.Take(int64(n)) {
		k.b = bytes.Clone(k.b)
		p.held = append(p.held, k)
		p.heldN += n
		return
	}
	p.giveUp(c, cmp.Or(reason, traffic.ReasonUnknown))
	c.lostLate(k)
}

// head is the start of what the client has sent, with its next bytes; after a gap
// it is the next bytes alone.
func (p *parser) head(next []byte) []byte {
	if p.gapped {
		return next
	}
	var head []byte
	for _, h := range p.held {
		if h.from == wire.Client {
			head = append(head, h.b...)
		}
	}
	if head == nil {
		return next
	}
	return append(head, next...)
}

// asked says whether the client has sent anything that is held. A connection on
// which only the server spoke (HTTP/2 clients open more than they use) had no
// request that could be lost.
func (p *parser) asked() bool {
	return slices.ContainsFunc(p.held, func(k chunk) bool { return k.from == wire.Client && len(k.b) > 0 })
}

func (p *parser) release(c *Conn) {
	c.tap.opts.Budget.Give(int64(p.heldN))
	p.held, p.heldN = nil, 0
}

func (p *parser) close(c *Conn) {
	d := p.decoder
	p.decoder = nil
	if d != nil {
		d.Close()
	} else if p.asked() {
		c.lost(traffic.ReasonIncomplete, Lost{Connections: 1, Bytes: uint64(p.heldN)})
	}
	p.release(c)
	p.done = true
	if unseen := c.unseen(); unseen > 0 && p.reason != "" {
		c.lost(p.reason, Lost{Bytes: uint64(unseen)})
	}
}

// giveUp ends decoding for a reason that is counted, and lets the relay go
// without us.
func (p *parser) giveUp(c *Conn, reason string) {
	c.opaque.Store(true)
	if p.done && p.reason != "" {
		return
	}
	n := p.heldN
	p.done, p.reason = true, reason
	d := p.decoder
	p.decoder = nil
	p.release(c)
	c.lost(reason, Lost{Connections: 1, Bytes: uint64(n)})
	if d != nil {
		closeBroken(d)
	}
}

// closeBroken closes a decoder that may have panicked before.
func closeBroken(d wire.Decoder) {
	defer func() { _ = recover() }()
	d.Close()
}

// unseen is how many bytes went by without being put in the queue.
func (c *Conn) unseen() int64 {
	var n int64
	for i := range c.side {
		n += c.side[i].bytes.Load() - c.side[i].taken.Load()
	}
	return n
}

func (c *Conn) lost(reason string, n Lost) { c.worker.lost(c.info.Direction, reason, n) }

// lostLate counts bytes that were queued before the parser had given up. Those of
// a gap have been counted.
func (c *Conn) lostLate(k chunk) {
	if len(k.b) > 0 && c.parse.reason != "" {
		c.lost(c.parse.reason, Lost{Bytes: uint64(len(k.b))})
	}
}

func (c *Conn) options() wire.Options {
	o := wire.Options{
		Sink:    (*sink)(c),
		Scheme:  c.info.Scheme,
		MaxBody: c.tap.opts.MaxBody,
		Budget:  c.tap.opts.Budget,
	}
	if keep := c.tap.opts.Keep; keep != nil {
		o.Keep = func(head *traffic.RRPair) string {
			c.identify(head)
			return keep(head)
		}
	}
	return o
}

// identify fills in who and where.
func (c *Conn) identify(p *traffic.RRPair) {
	id := &c.tap.opts.Identity
	p.Direction = c.info.Direction
	p.Service, p.Namespace, p.Cluster, p.Resource = id.Service, id.Namespace, id.Cluster, id.Resource
	if p.NetworkAddress == "" || c.info.Fixed {
		p.NetworkAddress = c.info.Address
	}
	p.Netinfo = c.netinfo()
	p.Tags = c.tags(p.Tags)
}

// sink is a connection as its decoder sees it.
type sink Conn

// Pair adds what the decoder cannot know and records the pair.
func (s *sink) Pair(p *traffic.RRPair) {
	c := (*Conn)(s)
	t := c.tap
	p.Uuid = c.worker.uuid()
	c.identify(p)
	p.Tags[traffic.TagSequence] = strconv.FormatUint(t.sequence.Add(1), 10)
	n := &t.stats[c.info.Direction]
	n.pairs.Add(1)
	n.lastSeen.Store(c.worker.at.UnixNano())
	t.opts.Recorder.Pair(p)
}

// Lost counts what the decoder could not turn into pairs.
func (s *sink) Lost(reason string, pairs int, bytes int64) {
	(*Conn)(s).lost(reason, Lost{Pairs: uint64(max(pairs, 0)), Bytes: uint64(max(bytes, 0))})
}

// Opaque ends decoding. The decoder is closed with the connection, since it is
// still on the stack.
func (s *sink) Opaque(reason string) {
	c := (*Conn)(s)
	if c.parse.reason != "" {
		return
	}
	c.parse.done, c.parse.reason = true, reason
	c.opaque.Store(true)
	c.lost(reason, Lost{Connections: 1})
}

func (c *Conn) netinfo() *traffic.NetInfo {
	start := c.info.Established.UnixNano()
	return &traffic.NetInfo{
		Id:        c.names.id,
		StartTime: start,
		Downstream: &traffic.Endpoint{
			Established: start, IpAddress: c.names.client, Port: uint32(c.info.Client.Port()),
			BytesSent: c.side[wire.Client].bytes.Load(),
		},
		Upstream: &traffic.Endpoint{
			Established: start, IpAddress: c.names.server, Port: uint32(c.info.Server.Port()),
			BytesSent: c.side[wire.Server].bytes.Load(), Hostname: c.info.Host,
		},
	}
}

func (c *Conn) tags(own map[string]string) map[string]string {
	tags := maps.Clone(c.tap.tags[c.info.Direction])
	maps.Copy(tags, own)
	return tags
}
