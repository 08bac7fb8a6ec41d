package forwarder_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/broker"
	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/agents/forwarder"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/filter"
	"github.com/speedscale/speedscale/traffic/mask"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// secret is what must be nowhere on disk.
const secret = "Bearer-5up3r-s3cret"

// cloud is a real server with the stream that the cloud has.
type cloud struct {
	server *broker.Server
	stream jetstream.Stream
	conn   *nats.Conn
	once   sync.Once
}

func startCloud(t testing.TB, listen, dir string, rules bool) *cloud {
	t.Helper()
	s, err := broker.Start(broker.Options{Listen: listen, Store: &broker.StoreOptions{Dir: dir}})
	if err != nil {
		t.Fatal(err)
	}
	c := cloudOf(t, s)
	if rules {
		c.giveRules(t)
	}
	return c
}

// cloudOf makes the cloud's stream on a server, which stops with the test.
func cloudOf(t testing.TB, s *broker.Server) *cloud {
	t.Helper()
	c := &cloud{server: s}
	t.Cleanup(c.stop)
	var err error
	if c.conn, err = s.Connect(t.Context(), bus.ConnectOptions{}); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(c.conn)
	if err != nil {
		t.Fatal(err)
	}
	c.stream, err = js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{
		Name: bus.IngestStream, Subjects: []string{bus.IngestPairs + ">"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cloud) giveRules(t testing.TB) {
	t.Helper()
	data, err := proto.Marshal(&cloudv1.Masking{
		Config: masker(t).ConfigJSON(), KeyId: "k1", Key: bytes.Repeat([]byte{7}, 32), Filter: filter.Standard().JSON(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.conn.Subscribe(bus.ControlMasking, func(m *nats.Msg) { m.Respond(data) }); err != nil {
		t.Fatal(err)
	}
}

func masker(t testing.TB) *mask.Masker {
	t.Helper()
	m, err := mask.New(mask.Standard(), mask.Key{ID: "k1", Secret: bytes.Repeat([]byte{7}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (c *cloud) stop() {
	c.once.Do(func() {
		if c.conn != nil {
			c.conn.Close()
		}
		c.server.Shutdown(context.Background())
	})
}

// batches reads what the stream holds, each (producer, sequence) once.
func (c *cloud) batches(t testing.TB) map[string]*traffic.Batch {
	t.Helper()
	info, err := c.stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*traffic.Batch{}
	for i := info.State.FirstSeq; i <= info.State.LastSeq && i > 0; i++ {
		m, err := c.stream.GetMsg(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		var b traffic.Batch
		if err := proto.Unmarshal(m.Data, &b); err != nil {
			t.Fatal(err)
		}
		if m.Subject != bus.IngestPairs+b.Producer {
			t.Errorf("batch of %q is on %q", b.Producer, m.Subject)
		}
		all[fmt.Sprintf("%s-%d", b.Producer, b.Sequence)] = &b
	}
	return all
}

func (c *cloud) pairs(t testing.TB) (pairs []*traffic.RRPair, lost map[string]uint64) {
	t.Helper()
	lost = map[string]uint64{}
	for _, b := range c.batches(t) {
		pairs = append(pairs, b.Pairs...)
		for _, l := range b.Losses {
			lost[l.Reason] += l.Pairs
		}
	}
	return pairs, lost
}

type running struct {
	*forwarder.Forwarder
	stop func()
}

// run starts a forwarder; stop ends it in order.
func run(t testing.TB, o forwarder.Options) running {
	t.Helper()
	if o.Spool.Dir == "" {
		o.Spool.Dir = t.TempDir()
	}
	o.RulesInterval = 50 * time.Millisecond
	o.Cloud.MaxReconnectWait = 200 * time.Millisecond
	f, err := forwarder.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return running{f, stop}
}

func proxy(t testing.TB, f running, producer string) *bus.Publisher {
	t.Helper()
	nc, err := f.Connect(t.Context(), producer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return publisher(t, nc, producer)
}

func publisher(t testing.TB, nc *nats.Conn, producer string) *bus.Publisher {
	t.Helper()
	p, err := bus.NewPublisher(bus.PublisherOptions{Conn: nc, Producer: producer, MaxDelay: 5 * time.Millisecond, AckTimeout: 2 * time.Second})
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
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := p.Close(ctx); err != nil {
		t.Error(err)
	}
}

func drain(t testing.TB, f running) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := f.Drain(ctx); err != nil {
		t.Fatal(err)
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within a minute: %s", what)
}

// pair is of about 2 KB, with a secret in its header.
func pair(i int, path string) *traffic.RRPair {
	headers := []*traffic.Header{
		{Name: "Content-Type", Value: "application/json"},
		{Name: "Authorization", Value: "Bearer " + secret},
		{Name: "User-Agent", Value: "curl/8.5.0"},
		{Name: "X-Request-Id", Value: fmt.Sprint(i)},
	}
	body := fmt.Appendf(nil, `{"id":%d,"items":[%s{"sku":"last","qty":1}],"note":"thank you"}`, i, strings.Repeat(`{"sku":"abc-123","qty":2},`, 30))
	return &traffic.RRPair{
		Uuid: traffic.NewUUID(), Ts: 1_700_000_000_000_000_000 + int64(i), Duration: 1000, Direction: traffic.Direction_DIRECTION_IN,
		Service: "shop", L7Protocol: "http", Tech: "JSON", Command: "POST", Location: path, Status: "200", NetworkAddress: "shop:80",
		Http: &traffic.HTTP{
			Req: &traffic.HTTPRequest{Url: "http://shop" + path, Uri: path, Version: "1.1", Method: "POST", Host: "shop",
				Headers: headers, Body: body, BodySize: int64(len(body))},
			Res: &traffic.HTTPResponse{ContentType: "application/json", StatusCode: 200, Headers: headers[:1], Body: body, BodySize: int64(len(body))},
		},
	}
}

// grep fails where a file below dir holds the text.
func grep(t testing.TB, dir, text string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(text)) {
			t.Errorf("%s holds %q", path, text)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestPairsArriveFilteredAndMasked(t *testing.T) {
	c := startCloud(t, "127.0.0.1:0", t.TempDir(), true)
	spool := t.TempDir()
	f := run(t, forwarder.Options{Cluster: "c1", Cloud: bus.ConnectOptions{URLs: []string{c.server.ClientURL()}},
		Spool: broker.StoreOptions{Dir: spool}})
	p := proxy(t, f, "p1")
	const n = 1000
	for i := range n {
		path := "/orders"
		if i%10 == 0 {
			path = "/healthz"
		}
		p.Pair(pair(i, path))
	}
	closeNow(t, p)
	drain(t, f)
	pairs, lost := c.pairs(t)
	if len(pairs) != n*9/10 || lost[traffic.ReasonFiltered] != n/10 || len(lost) != 1 {
		t.Errorf("%d pairs, lost %v", len(pairs), lost)
	}
	for _, p := range pairs {
		value, _ := traffic.HeaderValue(p.Http.Req.Headers, "authorization")
		if strings.Contains(value, secret) || !p.DlpModified || p.MaskKeyId != "k1" || p.Cluster != "c1" {
			t.Fatalf("not masked: %v", p)
		}
	}
	f.stop()
	grep(t, spool, secret)
}

// TestPairsOfReplaysAreDropped: they never reach the archive, and each is counted, in
// the metrics and in what goes on to the cloud.
func TestPairsOfReplaysAreDropped(t *testing.T) {
	c := startCloud(t, "127.0.0.1:0", t.TempDir(), true)
	f := run(t, forwarder.Options{Cloud: bus.ConnectOptions{URLs: []string{c.server.ClientURL()}}, Spool: broker.StoreOptions{Dir: t.TempDir()}})
	p := proxy(t, f, "p1")
	for i := range 10 {
		one := pair(i, "/orders")
		if i%2 == 0 {
			one.Tags = map[string]string{traffic.TagReplay: "r1"}
			one.Netinfo = &traffic.NetInfo{Downstream: &traffic.Endpoint{IpAddress: "10.0.0.7"}}
		}
		if i < 4 {
			one.Direction = traffic.Direction_DIRECTION_OUT
		}
		p.Pair(one)
	}
	closeNow(t, p)
	drain(t, f)
	pairs, lost := c.pairs(t)
	from := uint64(0)
	for _, b := range c.batches(t) {
		for _, l := range b.Losses {
			if l.Replay == "r1" && l.Source == "10.0.0.7" && l.Direction == traffic.Direction_DIRECTION_IN {
				from += l.Pairs
			}
		}
	}
	if from != 3 {
		t.Errorf("%d requests are counted by replay and address, want 3", from)
	}
	if len(pairs) != 5 || lost[traffic.ReasonReplay] != 5 || len(lost) != 1 {
		t.Errorf("%d pairs, lost %v", len(pairs), lost)
	}
	for _, p := range pairs {
		if id, ok := p.Tags[traffic.TagReplay]; ok {
			t.Errorf("a pair of replay %q reached the cloud", id)
		}
	}
	if s := f.Stats(); s.ReplayIn != 3 || s.ReplayOut != 2 {
		t.Errorf("counted %d in, %d out, want 3 and 2", s.ReplayIn, s.ReplayOut)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(f.Collectors()...)
	const want = `# HELP speedscale_forwarder_replay_pairs_total Pairs of replays, which were dropped: they are not live traffic.
# TYPE speedscale_forwarder_replay_pairs_total counter
speedscale_forwarder_replay_pairs_total{direction="in"} 3
speedscale_forwarder_replay_pairs_total{direction="out"} 2
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "speedscale_forwarder_replay_pairs_total"); err != nil {
		t.Error(err)
	}
}

func TestNothingIsStoredBeforeThereAreRules(t *testing.T) {
	c := startCloud(t, "127.0.0.1:0", t.TempDir(), false)
	f := run(t, forwarder.Options{Cloud: bus.ConnectOptions{URLs: []string{c.server.ClientURL()}}})
	p := proxy(t, f, "p1")
	p.Pair(pair(1, "/orders"))
	eventually(t, "refusal", func() bool { return p.Stats().Refused > 0 })
	if n, err := f.Queued(t.Context()); n != 0 || err != nil {
		t.Errorf("%d batches are in the spool, error %v", n, err)
	}
	if err := f.Ready(); err == nil || !strings.Contains(err.Error(), "masking rules") {
		t.Errorf("ready: %v", err)
	}
	c.giveRules(t)
	closeNow(t, p)
	drain(t, f)
	if pairs, lost := c.pairs(t); len(pairs) != 1 || len(lost) != 0 {
		t.Errorf("%d pairs, lost %v", len(pairs), lost)
	}
	if err := f.Ready(); err != nil {
		t.Errorf("ready: %v", err)
	}
}

func TestBodyThatCannotBeMaskedIsEmptied(t *testing.T) {
	c := startCloud(t, "127.0.0.1:0", t.TempDir(), true)
	spool := t.TempDir()
	f := run(t, forwarder.Options{Cloud: bus.ConnectOptions{URLs: []string{c.server.ClientURL()}}, Spool: broker.StoreOptions{Dir: spool}})
	p := proxy(t, f, "p1")
	bad := pair(1, "/orders")
	bad.Http.Req.Body = []byte(`{"authorization":"` + secret + `", nonsense`)
	bad.Http.Req.BodySize = int64(len(bad.Http.Req.Body))
	bad.Http.Req.Headers[1].Value = "none"
	p.Pair(bad)
	p.Pair(pair(2, "/orders"))
	closeNow(t, p)
	drain(t, f)
	pairs, lost := c.pairs(t)
	if _, counted := lost[traffic.ReasonMaskFailed]; len(pairs) != 2 || !counted {
		t.Fatalf("%d pairs, lost %v", len(pairs), lost)
	}
	if r := pairs[0].Http.Req; len(r.Body) != 0 || !pairs[0].RequestCut() {
		t.Errorf("the body is %q of %d bytes, want it emptied and marked as cut", r.Body, r.BodySize)
	}
	f.stop()
	grep(t, spool, secret)
}
