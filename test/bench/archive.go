package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/traffic"
)

// archive measures how fast the cloud takes pairs in, and how fast it makes a
// snapshot of a tenth of them.
func archive(ctx context.Context, b *bench) error {
	const all, selected = 1_000_000, 100_000
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	p, err := b.cloud(ctx, "archive")
	if err != nil {
		return err
	}
	defer p.stop()
	made := newPairs()
	began := time.Now()
	if err := p.ingest(ctx, made, all); err != nil {
		return err
	}
	got, err := p.flush(ctx)
	if err != nil {
		return err
	}
	took := time.Since(began)
	b.add(
		row{Part: "archive", Figure: "1,000,000 pairs of 2 KB ingested", Measured: all / took.Seconds(), Unit: "pairs/s", AtLeast: 20_000},
		row{Part: "archive", Figure: "CPU of the cloud", Measured: float64(p.cloud.cpu().Microseconds()) / all, Unit: "CPU µs/pair"},
		row{Part: "archive", Figure: "pairs that the archive does not have", Measured: all - float64(got), Unit: "pairs", Zero: true},
		row{Part: "archive", Figure: "resident at most, while it ingested", Measured: p.cloud.peak(), Unit: "MiB", AtMost: 500},
	)
	used := p.cloud.cpu()
	began = time.Now()
	meta, err := p.snapshot(ctx, `(location CONTAINS "/tenant7/")`)
	if err != nil {
		return err
	}
	if meta.RecordsProcessed != selected {
		return fmt.Errorf("the snapshot has %d pairs, not %d", meta.RecordsProcessed, selected)
	}
	b.add(
		row{Part: "archive", Figure: "snapshot of 100,000 of them by filter", Measured: time.Since(began).Seconds(), Unit: "s", AtMost: 10},
		row{Part: "archive", Figure: "CPU of the cloud for that", Measured: (p.cloud.cpu() - used).Seconds(), Unit: "CPU s"},
		row{Part: "archive", Figure: "resident at most", Measured: p.cloud.peak(), Unit: "MiB", AtMost: 500},
	)
	return nil
}

// ingest publishes n pairs to the cloud as a forwarder does, and returns when all
// are acknowledged.
func (p *pipeline) ingest(ctx context.Context, made *pairs, n int) error {
	nc, err := bus.Connect(ctx, bus.ConnectOptions{URLs: []string{p.busURL}, Token: p.key, Name: "bench"})
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(64))
	if err != nil {
		return err
	}
	const perBatch = 100
	var acks []jetstream.PubAckFuture
	for sent := 0; sent < n; sent += perBatch {
		batch := &traffic.Batch{Producer: "bench", Sequence: uint64(sent/perBatch + 1), FirstPair: uint64(sent + 1), PairCount: perBatch}
		for range perBatch {
			batch.Pairs = append(batch.Pairs, made.next())
		}
		data, err := proto.Marshal(batch)
		if err != nil {
			return err
		}
		ack, err := js.PublishAsync(bus.IngestPairs+"bench", data)
		for errors.Is(err, jetstream.ErrTooManyStalledMsgs) && ctx.Err() == nil {
			ack, err = js.PublishAsync(bus.IngestPairs+"bench", data)
		}
		if err != nil {
			return fmt.Errorf("publish: %w", err)
		}
		acks = append(acks, ack)
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			return fmt.Errorf("the cloud refused a batch: %w", err)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
