package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/speedscale/speedscale/cluster/install"
)

// lastPart is the part of a certificate's life, at its end, in which it should have been
// renewed: the operator does so when two thirds are over.
const lastPart = 6

// Dial opens a connection to one port of the cluster.
type Dial func(ctx context.Context) (net.Conn, error)

// dialError is why the operator was not reached, which says nothing about certificates.
type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// serverName is how the API server calls the operator.
func serverName(namespace string) string { return install.Operator + "." + namespace + ".svc" }

// served asks for the operator's certificate, without trusting it.
func served(ctx context.Context, dial Dial, name string) Fetched[x509.Certificate] {
	if dial == nil {
		return Fetched[x509.Certificate]{}
	}
	raw, err := dial(ctx)
	if err != nil {
		return Fetched[x509.Certificate]{Err: &dialError{err}}
	}
	// The certificate is looked at, and nothing is sent.
	conn := tls.Client(raw, &tls.Config{ServerName: name, InsecureSkipVerify: true}) //nolint:gosec // it is verified by the caBundle of each webhook
	defer conn.Close()
	if err := conn.HandshakeContext(ctx); err != nil {
		return Fetched[x509.Certificate]{Err: err}
	}
	return Fetched[x509.Certificate]{Object: conn.ConnectionState().PeerCertificates[0]}
}

// bundle reads a caBundle.
func bundle(text []byte) (all []*x509.Certificate, err error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, cert)
	}
	if len(all) == 0 {
		return nil, errors.New("no certificate in PEM form")
	}
	return all, nil
}

func webhookBundle(f *Facts) []Result {
	hint := fmt.Sprintf("the operator writes it once in a minute: kubectl -n %s logs deployment/%s says why it did not", f.Namespace, install.Operator)
	said := map[string]bool{}
	return f.eachWebhook(func(w Webhook) *Result {
		err := f.trusts(w.CABundle)
		if err == nil || said[err.Error()] {
			return nil
		}
		said[err.Error()] = true
		return new(fail(hint, "%v", err))
	})
}

// trusts says why a caBundle does not verify the operator. Where its certificate could not
// be asked for, only the bundle itself is looked at.
func (f *Facts) trusts(text []byte) error {
	if len(text) == 0 {
		return errors.New("it has no caBundle, so that the API server cannot call it")
	}
	all, err := bundle(text)
	if err != nil {
		return fmt.Errorf("its caBundle cannot be read: %w", err)
	}
	roots := x509.NewCertPool()
	var valid int
	for _, ca := range all {
		roots.AddCert(ca)
		if f.Now.Before(ca.NotAfter) {
			valid++
		}
	}
	if valid == 0 {
		return fmt.Errorf("the CA in its caBundle has expired %s ago", human(f.Now.Sub(all[0].NotAfter)))
	}
	leaf := f.Served.Object
	if leaf == nil {
		return nil
	}
	// When the leaf itself is valid is another check's.
	_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2)})
	if unknown := (x509.UnknownAuthorityError{}); errors.As(err, &unknown) {
		return fmt.Errorf("its caBundle is of another CA than the operator's certificate, of issuer %q", leaf.Issuer)
	}
	return nil
}

func webhookCertificate(f *Facts) Result {
	hint := fmt.Sprintf("the operator renews it: kubectl -n %s logs deployment/%s says why it did not", f.Namespace, install.Operator)
	var unreachable *dialError
	leaf := f.Served.Object
	switch {
	case errors.As(f.Served.Err, &unreachable):
		return skip("the operator was not reached to look at it: %v", f.Served.Err)
	case f.Served.Err != nil:
		return fail(hint, "the operator's port does not answer by TLS: %v", f.Served.Err)
	case leaf == nil:
		return skip("it was not asked for")
	}
	life, left := leaf.NotAfter.Sub(leaf.NotBefore), leaf.NotAfter.Sub(f.Now)
	name := serverName(f.Namespace)
	switch {
	case left <= 0:
		return fail(hint, "it has expired %s ago, on %s", human(-left), leaf.NotAfter.UTC().Format(time.RFC3339))
	case f.Now.Before(leaf.NotBefore):
		return fail("set the clocks of nodes and of this machine", "it is only valid in %s, from %s on", human(leaf.NotBefore.Sub(f.Now)), leaf.NotBefore.UTC().Format(time.RFC3339))
	case leaf.VerifyHostname(name) != nil:
		return fail(hint, "it is for %v, and the API server calls %q", leaf.DNSNames, name)
	case left < life/lastPart:
		return warn(hint, "it expires in %s, and should have been renewed", human(left))
	}
	return ok("made %s ago, for %s more", human(f.Now.Sub(leaf.NotBefore)), human(left))
}
