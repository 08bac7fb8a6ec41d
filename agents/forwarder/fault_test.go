package forwarder_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/broker"
	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/agents/forwarder"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/mask"
	"github.com/speedscale/speedscale/traffic/wire"
)

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestCloudAndForwarderGoAndComeBack(t *testing.T) {
	const n, producers = 2000, 3
	cloudAt, listen := freePort(t), freePort(t)
	cloudDir, spool := t.TempDir(), t.TempDir()
	options := forwarder.Options{
		Cloud:  bus.ConnectOptions{URLs: []string{"nats://" + cloudAt}},
		Listen: listen, Authenticate: allowAll,
		Spool: broker.StoreOptions{Dir: spool},
	}
	c := startCloud(t, cloudAt, cloudDir, true)
	f := run(t, options)
	eventually(t, "rules", func() bool { return f.Ready() == nil })

	var proxies []*bus.Publisher
	for i := range producers {
		nc, err := bus.Connect(t.Context(), bus.ConnectOptions{URLs: []string{"nats://" + listen}, MaxReconnectWait: 100 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		proxies = append(proxies, publisher(t, nc, fmt.Sprint("p", i)))
	}
	publish := func(from, to int) {
		for i := from; i < to; i++ {
			proxies[i%producers].Pair(pair(i, "/orders"))
			if i%50 == 0 {
				time.Sleep(5 * time.Millisecond)
			}
		}
	}
	publish(0, 400)
	c.stop() // the cloud goes, in the middle of what it is sent
	publish(400, 1000)
	eventually(t, "a spool that fills", func() bool { n, err := f.Queued(t.Context()); return err == nil && n > 0 })
	f.stop() // and the forwarder too
	publish(1000, 1400)
	c = startCloud(t, cloudAt, cloudDir, true)
	f = run(t, options)
	publish(1400, n)
	for _, p := range proxies {
		closeNow(t, p)
	}
	drain(t, f)
	pairs, lost := c.pairs(t)
	if len(pairs) != n || len(lost) != 0 {
		t.Errorf("%d pairs of %d, lost %v", len(pairs), n, lost)
	}
	seen := map[string]bool{}
	for _, p := range pairs {
		if id := string(p.Uuid); seen[id] {
			t.Errorf("pair %x is in two batches", id)
		} else {
			seen[id] = true
		}
	}
	goodbyes := 0
	for _, b := range c.batches(t) {
		if b.Goodbye {
			goodbyes++
		}
	}
	if goodbyes != producers {
		t.Errorf("%d goodbyes of %d", goodbyes, producers)
	}
}

func allowAll(string) (broker.Permissions, error) { return forwarder.ProxyPermissions("proxy"), nil }

func TestFullSpoolRefusesAndIsCounted(t *testing.T) {
	cloudAt := freePort(t)
	dir := t.TempDir()
	c := startCloud(t, cloudAt, dir, true)
	f := run(t, forwarder.Options{
		Cloud: bus.ConnectOptions{URLs: []string{"nats://" + cloudAt}},
		Spool: broker.StoreOptions{Dir: t.TempDir(), MaxBytes: 1 << 20},
	})
	eventually(t, "rules", func() bool { return f.Ready() == nil })
	c.stop()
	nc, err := f.Connect(t.Context(), "p1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	budget := wire.NewBudget(2 << 20)
	p, err := bus.NewPublisher(bus.PublisherOptions{Conn: nc, Producer: "p1", Budget: budget, MaxBatchBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	eventually(t, "pairs that are lost because of the spool", func() bool {
		for range 100 {
			p.Pair(pair(n, "/orders"))
			n++
		}
		st := p.Stats()
		return st.Refused > 0 && st.LostPairs > 100
	})
	if queued, err := f.Queued(t.Context()); err != nil || queued == 0 {
		t.Errorf("%d queued, error %v", queued, err)
	}
	c = startCloud(t, cloudAt, dir, true)
	closeNow(t, p)
	drain(t, f)
	pairs, lost := c.pairs(t)
	total := uint64(len(pairs))
	for _, lost := range lost {
		total += lost
	}
	if total != uint64(n) || lost[traffic.ReasonSpoolFull] == 0 || len(pairs) < 400 {
		t.Errorf("%d pairs and lost %v, of %d", len(pairs), lost, n)
	}
}

func TestBatchThatTheCloudIsTooSmallForIsCounted(t *testing.T) {
	s, err := broker.Start(broker.Options{Listen: "127.0.0.1:0", MaxBody: 1 << 10, Store: &broker.StoreOptions{Dir: t.TempDir()}})
	if err != nil {
		t.Fatal(err)
	}
	c := cloudOf(t, s)
	c.giveRules(t)
	f := run(t, forwarder.Options{Cloud: bus.ConnectOptions{URLs: []string{s.ClientURL()}}, MaxBody: 4 << 20})
	p := proxy(t, f, "p1")
	p.Pair(pair(1, "/orders"))
	large := pair(2, "/orders")
	large.Http.Res.ContentType = "image/png"
	large.Http.Res.Headers = []*traffic.Header{{Name: "Content-Type", Value: "image/png"}}
	large.Http.Res.Body = make([]byte, bus.MaxPayload(1<<10))
	large.Http.Res.BodySize = int64(len(large.Http.Res.Body))
	p.Pair(large)
	p.Pair(pair(3, "/orders"))
	closeNow(t, p)
	drain(t, f)
	pairs, lost := c.pairs(t)
	if len(pairs)+int(lost[traffic.ReasonOversized]) != 3 || lost[traffic.ReasonOversized] == 0 {
		t.Errorf("%d pairs, lost %v", len(pairs), lost)
	}
}

func TestOnlyKnownProxiesMayPublish(t *testing.T) {
	c := startCloud(t, "127.0.0.1:0", t.TempDir(), true)
	listen := freePort(t)
	f := run(t, forwarder.Options{
		Cloud: bus.ConnectOptions{URLs: []string{c.server.ClientURL()}}, Listen: listen,
		Authenticate: func(token string) (broker.Permissions, error) {
			if token != "right" {
				return broker.Permissions{}, errors.New("unknown token")
			}
			return forwarder.ProxyPermissions("proxy"), nil
		},
	})
	dial := func(token string) *nats.Conn {
		nc, err := bus.Connect(t.Context(), bus.ConnectOptions{URLs: []string{"nats://" + listen}, Token: token, MaxReconnectWait: 50 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	wrong := dial("wrong")
	eventually(t, "refusals", func() bool { return f.Stats().ConnectionsRefused > 0 })
	if wrong.IsConnected() {
		t.Error("the wrong token is connected")
	}
	right := dial("right")
	p := publisher(t, right, "p1")
	p.Pair(pair(1, "/orders"))
	closeNow(t, p)

	// Rules and key for a proxy that masks.
	eventually(t, "rules", func() bool { return f.Ready() == nil })
	answer, err := right.Request(bus.RulesMasking, nil, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var m cloudv1.Masking
	if err := proto.Unmarshal(answer.Data, &m); err != nil {
		t.Fatal(err)
	}
	if _, err := mask.ParseConfig(m.Config); err != nil || m.KeyId != "k1" || len(m.Key) != 32 {
		t.Errorf("rules: key %q of %d bytes, config error %v", m.KeyId, len(m.Key), err)
	}
	// The masked stream is not a proxy's to read, nor the spool to write.
	violation := make(chan error, 1)
	right.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { violation <- err })
	for _, try := range []func() error{
		func() error { _, err := right.SubscribeSync(bus.SpoolPairs + ">"); return err },
		func() error { return right.Publish(bus.SpoolPairs+"p1", []byte("x")) },
		func() error { return right.Publish("$JS.API.STREAM.PURGE."+bus.SpoolStream, nil) },
	} {
		if err := try(); err != nil {
			t.Error(err)
		}
		select {
		case err := <-violation:
			if !errors.Is(err, nats.ErrPermissionViolation) {
				t.Error(err)
			}
		case <-time.After(5 * time.Second):
			t.Error("a proxy may do too much")
		}
	}
}

func TestListeningWithoutAuthenticationIsAnError(t *testing.T) {
	_, err := forwarder.New(context.Background(), forwarder.Options{Listen: "127.0.0.1:0"})
	if err == nil || !strings.Contains(err.Error(), "authentication") {
		t.Errorf("got %v", err)
	}
}

func TestDrainSaysWhatIsLeft(t *testing.T) {
	cloudAt := freePort(t)
	c := startCloud(t, cloudAt, t.TempDir(), true)
	f := run(t, forwarder.Options{Cloud: bus.ConnectOptions{URLs: []string{"nats://" + cloudAt}}})
	eventually(t, "rules", func() bool { return f.Ready() == nil })
	c.stop()
	p := proxy(t, f, "p1")
	p.Pair(pair(1, "/orders"))
	closeNow(t, p)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := f.Drain(ctx); err == nil || !strings.Contains(err.Error(), "stay in spool") {
		t.Errorf("got %v", err)
	}
}
