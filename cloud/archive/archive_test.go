package archive_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/cloud/archive"
	"github.com/speedscale/speedscale/cloud/catalog"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/filter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// store is an archive in a folder, with its catalog.
type store struct {
	*archive.Archive
	cat *catalog.Catalog
	dir string
	seq uint64
}

func open(t testing.TB, o archive.Options) *store {
	t.Helper()
	s := &store{dir: filepath.Join(t.TempDir(), "archive")}
	var err error
	if s.cat, err = catalog.Open(t.Context(), filepath.Join(t.TempDir(), "catalog.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.cat.Close() })
	o.Catalog = s.cat
	if o.URL == "" {
		o.URL = "file://" + s.dir
	}
	if s.Archive, err = archive.Open(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// put archives pairs as one segment.
func (s *store) put(t testing.TB, pairs ...*traffic.RRPair) catalog.Segment {
	t.Helper()
	s.seq++
	var enc []archive.Pair
	var dec archive.Decoder
	for i, p := range pairs {
		b, err := proto.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		e, err := dec.Decode(b, "p", s.seq, uint64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		enc = append(enc, e)
	}
	seg, err := s.Write(t.Context(), s.seq, s.seq, time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC), enc)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cat.Commit(t.Context(), catalog.Commit{Segment: seg, Seq: s.seq}); err != nil {
		t.Fatal(err)
	}
	return *seg
}

func pair(ts int64, service string, size int) *traffic.RRPair {
	body := make([]byte, size/2)
	for i := 0; i+8 <= len(body); i += 8 {
		binary.LittleEndian.PutUint64(body[i:], rand.Uint64())
	}
	return &traffic.RRPair{
		Uuid: traffic.NewUUID(), Ts: ts, Duration: 5e6, Direction: traffic.Direction_DIRECTION_IN,
		Service: service, Namespace: "shop", L7Protocol: traffic.HTTPProtocol, Command: "GET",
		Location: "/items/1", Status: "200", NetworkAddress: service + ":80",
		Http: &traffic.HTTP{
			Req: &traffic.HTTPRequest{Method: "GET", Uri: "/items/1", Host: service, Body: body, BodySize: int64(len(body))},
			Res: &traffic.HTTPResponse{StatusCode: 200, Body: body, BodySize: int64(len(body))},
		},
	}
}

func scan(t testing.TB, ctx context.Context, s *store, q archive.Query) []*traffic.RRPair {
	t.Helper()
	var got []*traffic.RRPair
	for p, err := range s.Scan(ctx, q) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, p)
	}
	return got
}

func TestScanYieldsAllPairsByTime(t *testing.T) {
	for _, url := range []string{"", "mem://"} {
		s := open(t, archive.Options{URL: url})
		want := map[string]*traffic.RRPair{}
		for range 20 { // segments overlap in time
			var pairs []*traffic.RRPair
			for range 1 + rand.N(900) {
				p := pair(1+rand.Int64N(1e6), fmt.Sprint("s", rand.N(3)), 100)
				pairs = append(pairs, p)
				want[string(p.Uuid)] = p
			}
			s.put(t, pairs...)
		}
		got := scan(t, t.Context(), s, archive.Query{})
		if len(got) != len(want) {
			t.Fatalf("%d pairs, want %d", len(got), len(want))
		}
		for i, p := range got {
			if i > 0 && got[i-1].Ts > p.Ts {
				t.Fatalf("pair %d is older than the one before", i)
			}
			if !proto.Equal(p, want[string(p.Uuid)]) {
				t.Fatalf("pair %d came back changed: %v", i, p)
			}
		}
	}
}

func TestScanSelects(t *testing.T) {
	s := open(t, archive.Options{})
	for seg := range 5 {
		var pairs []*traffic.RRPair
		for i := range 1000 {
			pairs = append(pairs, pair(int64(1+seg*1000+i), fmt.Sprint("s", i%4), 100))
		}
		s.put(t, pairs...)
	}
	for _, c := range []struct {
		q    archive.Query
		want int
	}{
		{archive.Query{Bounds: filter.Bounds{From: 500, To: 2500}}, 2000},
		{archive.Query{Bounds: filter.Bounds{Services: []string{"s1"}}}, 1250},
		{archive.Query{Bounds: filter.Bounds{Services: []string{}}}, 0},
		{archive.Query{Bounds: filter.Bounds{From: 4000, Services: []string{"s1", "s2"}}}, 500},
		{archive.Query{Bounds: filter.Bounds{Directions: []traffic.Direction{traffic.Direction_DIRECTION_OUT}}}, 0},
		{archive.Query{Match: func(p *traffic.RRPair) bool { return p.Ts%1000 == 7 }}, 5},
	} {
		if got := scan(t, t.Context(), s, c.q); len(got) != c.want {
			t.Errorf("%+v: %d pairs, want %d", c.q.Bounds, len(got), c.want)
		}
	}
}

func TestScanStopsEarly(t *testing.T) {
	s := open(t, archive.Options{})
	for seg := range 5 {
		s.put(t, pair(int64(seg+1), "s", 100), pair(int64(seg+2), "s", 100))
	}
	n := 0
	for range s.Scan(t.Context(), archive.Query{}) {
		if n++; n == 3 {
			break
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range s.Scan(ctx, archive.Query{}) {
		if err == nil {
			t.Fatal("a cancelled scan goes on")
		}
	}
}

func TestDamagedSegmentsAreNamed(t *testing.T) {
	for name, damage := range map[string]func(file string) error{
		"deleted":  os.Remove,
		"cut":      func(f string) error { return os.Truncate(f, 100) },
		"emptied":  func(f string) error { return os.WriteFile(f, nil, 0o600) },
		"garbage":  func(f string) error { return overwrite(f, 0, 1<<20) },
		"bit flip": func(f string) error { return overwrite(f, 40_000, 40) },
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, archive.Options{})
			var pairs []*traffic.RRPair
			for i := range 100 {
				pairs = append(pairs, pair(int64(i+1), "s", 2000))
			}
			seg := s.put(t, pairs...)
			if err := damage(filepath.Join(s.dir, seg.Object)); err != nil {
				t.Fatal(err)
			}
			var failed error
			for _, err := range s.Scan(t.Context(), archive.Query{}) {
				failed = err
			}
			if failed == nil {
				t.Fatal("no error")
			}
			t.Log(failed)
		})
	}
}

func overwrite(file string, off, n int) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for i := off; i < min(off+n, len(b)); i++ {
		b[i] ^= 0x5a
	}
	return os.WriteFile(file, b, 0o600)
}

// rows returns each archived pair by what identifies it.
func (s *store) rows(t testing.TB) map[string]*traffic.RRPair {
	t.Helper()
	got := map[string]*traffic.RRPair{}
	for _, p := range scan(t, t.Context(), s, archive.Query{}) {
		if got[string(p.Uuid)] != nil {
			t.Fatal("a pair is there twice")
		}
		got[string(p.Uuid)] = p
	}
	return got
}

func (s *store) objects(t testing.TB) int {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(s.dir, "date=*", "*.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	return len(found)
}

func TestMergeKeepsTheRows(t *testing.T) {
	s := open(t, archive.Options{})
	for seg := range 100 {
		var pairs []*traffic.RRPair
		for i := range 1 + rand.N(300) {
			pairs = append(pairs, pair(int64(1+rand.N(1_000_000)), fmt.Sprint("s", seg%7), 20+i*10))
		}
		s.put(t, pairs...)
	}
	before := s.rows(t)
	// A scan that began before goes on with what was there.
	n := 0
	for _, err := range s.Scan(t.Context(), archive.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 10 {
			if merged, err := s.Merge(t.Context()); err != nil || merged == 0 {
				t.Fatalf("merged %d, %v", merged, err)
			}
			kept := s.objects(t)
			if err := s.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			if s.objects(t) != kept {
				t.Fatal("objects are deleted under a running scan")
			}
		}
	}
	if n != len(before) {
		t.Errorf("the running scan saw %d pairs, want %d", n, len(before))
	}
	after := s.rows(t)
	if len(after) != len(before) {
		t.Fatalf("%d pairs after merging, want %d", len(after), len(before))
	}
	for id, p := range before {
		if !proto.Equal(p, after[id]) {
			t.Fatal("a pair was changed by merging")
		}
	}
	tot, err := s.cat.Totals(t.Context())
	if err != nil || tot.Segments > 20 || int(tot.Pairs) != len(before) {
		t.Errorf("totals are %+v, %v", tot, err)
	}
	if err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := s.objects(t); n != int(tot.Segments) {
		t.Errorf("%d objects after sweeping, want %d", n, tot.Segments)
	}
	if got := s.rows(t); len(got) != len(before) {
		t.Errorf("%d pairs after sweeping, want %d", len(got), len(before))
	}
}

func TestRetention(t *testing.T) {
	s := open(t, archive.Options{})
	var size int64
	for seg := range 10 {
		size = s.put(t, pair(int64(seg+1), "s", 10_000)).Bytes
	}
	keep := archive.Retention{Age: time.Hour, MaxBytes: -1}
	if err := s.Retire(t.Context(), keep, time.Now()); err != nil || len(s.rows(t)) != 10 {
		t.Fatalf("%d pairs, %v", len(s.rows(t)), err)
	}
	if err := s.Retire(t.Context(), archive.Retention{}, time.Now()); err != nil || len(s.rows(t)) != 10 {
		t.Fatalf("%d pairs, %v", len(s.rows(t)), err)
	}
	keep.MaxBytes = 4*size + size/2
	if err := s.Retire(t.Context(), keep, time.Now()); err != nil {
		t.Fatal(err)
	}
	got := scan(t, t.Context(), s, archive.Query{})
	if len(got) != 4 || got[0].Ts != 7 {
		t.Fatalf("by size: %d pairs are left, the first at %d; want the newest 4", len(got), got[0].Ts)
	}
	if err := s.Retire(t.Context(), keep, time.Now().Add(2*time.Hour)); err != nil || len(s.rows(t)) != 0 {
		t.Fatalf("by age: %d pairs, %v", len(s.rows(t)), err)
	}
	if err := s.Sweep(t.Context()); err != nil || s.objects(t) != 0 {
		t.Fatalf("%d objects are left, %v", s.objects(t), err)
	}
}

func TestRecoverDeletesOnlyWhatWasNeverCommitted(t *testing.T) {
	s := open(t, archive.Options{})
	for range 9 {
		s.put(t, pair(1, "s", 10))
	}
	write := func(name string) string {
		file := filepath.Join(s.dir, "date=2026-11-22", name)
		if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	const ten, twenty = "00000000000000000010", "00000000000000000020"
	gone := []string{
		write(ten + ".parquet"), // the stream has 10 to 15
		write("00000000000000000002-00000000000000000005.parquet"), // 2 to 5 are in place
	}
	kept := []string{
		write(twenty + ".parquet"),
		write("00000000000000000005-" + ten + ".parquet"),
		write("notes.txt"),
	}
	if err := s.Recover(t.Context(), 10, 15); err != nil {
		t.Fatal(err)
	}
	for _, f := range gone {
		if _, err := os.Stat(f); err == nil {
			t.Errorf("%s is left", f)
		}
	}
	for _, f := range kept {
		if _, err := os.Stat(f); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
	if n := len(s.rows(t)); n != 9 {
		t.Errorf("%d pairs, want 9", n)
	}
}

// A cloud that is stopped between merging and sweeping leaves no pair twice in its folder.
func TestStopBetweenMergeAndSweep(t *testing.T) {
	s := open(t, archive.Options{})
	for range 100 {
		s.put(t, pair(1, "shop", 20))
	}
	if merged, err := s.Merge(t.Context()); err != nil || merged == 0 {
		t.Fatalf("merged %d, %v", merged, err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	s.Maintain(stopped, archive.Retention{})
	tot, err := s.cat.Totals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := s.objects(t); n != int(tot.Segments) {
		t.Errorf("%d objects of %d segments", n, tot.Segments)
	}
}
