package http2_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
	"github.com/speedscale/speedscale/traffic/wire/http2"
)

type discard struct{ pairs int }

func (d *discard) Pair(*traffic.RRPair)    { d.pairs++ }
func (d *discard) Lost(string, int, int64) {}
func (d *discard) Opaque(string)           {}

// cpuTime is what the process has used, collecting garbage included.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkUnaryCall(b *testing.B) {
	const request = ":method POST|:scheme http|:path /shop.Orders/Get|:authority shop:50051|content-type application/grpc|user-agent grpc-go/1.85.0|te trailers"
	body := "\x00\x00\x00\x00\x64" + strings.Repeat("x", 100)
	sink := &discard{}
	d := http2.New(wire.Options{Sink: sink, Scheme: "http", Budget: wire.NewBudget(1 << 30)})
	c, s := newSide(wire.Client), newSide(wire.Server)
	at := time.Now()
	d.Data(wire.Client, c.event().Data, at)
	d.Data(wire.Server, s.event().Data, at)
	// The first call fills the header tables; those measured refer to them.
	call := func(id uint32) (in, out []byte) {
		in = c.headers(id, false, request).data(id, true, body).event().Data
		out = s.headers(id, false, ":status 200|content-type application/grpc").data(id, false, body).headers(id, true, "grpc-status 0|grpc-message ").event().Data
		return in, out
	}
	in, out := call(1)
	d.Data(wire.Client, in, at)
	d.Data(wire.Server, out, at)
	const calls = 1000
	var ins, outs [][]byte
	for i := range uint32(calls) {
		in, out := call(3 + 2*i)
		ins, outs = append(ins, in), append(outs, out)
	}
	patch := func(frames []byte, id uint32) { // all frames of a call have its stream
		for len(frames) > 0 {
			n := 9 + int(frames[0])<<16 + int(frames[1])<<8 + int(frames[2])
			frames[5], frames[6], frames[7], frames[8] = byte(id>>24), byte(id>>16), byte(id>>8), byte(id)
			frames = frames[n:]
		}
	}
	b.ReportAllocs()
	before := cpuTime(b)
	id := uint32(3)
	for b.Loop() {
		i := id / 2 % calls
		patch(ins[i], id)
		patch(outs[i], id)
		d.Data(wire.Client, ins[i], at)
		d.Data(wire.Server, outs[i], at)
		id += 2
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
	if sink.pairs != b.N+1 {
		b.Fatalf("%d pairs of %d", sink.pairs, b.N+1)
	}
}
