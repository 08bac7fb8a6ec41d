package auth_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/cloud/auth"
	"github.com/speedscale/speedscale/cloud/catalog"
)

func TestCheck(t *testing.T) {
	file := filepath.Join(t.TempDir(), "catalog.db")
	cat, err := catalog.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	k := auth.NewKeyring(cat, slog.New(slog.DiscardHandler))
	id, key, err := k.Create(t.Context(), "ci", []string{auth.ScopeRead}, time.Now().Add(2*time.Second).Unix())
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := k.Create(t.Context(), "other", auth.AllScopes(), 0)
	if err != nil {
		t.Fatal(err)
	}
	secret := key[strings.LastIndex(key, "_")+1:]
	swapped := key[:len(key)-len(secret)] + other[strings.LastIndex(other, "_")+1:]
	for name, c := range map[string]struct {
		key    string
		scopes []string
		want   error
	}{
		"right":           {key, []string{auth.ScopeRead}, nil},
		"one of two":      {key, []string{auth.ScopeAdmin, auth.ScopeRead}, nil},
		"missing":         {"", []string{auth.ScopeRead}, auth.ErrUnauthenticated},
		"not a key":       {"hunter2", []string{auth.ScopeRead}, auth.ErrUnauthenticated},
		"cut short":       {key[:len(key)-1], []string{auth.ScopeRead}, auth.ErrUnauthenticated},
		"other's secret":  {swapped, []string{auth.ScopeRead}, auth.ErrUnauthenticated},
		"unknown id":      {"sp_000000000000_" + secret, []string{auth.ScopeRead}, auth.ErrUnauthenticated},
		"under-scoped":    {key, []string{auth.ScopeIngest}, auth.ErrDenied},
		"no scope at all": {key, nil, auth.ErrDenied},
	} {
		_, err := k.Check(t.Context(), c.key, c.scopes...)
		if !errors.Is(err, c.want) || (err != nil) != (c.want != nil) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error holds the secret", name)
		}
	}
	if entry, err := cat.Key(t.Context(), id); err != nil || entry.LastUsed == 0 {
		t.Errorf("last use was not noted: %+v, %v", entry, err)
	}
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(2100 * time.Millisecond)))
	if _, err := k.Check(t.Context(), key, auth.ScopeRead); !errors.Is(err, auth.ErrUnauthenticated) {
		t.Errorf("an expired key gives %v", err)
	}
	cat.Close()
	for _, f := range []string{file, file + "-wal"} {
		b, err := os.ReadFile(f)
		if err == nil && bytes.Contains(b, []byte(secret)) {
			t.Errorf("%s holds the secret", f)
		}
	}
}

func TestBusPermissions(t *testing.T) {
	cat, err := catalog.Open(t.Context(), filepath.Join(t.TempDir(), "catalog.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer cat.Close()
	k := auth.NewKeyring(cat, slog.New(slog.DiscardHandler))
	for scope, want := range map[string]string{
		auth.ScopeIngest:  "control.masking ingest.pairs.> telemetry.cluster.ID.*",
		auth.ScopeControl: "control.masking",
		auth.ScopeRead:    "",
		auth.ScopeAdmin:   "",
	} {
		id, key, err := k.Create(t.Context(), scope, []string{scope}, 0)
		if err != nil {
			t.Fatal(err)
		}
		var hears []string
		if scope == auth.ScopeControl { // an inspector, which is asked and answers
			hears = bus.ClusterSubjects(id)
		}
		p, err := k.Bus(key)
		want = strings.Replace(want, "ID", id, 1)
		if got := strings.Join(p.Publish, " "); got != want || (err == nil) != (want != "") ||
			!slices.Equal(p.Subscribe, hears) || p.AllowResponses != (hears != nil) {
			t.Errorf("%s: may publish %q and subscribe %q, %v; want %q", scope, got, p.Subscribe, err, want)
		}
	}
}

func TestCreateRefusesWhatMakesNoSense(t *testing.T) {
	cat, err := catalog.Open(t.Context(), filepath.Join(t.TempDir(), "catalog.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer cat.Close()
	k := auth.NewKeyring(cat, slog.New(slog.DiscardHandler))
	for _, c := range []struct {
		name    string
		scopes  []string
		expires int64
	}{{"a", nil, 0}, {"a", []string{"root"}, 0}, {"a\nb", []string{"read"}, 0}, {"a", []string{"read"}, 1}} {
		if _, _, err := k.Create(t.Context(), c.name, c.scopes, c.expires); err == nil {
			t.Errorf("%+v was made", c)
		}
	}
}
