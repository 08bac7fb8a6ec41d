package forwarder_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/broker"
	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/agents/forwarder"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/traffic"
)

const (
	key       = "sp_k1_secret"
	inCluster = "telemetry.cluster.k1.c1"
)

// listeningCloud is a cloud whose keys may publish on the given subjects, and what it heard.
type listeningCloud struct {
	*cloud
	mu    sync.Mutex
	heard []*cloudv1.ClusterTelemetry
}

func startListeningCloud(t *testing.T, publish ...string) *listeningCloud {
	t.Helper()
	s, err := broker.Start(broker.Options{
		Listen: "127.0.0.1:0", Store: &broker.StoreOptions{Dir: t.TempDir()},
		Authenticate: func(token string) (broker.Permissions, error) {
			if token != key {
				return broker.Permissions{}, errors.New("another key")
			}
			return broker.Permissions{Name: "key-k1", Publish: publish}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	l := &listeningCloud{cloud: cloudOf(t, s)}
	l.giveRules(t)
	if _, err := l.conn.Subscribe(bus.ClusterTelemetries("*"), func(m *nats.Msg) {
		var d cloudv1.ClusterTelemetry
		if err := proto.Unmarshal(m.Data, &d); err != nil || m.Subject != inCluster {
			t.Errorf("on %q came %v", m.Subject, err)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.heard = append(l.heard, &d)
	}); err != nil {
		t.Fatal(err)
	}
	if err := l.conn.Flush(); err != nil {
		t.Fatal(err)
	}
	return l
}

// last is the latest that was heard, nil for nothing.
func (l *listeningCloud) last() *cloudv1.ClusterTelemetry {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.heard) == 0 {
		return nil
	}
	return l.heard[len(l.heard)-1]
}

func (l *listeningCloud) options() forwarder.Options {
	return forwarder.Options{
		Cluster: "c1", Cloud: bus.ConnectOptions{URLs: []string{l.server.ClientURL()}, Token: key},
		Listen: "127.0.0.1:0", Authenticate: podToken,
		Telemetry: forwarder.Telemetry{Interval: 50 * time.Millisecond, Version: "v2"},
	}
}

var all = []string{bus.ControlMasking, bus.IngestPairs + ">", bus.ClusterTelemetries("k1")}

// podToken takes namespace/name for the token of that pod.
func podToken(token string) (broker.Permissions, error) {
	namespace, name, ok := strings.Cut(token, "/")
	if !ok {
		return broker.Permissions{}, errors.New("not a pod")
	}
	pod := bus.Pod{Namespace: namespace, Name: name}
	return broker.Permissions{Name: token, Identity: token, Publish: []string{pod.Subject() + "*", pod.TelemetrySubject() + "*", bus.RulesMasking}}, nil
}

func sidecar(t *testing.T, f running, pod string) *nats.Conn {
	t.Helper()
	nc, err := bus.Connect(t.Context(), bus.ConnectOptions{URLs: []string{f.URL()}, Token: pod, Identity: pod})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	eventually(t, "connection", nc.IsConnected)
	return nc
}

func say(t *testing.T, nc *nats.Conn, subject string, m *cloudv1.SidecarTelemetry) {
	t.Helper()
	m.Interval = int64(time.Minute)
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Publish(subject+m.Producer, data); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

// TestSidecarsAreWhomTheirTokensSay: what they say of themselves does not count, and what
// is not theirs to say is not heard.
func TestSidecarsAreWhomTheirTokensSay(t *testing.T) {
	c := startListeningCloud(t, all...)
	f := run(t, c.options())
	nc := sidecar(t, f, "shop/cart-1.x")
	own, others := bus.Pod{Namespace: "shop", Name: "cart-1.x"}.TelemetrySubject(), bus.Pod{Namespace: "shop", Name: "pay-1"}.TelemetrySubject()
	say(t, nc, others, &cloudv1.SidecarTelemetry{Producer: "p1"})
	say(t, nc, bus.RawTelemetry, &cloudv1.SidecarTelemetry{Producer: "p1"})
	lost := func(n uint64) *cloudv1.DirectionTelemetry {
		return &cloudv1.DirectionTelemetry{Lost: []*cloudv1.LossTelemetry{{Reason: traffic.ReasonBudget, Pairs: n}}}
	}
	say(t, nc, own, &cloudv1.SidecarTelemetry{Producer: "p1", Namespace: "kube-system", Pod: "other", Service: "cart", Inbound: lost(5)})
	eventually(t, "the sidecar is not heard", func() bool { return len(c.last().GetSidecars()) == 1 })
	s := c.last().GetSidecars()[0]
	if s.Namespace != "shop" || s.Pod != "cart-1.x" || s.Service != "cart" || s.Received == 0 || s.Inbound.Lost[0].RecentPairs != 0 {
		t.Errorf("the cloud hears of %v", s)
	}
	say(t, nc, own, &cloudv1.SidecarTelemetry{Producer: "p1", Service: "cart", Inbound: lost(7)})
	eventually(t, "what was lost since is not said", func() bool { return c.last().GetSidecars()[0].Inbound.Lost[0].RecentPairs == 2 })

	// Another proxy of the pod takes its place, whose goodbye alone ends it.
	say(t, nc, own, &cloudv1.SidecarTelemetry{Producer: "p2"})
	say(t, nc, own, &cloudv1.SidecarTelemetry{Producer: "p1", Gone: true})
	eventually(t, "the new one is not heard", func() bool {
		d := c.last()
		return len(d.GetSidecars()) == 1 && d.GetSidecars()[0].Producer == "p2"
	})
	say(t, nc, own, &cloudv1.SidecarTelemetry{Producer: "p2", Gone: true})
	eventually(t, "it stays after its goodbye", func() bool { return len(c.last().GetSidecars()) == 0 })
	if err := nc.Publish(own+"p3", make([]byte, 20<<10)); err != nil { // too long, and no message
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nonsense is not counted", func() bool { return f.Document(t.Context()).Forwarder.Ignored == 1 })
	if d := f.Document(t.Context()); len(d.Sidecars) != 0 {
		t.Errorf("nonsense is heard: %v", d.Sidecars)
	}
}

// send has a sidecar send pairs until they are acknowledged.
func send(t *testing.T, nc *nats.Conn, pod bus.Pod, n int) {
	t.Helper()
	p, err := bus.NewPublisher(bus.PublisherOptions{Conn: nc, Subject: pod.Subject(), Producer: "p1", MaxDelay: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		p.Pair(pair(i, "/orders"))
	}
	closeNow(t, p)
}

// TestDataOff: sidecars are told that all is well, nothing is kept for later, nothing of it
// leaves the cluster, and telemetry goes on.
func TestDataOff(t *testing.T) {
	c := startListeningCloud(t, all...)
	o := c.options()
	o.DataOff = true
	f := run(t, o)
	eventually(t, "it is not ready", func() bool { return f.Ready() == nil })
	send(t, sidecar(t, f, "shop/cart-1"), bus.Pod{Namespace: "shop", Name: "cart-1"}, 20)
	eventually(t, "what was dropped is not told", func() bool { return c.last().GetForwarder().GetDropped()[traffic.ReasonDataOff] == 20 })
	d := c.last().GetForwarder()
	if !d.DataOff || d.DataConnected || d.Spool.Batches != 0 || d.Unready != "" || d.Version != "v2" {
		t.Errorf("the forwarder says %v", d)
	}
	if s := f.Stats(); s.DataOff != 20 || s.Spooled != 0 {
		t.Errorf("stats: %+v", s)
	}
	if pairs, _ := c.pairs(t); len(pairs) != 0 {
		t.Errorf("%d pairs left the cluster", len(pairs))
	}
	if n := c.server.Clients(); n != 2 { // the test's own, and telemetry
		t.Errorf("%d connections to the cloud", n)
	}
}

// TestTelemetryOff: no such connection is made, and data goes on; inside the cluster the
// sidecars are heard all the same.
func TestTelemetryOff(t *testing.T) {
	for name, off := range map[string]forwarder.Telemetry{"kept local": {Interval: time.Second, Local: true}, "never": {}} {
		t.Run(name, func(t *testing.T) {
			c := startListeningCloud(t, all...)
			o := c.options()
			o.Telemetry = off
			f := run(t, o)
			nc := sidecar(t, f, "shop/cart-1")
			pod := bus.Pod{Namespace: "shop", Name: "cart-1"}
			say(t, nc, pod.TelemetrySubject(), &cloudv1.SidecarTelemetry{Producer: "p1"})
			send(t, nc, pod, 20)
			drain(t, f)
			if pairs, _ := c.pairs(t); len(pairs) != 20 {
				t.Errorf("%d pairs", len(pairs))
			}
			if d := c.last(); d != nil {
				t.Errorf("the cloud hears of %v", d)
			}
			if n := c.server.Clients(); n != 2 { // the test's own, and data
				t.Errorf("%d connections to the cloud", n)
			}
			d := f.Document(t.Context())
			if off.Interval > 0 {
				eventually(t, "in the cluster no sidecar is heard", func() bool { d = f.Document(t.Context()); return len(d.Sidecars) == 1 })
			} else if len(d.Sidecars) > 0 {
				t.Errorf("in the cluster %d sidecars are heard", len(d.Sidecars))
			}
			if d.Forwarder.Spool.Acknowledged == 0 || d.Forwarder.Spool.Batches != 0 || !d.Forwarder.DataConnected {
				t.Errorf("the forwarder says %v", d.Forwarder)
			}
		})
	}
}

// TestOlderCloudTakesNoTelemetry: it does not know the subject, and refuses it. Data does
// not notice.
func TestOlderCloudTakesNoTelemetry(t *testing.T) {
	c := startListeningCloud(t, bus.ControlMasking, bus.IngestPairs+">")
	o := c.options()
	f := run(t, o)
	send(t, sidecar(t, f, "shop/cart-1"), bus.Pod{Namespace: "shop", Name: "cart-1"}, 20)
	time.Sleep(4 * o.Telemetry.Interval) // some refusals
	drain(t, f)
	if pairs, _ := c.pairs(t); len(pairs) != 20 || c.last() != nil {
		t.Errorf("%d pairs, heard %v", len(pairs), c.last())
	}
	if d := f.Document(t.Context()); !d.Forwarder.DataConnected {
		t.Error("the data connection is gone")
	}
}

// TestTelemetryComesBack: a cloud that is away misses it, and hears the latest later.
func TestTelemetryComesBack(t *testing.T) {
	c := startListeningCloud(t, all...)
	o := c.options()
	address := c.server.Addr().String()
	f := run(t, o)
	eventually(t, "nothing is heard", func() bool { return c.last() != nil })
	c.stop()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if d := f.Document(ctx); d.Forwarder.Spool.Error != "" {
		t.Errorf("the forwarder says %v", d.Forwarder)
	}
	s, err := broker.Start(broker.Options{Listen: address, Store: &broker.StoreOptions{Dir: t.TempDir()}})
	if err != nil {
		t.Fatal(err)
	}
	again := cloudOf(t, s)
	heard := make(chan *nats.Msg, 100)
	if _, err := again.conn.ChanSubscribe(inCluster, heard); err != nil {
		t.Fatal(err)
	}
	select {
	case <-heard:
	case <-ctx.Done():
		t.Error("nothing is heard again")
	}
}

func TestTelemetrySettings(t *testing.T) {
	s, err := settings(map[string]string{
		"CLUSTER_NAME": "c1", "SPEEDSCALE_API_KEY": key, "SPEEDSCALE_APP_URL": "https://cloud.example", "FORWARDER_TOKEN_FILE": tokenFile(t),
		"FORWARDER_DATA": "false", "WITH_TELEMETRY": "false", "TELEMETRY_INTERVAL": "5m", "SPEEDSCALE_VERSION": "v3",
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := (forwarder.Telemetry{Interval: 5 * time.Minute, Local: true, Version: "v3"}); !s.DataOff || s.Telemetry != want {
		t.Errorf("data off %v, telemetry %+v", s.DataOff, s.Telemetry)
	}
	for _, wrong := range []string{"10ms", "2h", "often", "-1s"} {
		_, err := settings(map[string]string{"TELEMETRY_INTERVAL": wrong})
		if err == nil || !slices.ContainsFunc(strings.Split(err.Error(), "; "), func(s string) bool { return strings.Contains(s, "TELEMETRY_INTERVAL") }) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}
