package forwarder_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/agents/forwarder"
)

// BenchmarkPipeline sends pairs of 2 KB through proxy, forwarder and the stream of a
// cloud, all in this process: cpu-us/pair is the CPU time of all of them
// together, so more than the forwarder's own.
func BenchmarkPipeline(b *testing.B) {
	c := startCloud(b, "127.0.0.1:0", b.TempDir(), true)
	f := run(b, forwarder.Options{Cloud: bus.ConnectOptions{URLs: []string{c.server.ClientURL()}}})
	eventually(b, "rules", func() bool { return f.Ready() == nil })
	nc, err := f.Connect(b.Context(), "p1")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(nc.Close)
	p, err := bus.NewPublisher(bus.PublisherOptions{Conn: nc, Producer: "p1"})
	if err != nil {
		b.Fatal(err)
	}
	q := pair(1, "/orders")
	before := cpu(b)
	for b.Loop() {
		for p.Stats().HeldBytes > 32<<20 {
			time.Sleep(time.Millisecond)
		}
		p.Pair(q)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := p.Close(ctx); err != nil {
		b.Fatal(err)
	}
	if err := f.Drain(ctx); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-us/pair")
	b.ReportMetric(float64(proto.Size(q)), "bytes/pair")
	if lost := p.Stats().LostPairs; lost > 0 {
		b.Errorf("%d pairs are lost", lost)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.Sys)/(1<<20), "sys-MiB")
}

func cpu(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
