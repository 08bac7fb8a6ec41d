package forwarder_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/forwarder"
	"github.com/speedscale/speedscale/cloud/server"
	"github.com/speedscale/speedscale/test/privateca"
)

// TestCloudWithAPrivateCA: the forwarder verifies a real cloud by the CA that it is given,
// gets its rules and is acknowledged what it sends; without the CA it sends nothing, and
// says what is missing.
func TestCloudWithAPrivateCA(t *testing.T) {
	ca := privateca.New(t, "127.0.0.1")
	s, err := server.Open(t.Context(), server.Options{DataDir: t.TempDir(), TLS: ca.Server(t)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("a-token-of-this-test"), 0o600); err != nil {
		t.Fatal(err)
	}
	vars := map[string]string{
		"CLUSTER_NAME": "far", "SPEEDSCALE_API_KEY": s.InitialKey(), "SPEEDSCALE_APP_URL": s.URL(),
		"FORWARDER_LISTEN": "127.0.0.1:0", "FORWARDER_TOKEN_FILE": token,
	}
	start := func(file string) (running, lines) {
		vars["SPEEDSCALE_APP_CA"], vars["FORWARDER_SPOOL"] = file, t.TempDir()
		settings, err := forwarder.ReadSettings(agent.NewVars(func(name string) string { return vars[name] }))
		if err != nil {
			t.Fatal(err)
		}
		said := make(lines, 100)
		settings.Cloud.Logger = slog.New(slog.NewTextHandler(said, nil))
		return run(t, settings.Options), said
	}

	f, said := start("")
	select {
	case line := <-said:
		if !strings.Contains(line, "SPEEDSCALE_APP_CA names a PEM file") {
			t.Errorf("without the CA it says %s", line)
		}
	case <-time.After(30 * time.Second):
		t.Error("without the CA nothing is said")
	}
	if f.Ready() == nil {
		t.Error("without the CA the forwarder has rules of a cloud")
	}
	f.stop()

	f, _ = start(ca.CA)
	eventually(t, "rules", func() bool { return f.Ready() == nil })
	p := proxy(t, f, "p")
	for i := range 10 {
		p.Pair(pair(i, "/orders"))
	}
	closeNow(t, p)
	drain(t, f)
}

// lines takes what a log writes, and drops what nobody waits for.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	select {
	case l <- string(b):
	default:
	}
	return len(b), nil
}
