package catalog_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/speedscale/speedscale/cloud/catalog"
)

func TestReplays(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "c.db"))
	r := catalog.Replay{
		ID: "r1", Name: "n", Cluster: "c", Namespace: "ns", Target: "t", BuildTag: "b", SnapshotID: "s", MaskKeyID: "m",
		Snapshot: []byte("{}"), TestConfig: []byte(`{"id":"x"}`), Started: 1, Expires: 100,
	}
	if err := c.StartReplay(t.Context(), r, catalog.Key{ID: "k1", Hash: []byte{1}, Scopes: []string{"replay"}}); err != nil {
		t.Fatal(err)
	}
	if err := c.StartReplay(t.Context(), catalog.Replay{ID: "r2", Expires: 50}, catalog.Key{ID: "k2", Hash: []byte{2}}); err != nil {
		t.Fatal(err)
	}
	if id, at, err := c.NextExpiry(t.Context()); id != "r2" || !at.Equal(time.Unix(0, 50)) || err != nil {
		t.Errorf("%q expires first, at %v, %v", id, at, err)
	}
	// Starting again changes the token and its end only.
	again := catalog.Replay{ID: "r1", Name: "other", Snapshot: []byte("[]"), Expires: 40}
	if err := c.StartReplay(t.Context(), again, catalog.Key{ID: "k3", Hash: []byte{3}}); err != nil {
		t.Fatal(err)
	}
	r.Expires = 40
	got, err := c.Replay(t.Context(), "r1")
	if diff := cmp.Diff(r, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	if _, err := c.Key(t.Context(), "k1"); !errors.Is(err, catalog.ErrNotFound) {
		t.Errorf("the first token: %v", err)
	}
	if k, err := c.Key(t.Context(), "k3"); err != nil || k.Replay != "r1" {
		t.Errorf("the second token: %+v, %v", k, err)
	}
	if keys, err := c.Keys(t.Context()); len(keys) != 0 || err != nil {
		t.Errorf("tokens among the keys: %+v, %v", keys, err)
	}
	limits := catalog.PartLimits{Count: 2, Bytes: 10}
	for i, p := range []struct {
		replay, name, doc string
		want              error
	}{
		{"r1", "a", "12345678", nil}, {"r1", "b", "123", catalog.ErrFull}, {"r1", "a", "1234", nil}, {"r1", "b", "123", nil},
		{"r1", "c", "", catalog.ErrFull}, {"r9", "a", "", catalog.ErrNotFound}, {"r2", "a", "1234567890", nil},
	} {
		if err := c.PutPart(t.Context(), p.replay, p.name, []byte(p.doc), limits); !errors.Is(err, p.want) || (err != nil) != (p.want != nil) {
			t.Errorf("part %d: %v", i, err)
		}
	}
	parts, err := c.Parts(t.Context(), "r1")
	if diff := cmp.Diff([]catalog.Part{{Name: "a", Document: []byte("1234")}, {Name: "b", Document: []byte("123")}}, parts); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	end := catalog.ReplayEnd{Ended: 60, Status: "Passed", LastEvent: 7, Dropped: 3}
	if err := c.EndReplay(t.Context(), "r1", end, &catalog.Report{ID: "r1", Document: []byte("{}"), Summary: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	end.Reported = true
	r.End, r.Snapshot, r.TestConfig = end, nil, nil
	if got, err = c.Replay(t.Context(), "r1"); err != nil || !cmp.Equal(r, got) {
		t.Errorf("%v %s", err, cmp.Diff(r, got))
	}
	for what, err := range map[string]error{
		"start": c.StartReplay(t.Context(), again, catalog.Key{ID: "k4", Hash: []byte{4}}),
		"part":  c.PutPart(t.Context(), "r1", "a", nil, limits),
		"end":   c.EndReplay(t.Context(), "r1", end, nil),
	} {
		if !errors.Is(err, catalog.ErrEnded) {
			t.Errorf("%s of what has ended: %v", what, err)
		}
	}
	for _, id := range []string{"k3", "k4"} {
		if _, err := c.Key(t.Context(), id); !errors.Is(err, catalog.ErrNotFound) {
			t.Errorf("token %s after the end: %v", id, err)
		}
	}
	if parts, err := c.Parts(t.Context(), "r1"); len(parts) != 0 || err != nil {
		t.Errorf("parts after the end: %v, %v", parts, err)
	}
	if _, err := c.Report(t.Context(), "r1"); err != nil {
		t.Error(err)
	}
	if parts, err := c.Parts(t.Context(), "r2"); len(parts) != 1 || err != nil {
		t.Errorf("another replay's parts: %v, %v", parts, err)
	}
	if id, _, err := c.NextExpiry(t.Context()); id != "r2" || err != nil {
		t.Errorf("%q is left, %v", id, err)
	}
}
