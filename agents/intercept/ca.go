package intercept

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// caLifetime is how long a CA that was made here is valid, and clockSkew how far
// back certificates start, for clients whose clock is behind.
const (
	caLifetime = 365 * 24 * time.Hour
	clockSkew  = 5 * time.Minute
)

// CA signs the leaves that apps are answered with. It is safe for concurrent use.
type CA struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// NewCA makes a CA: ECDSA P-256, valid one year, good for signing leaves and
// nothing else. Its key is in memory only unless Save is told to write it. Each CA
// has a name of its own, so that several may be trusted side by side.
func NewCA() (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial := newSerial()
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject: pkix.Name{
			Organization: []string{"Speedscale"},
			CommonName:   "Speedscale capture CA " + hex.EncodeToString(serial.Bytes()[:4]),
		},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(caLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &CA{cert, key}, nil
}

// LoadCA reads a CA from two PEM files, the certificate and its key (PKCS #8,
// PKCS #1 or SEC 1).
func LoadCA(certFile, keyFile string) (*CA, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("CA certificate %q and key %q: %w", certFile, keyFile, err)
	}
	cert := pair.Leaf
	switch now := time.Now(); {
	case !cert.IsCA:
		return nil, fmt.Errorf("CA certificate %q: %q is not a CA", certFile, cert.Subject)
	case cert.KeyUsage != 0 && cert.KeyUsage&x509.KeyUsageCertSign == 0:
		return nil, fmt.Errorf("CA certificate %q: its key usage does not allow signing certificates", certFile)
	case now.After(cert.NotAfter):
		return nil, fmt.Errorf("CA certificate %q: expired on %s", certFile, cert.NotAfter.Format(time.DateOnly))
	case now.Before(cert.NotBefore):
		return nil, fmt.Errorf("CA certificate %q: not valid before %s", certFile, cert.NotBefore.Format(time.RFC3339))
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("CA key %q: a %T cannot sign", keyFile, pair.PrivateKey)
	}
	return &CA{cert, key}, nil
}

// CertPEM returns the certificate in PEM form. It is not secret.
func (ca *CA) CertPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})
}

// Save writes the certificate, and the key too unless keyFile is empty, as PEM
// files. The key can be read by its owner only.
func (ca *CA) Save(certFile, keyFile string) error {
	if keyFile != "" {
		der, err := x509.MarshalPKCS8PrivateKey(ca.key)
		if err != nil {
			return err
		}
		block := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		if err := writeFile(keyFile, block, 0o600); err != nil {
			return err
		}
	}
	return writeFile(certFile, ca.CertPEM(), 0o644)
}

// writeFile replaces a file as a whole, so that no reader sees half of it.
func writeFile(name string, data []byte, mode os.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".tmp-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// newSerial returns a positive serial number of 127 random bits (RFC 5280, section
// 4.1.2.2, allows 20 bytes), whose first byte is never zero.
func newSerial() *big.Int {
	var b [16]byte
	rand.Read(b[:]) // crypto/rand.Read never fails
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b[:])
}
