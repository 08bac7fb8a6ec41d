package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
)

// Limits that apply where PublisherOptions has none.
const (
	DefaultMaxBatchBytes = 256 << 10
	DefaultMaxDelay      = 100 * time.Millisecond
	DefaultMaxInFlight   = 8
	DefaultAckTimeout    = 10 * time.Second
	DefaultHeartbeat     = 30 * time.Second
	defaultMaxHeld       = 64 << 20
)

// PublisherOptions are what a Publisher is made with.
type PublisherOptions struct {
	// Conn stays the caller's, who closes it after the publisher.
	Conn *nats.Conn
	// Subject is the prefix that the producer is added to; "" means RawPairs.
	Subject string
	// Producer is unique to one run of one agent, and one token of a subject.
	Producer string
	// Budget is what the bytes of batches are taken from until they are
	// acknowledged; nil: only MaxHeld bounds them.
	Budget *wire.Budget
	// MaxHeld bounds the bytes of all batches together. 0 means three quarters
	// of the budget (so that parsers go on while nothing is acknowledged), or
	// 64 MiB without one.
	MaxHeld int64
	// MaxBatchBytes is how large a batch gets before it is sent; a single pair
	// may be larger. MaxDelay is how long a pair waits for others.
	MaxBatchBytes int
	MaxDelay      time.Duration
	// MaxInFlight is how many batches are sent before one is acknowledged.
	MaxInFlight int
	// AckTimeout is after how long an unanswered batch is sent again.
	AckTimeout time.Duration
	// Heartbeat is after how long without a batch, and at the start, an empty one is
	// sent: a producer that is silent for long counts as vanished.
	Heartbeat time.Duration
	Logger    *slog.Logger
}

// Publisher gathers pairs into batches and sends each until it is acknowledged.
// What does not fit into the budget is dropped and counted, and the count
// travels with the next batch. Pair, Lost, Full and Stats are safe for
// concurrent use and never block on the network.
type Publisher struct {
	o       PublisherOptions
	subject string
	inbox   string
	answers chan *nats.Msg
	sub     *nats.Subscription
	status  chan nats.Status
	wake    chan struct{}
	closing chan struct{}
	abandon chan struct{}
	done    chan struct{}

	full atomic.Bool

	mu          sync.Mutex // guards what follows
	closed      bool
	open        openBatch
	held        int64     // bytes of all buffers below, taken from the budget
	since       time.Time // when the open batch, or the first waiting loss, began
	lastSealed  time.Time
	waiting     losses
	batches     []*batch // sealed, by sequence, until acknowledged
	inFlight    int
	free        [][]byte
	sequence    uint64
	nextPair    uint64
	refusal     string // reason of the last refusal since the last acknowledgement
	pausedUntil time.Time
	failures    int
	stats       PublisherStats
	lost        map[string]uint64 // pairs of stats.LostPairs, by reason
}

// PublisherStats are counted from the publisher's start, but for those that say "now".
type PublisherStats struct {
	Pairs, Batches, Bytes    uint64 // put into batches, sealed
	AckedPairs, AckedBatches uint64
	Resent                   uint64 // batches sent again
	Refused                  uint64 // answers that asked for a retry
	Rejected                 uint64 // batches that were refused for good: their pairs are lost
	LostPairs                uint64 // pairs that the publisher dropped, for whatever reason
	InFlight, Waiting        int    // batches, now
	HeldBytes                int64  // now
}

// NewPublisher starts a publisher.
func NewPublisher(o PublisherOptions) (*Publisher, error) {
	if o.Conn == nil {
		return nil, errors.New("bus publisher: no connection")
	}
	if !validToken(o.Producer) {
		return nil, fmt.Errorf("bus publisher: producer %q is not one token of a subject", o.Producer)
	}
	if o.MaxHeld <= 0 {
		o.MaxHeld = defaultMaxHeld
		if l := o.Budget.Limit(); l > 0 {
			o.MaxHeld = l / 4 * 3
		}
	}
	o.Subject = cmp.Or(o.Subject, RawPairs)
	o.MaxBatchBytes = cmp.Or(max(o.MaxBatchBytes, 0), DefaultMaxBatchBytes)
	o.MaxDelay = cmp.Or(max(o.MaxDelay, 0), DefaultMaxDelay)
	o.MaxInFlight = cmp.Or(max(o.MaxInFlight, 0), DefaultMaxInFlight)
	o.AckTimeout = cmp.Or(max(o.AckTimeout, 0), DefaultAckTimeout)
	o.Heartbeat = cmp.Or(max(o.Heartbeat, 0), DefaultHeartbeat)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Publisher{
		o:        o,
		subject:  o.Subject + o.Producer,
		inbox:    o.Conn.NewInbox() + ".",
		answers:  make(chan *nats.Msg, 4*o.MaxInFlight+16),
		status:   o.Conn.StatusChanged(nats.CONNECTED, nats.RECONNECTING, nats.CLOSED),
		wake:     make(chan struct{}, 1),
		closing:  make(chan struct{}),
		abandon:  make(chan struct{}),
		done:     make(chan struct{}),
		nextPair: 1,
	}
	var err error
	p.sub, err = o.Conn.ChanSubscribe(p.inbox+"*", p.answers)
	if err != nil {
		o.Conn.RemoveStatusListener(p.status)
		return nil, fmt.Errorf("bus publisher: %w", err)
	}
	go p.run()
	return p, nil
}

func validToken(s string) bool {
	for _, r := range s {
		if r <= ' ' || r == '.' || r == '*' || r == '>' || r == 0x7f {
			return false
		}
	}
	return s != ""
}

// Pair takes a pair, which the caller must not change any more. It is
// marshalled before Pair returns.
func (p *Publisher) Pair(pair *traffic.RRPair) {
	if p.full.Load() {
		p.mu.Lock()
		p.drop(pair)
		p.mu.Unlock()
		return
	}
	need := sizeBound(pair)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.open.buf) > 0 && len(p.open.buf)+need > p.o.MaxBatchBytes {
		p.seal(whyDue)
		p.signal()
	}
	if p.closed || !p.grow(need) {
		p.drop(pair)
		return
	}
	before := len(p.open.buf)
	buf, ok := appendPair(p.open.buf, pair)
	size := len(buf) - before
	if !ok || size > need {
		// Text that is not UTF-8, or a pair that changed meanwhile.
		p.lose(pair, traffic.ReasonMalformed)
		return
	}
	p.open.buf = buf
	if p.open.pairs++; p.open.pairs == 1 {
		p.begin()
	}
	p.open.kinds.add(pairLoss(pair, "", uint64(size)))
	p.stats.Pairs++
	p.stats.Bytes += uint64(size)
}

// Lost takes a loss that happened before the publisher. It keeps no reference.
func (p *Publisher) Lost(l *traffic.Loss) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wait(l)
}

// Full says that pairs are being dropped because too much is unacknowledged, so
// that a caller may spare itself the making of them. It is a hint.
func (p *Publisher) Full() bool { return p.full.Load() }

// Stats returns the counts so far.
func (p *Publisher) Stats() PublisherStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.InFlight, s.Waiting = p.inFlight, len(p.batches)-p.inFlight
	s.HeldBytes = p.held
	return s
}

// LostPairs returns the pairs of PublisherStats.LostPairs by the reason.
func (p *Publisher) LostPairs() map[string]uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.lost)
}

// Close sends what is left and then a goodbye, and waits for the acknowledgements
// until ctx ends; what is unacknowledged then is lost, and the error says how much.
func (p *Publisher) Close(ctx context.Context) error {
	p.mu.Lock()
	first := !p.closed
	p.closed = true
	p.mu.Unlock()
	if first {
		close(p.closing)
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		if first {
			close(p.abandon)
		}
		<-p.done
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.batches); n > 0 {
		return fmt.Errorf("bus producer %q: %d batches with %d pairs were not acknowledged: %w",
			p.o.Producer, n, p.stats.LostPairs, context.Cause(ctx))
	}
	return nil
}
