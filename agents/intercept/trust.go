package intercept

import (
	"bytes"
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
