package intercept

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/speedscale/speedscale/agents/config/trust"
)

// WriteTrust writes to dir what apps need to trust the CA besides the usual
// roots: ca.crt, certs/<OpenSSL hash>.0, bundle.crt and truststore.jks. No key is
// among them. It fails where the machine's own roots are not found, since a bundle
// without them would take trust away.
func WriteTrust(dir string, ca *CA) error {
	roots, err := systemRoots()
	if err != nil {
		return err
	}
	hash, err := subjectHash(ca.cert.RawSubject)
	if err != nil {
		return err
	}
	certs := filepath.Join(dir, trust.Certs)
	// What an earlier CA left there is not trusted any more.
	if err := os.RemoveAll(certs); err != nil {
		return err
	}
	if err := os.MkdirAll(certs, 0o755); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, trust.CA), ca.CertPEM(), 0o644); err != nil {
		return err
	}
	if err := os.Symlink(filepath.Join("..", trust.CA), filepath.Join(certs, hash+".0")); err != nil {
		return err
	}
	bundle := append(bytes.TrimRight(roots, "\n"), '\n')
	bundle = append(bundle, ca.CertPEM()...)
	if err := writeFile(filepath.Join(dir, trust.Bundle), bundle, 0o644); err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, trust.JavaStore), javaStore(bundle), 0o644)
}

// WriteKubeTrust writes to dir what clients of the Kubernetes API read of a service
// account: a ca.crt with the CA besides those in clusterCA, and the rest as links into
// files, where the kubelet renews it.
func WriteKubeTrust(dir, clusterCA, files string, ca *CA) error {
	roots, err := os.ReadFile(clusterCA)
	if err != nil {
		return err
	}
	if !x509.NewCertPool().AppendCertsFromPEM(roots) {
		return fmt.Errorf("cluster's CA %q: no certificate in it (want PEM)", clusterCA)
	}
	roots = append(bytes.TrimRight(roots, "\n"), '\n')
	if err := writeFile(filepath.Join(dir, "ca.crt"), append(roots, ca.CertPEM()...), 0o644); err != nil {
		return err
	}
	for _, name := range []string{"token", "namespace"} {
		link := filepath.Join(dir, name)
		if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Symlink(filepath.Join(files, name), link); err != nil {
			return err
		}
	}
	return nil
}

func systemRoots() ([]byte, error) {
	files := trust.RootFiles()
	if own := os.Getenv("SSL_CERT_FILE"); own != "" {
		files = append([]string{own}, files...)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err == nil {
			return b, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("roots of this machine: %w", err)
		}
	}
	return nil, fmt.Errorf("roots of this machine: none of %s exists; install ca-certificates, or set SSL_CERT_FILE", strings.Join(files, ", "))
}
