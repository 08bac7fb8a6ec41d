package auth_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/speedscale/speedscale/cloud/auth"
	"github.com/speedscale/speedscale/cloud/catalog"
)

func TestDeclare(t *testing.T) {
	cat, err := catalog.Open(t.Context(), filepath.Join(t.TempDir(), "catalog.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer cat.Close()
	k := auth.NewKeyring(cat, slog.New(slog.DiscardHandler))
	dir := t.TempDir()
	write := func(name, key string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, made, err := k.Create(t.Context(), "ci", []string{auth.ScopeRead}, 0)
	if err != nil {
		t.Fatal(err)
	}
	admin, operator, next := auth.NewKey(), auth.NewKey(), auth.NewKey()
	write("admin", admin)
	write("operator", operator)
	for range 2 { // each start
		if err := k.Declare(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
	}
	check := func(key, scope string, want error) {
		t.Helper()
		if _, err := k.Check(t.Context(), key, scope); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("scope %s: %v, want %v", scope, err, want)
		}
	}
	check(admin, auth.ScopeAdmin, nil)
	check(operator, auth.ScopeIngest, nil)
	check(operator, auth.ScopeRead, auth.ErrDenied)

	write("admin", next)
	if err := k.Declare(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	check(admin, auth.ScopeAdmin, auth.ErrUnauthenticated)
	check(next, auth.ScopeAdmin, nil)
	check(operator, auth.ScopeControl, nil)
	check(made, auth.ScopeRead, nil)
	if keys, err := cat.Keys(t.Context()); err != nil || len(keys) != 3 {
		t.Errorf("%d keys, %v; want 3", len(keys), err)
	}

	write("admin", "hunter2")
	if err := k.Declare(t.Context(), dir); err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "admin") {
		t.Errorf("what is not a key: %v", err)
	}
	if err := k.Declare(t.Context(), t.TempDir()); err == nil {
		t.Error("a folder without keys was taken")
	}
	check(next, auth.ScopeAdmin, nil)
}
