package bus_test

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/speedscale/speedscale/agents/broker"
	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/traffic"
)

// fill sets each field of a message, with a probability, to a random value.
func fill(r *rand.Rand, m protoreflect.Message, chance float64) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if r.Float64() >= chance {
			continue
		}
		switch {
		case f.IsMap():
			for range r.IntN(4) {
				m.Mutable(f).Map().Set(value(r, f.MapKey()).MapKey(), value(r, f.MapValue()))
			}
		case f.IsList():
			list := m.Mutable(f).List()
			for range r.IntN(4) {
				if f.Message() != nil {
					fill(r, list.AppendMutable().Message(), chance)
				} else {
					list.Append(value(r, f))
				}
			}
		case f.Message() != nil:
			fill(r, m.Mutable(f).Message(), chance)
		default:
			m.Set(f, value(r, f))
		}
	}
}

func value(r *rand.Rand, f protoreflect.FieldDescriptor) protoreflect.Value {
	n := int64(r.Uint64()) >> r.IntN(64)
	size := []int{0, 1, 5, 127, 128, 300, 20_000}[r.IntN(7)]
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(n%2 == 0)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(r.IntN(3)))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(n))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(n)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(n))
	case protoreflect.StringKind:
		text := []rune("añ日x")
		s := make([]rune, size)
		for i := range s {
			s[i] = text[r.IntN(len(text))]
		}
		return protoreflect.ValueOfString(string(s))
	case protoreflect.BytesKind:
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return protoreflect.ValueOfBytes(b)
	}
	panic("a kind that the record did not have: " + f.Kind().String())
}

// TestEncodedPairs has pairs with every field of the schema come out as they went in.
func TestEncodedPairs(t *testing.T) {
	s := startServer(t, broker.Options{})
	var got []*traffic.RRPair
	r, err := bus.Receive(bus.ReceiverOptions{Conn: inProcess(t, s), Handle: func(_ context.Context, b *traffic.Batch) error {
		got = append(got, b.Pairs...)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	p := publisher(t, bus.PublisherOptions{Conn: inProcess(t, s)})
	random := rand.New(rand.NewPCG(1, 2))
	var want []*traffic.RRPair
	for i := range 300 {
		q := &traffic.RRPair{}
		fill(random, q.ProtoReflect(), []float64{1, 1, 0.5, 0.1}[i%4])
		want = append(want, proto.CloneOf(q))
		p.Pair(q)
	}
	p.Pair(&traffic.RRPair{})
	want = append(want, &traffic.RRPair{})
	closeNow(t, p)
	r.Close()
	if len(got) != len(want) {
		t.Fatalf("%d pairs, want %d; stats %+v", len(got), len(want), p.Stats())
	}
	for i := range want {
		if !proto.Equal(got[i], want[i]) {
			t.Fatalf("pair %d:\n%s", i, cmp.Diff(want[i], got[i], protocmp.Transform()))
		}
	}
}
