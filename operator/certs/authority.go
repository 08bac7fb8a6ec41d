package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	authorityLife = 365 * 24 * time.Hour
	leafLife      = 30 * 24 * time.Hour
	// Clocks of nodes differ: what is made now is valid for one that is behind.
	clockSkew = time.Hour
	// bundleKey holds the CA and its predecessor in the Secret, beside the
	// certificate and key of the CA that signs now.
	bundleKey = "ca.crt"
)

// authority is a CA, with the certificates that verify what it and its
// predecessor have signed.
type authority struct {
	cert   *x509.Certificate
	key    crypto.Signer
	bundle []*x509.Certificate // the own one first
}

// due says whether two thirds of a certificate's life are over.
func due(cert *x509.Certificate, now time.Time) bool {
	life := cert.NotAfter.Sub(cert.NotBefore)
	return !now.Before(cert.NotAfter.Add(-life / 3))
}

// newAuthority makes a CA whose bundle goes on verifying the leaves of the old
// one, nil where there is none.
func newAuthority(now time.Time, old *authority) (*authority, error) {
	cert, key, err := sign(&x509.Certificate{
		Subject:               pkix.Name{CommonName: "speedscale-operator webhooks"},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}, nil)
	if err != nil {
		return nil, err
	}
	a := &authority{cert: cert, key: key, bundle: []*x509.Certificate{cert}}
	if old != nil && now.Before(old.cert.NotAfter) {
		a.bundle = append(a.bundle, old.cert)
	}
	return a, nil
}

// issue makes a serving certificate for the given names, with a key that never
// leaves the process.
func (a *authority) issue(now time.Time, names []string) (*tls.Certificate, error) {
	end := now.Add(leafLife)
	if end.After(a.cert.NotAfter) {
		end = a.cert.NotAfter
	}
	leaf, key, err := sign(serving(names, now, end), a)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// serving is the template of a server's certificate.
func serving(names []string, now, end time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject:     pkix.Name{CommonName: names[0]},
		DNSNames:    names,
		NotBefore:   now.Add(-clockSkew),
		NotAfter:    end,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
}

// sign makes a certificate with a new key, signed by the CA, or by itself where
// that is nil.
func sign(template *x509.Certificate, by *authority) (*x509.Certificate, crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	parent, signer := template, crypto.Signer(key)
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}

// pairPEM is a certificate and its key as a Secret of type kubernetes.io/tls has them.
func pairPEM(cert *x509.Certificate, key crypto.Signer) (map[string][]byte, error) {
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		corev1.TLSCertKey:       certPEM(cert),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}, nil
}

// signed says whether this CA, and not its predecessor, made a leaf.
func (a *authority) signed(leaf *tls.Certificate) bool {
	return leaf.Leaf.CheckSignatureFrom(a.cert) == nil
}

func (a *authority) bundlePEM() []byte {
	var out []byte
	for _, cert := range a.bundle {
		out = append(out, certPEM(cert)...)
	}
	return out
}

func certPEM(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

// encode returns what the Secret holds.
func (a *authority) encode() (map[string][]byte, error) {
	data, err := pairPEM(a.cert, a.key)
	if err != nil {
		return nil, err
	}
	data[bundleKey] = a.bundlePEM()
	return data, nil
}

// decodeAuthority reads what encode wrote. An error names the key of the Secret
// that is wrong, and never shows its value.
func decodeAuthority(data map[string][]byte) (*authority, error) {
	pair, err := tls.X509KeyPair(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, fmt.Errorf("%q and %q: %w", corev1.TLSCertKey, corev1.TLSPrivateKeyKey, err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%q cannot sign", corev1.TLSPrivateKeyKey)
	}
	if !pair.Leaf.IsCA {
		return nil, fmt.Errorf("%q is not the certificate of a CA", corev1.TLSCertKey)
	}
	bundle, err := parseBundle(data[bundleKey])
	if err != nil {
		return nil, fmt.Errorf("%q: %w", bundleKey, err)
	}
	if !bundle[0].Equal(pair.Leaf) {
		return nil, fmt.Errorf("%q does not begin with the certificate in %q", bundleKey, corev1.TLSCertKey)
	}
	return &authority{cert: pair.Leaf, key: key, bundle: bundle}, nil
}

func parseBundle(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, cert)
	}
	if len(out) == 0 {
		return nil, errors.New("no certificate in PEM form")
	}
	return out, nil
}
