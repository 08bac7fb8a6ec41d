package intercept

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
)

var errOtherCertificate = errors.New("the app shows another certificate than the one given")

// ownCertificate is the app's certificate. When it is renewed, the app may go on
// with the one before for a while, so that is kept too.
type ownCertificate struct {
	memory
	pairs []*tls.Certificate
}

// find returns the pair whose certificate the app shows.
func (o *ownCertificate) find(shown []byte) *tls.Certificate {
	for _, p := range o.pairs {
		if bytes.Equal(p.Leaf.Raw, shown) {
			return p
		}
	}
	return nil
}

// ownFiles follows the files of the app's certificate.
func ownFiles(cert, key string, log *slog.Logger) *followed[ownCertificate] {
	return &followed[ownCertificate]{
		files: []string{cert, key}, log: log,
		read: func(before *ownCertificate) (*ownCertificate, error) {
			pair, err := tls.LoadX509KeyPair(cert, key)
			if err != nil {
				return nil, fmt.Errorf("the app's certificate %q and key %q: %w", cert, key, err)
			}
			own := &ownCertificate{newMemory(), []*tls.Certificate{&pair}}
			if before != nil {
				own.pairs = append(own.pairs, before.pairs[0])
			}
			return own, nil
		},
		without: "inbound TLS is relayed without capture, until its files can be used",
		with:    "the app's renewed certificate is not used",
	}
}

func (i *Interceptor) intoApp() *direction {
	d := &direction{name: "inbound", server: i.inServer}
	if i.inbound == nil {
		return d
	}
	own := i.inbound.get()
	d.ready, d.unusable, d.stale = true, own == nil, i.inbound.stale.Load()
	if own == nil {
		return d
	}
	d.memory = own.memory
	d.upstream = func(name string) *tls.Config {
		return &tls.Config{
			ServerName:         name,
			ClientSessionCache: own.sessions,
			// The app is verified by its very certificate, whoever signed it
			// and whichever name the client used.
			InsecureSkipVerify: true,
			VerifyConnection: func(state tls.ConnectionState) error {
				if len(state.PeerCertificates) == 0 || own.find(state.PeerCertificates[0].Raw) == nil {
					return errOtherCertificate
				}
				return nil
			},
		}
	}
	d.certificate = func(_ string, _ bool, host *x509.Certificate) (*tls.Certificate, error) {
		if pair := own.find(host.Raw); pair != nil {
			return pair, nil
		}
		return nil, errOtherCertificate
	}
	return d
}
