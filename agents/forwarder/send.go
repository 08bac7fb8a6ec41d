package forwarder

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/agents/rules"
	"github.com/speedscale/speedscale/traffic"
)

// Bounds of what is on its way to the cloud.
const (
	windowBytes   = 16 << 20
	windowBatches = 128
	ackTimeout    = 15 * time.Second
	maxRetryWait  = 5 * time.Second
)

// onWay is a batch that was sent and is not acknowledged yet.
type onWay struct {
	msg  jetstream.Msg
	out  *nats.Msg
	ack  jetstream.PubAckFuture // nil where it could not be sent
	size int64
}

// send moves the spool to the cloud until ctx ends. A session ends by an error of
// the spool only; what it had not acknowledged is sent again by the next one.
func (f *Forwarder) send(ctx context.Context) {
	for ctx.Err() == nil {
		err := f.sendSession(ctx)
		if ctx.Err() != nil {
			return
		}
		f.log.Warn("reading the spool failed, starting over", "error", err)
		pause(ctx, time.Second)
	}
}

func (f *Forwarder) sendSession(ctx context.Context) error {
	cloud, err := jetstream.New(f.cloud, jetstream.WithPublishAsyncTimeout(ackTimeout))
	if err != nil {
		return err
	}
	// Whether a batch was sent is known by its being in the spool or not, so the
	// consumer keeps nothing, and starts with all that is there.
	if err := f.spool.DeleteConsumer(ctx, bus.SpoolStream, "cloud"); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return err
	}
	consumer, err := f.spool.CreateConsumer(ctx, bus.SpoolStream, jetstream.ConsumerConfig{
		Name: "cloud", Durable: "cloud", MemoryStorage: true,
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: 24 * time.Hour, MaxAckPending: 2 * windowBatches,
	})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(8), jetstream.PullHeartbeat(2*time.Second), jetstream.PullExpiry(10*time.Second))
	if err != nil {
		return err
	}
	defer messages.Stop()
	g, ctx := errgroup.WithContext(ctx)
	window := semaphore.NewWeighted(windowBytes)
	sent := make(chan onWay, windowBatches)
	g.Go(func() error {
		defer close(sent)
		return publishAll(ctx, messages, cloud, window, sent)
	})
	g.Go(func() error {
		for o := range sent {
			if err := f.settle(ctx, cloud, o); err != nil {
				return err
			}
			window.Release(o.size)
		}
		return nil
	})
	return g.Wait()
}

// publishAll sends what the spool holds, in its order, as far as the window goes.
func publishAll(ctx context.Context, messages jetstream.MessagesContext, cloud jetstream.JetStream, window *semaphore.Weighted, sent chan<- onWay) error {
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		// One batch may be larger than the window.
		size := min(int64(len(m.Data())), windowBytes)
		if err := window.Acquire(ctx, size); err != nil {
			return err
		}
		o := onWay{msg: m, size: size, out: &nats.Msg{
			Subject: bus.IngestPairs + strings.TrimPrefix(m.Subject(), bus.SpoolPairs),
			Data:    m.Data(),
			Header:  nats.Header{jetstream.MsgIDHeader: m.Headers().Values(jetstream.MsgIDHeader)},
		}}
		// What cannot be sent now is sent by settle.
		if ack, err := cloud.PublishMsgAsync(o.out); err == nil {
			o.ack = ack
		}
		select {
		case sent <- o:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// settle waits until the cloud has acknowledged a batch, sending it again as often
// as it takes, and takes it out of the spool.
func (f *Forwarder) settle(ctx context.Context, cloud jetstream.JetStream, o onWay) error {
	err := errors.New("not sent")
	if o.ack != nil {
		select {
		case <-o.ack.Ok():
			err = nil
		case err = <-o.ack.Err():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for attempt := 1; err != nil; attempt++ {
		if tooLarge(err) {
			if o.out.Data, err = f.withoutPairs(o.out.Data); err != nil {
				return err
			}
		}
		if attempt > 1 {
			pause(ctx, min(maxRetryWait, 100*time.Millisecond<<min(attempt-2, 10)))
		}
		if err := f.awaitCloud(ctx); err != nil {
			return err
		}
		f.counts.retries.Add(1)
		try, cancel := context.WithTimeout(ctx, ackTimeout)
		_, err = cloud.PublishMsg(try, o.out)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && (attempt == 1 || attempt%20 == 0) {
			f.log.Warn("the cloud does not take a batch, sending it again", "attempts", attempt, "error", err)
		}
	}
	if err := o.msg.Ack(); err != nil {
		return fmt.Errorf("take batch out of the spool: %w", err)
	}
	f.counts.sent.Add(1)
	f.acknowledged.Store(time.Now().UnixNano())
	return nil
}

// errMessageTooLarge is nats-server's code for a message over a stream's bound.
const errMessageTooLarge jetstream.ErrorCode = 10054

func tooLarge(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return errors.Is(err, nats.ErrMaxPayload) || ok && api.ErrorCode == errMessageTooLarge
}

// withoutPairs is the batch with its pairs counted as lost: the cloud's bound is
// lower than ours, and a batch that never goes would hold up all behind it.
func (f *Forwarder) withoutPairs(data []byte) ([]byte, error) {
	var b traffic.Batch
	if err := proto.Unmarshal(data, &b); err != nil {
		return nil, fmt.Errorf("spool holds what is no batch: %w", err)
	}
	f.log.Error("the cloud takes no batch of this size, its pairs are lost",
		"producer", b.Producer, "sequence", b.Sequence, "bytes", len(data), "pairs", len(b.Pairs))
	f.counts.oversized.Add(uint64(len(b.Pairs)))
	for _, p := range b.Pairs {
		b.Losses = append(b.Losses, rules.Whole(p, traffic.ReasonOversized))
	}
	b.Pairs, b.Losses = nil, bus.MergeLosses(b.Losses)
	return proto.Marshal(&b)
}

// awaitCloud waits until the connection to the cloud stands.
func (f *Forwarder) awaitCloud(ctx context.Context) error {
	if f.cloud.IsConnected() {
		return nil
	}
	status := f.cloud.StatusChanged(nats.CONNECTED)
	defer f.cloud.RemoveStatusListener(status)
	for !f.cloud.IsConnected() {
		select {
		case <-status:
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
