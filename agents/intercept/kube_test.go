package intercept_test

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"github.com/speedscale/speedscale/agents/intercept"
)

// TestKubernetesAPI: it is verified by roots of its own, and asks for a certificate that
// nobody has to have.
func TestKubernetesAPI(t *testing.T) {
	cluster := newAuthority(t, "kubernetes")
	api := serveHTTP(t, &tls.Config{
		Certificates: []tls.Certificate{cluster.issue("kubernetes.default.svc")}, ClientAuth: tls.RequestClientCert,
	})
	ca, trusted := newCA(t)
	i := newInterceptor(t, intercept.Options{CA: ca, KubeCA: cluster.file, KubeHost: "127.0.0.1"})
	for _, c := range []struct {
		name, sni, host string
		opaque          string // the reason
	}{
		{"by its address", "", "127.0.0.1:443", ""},
		{"by its name", "kubernetes.default.svc", "kubernetes.default.svc:443", ""},
		{"another host of the cluster's CA", "localhost", "localhost:443", intercept.ReasonUnverified},
	} {
		t.Run(c.name, func(t *testing.T) {
			pool := trusted
			if c.opaque != "" {
				pool = cluster.pool
			}
			p := startProxy(t, api, outbound(i, c.host))
			name := c.sni
			if name == "" {
				name = "127.0.0.1"
			}
			got, err := get(p, &tls.Config{RootCAs: pool, ServerName: name}, true)
			if err != nil || got != "HTTP/2.0 by nobody resumed=false" {
				t.Errorf("%q, %v", got, err)
			}
			if res := p.result(t); res.Opaque != (c.opaque != "") || c.opaque != "" && res.Reason != c.opaque {
				t.Errorf("%+v", res)
			}
		})
	}
	if _, err := intercept.New(intercept.Options{CA: ca, KubeCA: filepath.Join(t.TempDir(), "none")}); err == nil {
		t.Error("a file that is not there is taken")
	}
}

// TestKubeTrustFollowsTheTokensRenewal: what is renewed is reached by links, and ca.crt
// has the cluster's roots and ours.
func TestKubeTrustFollowsTheTokensRenewal(t *testing.T) {
	cluster := newAuthority(t, "kubernetes")
	ca, _ := newCA(t)
	dir, files := t.TempDir(), t.TempDir()
	for range 2 { // an init container may run again
		if err := intercept.WriteKubeTrust(dir, cluster.file, files, ca); err != nil {
			t.Fatal(err)
		}
	}
	for _, token := range []string{"first", "renewed"} {
		must(t, os.WriteFile(filepath.Join(files, "token"), []byte(token), 0o600))
		if got, err := os.ReadFile(filepath.Join(dir, "token")); err != nil || string(got) != token {
			t.Errorf("token %q, %v, want %q", got, err, token)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	must(t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	want := x509.NewCertPool()
	want.AddCert(cluster.cert)
	want.AppendCertsFromPEM(ca.CertPEM())
	if !pool.Equal(want) {
		t.Errorf("ca.crt is\n%s", text)
	}
	must(t, os.WriteFile(filepath.Join(files, "empty"), nil, 0o600))
	if err := intercept.WriteKubeTrust(dir, filepath.Join(files, "empty"), files, ca); err == nil {
		t.Error("a cluster without a CA is taken")
	}
}
