package archive_test

import (
	"context"
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
	for i := range body {
		body[i] = 'a' + byte(rand.N(26))
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
		"bit flip": func(f string) error { return overwrite(f, 2000, 40) },
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
