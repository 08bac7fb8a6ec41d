// Package trust is how apps come to trust the proxy's CA: the files that are made for
// them, and the environment variables that lead to these.
package trust

import (
	"path/filepath"
	"slices"
	"strings"
)

// Files in the directory that apps are given.
const (
	CA        = "ca.crt"         // our CA alone
	Bundle    = "bundle.crt"     // the usual roots and our CA
	Certs     = "certs"          // a directory with our CA under its OpenSSL hash
	JavaStore = "truststore.jks" // the usual roots and our CA, for the JVM
)

// JavaPassword is that of JavaStore. It is no secret: the store holds certificates only.
const JavaPassword = "changeit"

// RootFiles are where systems keep their roots in one file: the list of Go's
// crypto/x509 (Debian, Fedora, openSUSE, OpenELEC, RHEL, Alpine and macOS).
func RootFiles() []string {
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

// JavaOptions make a JVM trust JavaStore in the directory. It takes the place of the
// JVM's own roots, since a JVM cannot be given more than one.
func JavaOptions(dir string) string {
	return "-Djavax.net.ssl.trustStore=" + filepath.Join(dir, JavaStore) +
		" -Djavax.net.ssl.trustStoreType=JKS -Djavax.net.ssl.trustStorePassword=" + JavaPassword
}

// Env returns the variables (NAME=value) that make a program which starts with the
// environment present trust the files in dir.
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
	ours := filepath.Join(dir, Certs)
	env := []string{"SSL_CERT_DIR=" + dirs + ":" + ours}
	if strings.HasSuffix(dirs, ":"+ours) || dirs == ours {
		env = nil
	}
	usual := RootFiles()
	replaceable := func(name string) bool { return set[name] == "" || slices.Contains(usual, set[name]) }
	// curl needs no variable, but one that is set keeps it from the directory.
	if set["CURL_CA_BUNDLE"] != "" && replaceable("CURL_CA_BUNDLE") {
		env = append(env, "CURL_CA_BUNDLE="+filepath.Join(dir, Bundle))
	}
	// requests looks at CURL_CA_BUNDLE too, after its own variable.
	if set["REQUESTS_CA_BUNDLE"] == "" {
		set["REQUESTS_CA_BUNDLE"] = set["CURL_CA_BUNDLE"]
	}
	for _, v := range [][2]string{
		{"NODE_EXTRA_CA_CERTS", CA},
		{"REQUESTS_CA_BUNDLE", Bundle},
		{"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", Bundle},
	} {
		switch {
		case set[v[0]] == "":
			env = append(env, v[0]+"="+filepath.Join(dir, v[1]))
		case replaceable(v[0]):
			env = append(env, v[0]+"="+filepath.Join(dir, Bundle))
		}
	}
	return env
}
