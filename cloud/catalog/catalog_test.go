package catalog_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/speedscale/speedscale/cloud/catalog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, file string) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Batches in any order, over any number of commits, give the same ranges.
func TestRangesOfBatchesInAnyOrder(t *testing.T) {
	for range 20 {
		c := open(t, filepath.Join(t.TempDir(), "c.db"))
		have := map[uint64]bool{}
		for seq := range uint64(1 + rand.N(60)) {
			have[seq+1] = rand.N(4) > 0
		}
		var order []uint64
		for seq, ok := range have {
			if ok {
				order = append(order, seq)
			}
		}
		commit, seen := uint64(0), catalog.NewRanges()
		write := func() {
			commit++
			err := c.Commit(t.Context(), catalog.Commit{Seq: commit, Seen: map[string]*catalog.Ranges{"p": seen}, Time: 1})
			if err != nil {
				t.Fatal(err)
			}
			seen = catalog.NewRanges()
		}
		for _, seq := range order {
			ts := int64(seq * 100)
			seen.Add(catalog.Range{FirstBatch: seq, LastBatch: seq, FirstPair: seq*10 - 9, LastPair: seq * 10, From: ts, To: ts + 50})
			if rand.N(5) == 0 {
				write()
			}
		}
		write()
		got, err := c.Seen(t.Context(), "p")
		if err != nil {
			t.Fatal(err)
		}
		var want []catalog.Range
		for seq := uint64(1); seq <= uint64(len(have)); seq++ {
			if !have[seq] {
				continue
			}
			if n := len(want); n > 0 && want[n-1].LastBatch == seq-1 {
				want[n-1].LastBatch, want[n-1].LastPair, want[n-1].To = seq, seq*10, int64(seq*100)+50
				continue
			}
			want = append(want, catalog.Range{FirstBatch: seq, LastBatch: seq, FirstPair: seq*10 - 9, LastPair: seq * 10, From: int64(seq * 100), To: int64(seq*100) + 50})
		}
		if diff := cmp.Diff(want, got.All()); diff != "" {
			t.Fatal(diff)
		}
		for seq := range uint64(len(have) + 2) {
			if got.Has(seq) != have[seq] {
				t.Fatalf("has batch %d: %v", seq, got.Has(seq))
			}
		}
	}
}

// What a commit changes is there as a whole or not at all.
func TestCommitIsAtomic(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "c.db"))
	seg := &catalog.Segment{Object: "a", FirstSeq: 1, LastSeq: 5, Rows: 1}
	step := catalog.Commit{Segment: seg, Seq: 5, Time: 1, Losses: []catalog.Loss{{Producer: "p", Reason: "gap", Pairs: 1}}}
	if err := c.Commit(t.Context(), step); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]catalog.Commit{
		"same object": {Segment: seg, Seq: 9, Losses: step.Losses},
		"backwards":   {Segment: &catalog.Segment{Object: "b"}, Seq: 5, Losses: step.Losses},
	} {
		if err := c.Commit(t.Context(), bad); err == nil {
			t.Errorf("%s: committed", name)
		}
	}
	seq, err := c.Committed(t.Context())
	tot, err2 := c.Totals(t.Context())
	losses, err3 := c.Losses(t.Context(), 0, 0, "")
	if errors.Join(err, err2, err3) != nil || seq != 5 || tot.Segments != 1 || len(losses) != 1 || losses[0].Pairs != 1 {
		t.Errorf("sequence %d, %+v, %+v, %v", seq, tot, losses, errors.Join(err, err2, err3))
	}
	err = c.Replace(t.Context(), []string{"a", "gone"}, &catalog.Segment{Object: "c"}, time.Now())
	if !errors.Is(err, catalog.ErrNotFound) {
		t.Errorf("replacing what is gone: %v", err)
	}
	if tot, _ := c.Totals(t.Context()); tot.Segments != 1 {
		t.Errorf("half a replacement: %+v", tot)
	}
}

func TestConcurrentWritersAndReaders(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "c.db"))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				if err := c.PutConfig(t.Context(), string(rune('a'+i)), []byte{byte(j)}); err != nil {
					t.Error(err)
				}
				if _, err := c.Totals(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestSnapshotReferences(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "c.db"))
	for i, s := range []catalog.Snapshot{{ID: "1", Name: "n"}, {ID: "2", Name: "n"}, {ID: "3", Name: "1"}, {ID: "4", Name: "m"}} {
		s.Created, s.Document = int64(i+1), []byte("{}")
		if err := c.PutSnapshot(t.Context(), s, false); err != nil {
			t.Fatal(err)
		}
	}
	for ref, want := range map[string]string{"1": "1", "n": "2", "m": "4", "latest": "4"} {
		if s, err := c.Snapshot(t.Context(), ref); err != nil || s.ID != want {
			t.Errorf("%q is %q, %v; want %q", ref, s.ID, err, want)
		}
	}
	if err := c.PutSnapshot(t.Context(), catalog.Snapshot{ID: "1", Document: []byte("{}")}, false); !errors.Is(err, catalog.ErrExists) {
		t.Errorf("a second one of an id: %v", err)
	}
}

func TestFileOfANewerProgram(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.db")
	open(t, file).Close()
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if _, err := catalog.Open(context.Background(), file); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("opened with %v", err)
	}
}

func TestForget(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "c.db"))
	for i, p := range []string{"old", "new"} {
		at := int64(i+1) * int64(time.Hour)
		seen := catalog.NewRanges(catalog.Range{FirstBatch: 2, LastBatch: 2, FirstPair: 5, LastPair: 9, From: at, To: at})
		step := catalog.Commit{Seq: uint64(i + 1), Time: at, Seen: map[string]*catalog.Ranges{p: seen},
			Losses: []catalog.Loss{{Producer: p, Reason: "gap", From: at, To: at, Pairs: 1}}}
		if err := c.Commit(t.Context(), step); err != nil {
			t.Fatal(err)
		}
	}
	limit := time.Unix(0, int64(90*time.Minute))
	if err := c.Forget(t.Context(), limit, limit); err != nil {
		t.Fatal(err)
	}
	losses, err := c.Losses(t.Context(), 0, 0, "")
	gaps, err2 := c.Gaps(t.Context(), 0, 0)
	if errors.Join(err, err2) != nil || len(losses) != 1 || losses[0].Pairs != 1 || len(gaps) != 1 || gaps[0].Producer != "new" {
		t.Errorf("losses %+v, gaps %+v, %v", losses, gaps, errors.Join(err, err2))
	}
}

// What the first version of the program wrote is kept by this one.
func TestFileOfTheFirstVersion(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.db")
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	schema, err := os.ReadFile("schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(string(schema) + "; INSERT INTO keys VALUES ('k', 'ci', x'00', 'read admin', 1, 2, 3); PRAGMA user_version = 1"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	got, err := open(t, file).Key(t.Context(), "k")
	want := catalog.Key{ID: "k", Name: "ci", Hash: []byte{0}, Scopes: []string{"read", "admin"}, Created: 1, Expires: 2, LastUsed: 3}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
}

func TestAuditIsNewestFirstAndHasOutcomes(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "c.db"))
	var ids []int64
	for i := range 3 {
		id, err := c.PutAudit(t.Context(), catalog.Audit{Time: int64(i), Key: "k", Cluster: "prod", Command: fmt.Appendf(nil, `{"n":%d}`, i)})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if err := c.EndAudit(t.Context(), ids[1], "it went wrong"); err != nil {
		t.Fatal(err)
	}
	if err := c.EndAudit(t.Context(), 99, catalog.AuditDone); !errors.Is(err, catalog.ErrNotFound) {
		t.Errorf("an entry that is not there: %v", err)
	}
	got, err := c.Audit(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	want := []catalog.Audit{
		{Time: 2, Key: "k", Cluster: "prod", Command: []byte(`{"n":2}`), Outcome: catalog.AuditStarted},
		{Time: 1, Key: "k", Cluster: "prod", Command: []byte(`{"n":1}`), Outcome: "it went wrong"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
