package bus_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/speedscale/speedscale/agents/broker"
	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func startServer(t testing.TB, o broker.Options) *broker.Server {
	t.Helper()
	s, err := broker.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func inProcess(t testing.TB, s *broker.Server) *nats.Conn {
	t.Helper()
	nc, err := s.Connect(t.Context(), bus.ConnectOptions{Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func connect(t testing.TB, o bus.ConnectOptions) *nats.Conn {
	t.Helper()
	o.MaxReconnectWait = 200 * time.Millisecond
	nc, err := bus.Connect(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// eventually waits until ok, for at most 10 s.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within 10 s: %s", what)
}

// archive takes batches as the cloud does: each (producer, sequence) once.
type archive struct {
	mu       sync.Mutex
	seen     map[string]*traffic.Batch
	repeated int
	refuse   func(*traffic.Batch) error // may be nil
}

func (a *archive) handle(_ context.Context, b *traffic.Batch) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.refuse != nil {
		if err := a.refuse(b); err != nil {
			return err
		}
	}
	key := fmt.Sprintf("%s-%d", b.Producer, b.Sequence)
	if a.seen[key] != nil {
		a.repeated++
		return nil
	}
	if a.seen == nil {
		a.seen = map[string]*traffic.Batch{}
	}
	a.seen[key] = b
	return nil
}

// sums returns the pairs and the lost pairs by reason, and checks that the
// batches of a producer are numbered without a gap and say how many pairs there were.
func (a *archive) sums(t testing.TB, producer string) (pairs uint64, lost map[string]uint64, goodbye bool) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	lost = map[string]uint64{}
	next := uint64(1)
	for sequence := uint64(1); ; sequence++ {
		b := a.seen[fmt.Sprintf("%s-%d", producer, sequence)]
		if b == nil {
			if int(sequence) != len(a.seen)+1 {
				t.Errorf("batch %d of %d is missing", sequence, len(a.seen))
			}
			return pairs, lost, goodbye
		}
		if goodbye {
			t.Errorf("batch %d came after the goodbye", sequence)
		}
		if b.FirstPair != next {
			t.Errorf("batch %d starts with pair %d, want %d", sequence, b.FirstPair, next)
		}
		next += uint64(b.PairCount)
		pairs += uint64(len(b.Pairs))
		for _, l := range b.Losses {
			lost[l.Reason] += l.Pairs
		}
		goodbye = b.Goodbye
	}
}

func receive(t testing.TB, s *broker.Server, a *archive) *bus.Receiver {
	t.Helper()
	nc := inProcess(t, s)
	r, err := bus.Receive(bus.ReceiverOptions{Conn: nc, Handle: a.handle})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	if err := nc.Flush(); err != nil { // the server knows of it then
		t.Fatal(err)
	}
	return r
}

func publisher(t testing.TB, o bus.PublisherOptions) *bus.Publisher {
	t.Helper()
	if o.Producer == "" {
		o.Producer = "p1"
	}
	if o.MaxDelay == 0 {
		o.MaxDelay = 5 * time.Millisecond
	}
	p, err := bus.NewPublisher(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		p.Close(ctx) // does nothing more where the test has closed it
	})
	return p
}

func closeNow(t testing.TB, p *bus.Publisher) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := p.Close(ctx); err != nil {
		t.Error(err)
	}
}

// pair returns a pair of about 2 KB.
func pair(i int) *traffic.RRPair {
	body := make([]byte, 800)
	for j := range body {
		body[j] = 'a' + byte(i+j)%26
	}
	headers := func() []*traffic.Header {
		return []*traffic.Header{
			{Name: "Content-Type", Value: "application/json"},
			{Name: "Date", Value: "Mon, 02 Jan 2006 15:04:05 GMT"},
			{Name: "User-Agent", Value: "curl/8.5.0"},
			{Name: "Accept", Value: "*/*"},
			{Name: "X-Request-Id", Value: fmt.Sprint(i)},
			{Name: "Content-Length", Value: "800"},
		}
	}
	return &traffic.RRPair{
		Uuid: traffic.NewUUID(), Ts: 1_700_000_000_000_000_000 + int64(i), Duration: 1000, Direction: traffic.Direction_DIRECTION_IN,
		Service: "shop", Namespace: "default", Cluster: "c1", L7Protocol: "http", Tech: "http",
		Command: "POST", Location: "/orders", Status: "200", NetworkAddress: "shop:80",
		Http: &traffic.HTTP{
			Req: &traffic.HTTPRequest{Url: "http://shop/orders", Uri: "/orders", Version: "1.1", Method: "POST", Host: "shop",
				Headers: headers(), Body: body, BodySize: 800},
			Res: &traffic.HTTPResponse{ContentType: "application/json", StatusCode: http.StatusOK, Headers: headers(), Body: body, BodySize: 800},
		},
		Tags: map[string]string{traffic.TagSource: "goproxy", traffic.TagCaptureMode: "reverse"},
	}
}

func TestPublishUntilAcknowledged(t *testing.T) {
	s := startServer(t, broker.Options{})
	var a archive
	receive(t, s, &a)
	budget := wire.NewBudget(8 << 20)
	p := publisher(t, bus.PublisherOptions{Conn: inProcess(t, s), Budget: budget})
	const n = 5000
	for i := range n {
		for !func() bool { return budget.Used() < 4<<20 }() {
			time.Sleep(time.Millisecond)
		}
		p.Pair(pair(i))
	}
	p.Lost(&traffic.Loss{Reason: traffic.ReasonGap, Service: "shop", From: 10, To: 20, Pairs: 2, Bytes: 5})
	closeNow(t, p)
	pairs, lost, goodbye := a.sums(t, "p1")
	if pairs != n || !goodbye || lost[traffic.ReasonGap] != 2 {
		t.Errorf("got %d pairs, goodbye %v, lost %v", pairs, goodbye, lost)
	}
	if used := budget.Used(); used != 0 {
		t.Errorf("%d bytes of the budget are still taken", used)
	}
	if st := p.Stats(); st.AckedPairs != n || st.HeldBytes != 0 {
		t.Errorf("stats: %+v", st)
	}
}

func TestRefusedForNowIsSentAgain(t *testing.T) {
	s := startServer(t, broker.Options{})
	var a archive
	refusals := 0
	a.refuse = func(*traffic.Batch) error {
		if refusals++; refusals <= 3 {
			return errors.New("disk on fire")
		}
		return nil
	}
	receive(t, s, &a)
	p := publisher(t, bus.PublisherOptions{Conn: inProcess(t, s)})
	p.Pair(pair(1))
	closeNow(t, p)
	if pairs, _, goodbye := a.sums(t, "p1"); pairs != 1 || !goodbye {
		t.Errorf("got %d pairs, goodbye %v", pairs, goodbye)
	}
	// A batch that comes before the receiver is known to the broker is refused as well.
	if st := p.Stats(); st.Refused < 3 || st.Resent < 2 || st.AckedPairs != 1 {
		t.Errorf("stats: %+v", st)
	}
}
