package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// pinnedLife is long because whoever trusts the certificate has a copy of it for
// as long as it runs.
const pinnedLife = 10 * 365 * 24 * time.Hour

// Pinned keeps the certificate of a server that has no CA: it is signed by
// itself, and clients are given it as the one that they trust. So there is no key
// that could sign others.
type Pinned struct {
	secret Secret
	names  []string
	log    *slog.Logger
	pem    atomic.Pointer[string]
}

// NewPinned returns a keeper of the certificate for the Service of the given name,
// next to the Secret.
func NewPinned(s Secret, service string, log *slog.Logger) *Pinned {
	return &Pinned{secret: s, names: serviceNames(service, s.Namespace), log: log}
}

// NeedLeaderElection says no: every replica hands the certificate out.
func (p *Pinned) NeedLeaderElection() bool { return false }

// Start keeps the certificate until the context ends.
func (p *Pinned) Start(ctx context.Context) error {
	repeat(ctx, p.log, p.Sync)
	return nil
}

// Ready is a readiness check: nil when there is a certificate to hand out.
func (p *Pinned) Ready(*http.Request) error {
	if p.PEM() == "" {
		return fmt.Errorf("there is no certificate of the forwarder yet: secret %q", p.secret.Name)
	}
	return nil
}

// PEM returns the certificate, "" before the first pass has ended.
func (p *Pinned) PEM() string {
	if text := p.pem.Load(); text != nil {
		return *text
	}
	return ""
}

// Sync makes one pass. It is for one goroutine at a time.
func (p *Pinned) Sync(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, passLimit)
	defer cancel()
	var current string
	err := p.secret.ensure(ctx, func(present map[string][]byte) (map[string][]byte, error) {
		if err := p.usable(present, time.Now()); err == nil {
			current = string(present[corev1.TLSCertKey])
			return nil, nil
		} else if present != nil {
			p.log.Warn("certificate is made anew", "secret", p.secret.Name, "reason", err)
		}
		made, err := selfSigned(time.Now(), p.names)
		current = string(made[corev1.TLSCertKey])
		return made, err
	})
	if err != nil {
		return err
	}
	p.pem.Store(&current)
	return nil
}

// usable says what is wrong with the Secret's certificate, nil for nothing.
func (p *Pinned) usable(data map[string][]byte, now time.Time) error {
	pair, err := tls.X509KeyPair(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey])
	switch {
	case err != nil:
		return err
	case !slices.Equal(pair.Leaf.DNSNames, p.names):
		return errors.New("it is for another name")
	case due(pair.Leaf, now):
		return errors.New("two thirds of its life are over")
	}
	return nil
}

func selfSigned(now time.Time, names []string) (map[string][]byte, error) {
	cert, key, err := sign(serving(names, now, now.Add(pinnedLife)), nil)
	if err != nil {
		return nil, err
	}
	return pairPEM(cert, key)
}
