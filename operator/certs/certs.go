// Package certs makes and renews the certificates of the operator's webhooks.
//
// One CA is kept in a Secret of the operator's namespace; each replica issues
// its own serving certificate from it, in memory only, and keeps the caBundle of
// the webhook configurations as the Secret says. A renewed CA is announced in the
// caBundle, next to the old one, before anything it signed is served, so that
// the API server trusts every replica at every moment.
package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"
)

// Options say which certificates to keep.
type Options struct {
	// Secret keeps the CA. Its client also needs get and patch of the webhook
	// configurations, and get of the Secret's namespace, which takes them along when it is
	// deleted.
	Secret Secret
	// Service is the name of the Service that the API server calls.
	Service string
	// Mutating and Validating name the webhook configurations whose caBundle is kept.
	Mutating, Validating []string
	// Logger says what was made, renewed and repaired.
	Logger *slog.Logger
}

// Manager keeps the certificates. Its methods may be called at the same time.
type Manager struct {
	o    Options
	leaf atomic.Pointer[tls.Certificate]
}

// New returns a manager that has no certificate until it is started.
func New(o Options) *Manager { return &Manager{o: o} }

// NeedLeaderElection says no: every replica serves webhooks.
func (m *Manager) NeedLeaderElection() bool { return false }

// GetCertificate is for a tls.Config. It fails until the first pass has ended.
func (m *Manager) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if leaf := m.leaf.Load(); leaf != nil {
		return leaf, nil
	}
	return nil, errors.New("the webhooks' certificate is not made yet")
}

// Ready is a readiness check: nil when there is a certificate to serve.
func (m *Manager) Ready(*http.Request) error {
	_, err := m.GetCertificate(nil)
	return err
}

// Start keeps the certificates until the context ends.
func (m *Manager) Start(ctx context.Context) error {
	repeat(ctx, m.o.Logger, m.Sync)
	return nil
}

// Sync makes one pass: it reads the CA, makes or renews it where that is due,
// writes the caBundles that differ, and issues a serving certificate when the
// present one is old. It is for one goroutine at a time.
func (m *Manager) Sync(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, passLimit)
	defer cancel()
	now := time.Now()
	ca, err := m.authority(ctx, now)
	if err != nil {
		return err
	}
	changed, bundleErr := m.writeBundles(ctx, ca.bundlePEM())
	if m.leafDue(ca, now, changed || bundleErr != nil) {
		leaf, err := ca.issue(now, serviceNames(m.o.Service, m.o.Secret.Namespace))
		if err != nil {
			return errors.Join(bundleErr, err)
		}
		m.leaf.Store(leaf)
		m.o.Logger.Info("webhook certificate issued", "expires", leaf.Leaf.NotAfter)
	}
	return bundleErr
}

// leafDue says whether to issue a new serving certificate. While a new CA is not
// in all caBundles, or has hardly been made, the leaf of the old one stays: it is
// still verified, and an API server may not have seen the new one.
func (m *Manager) leafDue(ca *authority, now time.Time, announcing bool) bool {
	leaf := m.leaf.Load()
	switch {
	case leaf == nil || !now.Before(leaf.Leaf.NotAfter):
		return true
	case ca.signed(leaf):
		return due(leaf.Leaf, now)
	default:
		return !announcing && now.After(ca.cert.NotBefore.Add(clockSkew+interval))
	}
}

// The names under which the API server calls a Service, the one it uses first.
func serviceNames(service, namespace string) []string {
	name := service + "." + namespace
	return []string{name + ".svc", name, service, name + ".svc.cluster.local"}
}

// authority returns the CA of the Secret, which it makes or renews where that is due.
func (m *Manager) authority(ctx context.Context, now time.Time) (ca *authority, err error) {
	err = m.o.Secret.ensure(ctx, func(present map[string][]byte) (map[string][]byte, error) {
		var old *authority
		if present != nil {
			// A Secret that holds nothing usable is filled anew: it is the operator's own.
			if old, err = decodeAuthority(present); err != nil {
				m.o.Logger.Warn("CA of the webhooks is not usable and is made anew", "error", err)
			} else if !due(old.cert, now) || m.starting() && now.Before(old.cert.NotAfter) {
				ca = old
				return nil, nil
			}
		}
		if ca, err = newAuthority(now, old); err != nil {
			return nil, err
		}
		m.o.Logger.Info("CA of the webhooks made", "expires", ca.cert.NotAfter)
		return ca.encode()
	})
	return ca, err
}

// starting says that nothing is served yet. A replica that starts takes the CA
// that is trusted already, and leaves its renewal to a later pass.
func (m *Manager) starting() bool { return m.leaf.Load() == nil }
