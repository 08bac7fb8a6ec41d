// Package tap turns the bytes that a relay has moved into pairs, beside the data
// path: relays put chunks into bounded queues that never block, and a few
// workers feed them to the decoders of package wire. Whatever does not fit, is
// not understood or makes a decoder panic costs a counted loss and nothing else.
package tap

import (
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	crand "crypto/rand"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
)

// turn is how long a worker lets chunks gather before it takes them, unless a slab
// is full. Waking it for every chunk would cost more than parsing the chunk, and
// each wake-up takes a CPU from the relays and from the app.
const turn = 10 * time.Millisecond

// flushEvery is how often counted losses are handed to the recorder.
const flushEvery = time.Second

// Recorder takes what was captured. Its methods never block and are called from
// several goroutines at once; it owns what it is given.
type Recorder interface {
	Pair(*traffic.RRPair)
	Lost(*traffic.Loss)
}

// Options of a Tap.
type Options struct {
	// Recorder takes pairs and losses.
	Recorder Recorder
	// Logger is told of parsers that panic.
	Logger *slog.Logger
	// Budget bounds all memory of capture; nil means no bound.
	Budget *wire.Budget
	// Workers is how many parsers run at once; 0 means one for each CPU, at most 4.
	Workers int
	// MaxBody is passed to the decoders.
	MaxBody int
	// Keep decides on the head of each request, as wire.Options.Keep does, with
	// direction, identity, address and connection filled in; nil keeps all.
	Keep func(head *traffic.RRPair) (reason string)
	// Full is the recorder's hint that it would drop pairs: then bytes are not
	// even parsed, but counted. nil means never.
	Full func() bool
	// Identity says who recorded; see Identity.
	Identity Identity
}

// Identity is what every pair of a tap has in common.
type Identity struct {
	Service, Namespace, Cluster, Resource string
	// ProxyID and ProxyType are the proxy's own name and mode.
	ProxyID, ProxyType string
	// Tags are copied to each pair.
	Tags map[string]string
}

func (i Identity) tags(location string) map[string]string {
	tags := make(map[string]string, len(i.Tags)+4)
	tags[traffic.TagSource] = "goproxy"
	tags[traffic.TagProxyID] = i.ProxyID
	tags[traffic.TagProxyType] = i.ProxyType
	tags[traffic.TagProxyLoc] = location
	tags[traffic.TagCaptureMode] = "proxy"
	maps.Copy(tags, i.Tags)
	return tags
}

// Tap captures the connections of one proxy. It is safe for concurrent use.
type Tap struct {
	opts    Options
	start   time.Time
	workers []*worker
	next    atomic.Uint64 // numbers connections
	running sync.WaitGroup
	stop    chan struct{}
	once    sync.Once

	sequence atomic.Uint64 // numbers pairs
	stats    [directions]counters
	tags     [directions]map[string]string // of each pair
}

// New starts a tap; Close ends it.
func New(o Options) *Tap {
	if o.Workers <= 0 {
		o.Workers = min(runtime.GOMAXPROCS(0), 4)
	}
	t := &Tap{opts: o, start: time.Now(), stop: make(chan struct{})}
	t.tags[traffic.Direction_DIRECTION_IN] = o.Identity.tags("in")
	t.tags[traffic.Direction_DIRECTION_OUT] = o.Identity.tags("out")
	slabs := &sync.Pool{New: func() any {
		return &slab{bytes: make([]byte, 0, slabBytes), records: make([]record, 0, slabRecords)}
	}}
	limit := int64(64 << 20)
	if b := o.Budget.Limit(); b > 0 {
		// Half of the budget is for what decoders and the bus hold.
		limit = b / 2
	}
	for range o.Workers {
		var seed [32]byte
		crand.Read(seed[:])
		w := &worker{
			tap:    t,
			random: rand.NewChaCha8(seed),
			losses: map[lossKey]*traffic.Loss{},
			queue: queue{
				budget: o.Budget,
				limit:  max(limit/int64(o.Workers), slabCost),
				slabs:  slabs,
				wake:   make(chan struct{}, 1),
			},
		}
		t.workers = append(t.workers, w)
		t.running.Go(w.run)
	}
	return t
}

// Close parses what is queued, reports what is still counted, and ends the
// workers. Connections must have been closed before; what they put in later is
// not looked at.
func (t *Tap) Close(ctx context.Context) error {
	t.once.Do(func() { close(t.stop) })
	done := make(chan struct{})
	go func() { t.running.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Time is a point in time on a tap's own clock: nanoseconds since the tap started,
// without the jumps of the wall clock.
type Time int64

func (t *Tap) now() Time { return Time(time.Since(t.start)) }
