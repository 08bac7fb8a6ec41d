package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/traffic"
)

// ReceiverOptions are what a Receiver is made with.
type ReceiverOptions struct {
	// Conn stays the caller's, who closes it after the receiver.
	Conn *nats.Conn
	// Subject is the prefix that producers publish below; "" means RawPairs.
	Subject string
	// Handle takes a batch; nil acknowledges it, a *Refusal refuses it, and any
	// other error asks to send it again. Batches of one producer come one after
	// the other, in the order of arrival; those of several at the same time.
	// The context ends when the receiver is closed.
	Handle func(context.Context, *traffic.Batch) error
	// Workers is how many batches are handled at the same time; 0 means
	// GOMAXPROCS.
	Workers int
	// MaxBytes and MaxBatches bound what waits to be handled; what comes on top
	// is to be sent again. 0 means 32 MiB and 1024.
	MaxBytes   int64
	MaxBatches int
	Logger     *slog.Logger
}

// Receiver takes batches that publishers send, and answers them.
type Receiver struct {
	o       ReceiverOptions
	sub     *nats.Subscription
	queues  []chan *nats.Msg
	seed    maphash.Seed
	cancel  context.CancelFunc
	workers sync.WaitGroup

	closed  sync.Once
	mu      sync.Mutex // guards the sending end of queues
	stopped bool
	bytes   atomic.Int64
	waiting atomic.Int64
	taken   atomic.Uint64
	refused atomic.Uint64
}

// ReceiverStats are counted from the receiver's start, but for those that say "now".
type ReceiverStats struct {
	Taken, Refused uint64 // batches
	Waiting        int64  // batches, now
	WaitingBytes   int64  // now
}

// Receive starts a receiver.
func Receive(o ReceiverOptions) (*Receiver, error) {
	if o.Conn == nil || o.Handle == nil {
		return nil, errors.New("bus receiver: no connection, or no handler")
	}
	o.Subject = cmp.Or(o.Subject, RawPairs)
	o.Workers = cmp.Or(max(o.Workers, 0), runtime.GOMAXPROCS(0))
	o.MaxBytes = cmp.Or(max(o.MaxBytes, 0), 32<<20)
	o.MaxBatches = cmp.Or(max(o.MaxBatches, 0), 1024)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &Receiver{o: o, cancel: cancel, seed: maphash.MakeSeed()}
	for range o.Workers {
		q := make(chan *nats.Msg, o.MaxBatches)
		r.queues = append(r.queues, q)
		r.workers.Go(func() { r.work(ctx, q) })
	}
	var err error
	if r.sub, err = o.Conn.Subscribe(o.Subject+">", r.enqueue); err != nil {
		r.stop()
		return nil, fmt.Errorf("bus receiver: %w", err)
	}
	// enqueue never blocks, so this bounds what a burst leaves in the client.
	if err := r.sub.SetPendingLimits(4*o.MaxBatches, int(2*o.MaxBytes)); err != nil {
		r.Close()
		return nil, fmt.Errorf("bus receiver: %w", err)
	}
	return r, nil
}

// enqueue is called for one message at a time.
func (r *Receiver) enqueue(m *nats.Msg) {
	size := int64(len(m.Data))
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return
	}
	if r.waiting.Load() >= int64(r.o.MaxBatches) || r.bytes.Load()+size > r.o.MaxBytes && r.waiting.Load() > 0 {
		r.answer(m, &Refusal{Reason: RefusedBusy, Text: "too many batches wait"})
		return
	}
	r.waiting.Add(1)
	r.bytes.Add(size)
	r.queues[maphash.String(r.seed, m.Subject)%uint64(len(r.queues))] <- m
}

func (r *Receiver) work(ctx context.Context, queue <-chan *nats.Msg) {
	for m := range queue {
		err := r.handle(ctx, m)
		r.waiting.Add(-1)
		r.bytes.Add(-int64(len(m.Data)))
		r.answer(m, err)
	}
}

func (r *Receiver) handle(ctx context.Context, m *nats.Msg) error {
	if ctx.Err() != nil {
		return &Refusal{Reason: RefusedStopping}
	}
	var b traffic.Batch
	if err := proto.Unmarshal(m.Data, &b); err != nil {
		return &Refusal{Reason: RefusedMalformed, Final: true, Text: "not a batch"}
	}
	pod, producer, ofPod := podOf(strings.TrimPrefix(m.Subject, r.o.Subject))
	if b.Producer != producer || b.Sequence == 0 {
		return &Refusal{Reason: RefusedMalformed, Final: true,
			Text: fmt.Sprintf("batch %d of producer %q came from producer %q", b.Sequence, b.Producer, producer)}
	}
	if ofPod {
		pod.sign(&b)
	}
	return r.o.Handle(ctx, &b)
}

func (r *Receiver) answer(m *nats.Msg, err error) {
	answer := &nats.Msg{Subject: m.Reply}
	if err != nil {
		r.refused.Add(1)
		refusal, ok := errors.AsType[*Refusal](err)
		if !ok {
			r.o.Logger.Error("batch not taken", "subject", m.Subject, "error", err)
			refusal = &Refusal{Reason: RefusedFailed}
		}
		answer.Header = refusal.Header()
	} else {
		r.taken.Add(1)
	}
	if m.Reply == "" {
		return
	}
	if err := r.o.Conn.PublishMsg(answer); err != nil {
		r.o.Logger.Warn("batch not answered", "subject", m.Subject, "error", err)
	}
}

// Stats returns the counts so far.
func (r *Receiver) Stats() ReceiverStats {
	return ReceiverStats{
		Taken: r.taken.Load(), Refused: r.refused.Load(),
		Waiting: r.waiting.Load(), WaitingBytes: r.bytes.Load(),
	}
}

// Close has what still waits sent again, ends what is being handled by its
// context, and returns when all of it is answered.
func (r *Receiver) Close() {
	r.closed.Do(func() {
		r.sub.Unsubscribe() // fails only where the connection is closed
		r.stop()
	})
}

func (r *Receiver) stop() {
	r.cancel()
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	for _, q := range r.queues {
		close(q)
	}
	r.workers.Wait()
}
