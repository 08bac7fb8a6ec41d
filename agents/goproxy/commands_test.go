package goproxy_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/config/trust"
	"github.com/speedscale/speedscale/agents/goproxy"
)

func runCommand(t *testing.T, vars map[string]string, args ...string) error {
	t.Helper()
	get := func(name string) string { return vars[name] }
	return goproxy.Main(t.Context(), &agent.Env{Name: "goproxy", Args: args, Vars: agent.NewVars(get), Log: slog.New(slog.DiscardHandler)})
}

func TestCommandCA(t *testing.T) {
	dir, trusted := t.TempDir(), t.TempDir()
	vars := map[string]string{"TLS_CERT_DIR": dir, "TLS_TRUST_DIR": trusted}
	if err := runCommand(t, vars, "ca"); err != nil {
		t.Fatal(err)
	}
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(filepath.Join(trusted, trust.CA))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the key: %v, %v", info.Mode(), err)
	}
	// Whatever apps can read has no key in it.
	filepath.WalkDir(trusted, func(path string, d os.DirEntry, err error) error {
		if b, _ := os.ReadFile(path); strings.Contains(string(b), "PRIVATE") || err != nil {
			t.Errorf("%s: %v, %s", path, err, b)
		}
		return nil
	})
	if err := runCommand(t, vars, "ca"); err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(filepath.Join(trusted, trust.CA)); err != nil || string(again) != string(first) {
		t.Errorf("a second run changed the CA that apps trust (%v)", err)
	}
	if err := os.WriteFile(cert, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := runCommand(t, vars, "ca"); err == nil || !strings.Contains(err.Error(), cert) {
		t.Errorf("a damaged CA: %v", err)
	}
}

func TestCommandWait(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var ready atomic.Bool
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- agent.Serve(ctx, l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if !ready.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}))
	}()
	defer func() { cancel(); <-served }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	vars := map[string]string{"HEALTH_HTTP_PORT": port}

	start := time.Now()
	if err := runCommand(t, vars, "wait", "100ms"); err != nil || time.Since(start) < 100*time.Millisecond {
		t.Errorf("not ready: returned %v after %s", err, time.Since(start))
	}
	time.AfterFunc(50*time.Millisecond, func() { ready.Store(true) })
	start = time.Now()
	if err := runCommand(t, vars, "wait", "1m"); err != nil || time.Since(start) > 30*time.Second {
		t.Errorf("ready: returned %v after %s", err, time.Since(start))
	}
}

func TestWrongCommands(t *testing.T) {
	for args, want := range map[string]string{
		"serve": `"serve"`, "ca x": "want none", "wait": "want none", "wait soon": `"soon"`, "wait -1s": `"-1s"`, "ca": "TLS_TRUST_DIR",
	} {
		if err := runCommand(t, nil, strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
}
