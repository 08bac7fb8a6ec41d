package intercept_test

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/speedscale/speedscale/agents/intercept"
)

// TestUnusableFilesAreRelayedOpaque: an app goes on whose sidecar was given files that are
// missing or wrong.
func TestUnusableFilesAreRelayedOpaque(t *testing.T) {
	world := newAuthority(t, "World CA")
	own := world.issue("localhost")
	server := serveHTTP(t, &tls.Config{Certificates: []tls.Certificate{own}})
	ca, _ := newCA(t)
	cert, key := writePair(t, own)
	missing := filepath.Join(t.TempDir(), "missing")
	wrong := filepath.Join(t.TempDir(), "wrong")
	must(t, os.WriteFile(wrong, []byte("no PEM"), 0o600))
	for name, c := range map[string]struct {
		o  intercept.Options
		in bool
	}{
		"roots missing":              {intercept.Options{UpstreamCA: []string{world.file, missing}}, false},
		"roots wrong":                {intercept.Options{UpstreamCA: []string{wrong}}, false},
		"API server's roots missing": {intercept.Options{KubeCA: missing}, false},
		"client certificate missing": {intercept.Options{ClientCert: missing, ClientKey: key}, false},
		"client's key wrong":         {intercept.Options{ClientCert: cert, ClientKey: wrong}, false},
		"own certificate missing":    {intercept.Options{InCert: missing, InKey: key}, true},
		"own key wrong":              {intercept.Options{InCert: cert, InKey: wrong}, true},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			c.o.CA, c.o.Log = ca, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
			if _, err := intercept.New(c.o); err == nil || log.Len() > 0 {
				t.Errorf("who wants to know at once is told %v, and by the log: %s", err, log.String())
			}
			c.o.Tolerant = true
			i := newInterceptor(t, c.o)
			open := outbound(i, "localhost:443")
			host := "localhost"
			if c.in {
				open, host = inbound(i), ""
			}
			p := startProxy(t, server, open)
			for range 2 {
				if got, err := get(p, &tls.Config{RootCAs: world.pool}, true); err != nil || !strings.HasPrefix(got, "HTTP/2.0") {
					t.Fatalf("%q, %v", got, err)
				}
			}
			waitCount(t, i, host, intercept.ReasonUnusableFile, 2)
			if n := strings.Count(log.String(), "relayed without capture"); n != 1 {
				t.Errorf("it is said %d times: %s", n, log.String())
			}
		})
	}
}
