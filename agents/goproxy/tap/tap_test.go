package tap_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/speedscale/speedscale/agents/goproxy/tap"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type recorder struct {
	mu    sync.Mutex
	pairs []*traffic.RRPair
	lost  map[string]tap.Lost
}

func (r *recorder) Pair(p *traffic.RRPair) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pairs = append(r.pairs, p)
}

func (r *recorder) Lost(l *traffic.Loss) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lost == nil {
		r.lost = map[string]tap.Lost{}
	}
	n := r.lost[l.Reason]
	r.lost[l.Reason] = tap.Lost{Pairs: n.Pairs + l.Pairs, Connections: n.Connections + l.Connections, Bytes: n.Bytes + l.Bytes}
}

// harness is a tap with what feeds it.
type harness struct {
	*tap.Tap
	rec    recorder
	pool   *tap.Pool
	budget *wire.Budget
}

func newHarness(o tap.Options) *harness {
	h := &harness{pool: tap.NewPool(), budget: o.Budget}
	o.Recorder = &h.rec
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	h.Tap = tap.New(o)
	return h
}

// close ends the tap and checks that all memory went back to the budget.
func (h *harness) close(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := h.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if n := h.budget.Used(); n != 0 {
		t.Errorf("%d bytes are still taken from the budget", n)
	}
}

func (h *harness) open() *tap.Conn {
	return h.Conn(tap.Info{
		Direction: traffic.Direction_DIRECTION_OUT, Scheme: "http", Established: time.Now(),
		Client: netip.MustParseAddrPort("10.0.0.1:1000"), Server: netip.MustParseAddrPort("10.0.0.2:80"),
		Host: "shop.example", Address: "shop.example:80",
	})
}

// send hands text to the tap in one chunk.
func (h *harness) send(c *tap.Conn, from wire.Side, text string) {
	for len(text) > 0 {
		buf := h.pool.Get()
		n := copy(buf.B, text)
		c.Data(from, c.Now(), n, buf)
		buf.Release()
		text = text[n:]
	}
}

func (h *harness) end(c *tap.Conn) {
	c.End(wire.Client)
	c.End(wire.Server)
	c.Close()
}

func (h *harness) exchange(c *tap.Conn, path, body string) {
	h.send(c, wire.Client, "GET "+path+" HTTP/1.1\r\nHost: shop.example\r\n\r\n")
	h.send(c, wire.Server, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
}

func TestManyConnectionsInterleaved(t *testing.T) {
	h := newHarness(tap.Options{Budget: wire.NewBudget(32 << 20), Identity: tap.Identity{Service: "cart"}})
	const conns, each = 50, 20
	large := strings.Repeat("x", 100<<10) // chunks that are shared, not copied
	var wg sync.WaitGroup
	for i := range conns {
		wg.Go(func() {
			c := h.open()
			for j := range each {
				body := "small"
				if j%10 == 0 {
					body = large
				}
				h.exchange(c, fmt.Sprintf("/%d/%d", i, j), body)
				time.Sleep(time.Millisecond)
			}
			h.end(c)
		})
	}
	wg.Wait()
	h.close(t)
	if len(h.rec.lost) > 0 {
		t.Errorf("lost %v", h.rec.lost)
	}
	ids, sequence := map[string]bool{}, map[string]bool{}
	for _, p := range h.rec.pairs {
		ids[string(p.Uuid)] = true
		sequence[p.Tags[traffic.TagSequence]] = true
		if n := len(p.Http.Res.Body); n != 5 && n != len(large) {
			t.Errorf("%s has a body of %d bytes", p.Location, n)
		}
	}
	if len(ids) != conns*each || len(sequence) != conns*each {
		t.Errorf("%d ids and %d sequence numbers, want %d", len(ids), len(sequence), conns*each)
	}
	if s := h.Stats(traffic.Direction_DIRECTION_OUT); s.Connections != conns || s.Pairs != conns*each {
		t.Errorf("stats are %+v", s)
	}
}

// A parser that panics costs its connection's capture, counted, and nothing else.
func TestPanickingParser(t *testing.T) {
	h := newHarness(tap.Options{Keep: func(p *traffic.RRPair) string {
		if strings.Contains(p.Location, "bad") {
			panic("planted")
		}
		return ""
	}})
	bad, good := h.open(), h.open()
	h.exchange(good, "/1", "x")
	h.exchange(bad, "/bad", "x")
	for end := time.Now().Add(5 * time.Second); !bad.Opaque(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the connection is not given up")
		}
	}
	h.exchange(bad, "/after", "x")
	h.exchange(good, "/2", "x")
	h.end(bad)
	h.end(good)
	h.close(t)
	if n := len(h.rec.pairs); n != 2 {
		t.Errorf("%d pairs, want 2", n)
	}
	l := h.rec.lost[traffic.ReasonPanic]
	if l.Connections != 1 || l.Bytes == 0 {
		t.Errorf("lost %+v", h.rec.lost)
	}
}

// Past the budget bytes are dropped and counted; afterwards capture goes on.
func TestOverloadIsCountedAndPasses(t *testing.T) {
	hold := make(chan struct{})
	h := newHarness(tap.Options{Workers: 1, Budget: wire.NewBudget(1 << 20), Keep: func(*traffic.RRPair) string {
		<-hold // the parser falls behind
		return ""
	}})
	c := h.open()
	body := strings.Repeat("x", 1000)
	h.exchange(c, "/first", body)
	time.Sleep(5 * time.Millisecond)
	const n = 5000
	start := time.Now()
	for i := range n {
		h.exchange(c, fmt.Sprintf("/%d", i), body)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("the relay waited: %v", took)
	}
	if used := h.budget.Used(); used > h.budget.Limit() {
		t.Errorf("%d bytes of %d are used", used, h.budget.Limit())
	}
	close(hold)
	for end := time.Now().Add(5 * time.Second); h.budget.Used() > 50<<10; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d bytes stay taken", h.budget.Used())
		}
	}
	h.exchange(c, "/last", body)
	h.end(c)
	h.close(t)
	l := h.rec.lost[traffic.ReasonQueue]
	if l.Bytes == 0 {
		t.Errorf("lost %v", h.rec.lost)
	}
	last := ""
	for _, p := range h.rec.pairs {
		last = p.Location
	}
	if last != "/last" {
		t.Errorf("the last pair is %q: capture did not go on; lost %v", last, h.rec.lost)
	}
	if got := uint64(len(h.rec.pairs)); got >= n || got == 0 {
		t.Errorf("%d pairs", got)
	}
}

func TestBudgetOfOthersIsRespected(t *testing.T) {
	b := wire.NewBudget(1 << 20)
	if !b.Take(1 << 20) {
		t.Fatal("the budget is too small")
	}
	h := newHarness(tap.Options{Budget: b})
	c := h.open()
	h.exchange(c, "/x", "x")
	h.end(c)
	b.Give(1 << 20)
	h.close(t)
	if l := h.rec.lost[traffic.ReasonBudget]; l.Bytes == 0 {
		t.Errorf("lost %v", h.rec.lost)
	}
}

// While the recorder drops everything nothing is parsed; then capture goes on.
func TestFullRecorderCostsNoParsing(t *testing.T) {
	var full atomic.Bool
	h := newHarness(tap.Options{Budget: wire.NewBudget(8 << 20), Full: full.Load})
	c := h.open()
	h.exchange(c, "/1", "x")
	full.Store(true)
	h.exchange(c, "/2", "x")
	h.exchange(c, "/3", "x")
	full.Store(false)
	h.exchange(c, "/4", "x")
	h.end(c)
	h.close(t)
	if n := len(h.rec.pairs); n != 2 || h.rec.pairs[1].Location != "/4" {
		t.Errorf("%d pairs: %v", n, h.rec.pairs)
	}
	if l := h.rec.lost[traffic.ReasonUnacked]; l.Bytes < 100 {
		t.Errorf("lost %v", h.rec.lost)
	}
}

func TestServerFirstAndUnknown(t *testing.T) {
	h := newHarness(tap.Options{Budget: wire.NewBudget(8 << 20)})
	c := h.open()
	h.send(c, wire.Server, "220 mail.example ESMTP\r\n")
	h.send(c, wire.Client, "EHLO x\r\n")
	for !c.Opaque() {
		time.Sleep(time.Millisecond)
	}
	c.Moved(wire.Client, 1000)
	h.end(c)
	h.close(t)
	if l := h.rec.lost[traffic.ReasonUnknown]; l.Connections != 1 || l.Bytes < 1030 {
		t.Errorf("lost %+v", h.rec.lost)
	}
}

// A connection whose first bytes found no room is captured from its next request on.
func TestGapBeforeTheProtocolIsKnown(t *testing.T) {
	b := wire.NewBudget(1 << 20)
	h := newHarness(tap.Options{Budget: b})
	b.Take(1 << 20)
	c := h.open()
	h.send(c, wire.Client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
	b.Give(1 << 20)
	h.send(c, wire.Client, "0123456789")
	h.send(c, wire.Server, "HTTP/1.1 204 No Content\r\n\r\n")
	h.exchange(c, "/next", "x")
	h.end(c)
	h.close(t)
	if len(h.rec.pairs) != 1 || h.rec.pairs[0].Location != "/next" {
		t.Errorf("pairs %v, lost %v", h.rec.pairs, h.rec.lost)
	}
	if c.Opaque() || h.rec.lost[traffic.ReasonBudget].Bytes == 0 {
		t.Errorf("lost %v", h.rec.lost)
	}
}

// What the server sends may be queued before what it answers.
func TestAnswerQueuedFirst(t *testing.T) {
	h := newHarness(tap.Options{Budget: wire.NewBudget(8 << 20)})
	c := h.open()
	h.send(c, wire.Server, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	h.send(c, wire.Client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	h.end(c)
	h.close(t)
	if len(h.rec.pairs) != 1 || len(h.rec.lost) != 0 {
		t.Errorf("%d pairs, lost %v", len(h.rec.pairs), h.rec.lost)
	}
}

// FuzzTap feeds chunks of any bytes, in any order of sides, through the queue:
// nothing panics, blocks or keeps memory.
func FuzzTap(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), uint64(1))
	f.Add([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"), []byte("\x00\x00\x00\x04\x00\x00\x00\x00\x00"), uint64(2))
	f.Add([]byte("\x16\x03\x01\x00\x05\x01"), []byte{}, uint64(3))
	f.Fuzz(func(t *testing.T, client, server []byte, seed uint64) {
		h := newHarness(tap.Options{Workers: 1, Budget: wire.NewBudget(512 << 10)})
		c := h.open()
		r := rand.New(rand.NewPCG(seed, 0))
		rest := [2]io.Reader{strings.NewReader(string(client)), strings.NewReader(string(server))}
		for open := 2; open > 0; {
			side := wire.Side(r.IntN(2))
			if rest[side] == nil {
				side = 1 - side
			}
			b := make([]byte, 1+r.IntN(1+len(client)+len(server)))
			n, err := rest[side].Read(b)
			h.send(c, side, string(b[:n]))
			if err != nil {
				c.End(side)
				rest[side] = nil
				open--
			}
		}
		c.Close()
		h.close(t)
		if l := h.rec.lost[traffic.ReasonPanic]; l.Connections > 0 {
			t.Errorf("a parser panicked")
		}
	})
}
