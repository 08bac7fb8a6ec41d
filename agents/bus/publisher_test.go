package bus_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/broker"
	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
)

// sum is pairs and losses together.
func sum(lost map[string]uint64, pairs uint64) uint64 {
	for _, n := range lost {
		pairs += n
	}
	return pairs
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestBudgetHoldsWhileNobodyAcknowledges(t *testing.T) {
	const limit, n = 3 << 20, 20_000
	addr := freePort(t)
	nc := connect(t, bus.ConnectOptions{URLs: []string{"nats://" + addr}})
	budget := wire.NewBudget(limit)
	p := publisher(t, bus.PublisherOptions{Conn: nc, Budget: budget, MaxHeld: limit})
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range n / 4 {
				p.Pair(pair(i*4 + worker))
				if used := budget.Used(); used > limit {
					t.Errorf("%d bytes of %d are taken", used, limit)
				}
			}
		})
	}
	wg.Wait()
	if st := p.Stats(); !p.Full() || st.LostPairs == 0 || st.HeldBytes > limit || st.HeldBytes < limit/2 {
		t.Errorf("full %v, stats %+v", p.Full(), st)
	}
	// The receiver comes: what was held arrives, and the rest is counted.
	s := startServer(t, broker.Options{Listen: addr})
	var a archive
	receive(t, s, &a)
	eventually(t, "room", func() bool { return !p.Full() })
	p.Pair(pair(n))
	closeNow(t, p)
	pairs, lost, goodbye := a.sums(t, "p1")
	if sum(lost, pairs) != n+1 || !goodbye || pairs < 500 {
		t.Errorf("%d pairs and lost %v of %d, goodbye %v", pairs, lost, n+1, goodbye)
	}
	if lost[traffic.ReasonUnacked] == 0 {
		t.Errorf("lost %v, want %s", lost, traffic.ReasonUnacked)
	}
	if used := budget.Used(); used != 0 {
		t.Errorf("%d bytes are still taken", used)
	}
}

func TestOthersUseOfTheBudgetIsCountedAndEnds(t *testing.T) {
	s := startServer(t, broker.Options{})
	var a archive
	receive(t, s, &a)
	budget := wire.NewBudget(1 << 20)
	budget.Take(1 << 20)
	p := publisher(t, bus.PublisherOptions{Conn: inProcess(t, s), Budget: budget})
	p.Pair(pair(1))
	budget.Give(1 << 20)
	p.Pair(pair(2))
	closeNow(t, p)
	if pairs, lost, _ := a.sums(t, "p1"); pairs != 1 || lost[traffic.ReasonBudget] != 1 {
		t.Errorf("%d pairs, lost %v", pairs, lost)
	}
}

func TestServerDiesBetweenPublishAndAcknowledgement(t *testing.T) {
	const n = 3000
	addr := freePort(t)
	nc := connect(t, bus.ConnectOptions{URLs: []string{"nats://" + addr}})
	p := publisher(t, bus.PublisherOptions{Conn: nc, MaxBatchBytes: 8 << 10, AckTimeout: 500 * time.Millisecond})
	var a archive
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range n {
			p.Pair(pair(i))
			time.Sleep(200 * time.Microsecond)
		}
		close(stop)
	})
	for alive := true; alive; {
		s, err := broker.Start(broker.Options{Listen: addr})
		if err != nil {
			t.Fatal(err)
		}
		rc, err := s.Connect(t.Context(), bus.ConnectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := bus.Receive(bus.ReceiverOptions{Conn: rc, Handle: func(ctx context.Context, b *traffic.Batch) error {
			err := a.handle(ctx, b)
			time.Sleep(2 * time.Millisecond)
			return err
		}})
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-time.After(150 * time.Millisecond):
		case <-stop:
			alive = false
			closeNow(t, p)
		}
		rc.Close() // nothing that is being handled is answered any more
		r.Close()
		s.Shutdown(context.Background())
	}
	wg.Wait()
	pairs, lost, goodbye := a.sums(t, "p1")
	if pairs != n || len(lost) != 0 || !goodbye {
		t.Errorf("%d pairs, lost %v, goodbye %v", pairs, lost, goodbye)
	}
	if a.repeated == 0 || p.Stats().Resent == 0 {
		t.Errorf("%d batches came twice, stats %+v: the test has not met its case", a.repeated, p.Stats())
	}
}

func TestRefusedForGoodIsCountedUnderItsNumber(t *testing.T) {
	s := startServer(t, broker.Options{})
	var a archive
	a.refuse = func(b *traffic.Batch) error {
		for _, p := range b.Pairs {
			if p.Location == "/poison" {
				return &bus.Refusal{Reason: traffic.ReasonOversized, Final: true, Text: "too\r\nlarge"}
			}
		}
		return nil
	}
	receive(t, s, &a)
	p := publisher(t, bus.PublisherOptions{Conn: inProcess(t, s), MaxBatchBytes: 1})
	for i := range 3 {
		q := pair(i)
		if i == 1 {
			q.Location = "/poison"
		}
		p.Pair(q)
	}
	p.Lost(&traffic.Loss{Reason: traffic.ReasonGap, Pairs: 1})
	closeNow(t, p)
	pairs, lost, goodbye := a.sums(t, "p1")
	if pairs != 2 || lost[traffic.ReasonOversized] != 1 || lost[traffic.ReasonGap] != 1 || !goodbye {
		t.Errorf("%d pairs, lost %v, goodbye %v", pairs, lost, goodbye)
	}
	if st := p.Stats(); st.Rejected != 1 || st.LostPairs != 1 || st.AckedPairs != 2 {
		t.Errorf("stats %+v", st)
	}
}

func TestPairLargerThanAMessageIsCounted(t *testing.T) {
	s := startServer(t, broker.Options{Listen: "127.0.0.1:0", MaxBody: 1 << 10})
	var a archive
	receive(t, s, &a)
	nc := connect(t, bus.ConnectOptions{URLs: []string{s.ClientURL()}})
	p := publisher(t, bus.PublisherOptions{Conn: nc})
	large := pair(1)
	large.Http.Res.Body = make([]byte, bus.MaxPayload(1<<10))
	p.Pair(large)
	p.Pair(pair(2))
	closeNow(t, p)
	if pairs, lost, _ := a.sums(t, "p1"); pairs != 1 || lost[traffic.ReasonOversized] != 1 {
		t.Errorf("%d pairs, lost %v", pairs, lost)
	}
}

func TestTextThatIsNotUTF8IsCounted(t *testing.T) {
	s := startServer(t, broker.Options{})
	var a archive
	receive(t, s, &a)
	p := publisher(t, bus.PublisherOptions{Conn: inProcess(t, s)})
	p.Pair(pair(1))
	bad := pair(2)
	bad.Service = "sh\xffop"
	p.Pair(bad)
	p.Pair(pair(3))
	closeNow(t, p)
	if pairs, lost, _ := a.sums(t, "p1"); pairs != 2 || lost[traffic.ReasonMalformed] != 1 {
		t.Errorf("%d pairs, lost %v", pairs, lost)
	}
}

func TestLossesAreMerged(t *testing.T) {
	s := startServer(t, broker.Options{})
	var a archive
	receive(t, s, &a)
	p := publisher(t, bus.PublisherOptions{Conn: inProcess(t, s)})
	for i := range 1000 {
		p.Lost(&traffic.Loss{Reason: traffic.ReasonGap, Service: "shop", From: int64(100 + i), To: int64(200 + i), Pairs: 1, Bytes: 10})
		p.Lost(&traffic.Loss{Reason: traffic.ReasonOpaqueTLS, Service: fmt.Sprint("host", i), From: 1, Connections: 1})
	}
	closeNow(t, p)
	var all []*traffic.Loss
	for _, b := range a.seen {
		if len(b.Losses) > 300 {
			t.Errorf("%d losses in one batch", len(b.Losses))
		}
		all = append(all, b.Losses...)
	}
	connections := uint64(0)
	for _, l := range bus.MergeLosses(all) {
		connections += l.Connections
		if l.Reason == traffic.ReasonGap && (l.Pairs != 1000 || l.From != 100 || l.To != 1199 || l.Bytes != 10_000) {
			t.Errorf("merged: %v", l)
		}
	}
	if connections != 1000 {
		t.Errorf("%d connections of 1000", connections)
	}
}

// TestSourcesOfAReplayStayApart: as long as there are not too many; the namespace stays then.
func TestSourcesOfAReplayStayApart(t *testing.T) {
	var all []*traffic.Loss
	for i := range 1000 {
		all = append(all, &traffic.Loss{
			Reason: traffic.ReasonReplay, Service: "shop", Namespace: "shop", Replay: "r1", Source: fmt.Sprint("10.0.0.", i%500), Pairs: 1,
		})
	}
	merged := bus.MergeLosses(all)
	pairs, unknown := uint64(0), uint64(0)
	for _, l := range merged {
		if l.Replay != "r1" || l.Namespace != "shop" {
			t.Fatalf("merged: %v", l)
		}
		if pairs += l.Pairs; l.Source == "" {
			unknown += l.Pairs
		} else if l.Pairs != 2 {
			t.Errorf("%d of source %s", l.Pairs, l.Source)
		}
	}
	if pairs != 1000 || unknown == 0 || unknown > 500 || len(merged) > 300 {
		t.Errorf("%d pairs, %d of an unknown source, in %d losses", pairs, unknown, len(merged))
	}
}

func TestCloseWithoutReceiverSaysWhatIsLost(t *testing.T) {
	nc := connect(t, bus.ConnectOptions{URLs: []string{"nats://" + freePort(t)}})
	budget := wire.NewBudget(1 << 20)
	p := publisher(t, bus.PublisherOptions{Conn: nc, Budget: budget})
	p.Pair(pair(1))
	p.Pair(pair(2))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := p.Close(ctx)
	if err == nil || !strings.Contains(err.Error(), "2 pairs") {
		t.Errorf("got %v", err)
	}
	p.Pair(pair(3))
	if st := p.Stats(); st.LostPairs != 3 || budget.Used() != 0 {
		t.Errorf("stats %+v, budget %d", st, budget.Used())
	}
}

func TestProducerMustBeOneToken(t *testing.T) {
	s := startServer(t, broker.Options{})
	nc := inProcess(t, s)
	for _, name := range []string{"", "a.b", "a b", "*", ">", "a\n"} {
		if _, err := bus.NewPublisher(bus.PublisherOptions{Conn: nc, Producer: name}); err == nil {
			t.Errorf("producer %q is taken", name)
		}
	}
}

func TestBatchOfAnotherProducerIsRefusedForGood(t *testing.T) {
	s := startServer(t, broker.Options{})
	var a archive
	receive(t, s, &a)
	nc := inProcess(t, s)
	data, err := proto.Marshal(&traffic.Batch{Producer: "honest", Sequence: 1})
	if err != nil {
		t.Fatal(err)
	}
	for what, m := range map[string][]byte{"another": data, "garbage": []byte("\xff\xff\xff")} {
		answer, err := nc.Request(bus.RawPairs+"liar", m, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if e := answer.Header.Get(bus.HeaderError); !strings.HasPrefix(e, "final malformed ") {
			t.Errorf("%s is answered with %q", what, e)
		}
	}
	if len(a.seen) != 0 {
		t.Errorf("taken: %v", a.seen)
	}
}

func TestOverloadedReceiverRefusesForNow(t *testing.T) {
	s := startServer(t, broker.Options{})
	var a archive
	release := make(chan struct{})
	r, err := bus.Receive(bus.ReceiverOptions{Conn: inProcess(t, s), MaxBatches: 2, Workers: 1,
		Handle: func(ctx context.Context, b *traffic.Batch) error {
			<-release
			return a.handle(ctx, b)
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	p := publisher(t, bus.PublisherOptions{Conn: inProcess(t, s), MaxBatchBytes: 1})
	for i := range 20 {
		p.Pair(pair(i))
	}
	eventually(t, "refusals", func() bool { return r.Stats().Refused > 0 })
	if st := r.Stats(); st.Waiting > 2 {
		t.Errorf("%d batches wait", st.Waiting)
	}
	close(release)
	closeNow(t, p)
	if pairs, lost, _ := a.sums(t, "p1"); pairs != 20 || len(lost) != 0 {
		t.Errorf("%d pairs, lost %v", pairs, lost)
	}
}

func TestDroppedPairsCostNoMemory(t *testing.T) {
	nc := connect(t, bus.ConnectOptions{URLs: []string{"nats://" + freePort(t)}})
	p := publisher(t, bus.PublisherOptions{Conn: nc, Budget: wire.NewBudget(1 << 20)})
	q := pair(1)
	for !p.Full() {
		p.Pair(q)
	}
	if allocs := testing.AllocsPerRun(1000, func() { p.Pair(q) }); allocs > 0 {
		t.Errorf("%v allocations for a dropped pair", allocs)
	}
}

// TestIdleProducerDoesNotLookVanished: a producer that had nothing to send was
// stated as vanished.
func TestIdleProducerDoesNotLookVanished(t *testing.T) {
	s := startServer(t, broker.Options{})
	var a archive
	receive(t, s, &a)
	p := publisher(t, bus.PublisherOptions{Conn: inProcess(t, s), Heartbeat: 20 * time.Millisecond, MaxDelay: time.Millisecond})
	p.Pair(pair(1))
	for deadline := time.Now().Add(10 * time.Second); p.Stats().AckedBatches < 4; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no heartbeat: %+v", p.Stats())
		}
	}
	closeNow(t, p)
	if pairs, _, goodbye := a.sums(t, "p1"); pairs != 1 || !goodbye {
		t.Errorf("got %d pairs, goodbye %v", pairs, goodbye)
	}
}

func TestPublisherMetrics(t *testing.T) {
	s := startServer(t, broker.Options{})
	var a archive
	receive(t, s, &a)
	p := publisher(t, bus.PublisherOptions{Conn: inProcess(t, s)})
	r := prometheus.NewRegistry()
	r.MustRegister(p.Collectors("test_")...)
	p.Pair(pair(1))
	p.Pair(pair(2))
	closeNow(t, p)
	const want = `# HELP test_acknowledged_pairs_total Pairs that the forwarder holds.
# TYPE test_acknowledged_pairs_total counter
test_acknowledged_pairs_total 2
`
	if err := testutil.GatherAndCompare(r, strings.NewReader(want), "test_acknowledged_pairs_total"); err != nil {
		t.Error(err)
	}
}
