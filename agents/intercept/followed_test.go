package intercept_test

import (
	"crypto/tls"
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/speedscale/speedscale/agents/intercept"
)

// TestRenewedFilesAreReadOnce: the client certificate and the roots were those of the
// start until the end, so that hosts were relayed unopened after a renewal.
func TestRenewedFilesAreReadOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		world, other, clients := newAuthority(t, "World CA"), newAuthority(t, "Other CA"), newAuthority(t, "Clients CA")
		cert, key := writePair(t, clients.issue("first"))
		ca, trust := newCA(t)
		trust.AddCert(world.cert)
		trust.AddCert(other.cert)
		i := newInterceptor(t, intercept.Options{CA: ca, UpstreamCA: []string{world.file}, ClientCert: cert, ClientKey: key})
		accepted := "first"
		host := &tls.Config{
			Certificates: []tls.Certificate{world.issue("localhost")}, ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12,
			VerifyConnection: func(state tls.ConnectionState) error {
				if state.PeerCertificates[0].Subject.CommonName != accepted {
					return errors.New("another client")
				}
				return nil
			},
		}
		want := func(reason string) {
			t.Helper()
			res, err := inMemory(i, host, &tls.Config{RootCAs: trust, ServerName: "localhost"})
			if err != nil || res.Reason != reason {
				t.Errorf("%q, %v; want %q", res.Reason, err, reason)
			}
		}
		changes := 0
		changed := func(files ...string) {
			changes++
			for _, name := range files { // within one tick of the file system's clock
				must(t, os.Chtimes(name, time.Time{}, time.Now().Add(time.Duration(changes)*time.Minute)))
			}
			time.Sleep(10 * time.Second)
		}
		want(intercept.ReasonIntercepted)
		accepted = "second"
		host.SetSessionTicketKeys([][32]byte{{1}}) // no session of the first is resumed
		want(intercept.ReasonRejectedCert)
		replacePair(t, clients.issue("second"), cert, key)
		changed(cert, key)
		want(intercept.ReasonIntercepted)

		host.Certificates = []tls.Certificate{other.issue("localhost")}
		host.SetSessionTicketKeys([][32]byte{{2}})
		want(intercept.ReasonUnverified)
		roots, err := os.ReadFile(other.file)
		must(t, err)
		must(t, os.WriteFile(world.file, roots, 0o644))
		changed(world.file)
		want(intercept.ReasonIntercepted)

		// Files that make no sense leave what was there, and it is said.
		must(t, os.WriteFile(key, []byte("x"), 0o600))
		changed(key)
		want(intercept.ReasonStaleFile)
		must(t, os.Remove(world.file))
		changed()
		want(intercept.ReasonStaleFile)
		replacePair(t, clients.issue("second"), cert, key)
		must(t, os.WriteFile(world.file, roots, 0o644))
		changed(cert, key, world.file)
		want(intercept.ReasonIntercepted)
	})
}
