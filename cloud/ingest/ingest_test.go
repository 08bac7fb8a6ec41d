package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/broker"
	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/cloud/archive"
	"github.com/speedscale/speedscale/cloud/catalog"
	"github.com/speedscale/speedscale/cloud/ingest"
	"github.com/speedscale/speedscale/traffic"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// rig is an ingest with all that it stands on, in a folder.
type rig struct {
	*ingest.Ingest
	broker  *broker.Server
	cat     *catalog.Catalog
	archive *archive.Archive
	nc      *nats.Conn
	js      jetstream.JetStream
	stop    func()
}

// start opens everything in a folder. What was there before is found again.
func start(t testing.TB, dir string, o ingest.Options, fault func(step string) error) *rig {
	t.Helper()
	r := &rig{}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	r.cat, err = catalog.Open(t.Context(), filepath.Join(dir, "catalog.db"))
	must(err)
	r.archive, err = archive.Open(t.Context(), archive.Options{URL: "file://" + filepath.Join(dir, "archive"), Catalog: r.cat})
	must(err)
	o.StoreDir = filepath.Join(dir, "bus")
	r.broker, err = broker.Start(broker.Options{Name: "test", Store: &broker.StoreOptions{Dir: o.StoreDir, MaxBytes: 1 << 40, Reserve: 1}})
	must(err)
	o.Broker, o.Catalog, o.Archive = r.broker, r.cat, r.archive
	r.Ingest, err = ingest.Open(t.Context(), o)
	must(err)
	r.SetFault(fault)
	r.nc, err = r.broker.Connect(t.Context(), bus.ConnectOptions{Name: "producer"})
	must(err)
	r.js, err = jetstream.New(r.nc)
	must(err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	r.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		r.Close()
		r.nc.Close()
		if err := r.broker.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		r.archive.Close()
		r.cat.Close()
	})
	t.Cleanup(r.stop)
	return r
}

func newBatch(producer string, sequence uint64, pairs int) *traffic.Batch {
	b := &traffic.Batch{Producer: producer, Sequence: sequence, FirstPair: (sequence-1)*uint64(pairs) + 1, PairCount: uint32(pairs)}
	for range pairs {
		b.Pairs = append(b.Pairs, &traffic.RRPair{
			Uuid: traffic.NewUUID(), Ts: time.Now().UnixNano(), Service: "cart", Command: "GET", Location: "/", Status: "200",
		})
	}
	return b
}

func (r *rig) publish(t testing.TB, b *traffic.Batch) error {
	t.Helper()
	data, err := proto.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.js.Publish(context.Background(), bus.IngestPairs+b.Producer, data)
	return err
}

// uuids counts the archived pairs by uuid.
func (r *rig) uuids(t testing.TB) map[string]int {
	t.Helper()
	got := map[string]int{}
	for p, err := range r.archive.Scan(t.Context(), archive.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		got[string(p.Uuid)]++
	}
	return got
}

func (r *rig) flush(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		err := r.Flush(ctx)
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func wantOnce(t testing.TB, got map[string]int, batches ...*traffic.Batch) {
	t.Helper()
	n := 0
	for _, b := range batches {
		for _, p := range b.Pairs {
			n++
			if got[string(p.Uuid)] != 1 {
				t.Fatalf("a pair of batch %d of %s is in the archive %d times", b.Sequence, b.Producer, got[string(p.Uuid)])
			}
		}
	}
	if len(got) != n {
		t.Fatalf("%d pairs in the archive, want %d", len(got), n)
	}
}

func TestFlushMakesAcknowledgedPairsVisible(t *testing.T) {
	r := start(t, t.TempDir(), ingest.Options{SegmentAge: time.Hour}, nil)
	var sent []*traffic.Batch
	for i := range uint64(20) {
		b := newBatch("p1", i+1, 50)
		if err := r.publish(t, b); err != nil {
			t.Fatal(err)
		}
		sent = append(sent, b)
	}
	r.flush(t)
	wantOnce(t, r.uuids(t), sent...)
	if waiting, refused, err := r.Status(t.Context()); waiting != 0 || refused != "" || err != nil {
		t.Fatal(waiting, refused, err)
	}
	s, err := r.js.Stream(t.Context(), bus.IngestStream)
	if err != nil {
		t.Fatal(err)
	}
	// What is archived is purged after those who wait for it are told.
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		info, err := s.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if info.State.Msgs == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the stream still has %d messages", info.State.Msgs)
		}
	}
}

// Batches come more than once and in any order, the archiver fails at random
// steps, and everything is restarted on the way.
func TestExactlyOnceUnderFaults(t *testing.T) {
	dir := t.TempDir()
	fault := func(step string) error {
		if rand.N(3) == 0 {
			return fmt.Errorf("injected at %s", step)
		}
		return nil
	}
	o := ingest.Options{SegmentRows: 100, SegmentAge: 20 * time.Millisecond}
	var sent []*traffic.Batch
	next := map[string]uint64{}
	for range 3 {
		r := start(t, dir, o, fault)
		var fresh []*traffic.Batch
		for range 60 {
			producer := fmt.Sprint("p", rand.N(4))
			next[producer]++
			fresh = append(fresh, newBatch(producer, next[producer], 1+rand.N(20)))
		}
		sent = append(sent, fresh...)
		again := append(append(fresh, fresh...), sent[:rand.N(len(sent))]...)
		rand.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
		for _, b := range again {
			if err := r.publish(t, b); err != nil {
				t.Fatal(err)
			}
		}
		r.stop() // without a flush
	}
	r := start(t, dir, o, nil)
	r.flush(t)
	wantOnce(t, r.uuids(t), sent...)
	for p, n := range next {
		seen, err := r.cat.Seen(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		if all := seen.All(); len(all) != 1 || all[0].FirstBatch != 1 || all[0].LastBatch != n {
			t.Errorf("ranges of %s are %+v, want 1 to %d", p, all, n)
		}
	}
}

func TestEachStepCanFail(t *testing.T) {
	for _, step := range []string{"write", "uploaded", "committed"} {
		t.Run(step, func(t *testing.T) {
			failures := 0
			r := start(t, t.TempDir(), ingest.Options{SegmentAge: 10 * time.Millisecond}, func(s string) error {
				if s == step && failures < 3 {
					failures++
					return errors.New("injected")
				}
				return nil
			})
			b := newBatch("p", 1, 10)
			if err := r.publish(t, b); err != nil {
				t.Fatal(err)
			}
			r.flush(t)
			wantOnce(t, r.uuids(t), b)
			if r.Stats().Failures == 0 {
				t.Error("nothing failed")
			}
		})
	}
}

// A batch that nobody can read must not stop those behind it.
func TestMalformedBatchesAreCountedAndPassed(t *testing.T) {
	r := start(t, t.TempDir(), ingest.Options{}, nil)
	bad := newBatch("p", 2, 2)
	raw, err := proto.Marshal(bad.Pairs[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range [][]byte{
		nil, []byte("garbage"), {0x0a, 0xff}, make([]byte, 1000),
		mustMarshal(t, newBatch("other", 1, 1)),
		mustMarshal(t, &traffic.Batch{Producer: "p"}),
		mustMarshal(t, &traffic.Batch{Producer: "p", Sequence: 1 << 63}),
	} {
		if _, err := r.js.Publish(t.Context(), bus.IngestPairs+"p", data); err != nil {
			t.Fatal(err)
		}
	}
	// One pair of three has text that is not UTF-8.
	broken := append([]byte{0x3a, 0x02, 0xff, 0xfe}, raw...)
	mixed := mustMarshal(t, &traffic.Batch{Producer: "p", Sequence: 1, FirstPair: 1, PairCount: 3, Pairs: bad.Pairs})
	mixed = append(mixed, 0x2a, byte(len(broken)))
	mixed = append(mixed, broken...)
	if _, err := r.js.Publish(t.Context(), bus.IngestPairs+"p", mixed); err != nil {
		t.Fatal(err)
	}
	r.flush(t)
	wantOnce(t, r.uuids(t), bad)
	if n := r.Stats().Malformed; n != 8 {
		t.Errorf("%d malformed, want 8", n)
	}
	losses, err := r.cat.Losses(t.Context(), 0, 0, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(losses) != 1 || losses[0].Reason != traffic.ReasonMalformed || losses[0].Pairs != 1 || losses[0].Bytes == 0 {
		t.Errorf("losses: %+v", losses)
	}
}

func mustMarshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A stream that was lost, or cut short by a power loss, must not give new
// batches sequences that count as archived.
func TestStreamThatIsBehindTheCatalog(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir, ingest.Options{}, nil)
	if err := r.publish(t, newBatch("p", 1, 1)); err != nil {
		t.Fatal(err)
	}
	r.flush(t)
	if err := r.cat.Commit(t.Context(), catalog.Commit{Seq: 1000}); err != nil {
		t.Fatal(err)
	}
	r.stop()
	for range 2 { // the second time without its files
		r = start(t, dir, ingest.Options{}, nil)
		b := newBatch(fmt.Sprint("p", rand.N(1<<30)), 1, 1)
		if err := r.publish(t, b); err != nil {
			t.Fatal(err)
		}
		r.flush(t)
		if r.uuids(t)[string(b.Pairs[0].Uuid)] != 1 {
			t.Fatal("the pair is not in the archive")
		}
		if err := r.js.DeleteStream(t.Context(), bus.IngestStream); err != nil {
			t.Fatal(err)
		}
		r.stop()
	}
}

func TestGapsLossesAndGoodbyes(t *testing.T) {
	r := start(t, t.TempDir(), ingest.Options{}, nil)
	var batches []*traffic.Batch
	for _, seq := range []uint64{1, 2, 5, 4, 9} { // 3 and 6 to 8 are missing
		b := newBatch("p", seq, 10)
		b.Goodbye = seq == 9
		batches = append(batches, b)
	}
	// Of the 40 pairs missing, 35 were counted.
	batches[4].Losses = []*traffic.Loss{{Reason: traffic.ReasonUnacked, Service: "cart", From: 1, To: 2, Pairs: 35}}
	batches = append(batches, newBatch("vanished", 1, 1))
	for _, b := range batches {
		if err := r.publish(t, b); err != nil {
			t.Fatal(err)
		}
	}
	r.flush(t)
	gaps, err := r.cat.Gaps(t.Context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(gaps) != 1 || gaps[0].Producer != "p" || gaps[0].FirstPair != 76 || gaps[0].LastPair != 80 {
		t.Errorf("gaps: %+v", gaps)
	}
	gone, err := r.cat.Vanished(t.Context(), 0, 0, time.Now().Add(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if len(gone) != 1 || gone[0] != "vanished" {
		t.Errorf("vanished: %q", gone)
	}
	if gone, _ := r.cat.Vanished(t.Context(), 0, 0, time.Now().Add(-time.Minute)); len(gone) != 0 {
		t.Errorf("vanished already: %q", gone)
	}
}
