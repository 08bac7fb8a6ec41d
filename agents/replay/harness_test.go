package replay_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/responder"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/client"
	"github.com/speedscale/speedscale/cloud/server"
	"github.com/speedscale/speedscale/traffic/mask"
	"github.com/speedscale/speedscale/traffic/report"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

// cloud is a real one, in this process.
type cloud struct {
	*client.Client
	url string
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	return openCloud(t, server.Options{}, nil)
}

// openCloud is newCloud with a certificate in o, which roots verify.
func openCloud(t *testing.T, o server.Options, roots *x509.CertPool) *cloud {
	t.Helper()
	o.DataDir, o.Logger = t.TempDir(), slog.New(slog.DiscardHandler)
	s, err := server.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	c, err := client.New(client.Options{URL: s.URL(), Key: s.InitialKey(), Roots: roots})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("cloud: %v", err)
		}
	})
	return &cloud{c, s.URL()}
}

// key is the cloud's masking key.
func (c *cloud) key(t *testing.T) mask.Key {
	t.Helper()
	m, err := c.Masking.Get(t.Context(), &cloudv1.GetMaskingRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return mask.Key{ID: m.GetKeyId(), Secret: m.GetKey()}
}

// upload keeps a snapshot folder in the cloud, and returns its id.
func (c *cloud) upload(t *testing.T, dir string) string {
	t.Helper()
	stream, err := c.Snapshots.Upload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s, err := snapshot.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range s.Files() {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&cloudv1.UploadSnapshotRequest{Chunk: &cloudv1.FileChunk{Name: name, Data: data}}); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
	res, err := stream.CloseAndReceive()
	if err != nil {
		t.Fatal(err)
	}
	return res.GetId()
}

// inCluster is one replay, as the operator starts it.
type inCluster struct {
	cloud *cloud
	id    string
	env   map[string]string
}

func (c *cloud) start(t *testing.T, snapshotID, testConfig string) *inCluster {
	t.Helper()
	id := uuid.NewString()
	res, err := c.Replays.Start(t.Context(), &cloudv1.StartReplayRequest{
		Id: id, Name: "checkout", Cluster: "c", Namespace: "shop", SnapshotId: snapshotID, TestConfigId: "standard",
		Target: "Deployment/checkout", Expires: time.Now().Add(time.Hour).Unix(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return &inCluster{cloud: c, id: id, env: map[string]string{
		"SPEEDSCALE_APP_URL": c.url, "SPEEDSCALE_API_KEY": res.GetToken(), "REPLAY_ID": id, "SNAPSHOT_ID": snapshotID,
		"TEST_CONFIG": testConfig,
	}}
}

// pod has the environment of one of the replay's pods.
func (r *inCluster) pod(t *testing.T, component string, more map[string]string) map[string]string {
	t.Helper()
	vars := map[string]string{"COMPONENT": component, "SNAPSHOT_DIR": t.TempDir(), "HEALTH_HTTP_PORT": port(t), "METRICS_HTTP_PORT": port(t)}
	maps.Copy(vars, r.env)
	maps.Copy(vars, more)
	return vars
}

// end ends the replay, and returns its report and its events.
func (r *inCluster) end(t *testing.T) (*report.Report, []*cloudv1.ReplayEvent) {
	t.Helper()
	res, err := r.cloud.Replays.End(t.Context(), &cloudv1.EndReplayRequest{Id: r.id})
	if err != nil {
		t.Fatal(err)
	}
	made, err := report.Parse(res.GetReport())
	if err != nil {
		t.Fatal(err)
	}
	stream, err := r.cloud.Replays.Watch(t.Context(), &cloudv1.WatchReplayRequest{Id: r.id})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	var events []*cloudv1.ReplayEvent
	for stream.Receive() {
		events = append(events, stream.Msg())
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	return made, events
}

// until waits for an event, which comes by another way than parts of the report.
func (r *inCluster) until(t *testing.T, ok func(*cloudv1.ReplayEvent) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stream, err := r.cloud.Replays.Watch(ctx, &cloudv1.WatchReplayRequest{Id: r.id})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	for stream.Receive() {
		if ok(stream.Msg()) {
			return
		}
	}
	t.Fatalf("the event did not come: %v", stream.Err())
}

// respond runs a responder until the returned function is called.
func respond(t *testing.T, vars map[string]string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- responder.Main(ctx, env(vars)) }()
	waitReady(t, "http://127.0.0.1:"+vars["HEALTH_HTTP_PORT"]+"/readyz")
	return func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("responder: %v", err)
		}
	}
}

// newApp is a workload under test that answers JSON, told how many requests came
// before.
func newApp(t *testing.T, answer func(n int) string) (url string) {
	t.Helper()
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, answer(int(n.Add(1)-1)))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// way is a way to the cloud that a test can close, and on which it sees the parts
// of reports that were taken.
type way struct {
	*httptest.Server

	mu      sync.Mutex
	refused func(call string) bool
	parts   []*report.Part
	changed chan struct{} // capacity 1
}

func newWay(t *testing.T, c *cloud) *way {
	t.Helper()
	to, err := url.Parse(c.url)
	if err != nil {
		t.Fatal(err)
	}
	w := &way{changed: make(chan struct{}, 1), refused: func(string) bool { return false }}
	transport := &http.Transport{}
	proxy := &httputil.ReverseProxy{Transport: transport, FlushInterval: -1, ErrorLog: log.New(io.Discard, "", 0), Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		call := path.Base(r.URL.Path)
		w.mu.Lock()
		refused := w.refused(call)
		w.mu.Unlock()
		if refused {
			http.Error(rw, "away", http.StatusServiceUnavailable)
			return
		}
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(rw, r)
		if call == "PutPart" {
			w.put(body)
		}
	}))
	t.Cleanup(func() { w.Server.Close(); transport.CloseIdleConnections() })
	return w
}

func (w *way) put(body []byte) {
	req := &cloudv1.PutPartRequest{}
	if err := proto.Unmarshal(body, req); err != nil {
		return
	}
	part, err := report.ParsePart(req.GetName(), req.GetPart())
	if err != nil {
		return
	}
	w.mu.Lock()
	w.parts = append(w.parts, &part)
	w.mu.Unlock()
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// refuse closes the way for some calls.
func (w *way) refuse(call func(name string) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refused = call
}

// until waits for a part.
func (w *way) until(t *testing.T, ok func(*report.Part) bool) {
	t.Helper()
	for {
		w.mu.Lock()
		found := slices.ContainsFunc(w.parts, ok)
		w.mu.Unlock()
		if found {
			return
		}
		select {
		case <-w.changed:
		case <-time.After(time.Minute):
			t.Fatal("the part did not come")
		}
	}
}
