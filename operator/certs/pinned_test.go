package certs_test

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/speedscale/speedscale/operator/certs"
)

func pinned(c client.Client) *certs.Pinned {
	return certs.NewPinned(certs.Secret{Client: c, Namespace: namespace, Name: secretName},
		"speedscale-forwarder", slog.New(slog.DiscardHandler))
}

// A client that has the certificate as its only root connects to a server that
// has it with its key, as pods and the forwarder do.
func TestPinnedCertificateIsTrustedByWhoHasIt(t *testing.T) {
	c := newClient()
	p := pinned(c)
	if p.PEM() != "" || p.Ready(nil) == nil {
		t.Error("a certificate before the first pass")
	}
	if err := p.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Ready(nil); err != nil {
		t.Error(err)
	}
	data := readSecret(t, c).Data
	pair, err := tls.X509KeyPair(data["tls.crt"], data["tls.key"])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(p.PEM()))
	for _, name := range []string{"speedscale-forwarder.speedscale.svc", "speedscale-forwarder.speedscale.svc.cluster.local"} {
		near, far := net.Pipe()
		var wg sync.WaitGroup
		wg.Go(func() { _ = tls.Server(far, &tls.Config{Certificates: []tls.Certificate{pair}}).Handshake() })
		if err := tls.Client(near, &tls.Config{RootCAs: roots, ServerName: name}).Handshake(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		near.Close()
		far.Close()
		wg.Wait()
	}
}

func TestPinnedCertificateIsKeptAndShared(t *testing.T) {
	c := newClient()
	replicas := make([]*certs.Pinned, 8)
	var wg sync.WaitGroup
	for i := range replicas {
		replicas[i] = pinned(c)
		wg.Go(func() {
			if err := replicas[i].Sync(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	want := string(readSecret(t, c).Data["tls.crt"])
	for _, p := range replicas {
		if p.PEM() != want {
			t.Error("a replica has another certificate")
		}
	}
}

func TestPinnedCertificateIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient()
		p := pinned(c)
		pass := func() string {
			if err := p.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			return p.PEM()
		}
		first := pass()
		time.Sleep(6 * 365 * day)
		if pass() != first {
			t.Error("renewed after 6 of 10 years")
		}
		time.Sleep(365 * day)
		second := pass()
		if second == first {
			t.Error("not renewed after 7 of 10 years")
		}
		if string(readSecret(t, c).Data["tls.crt"]) != second {
			t.Error("the secret has another certificate")
		}
	})
}
