package snapshot_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

const (
	in  = traffic.Direction_DIRECTION_IN
	out = traffic.Direction_DIRECTION_OUT
)

// pair is the i-th pair of a test, i seconds into 2026.
func pair(i int, d traffic.Direction) *traffic.RRPair {
	return &traffic.RRPair{
		Uuid: []byte{byte(i >> 8), byte(i)}, Ts: time.Date(2026, 1, 1, 0, 0, i, 0, time.UTC).UnixNano(),
		Duration: 10e6, Direction: d, Namespace: "shop", Service: "checkout", L7Protocol: "http",
		DetectedTech: []string{"JSON", "HTTP"}, NetworkAddress: "checkout:8080", Location: fmt.Sprint("/", i),
		Http: &traffic.HTTP{
			Req: &traffic.HTTPRequest{Method: "POST", Body: []byte("abc"), BodySize: 3},
			Res: &traffic.HTTPResponse{StatusCode: 200, Body: []byte("defgh"), BodySize: 50},
		},
	}
}

func locations(t *testing.T, pairs iter.Seq2[*traffic.RRPair, error]) string {
	t.Helper()
	var got []string
	for p, err := range pairs {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, p.Location)
	}
	return strings.Join(got, " ")
}

// create commits a snapshot of pairs and opens it.
func create(t *testing.T, dir string, pairs ...*traffic.RRPair) *snapshot.Snapshot {
	t.Helper()
	w, err := snapshot.Create(dir, snapshot.Meta{Info: snapshot.Info{Name: "test"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pairs {
		if err := w.Add(p); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	s, err := snapshot.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSnapshotHoldsWhatWasAdded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	s := create(t, dir, pair(3, in), pair(1, out), pair(2, in), pair(1, in), pair(0, out))
	if got, want := locations(t, s.Raw()), "/3 /1 /2 /1 /0"; got != want {
		t.Errorf("raw is %q, want the order they were added in, %q", got, want)
	}
	for range 2 { // a sequence can be read again
		if got, want := locations(t, s.Actions()), "/1 /2 /3"; got != want {
			t.Errorf("actions are %q, want %q", got, want)
		}
	}
	if got, want := locations(t, s.Reactions()), "/0 /1"; got != want {
		t.Errorf("reactions are %q, want %q", got, want)
	}
	for p, err := range s.Actions() {
		if diff := cmp.Diff(pair(1, in), p, protocmp.Transform()); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		break
	}
	if _, err := os.Stat(dir + ".tmp"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the writer's folder is still there: %v", err)
	}
}

func TestMetaHasDocumentedNames(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	w, err := snapshot.Create(dir, snapshot.Meta{
		ID: "id-1", FilterExpression: `service IS "checkout"`,
		Info: snapshot.Info{Name: "n", CreatedAt: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		if err := w.Add(pair(i, []traffic.Direction{in, in, in, out}[i])); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range []*traffic.Loss{
		{Reason: traffic.ReasonBudget, Service: "checkout", Direction: in, From: 2e9, To: 3e9, Pairs: 1, Bytes: 10},
		{Reason: traffic.ReasonBudget, Service: "checkout", Direction: in, From: 1e9, To: 2e9, Pairs: 2, Connections: 1},
		{Reason: traffic.ReasonQueue, Service: "checkout"},
	} {
		w.Lose(l)
	}
	w.Gap(snapshot.Gap{Producer: "p1", From: 5, To: 9})
	w.Vanished("p1")
	w.Vanished("p1")
	w.SetMasking(json.RawMessage(`{"id":"standard"}`), "k1")
	if _, err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "snapshot.json"))
	if err != nil {
		t.Fatal(err)
	}
	slice := func(n int, share string) string {
		return fmt.Sprintf(`{"name":"checkout","hostname":"checkout","port":8080,"protocol":"http","numRequests":%d,"reqBodyBytes":%d,"resBodyBytes":%d,`+
			`"totalBytes":%d,"avgLatency":10,"totalDuration":%d,"percentageOfTotal":%s,"detectedTech":["HTTP","JSON"]}`, n, 3*n, 50*n, 53*n, 10*n, share)
	}
	want := `{"version":1,"id":"id-1","meta":{"name":"n","startTime":"2026-01-01T00:00:00Z","endTime":"2026-01-01T00:00:03Z","createdAt":"2026-01-02T00:00:00Z",` +
		`"services":["checkout"],"namespaces":[{"name":"shop"}]},"status":"Complete","recordsProcessed":4,"filter_expression":"service IS \"checkout\"",` +
		`"inTraffic":{"checkout:checkout:8080":` + slice(3, "75") + `},"outTraffic":{"checkout:checkout:8080":` + slice(1, "25") + `},` +
		`"losses":[{"reason":"memory_budget","service":"checkout","direction":"IN","from":"1970-01-01T00:00:01Z","to":"1970-01-01T00:00:03Z","pairs":3,"connections":1,"bytes":10},` +
		`{"reason":"queue_full","service":"checkout","pairs":0,"connections":0,"bytes":0}],` +
		`"gaps":[{"producer":"p1","from":5,"to":9}],"vanishedProducers":["p1"],"masking":{"config":{"id":"standard"},"keyId":"k1"}}`
	var got bytes.Buffer
	if err := json.Compact(&got, data); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCorruptLineIsNamedAndTheRestIsUsed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	s := create(t, dir, pair(0, in), pair(1, in), pair(2, in))
	file := filepath.Join(dir, "action.jsonl")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(data, []byte("\n"))
	lines[1] = []byte(`{"duration":"soon"}` + "\n\n" + strings.Repeat("x", snapshot.MaxLine+1) + "\n")
	if err := os.WriteFile(file, bytes.Join(lines, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	check := func(pairs iter.Seq2[*traffic.RRPair, error], file string) {
		t.Helper()
		var good, bad []string
		for p, err := range pairs {
			if lineErr, ok := errors.AsType[*snapshot.LineError](err); ok {
				bad = append(bad, fmt.Sprintf("%s:%d", filepath.Base(lineErr.File), lineErr.Line))
			} else if err != nil {
				t.Fatal(err)
			} else {
				good = append(good, p.Location)
			}
		}
		if diff := cmp.Diff([]string{"/0", "/2"}, good); diff != "" {
			t.Errorf("pairs (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{file + ":2", file + ":4"}, bad); diff != "" {
			t.Errorf("errors (-want +got):\n%s", diff)
		}
	}
	check(s.Actions(), "action.jsonl")

	// Without action.jsonl, the same is found in raw.jsonl.
	if err := os.Rename(file, filepath.Join(dir, "raw.jsonl")); err != nil {
		t.Fatal(err)
	}
	check(s.Actions(), "raw.jsonl")
}

func TestLongLinesAreRead(t *testing.T) {
	big := pair(0, in)
	big.Http.Req.Body = bytes.Repeat([]byte("r"), 8<<20)
	big.Http.Req.BodySize = 8 << 20
	big.Http.Res.Body = bytes.Repeat([]byte("s"), 8<<20)
	big.Http.Res.BodySize = 8 << 20
	s := create(t, filepath.Join(t.TempDir(), "s"), big, pair(1, in))
	if got := locations(t, s.Actions()); got != "/0 /1" {
		t.Errorf("actions are %q", got)
	}
	for p := range s.Raw() {
		if !proto.Equal(big, p) {
			t.Error("a pair of two 8 MiB bodies changed")
		}
		break
	}
}

func TestInterruptedWriterLeavesNoSnapshot(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	w, err := snapshot.Create(dir, snapshot.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add(pair(0, in)); err != nil {
		t.Fatal(err)
	}
	if _, err := snapshot.Open(dir); !errors.Is(err, snapshot.ErrUnfinished) {
		t.Errorf("opening before Commit: %v", err)
	}
	// The program dies here; the next one begins anew.
	if s := create(t, dir, pair(7, in)); locations(t, s.Raw()) != "/7" {
		t.Error("the interrupted writer's pairs are in the snapshot")
	}
	if _, err := snapshot.Create(dir, snapshot.Meta{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("creating over a snapshot: %v", err)
	}
	aborted, err := snapshot.Create(dir+"2", snapshot.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	aborted.Abort()
	if err := aborted.Add(pair(0, in)); err == nil {
		t.Error("Add works after Abort")
	}
	if _, err := aborted.Commit(); err == nil {
		t.Error("Commit works after Abort")
	}
	left, err := filepath.Glob(dir + "2*")
	if err != nil || left != nil {
		t.Errorf("Abort left %v", left)
	}
}

func FuzzRead(f *testing.F) {
	data, err := os.ReadFile("../testdata/documented.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("{\"direction\":\"IN\"}\r\n\n{oops\n[]"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		dir := t.TempDir()
		meta := `{"version":1,"id":"x","status":"Complete"}`
		for name, data := range map[string][]byte{"snapshot.json": []byte(meta), "raw.jsonl": raw} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s, err := snapshot.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		count := func(pairs iter.Seq2[*traffic.RRPair, error]) (good, bad int) {
			for p, err := range pairs {
				_, isLine := errors.AsType[*snapshot.LineError](err)
				switch {
				case err == nil && p != nil:
					good++
				case isLine && p == nil:
					bad++
				default:
					t.Fatalf("pair %v, error %v", p, err)
				}
			}
			return good, bad
		}
		good, bad := count(s.Raw())
		lines := 0
		for line := range bytes.SplitSeq(raw, []byte("\n")) {
			if len(bytes.TrimSpace(line)) > 0 {
				lines++
			}
		}
		if good+bad != lines {
			t.Fatalf("%d pairs and %d errors of %d lines", good, bad, lines)
		}
		actions, _ := count(s.Actions())
		reactions, _ := count(s.Reactions())
		if actions+reactions > good {
			t.Fatalf("%d actions and %d reactions of %d pairs", actions, reactions, good)
		}
		meta2, badLines, err := snapshot.Import(filepath.Join(dir, "i"), "i", bytes.NewReader(raw))
		if good > 0 && (err != nil || meta2.RecordsProcessed != int64(good) || len(badLines) != min(bad, 100)) {
			t.Fatalf("imported %v with %d bad lines, error %v; want %d and %d", meta2, len(badLines), err, good, bad)
		}
	})
}

func BenchmarkWriteAndRead(b *testing.B) {
	p := pair(0, in)
	p.Http.Res.Body = bytes.Repeat([]byte("x"), 1500)
	for b.Loop() {
		dir := filepath.Join(b.TempDir(), "s")
		w, err := snapshot.Create(dir, snapshot.Meta{})
		if err != nil {
			b.Fatal(err)
		}
		for i := range 10_000 {
			p.Ts = int64(i)
			if err := w.Add(p); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := w.Commit(); err != nil {
			b.Fatal(err)
		}
		s, err := snapshot.Open(dir)
		if err != nil {
			b.Fatal(err)
		}
		for _, err := range s.Actions() {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}
