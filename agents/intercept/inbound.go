package intercept

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// recheck is how often the files of the app's certificate are looked at.
const recheck = 10 * time.Second

var errOtherCertificate = errors.New("the app shows another certificate than the one given")

// ownCertificate is the app's certificate. When it is renewed, the app may go on
// with the one before for a while, so that is kept too.
type ownCertificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex
	checked time.Time
	changed time.Time // modification time of what was loaded
	failure failure
	pairs   []*tls.Certificate // none as long as the files cannot be used
}

func (o *ownCertificate) tell(err error) {
	what := "the app's renewed certificate is not used"
	if len(o.pairs) == 0 {
		what = "inbound TLS is relayed without capture, until its files can be used"
	}
	o.failure.tell(o.log, what, err)
}

func (o *ownCertificate) load() error {
	o.checked = time.Now()
	changed, err := lastChange(o.certFile, o.keyFile)
	if err != nil {
		return fmt.Errorf("the app's certificate: %w", err)
	}
	if changed.Equal(o.changed) {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(o.certFile, o.keyFile)
	if err != nil {
		return fmt.Errorf("the app's certificate %q and key %q: %w", o.certFile, o.keyFile, err)
	}
	o.changed = changed
	o.pairs = append([]*tls.Certificate{&pair}, o.pairs[:min(len(o.pairs), 1)]...)
	return nil
}

func lastChange(files ...string) (last time.Time, err error) {
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			return last, err
		}
		if info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return last, nil
}

// get returns the pairs, none while the files cannot be used.
func (o *ownCertificate) get() []*tls.Certificate {
	o.mu.Lock()
	defer o.mu.Unlock()
	if time.Since(o.checked) >= recheck {
		o.tell(o.load())
	}
	return o.pairs
}

// find returns the pair whose certificate the app shows.
func (o *ownCertificate) find(shown []byte) *tls.Certificate {
	for _, p := range o.get() {
		if bytes.Equal(p.Leaf.Raw, shown) {
			return p
		}
	}
	return nil
}

func (i *Interceptor) intoApp() *direction {
	return &direction{
		name:     "inbound",
		server:   i.inServer,
		ready:    i.inbound != nil,
		unusable: i.inbound != nil && len(i.inbound.get()) == 0,
		upstream: func(name string) *tls.Config {
			return &tls.Config{
				ServerName:         name,
				ClientSessionCache: i.inSessions,
				// The app is verified by its very certificate, whoever signed it
				// and whichever name the client used.
				InsecureSkipVerify: true,
				VerifyConnection: func(state tls.ConnectionState) error {
					if len(state.PeerCertificates) == 0 || i.inbound.find(state.PeerCertificates[0].Raw) == nil {
						return errOtherCertificate
					}
					return nil
				},
			}
		},
		certificate: func(_ string, _ bool, host *x509.Certificate) (*tls.Certificate, error) {
			if pair := i.inbound.find(host.Raw); pair != nil {
				return pair, nil
			}
			return nil, errOtherCertificate
		},
	}
}
