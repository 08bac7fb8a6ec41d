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
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// How often Secret and caBundles are compared with what they should be, and
	// how soon a pass that failed is repeated.
	interval = time.Minute
	retry    = 5 * time.Second
	// A pass gives up after this time, so that a stuck API server is noticed.
	passLimit = 30 * time.Second
)

// Options say which certificates to keep.
type Options struct {
	// Client reaches the API server without a cache: a cached one would read all
	// Secrets. It needs get, create and update of the Secret, and get and patch
	// of the webhook configurations.
	Client client.Client
	// Namespace is where the Secret and the Service are.
	Namespace string
	// Secret is the name of the Secret that keeps the CA.
	Secret string
	// Service is the name of the Service that the API server calls.
	Service string
	// Mutating and Validating name the webhook configurations whose caBundle is kept.
	Mutating, Validating []string
	// Owner, where it is given, takes the Secret along when it is deleted.
	Owner *metav1.OwnerReference
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

// Start keeps the certificates until the context ends. What goes wrong is
// logged and tried again; it never ends the process.
func (m *Manager) Start(ctx context.Context) error {
	for ctx.Err() == nil {
		wait := interval
		if err := m.Sync(ctx); err != nil && ctx.Err() == nil {
			m.o.Logger.Warn("webhook certificates are not as they should be", "error", err)
			wait = retry
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
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
		return fmt.Errorf("secret %q: %w", m.o.Namespace+"/"+m.o.Secret, err)
	}
	changed, bundleErr := m.writeBundles(ctx, ca.bundlePEM())
	if m.leafDue(ca, now, changed || bundleErr != nil) {
		leaf, err := ca.issue(now, serviceNames(m.o.Service, m.o.Namespace))
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

// authority returns the CA of the Secret. Of replicas that make or renew it at
// the same time one succeeds, and the others take its CA.
func (m *Manager) authority(ctx context.Context, now time.Time) (*authority, error) {
	for {
		ca, err := m.readOrWrite(ctx, now)
		if apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err) {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			continue
		}
		return ca, err
	}
}

// starting says that nothing is served yet. A replica that starts takes the CA
// that is trusted already, and leaves its renewal to a later pass.
func (m *Manager) starting() bool { return m.leaf.Load() == nil }

func (m *Manager) readOrWrite(ctx context.Context, now time.Time) (*authority, error) {
	secret := &corev1.Secret{}
	err := m.o.Client.Get(ctx, client.ObjectKey{Namespace: m.o.Namespace, Name: m.o.Secret}, secret)
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return nil, err
	}
	var old *authority
	if !missing {
		// A Secret that holds nothing usable is filled anew: it is the operator's own.
		if old, err = decodeAuthority(secret.Data); err != nil {
			m.o.Logger.Warn("CA of the webhooks is not usable and is made anew", "secret", m.o.Secret, "error", err)
		} else if !due(old.cert, now) || m.starting() && now.Before(old.cert.NotAfter) {
			return old, nil
		}
	}
	ca, err := newAuthority(now, old)
	if err != nil {
		return nil, err
	}
	if secret.Data, err = ca.encode(); err != nil {
		return nil, err
	}
	if missing {
		secret.ObjectMeta = metav1.ObjectMeta{
			Namespace: m.o.Namespace, Name: m.o.Secret,
			Labels: map[string]string{"controlplane.speedscale.com/component": "operator"},
		}
		if m.o.Owner != nil {
			secret.OwnerReferences = []metav1.OwnerReference{*m.o.Owner}
		}
		err = m.o.Client.Create(ctx, secret)
	} else {
		err = m.o.Client.Update(ctx, secret)
	}
	if err != nil {
		return nil, err
	}
	m.o.Logger.Info("CA of the webhooks made", "secret", m.o.Secret, "expires", ca.cert.NotAfter)
	return ca, nil
}
