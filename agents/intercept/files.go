package intercept

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
)

// hostFiles are the files for connections to hosts. They are read once; those that are
// missing or wrong again and again, until they can be used: a Secret may be made, or put
// right, after the pod.
type hostFiles struct {
	o   Options
	log *slog.Logger

	mu      sync.Mutex
	checked time.Time
	failure failure
	trust   *hostTrust // nil as long as one of the files cannot be used
}

// hostTrust is what is in the files.
type hostTrust struct {
	roots      *x509.CertPool // nil is the system's
	kubeRoots  *x509.CertPool // nil where the API server is like any other host
	kubeHost   string
	clientCert *tls.Certificate // nil for none
}

// get returns what the files hold, nil while one of them cannot be used.
func (f *hostFiles) get() *hostTrust {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.trust == nil && time.Since(f.checked) >= recheck {
		f.tell(f.load())
	}
	return f.trust
}

func (f *hostFiles) load() error {
	f.checked = time.Now()
	t, err := readTrust(f.o)
	if err == nil {
		f.trust = t
	}
	return err
}

func (f *hostFiles) tell(err error) {
	f.failure.tell(f.log, "outbound TLS is relayed without capture, until its files can be used", err)
}

func readTrust(o Options) (t *hostTrust, err error) {
	t = &hostTrust{kubeHost: o.KubeHost}
	if t.roots, err = upstreamRoots(o.UpstreamCA); err != nil {
		return nil, err
	}
	if o.KubeCA != "" {
		if t.kubeRoots, err = rootsIn(x509.NewCertPool(), o.KubeCA); err != nil {
			return nil, err
		}
	}
	if o.ClientCert != "" || o.ClientKey != "" {
		pair, err := tls.LoadX509KeyPair(o.ClientCert, o.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("client certificate %q and key %q: %w", o.ClientCert, o.ClientKey, err)
		}
		t.clientCert = &pair
	}
	return t, nil
}

// upstreamRoots are the system's roots and those of the files. nil (the system's)
// is kept where there are no files, since some systems verify by their own means.
func upstreamRoots(files []string) (*x509.CertPool, error) {
	if len(files) == 0 {
		return nil, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("roots of this machine: %w", err)
	}
	for _, name := range files {
		if pool, err = rootsIn(pool, name); err != nil {
			return nil, err
		}
	}
	return pool, nil
}

// rootsIn adds the certificates of a file to a pool.
func rootsIn(pool *x509.CertPool, name string) (*x509.CertPool, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("upstream CA: %w", err)
	}
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("upstream CA %q: no certificate in it (want PEM)", name)
	}
	return pool, nil
}

// isKube says whether a host is the Kubernetes API server, as clients in pods name it
// (Kubernetes, "Accessing the API from a pod").
func (t *hostTrust) isKube(name string) bool {
	if t.kubeRoots == nil {
		return false
	}
	return name == t.kubeHost || name == "kubernetes" || name == "kubernetes.default" || name == "kubernetes.default.svc" ||
		strings.HasPrefix(name, "kubernetes.default.svc.")
}

// failure is the last error of what is tried again and again.
type failure string

// tell logs an error unless it is the last one again; nil ends it.
func (f *failure) tell(log *slog.Logger, what string, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != string(*f) {
		log.Warn(what, "error", err)
	}
	*f = failure(text)
}
