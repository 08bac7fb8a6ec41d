package intercept

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/speedscale/speedscale/agents/lru"
)

// A leaf is valid for leafLifetime, and replaced when less than leafRenewal of it
// is left.
const (
	leafLifetime = time.Hour
	leafRenewal  = 10 * time.Minute
	maxLeaves    = 1024
	maxNames     = 100
)

// leaves mints certificates and keeps them, at most maxLeaves.
type leaves struct {
	ca     *CA
	cache  *lru.Cache[string, *tls.Certificate]
	flight singleflight.Group
}

func newLeaves(ca *CA) *leaves {
	return &leaves{ca: ca, cache: lru.New[string, *tls.Certificate](maxLeaves)}
}

// get returns a leaf for the given names, each a host name or an IP address.
// Handshakes that need the same one at the same time share the work.
func (l *leaves) get(names []string) (*tls.Certificate, error) {
	names = names[:min(len(names), maxNames)]
	key := strings.Join(names, " ")
	if c, ok := l.cache.Get(key); ok {
		return c, nil
	}
	v, err, _ := l.flight.Do(key, func() (any, error) {
		c, err := l.ca.mint(names, time.Now())
		if err != nil {
			return nil, err
		}
		l.cache.Put(key, c, c.Leaf.NotAfter.Add(-leafRenewal))
		return c, nil
	})
	if err != nil {
		return nil, err
	}
	return v.(*tls.Certificate), nil
}

func (ca *CA) mint(names []string, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:   newSerial(),
		NotBefore:      now.Add(-clockSkew),
		NotAfter:       now.Add(leafLifetime),
		KeyUsage:       x509.KeyUsageDigitalSignature,
		ExtKeyUsage:    []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		AuthorityKeyId: ca.cert.SubjectKeyId,
	}
	if template.NotAfter.After(ca.cert.NotAfter) {
		template.NotAfter = ca.cert.NotAfter
	}
	// A common name is at most 64 characters long (RFC 5280, appendix A.1).
	if len(names[0]) <= 64 {
		template.Subject = pkix.Name{CommonName: names[0]}
	}
	for _, name := range names {
		if ip, err := netip.ParseAddr(name); err == nil {
			template.IPAddresses = append(template.IPAddresses, ip.Unmap().AsSlice())
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	// CreateCertificate derives no SubjectKeyId for a leaf, but takes one.
	template.SubjectKeyId, err = subjectKeyID(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}
