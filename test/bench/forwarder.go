package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/filter"
	"github.com/speedscale/speedscale/traffic/mask"
)

// forwarder measures the whole process (receive, filter, mask, spool, send) while
// it is sent pairs as a proxy sends them, and filter and mask alone.
func forwarder(ctx context.Context, b *bench) error {
	p, err := b.pipeline(ctx, "forwarder")
	if err != nil {
		return err
	}
	defer p.stop()
	const each = 20_000
	var micros []float64
	for range b.rounds {
		before := p.forwarder.cpu()
		if err := p.publish(ctx, each); err != nil {
			return err
		}
		micros = append(micros, float64((p.forwarder.cpu()-before).Microseconds())/each)
	}
	got, err := p.archived(ctx)
	if err != nil {
		return err
	}
	own, size, err := filterAndMask(each)
	if err != nil {
		return err
	}
	pair := fmt.Sprintf("pair of %.1f KB", size/1000)
	b.add(
		row{Part: "forwarder", Figure: pair + ", whole process", Measured: median(micros), Unit: "CPU µs/pair", AtMost: 80},
		row{Part: "forwarder", Figure: pair + ", filter and mask", Measured: own, Unit: "CPU µs/pair", AtMost: 40},
		row{Part: "forwarder", Figure: "resident at most", Measured: p.forwarder.peak(), Unit: "MiB", AtMost: 250},
		row{Part: "forwarder", Figure: "pairs that the archive does not have", Measured: float64(b.rounds*each) - float64(got), Unit: "pairs", Zero: true},
	)
	return nil
}

// publish sends n pairs, and returns when the cloud has them.
func (p *pipeline) publish(ctx context.Context, n int) error {
	nc, err := bus.Connect(ctx, bus.ConnectOptions{URLs: []string{"nats://" + p.addr}, Token: p.token, Name: "bench"})
	if err != nil {
		return err
	}
	defer nc.Close()
	publisher, err := bus.NewPublisher(bus.PublisherOptions{Conn: nc, Producer: fmt.Sprintf("bench-%d", time.Now().UnixNano())})
	if err != nil {
		return err
	}
	made := newPairs()
	for range n {
		for publisher.Stats().HeldBytes > 8<<20 {
			time.Sleep(time.Millisecond)
		}
		publisher.Pair(made.next())
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := publisher.Close(ctx); err != nil {
		return err
	}
	if lost := publisher.Stats().LostPairs; lost > 0 {
		return fmt.Errorf("the publisher lost %d pairs", lost)
	}
	_, err = p.archived(ctx)
	return err
}

// filterAndMask measures what the default rules cost for each pair, in CPU µs of
// this process, and how large a pair is.
func filterAndMask(n int) (micros, bytes float64, err error) {
	excluded := filter.Standard()
	masker, err := mask.New(mask.Standard(), mask.NewKey())
	if err != nil {
		return 0, 0, err
	}
	const some = 1000
	made := newPairs()
	var used time.Duration
	var size, masked int
	for range n / some {
		var list []*traffic.RRPair
		for range some {
			list = append(list, made.next())
			size += proto.Size(list[len(list)-1])
		}
		before, err := ownCPU()
		if err != nil {
			return 0, 0, err
		}
		for _, p := range list {
			if excluded.Excludes(p) {
				continue
			}
			changed, err := masker.Mask(p)
			if err != nil {
				return 0, 0, err
			}
			if changed {
				masked++
			}
		}
		after, err := ownCPU()
		if err != nil {
			return 0, 0, err
		}
		used += after - before
	}
	if masked < n/some*some {
		return 0, 0, fmt.Errorf("only %d of %d pairs were masked", masked, n)
	}
	return float64(used.Microseconds()) / float64(masked), float64(size) / float64(masked), nil
}

func ownCPU() (time.Duration, error) {
	var u unix.Rusage
	err := unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), err
}
