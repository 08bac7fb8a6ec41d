package intercept

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/speedscale/speedscale/agents/lru"
)

// memory is what is remembered of hosts: with other certificates they may decide
// otherwise, so that it ends with the files by which they were met.
type memory struct {
	sessions tls.ClientSessionCache
	hosts    *lru.Cache[string, string] // host → reason to relay it opaque
}

func newMemory() memory {
	return memory{tls.NewLRUClientSessionCache(maxSessions), lru.New[string, string](maxRemembered)}
}

// hostTrust is what is in the files for connections to hosts, and what is remembered of
// hosts by it.
type hostTrust struct {
	memory
	roots      *x509.CertPool // nil is the system's
	kubeRoots  *x509.CertPool // nil where the API server is like any other host
	kubeHost   string
	clientCert *tls.Certificate // nil for none
}

// hostFiles follows the files for connections to hosts.
func hostFiles(o Options, log *slog.Logger) *followed[hostTrust] {
	files := slices.Clone(o.UpstreamCA)
	for _, name := range []string{o.KubeCA, o.ClientCert, o.ClientKey} {
		if name != "" {
			files = append(files, name)
		}
	}
	return &followed[hostTrust]{
		files: files, log: log, read: func(*hostTrust) (*hostTrust, error) { return readTrust(o) },
		without: "outbound TLS is relayed without capture, until its files can be used",
		with:    "outbound TLS goes on with what its files held before",
	}
}

func readTrust(o Options) (t *hostTrust, err error) {
	t = &hostTrust{memory: newMemory(), kubeHost: o.KubeHost}
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
