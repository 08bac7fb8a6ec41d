package replay_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/generator"
	"github.com/speedscale/speedscale/agents/replay"
	"github.com/speedscale/speedscale/agents/responder"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/mask"
	"github.com/speedscale/speedscale/traffic/report"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "hunter2-hunter2"

func pair(direction traffic.Direction, i int, body string) *traffic.RRPair {
	uri := fmt.Sprintf("/items/%d?access_token=%s", i, secret)
	return &traffic.RRPair{
		Uuid: traffic.NewUUID(), Ts: time.Unix(1_700_000_000, int64(i)*1e6).UnixNano(), Duration: int64(time.Millisecond),
		Direction: direction, Service: "shop", L7Protocol: traffic.HTTPProtocol,
		Command: "GET", Location: fmt.Sprintf("/items/%d", i), Status: "200", NetworkAddress: "api.test:80", Session: fmt.Sprint(i % 3),
		Http: &traffic.HTTP{
			Req: &traffic.HTTPRequest{
				Url: "http://api.test" + uri, Uri: uri, Version: "1.1", Method: "GET", Host: "api.test",
				Headers: []*traffic.Header{{Name: "Host", Value: "api.test"}},
			},
			Res: &traffic.HTTPResponse{
				StatusCode: 200, StatusMessage: "OK", Version: "1.1", ContentType: "application/json",
				Headers: []*traffic.Header{{Name: "Content-Type", Value: "application/json"}},
				Body:    []byte(body), BodySize: int64(len(body)),
			},
		},
	}
}

// newSnapshot has the same requests as actions and as reactions, masked.
func newSnapshot(t *testing.T, n int, key mask.Key) (dir, keyFile string) {
	t.Helper()
	masker, err := mask.New(mask.Standard(), key)
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), "snapshot")
	w, err := snapshot.Create(dir, snapshot.Meta{Info: snapshot.Info{Name: "shop"}})
	if err != nil {
		t.Fatal(err)
	}
	w.SetMasking(masker.ConfigJSON(), key.ID)
	for i := range n {
		for _, d := range []traffic.Direction{traffic.Direction_DIRECTION_IN, traffic.Direction_DIRECTION_OUT} {
			p := pair(d, i, fmt.Sprintf(`{"id":%d,"token":%q}`, i, secret))
			if _, err := masker.Mask(p); err != nil {
				t.Fatal(err)
			}
			if err := w.Add(p); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	keyFile = filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(keyFile, []byte(hex.EncodeToString(key.Secret)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, keyFile
}

func port(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, p, _ := net.SplitHostPort(l.Addr().String())
	return p
}

func env(vars map[string]string) *agent.Env {
	return &agent.Env{
		Name: "test", Log: slog.New(slog.DiscardHandler),
		Vars: agent.NewVars(func(name string) string { return vars[name] }),
	}
}

// TestBinaries runs the generator against the responder, both from one masked
// snapshot, as two pods do.
func TestBinaries(t *testing.T) {
	for name, withKey := range map[string]bool{"with the key": true, "without it": false} {
		t.Run(name, func(t *testing.T) {
			dir, key := newSnapshot(t, 20, mask.NewKey())
			if !withKey {
				key = ""
			}
			listen, health := "127.0.0.1:"+port(t), port(t)
			ctx, cancel := context.WithCancel(t.Context())
			served := make(chan error, 1)
			go func() {
				served <- responder.Main(ctx, env(map[string]string{
					"SNAPSHOT_DIR": dir, "MASKING_KEY_FILE": key, "RESPONDER_LISTEN": listen,
					"HEALTH_HTTP_PORT": health, "METRICS_HTTP_PORT": port(t),
				}))
			}()
			defer func() {
				cancel()
				if err := <-served; err != nil {
					t.Errorf("responder: %v", err)
				}
			}()
			waitReady(t, "http://127.0.0.1:"+health+"/readyz")
			file := filepath.Join(t.TempDir(), "report.json")
			err := generator.Main(t.Context(), env(map[string]string{
				"SNAPSHOT_DIR": dir, "MASKING_KEY_FILE": key, "REPLAY_TARGET": "http://" + listen, "REPLAY_RATE": "1000", "REPLAY_TIMES": "2",
				"REPORT_FILE": file, "BUILD_TAG": "v2", "HEALTH_HTTP_PORT": port(t), "METRICS_HTTP_ENABLE": "false",
			}))
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var r report.Report
			if err := json.Unmarshal(b, &r); err != nil {
				t.Fatal(err)
			}
			if r.Status != report.Passed || r.Requests.Passed != 40 || r.BuildTag != "v2" || r.Snapshot.Name != "shop" {
				t.Errorf("report %s", b)
			}
			if warned := strings.Contains(string(b), "key is not at hand"); warned == withKey {
				t.Errorf("warnings %q", r.Warnings)
			}
		})
	}
}

func waitReady(t *testing.T, url string) {
	t.Helper()
	defer http.DefaultClient.CloseIdleConnections()
	for range 1500 {
		if res, err := http.Get(url); err == nil {
			io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("%s is not ready", url)
}

// TestSettings: all that is wrong is said at once, by name.
func TestSettings(t *testing.T) {
	dir, key := newSnapshot(t, 1, mask.NewKey())
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, []byte("not-hexadecimal-"+secret), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		main func(context.Context, *agent.Env) error
		vars map[string]string
		want []string
	}{
		{"generator without anything", generator.Main, nil, []string{"SNAPSHOT_DIR"}},
		{"generator", generator.Main, map[string]string{"SNAPSHOT_DIR": dir, "MASKING_KEY_FILE": bad, "REPLAY_TARGET": "ftp://x", "REPLAY_RATE": "-1", "REPLAY_STAGES": "x", "REPLAY_VUS": "0"},
			[]string{"MASKING_KEY_FILE", "REPLAY_TARGET", "REPLAY_RATE", "REPLAY_STAGES", "REPLAY_VUS"}},
		{"two plans", generator.Main, map[string]string{"SNAPSHOT_DIR": dir, "REPLAY_RATE": "1", "REPLAY_VUS": "1"}, []string{"more than one"}},
		{"generator in a cluster", generator.Main, map[string]string{"SNAPSHOT_ID": "s", "SPEEDSCALE_APP_URL": "cloud", "SPEEDSCALE_APP_CA": bad},
			[]string{"SPEEDSCALE_APP_URL", "SPEEDSCALE_API_KEY", "SPEEDSCALE_APP_CA", "REPLAY_ID", "COMPONENT", "SNAPSHOT_DIR", "REPLAY_TARGETS is not set"}},
		{"generator by a test config", generator.Main, map[string]string{"SNAPSHOT_DIR": dir, "TEST_CONFIG": `{"id":"x"}`, "REPLAY_RATE": "1", "REPLAY_FOR": "1s"},
			[]string{"REPLAY_RATE", "REPLAY_FOR", "TEST_CONFIG says when"}},
		{"generator with a wrong test config", generator.Main, map[string]string{"SNAPSHOT_DIR": dir, "TEST_CONFIG": `{"id":"x","nope":1}`}, []string{"TEST_CONFIG", "nope"}},
		{"targets and share", generator.Main, map[string]string{"SNAPSHOT_DIR": dir, "REPLAY_TARGET": "http://a", "REPLAY_TARGETS": "k=http://b/path,nothing", "GENERATOR_INDEX": "2", "GENERATOR_COUNT": "2"},
			[]string{"REPLAY_TARGET=", "only scheme, host and port", "REPLAY_TARGETS=\"nothing\"", "GENERATOR_INDEX"}},
		{"responder by a test config", responder.Main, map[string]string{"SNAPSHOT_DIR": dir, "TEST_CONFIG": `{"id":"x"}`, "RESPONDER_LATENCY": "1s", "RESPONDER_ON_MISS": "404"},
			[]string{"RESPONDER_LATENCY", "RESPONDER_ON_MISS", "TEST_CONFIG says how"}},
		{"responder", responder.Main, map[string]string{"SNAPSHOT_DIR": filepath.Join(dir, "none"), "RESPONDER_PROXY": "maybe", "RESPONDER_ON_MISS": "record", "RESPONDER_LATENCY": "-1s", "RESPONDER_TLS_CERT": "none", "UPSTREAM_CA_FILE": key},
			[]string{"SNAPSHOT_DIR", "RESPONDER_PROXY", "RESPONDER_RECORD_FILE", "RESPONDER_LATENCY", "RESPONDER_TLS_CERT", "UPSTREAM_CA_FILE"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.main(t.Context(), env(tt.vars))
			if _, ok := errors.AsType[*agent.SettingsError](err); !ok {
				t.Fatalf("error %v, want a SettingsError", err)
			}
			for _, name := range tt.want {
				if !strings.Contains(err.Error(), name) {
					t.Errorf("the error does not name %s: %v", name, err)
				}
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error shows the key file: %v", err)
			}
		})
	}
}

func TestChoose(t *testing.T) {
	a, b := pair(traffic.Direction_DIRECTION_IN, 2, ""), pair(traffic.Direction_DIRECTION_IN, 1, "")
	other := pair(traffic.Direction_DIRECTION_IN, 0, "")
	other.NetworkAddress = "other.test:443"
	bad := errors.New("line 3")
	recorded := func(yield func(*traffic.RRPair, error) bool) {
		_ = yield(a, nil) && yield(nil, bad) && yield(b, nil) && yield(other, nil)
	}
	var unreadable []error
	got, err := replay.Choose(recorded, []string{"api.test"}, func(err error) { unreadable = append(unreadable, err) })
	if err != nil || len(got) != 2 || got[0] != b || got[1] != a || len(unreadable) != 1 || !errors.Is(unreadable[0], bad) {
		t.Errorf("chose %v, %v, unreadable %v; want the two of api.test by time", got, err, unreadable)
	}
	if got, err = replay.Choose(recorded, nil, func(error) {}); err != nil || len(got) != 3 {
		t.Errorf("without patterns: %d pairs, %v", len(got), err)
	}
	if _, err = replay.Choose(recorded, []string{"test"}, func(error) {}); err == nil {
		t.Error("a pattern that means two slices was accepted")
	}
}

func TestDropped(t *testing.T) {
	drop := replay.Dropped([]*traffic.Header{{Name: "connection", Value: "close, X-Hop"}})
	got := map[string]bool{}
	for _, name := range []string{"Connection", "x-hop", ":path", "Transfer-Encoding", "Cookie", "TE"} {
		got[name] = drop(name)
	}
	want := map[string]bool{"Connection": true, "x-hop": true, ":path": true, "Transfer-Encoding": true, "Cookie": false, "TE": false}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("dropped (-want +got):\n%s", diff)
	}
}
