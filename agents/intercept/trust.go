package intercept

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Files that WriteTrust makes in its directory.
const (
	TrustCA     = "ca.crt"     // our CA alone
	TrustBundle = "bundle.crt" // the usual roots and our CA
	TrustCerts  = "certs"      // a directory with our CA under its OpenSSL hash
)

// rootFiles are where systems keep their roots in one file: the list of Go's
// crypto/x509 (Debian, Fedora, openSUSE, OpenELEC, RHEL, Alpine and macOS).
func rootFiles() []string {
	return []string{
		"/etc/ssl/certs/ca-certificates.crt",
		"/etc/pki/tls/certs/ca-bundle.crt",
		"/etc/ssl/ca-bundle.pem",
		"/etc/pki/tls/cacert.pem",
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
		"/etc/ssl/cert.pem",
	}
}

// RootDirs are the directories in which OpenSSL, Go and Python look for roots by
// default; which of them depends on how each was built. SSL_CERT_DIR takes the
// place of the list, so it has to name them all; those that are not there do no harm.
func RootDirs() []string {
	return []string{"/etc/ssl/certs", "/etc/pki/tls/certs", "/usr/lib/ssl/certs"}
}

// WriteTrust writes to dir what apps need to trust the CA besides the usual
// roots: ca.crt, certs/<OpenSSL hash>.0 and bundle.crt. No key is among them. It
// fails where the machine's own roots are not found, since a bundle without them
// would take trust away.
func WriteTrust(dir string, ca *CA) error {
	roots, err := systemRoots()
	if err != nil {
		return err
	}
	hash, err := subjectHash(ca.cert.RawSubject)
	if err != nil {
		return err
	}
	certs := filepath.Join(dir, TrustCerts)
	// What an earlier CA left there is not trusted any more.
	if err := os.RemoveAll(certs); err != nil {
		return err
	}
	if err := os.MkdirAll(certs, 0o755); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, TrustCA), ca.CertPEM(), 0o644); err != nil {
		return err
	}
	if err := os.Symlink(filepath.Join("..", TrustCA), filepath.Join(certs, hash+".0")); err != nil {
		return err
	}
	bundle := append(bytes.TrimRight(roots, "\n"), '\n')
	return writeFile(filepath.Join(dir, TrustBundle), append(bundle, ca.CertPEM()...), 0o644)
}

func systemRoots() ([]byte, error) {
	files := rootFiles()
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

// Env returns the variables (NAME=value) that make a program which starts with the
// environment present trust what WriteTrust wrote to dir.
//
// Two only add: SSL_CERT_DIR (OpenSSL, Go, Python, Ruby, curl, .NET), which goes on
// with the directories it named before, and NODE_EXTRA_CA_CERTS. Two take the
// place of roots that a library brings along and cannot be added to (Python's
// requests, gRPC's C core); they name the bundle with the usual roots in it.
// A variable with a value is not replaced: a program that has its own roots keeps
// them, refuses our leaves, and is relayed without being opened. One that names
// the usual roots of the system is: the bundle has all of them.
func Env(dir string, present []string) []string {
	set := make(map[string]string)
	for _, kv := range present {
		name, value, _ := strings.Cut(kv, "=")
		set[name] = value
	}
	dirs := strings.Join(RootDirs(), ":")
	if own := set["SSL_CERT_DIR"]; own != "" {
		dirs = own
	}
	ours := filepath.Join(dir, TrustCerts)
	env := []string{"SSL_CERT_DIR=" + dirs + ":" + ours}
	if strings.HasSuffix(dirs, ":"+ours) || dirs == ours {
		env = nil
	}
	usual := rootFiles()
	replaceable := func(name string) bool { return set[name] == "" || slices.Contains(usual, set[name]) }
	// curl needs no variable, but one that is set keeps it from the directory.
	if set["CURL_CA_BUNDLE"] != "" && replaceable("CURL_CA_BUNDLE") {
		env = append(env, "CURL_CA_BUNDLE="+filepath.Join(dir, TrustBundle))
	}
	// requests looks at CURL_CA_BUNDLE too, after its own variable.
	if set["REQUESTS_CA_BUNDLE"] == "" {
		set["REQUESTS_CA_BUNDLE"] = set["CURL_CA_BUNDLE"]
	}
	for _, v := range [][2]string{
		{"NODE_EXTRA_CA_CERTS", TrustCA},
		{"REQUESTS_CA_BUNDLE", TrustBundle},
		{"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", TrustBundle},
	} {
		switch {
		case set[v[0]] == "":
			env = append(env, v[0]+"="+filepath.Join(dir, v[1]))
		case replaceable(v[0]):
			env = append(env, v[0]+"="+filepath.Join(dir, TrustBundle))
		}
	}
	return env
}
