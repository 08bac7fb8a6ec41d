package intercept_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/speedscale/speedscale/agents/config/trust"
	"github.com/speedscale/speedscale/agents/intercept"
)

func TestCA(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	ca, _ := newCA(t)
	must(t, ca.Save(certFile, ""))
	if _, err := os.Stat(keyFile); err == nil {
		t.Error("the key was written without being asked for")
	}
	must(t, ca.Save(certFile, keyFile))
	if info, err := os.Stat(keyFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info.Mode(), err)
	}
	again, err := intercept.LoadCA(certFile, keyFile)
	must(t, err)
	if string(again.CertPEM()) != string(ca.CertPEM()) {
		t.Error("another certificate was loaded")
	}
	block, _ := pem.Decode(ca.CertPEM())
	cert, err := x509.ParseCertificate(block.Bytes)
	must(t, err)
	if key, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		t.Errorf("key %T", cert.PublicKey)
	}
	if !cert.IsCA || !cert.MaxPathLenZero || cert.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign {
		t.Errorf("CA %v, path length %d, usage %b", cert.IsCA, cert.MaxPathLen, cert.KeyUsage)
	}
	if d := time.Until(cert.NotAfter); d < 364*24*time.Hour || d > 366*24*time.Hour {
		t.Errorf("valid for %s", d)
	}
}

func TestLoadCAErrors(t *testing.T) {
	world := newAuthority(t, "World CA")
	leafCert, leafKey := writePair(t, world.issue("localhost"))
	dir := t.TempDir()
	ca, _ := newCA(t)
	cert, key := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	must(t, ca.Save(cert, key))
	for want, files := range map[string][2]string{
		"not a CA":     {leafCert, leafKey},
		"does not mat": {cert, leafKey},
		"no such file": {cert, filepath.Join(dir, "missing")},
		"failed to fi": {key, key},
	} {
		_, err := intercept.LoadCA(files[0], files[1])
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), files[0]) {
			t.Errorf("%v: %v, want %q", files, err, want)
		}
	}
}

// mocked shakes hands with an interceptor that dials nobody.
func mocked(t testing.TB, i *intercept.Interceptor, cfg *tls.Config, fallback string, alpn []string) (client tls.ConnectionState, name, proto string, err error) {
	t.Helper()
	a, b := tcpPair(t)
	return mockedOver(t, a, b, i, cfg, fallback, alpn)
}

func mockedOver(t testing.TB, a, b net.Conn, i *intercept.Interceptor, cfg *tls.Config, fallback string, alpn []string) (client tls.ConnectionState, name, proto string, err error) {
	t.Helper()
	var wg sync.WaitGroup
	wg.Go(func() {
		tc := tls.Client(a, cfg)
		if tc.HandshakeContext(t.Context()) == nil {
			client = tc.ConnectionState()
		}
		a.Close()
	})
	_, name, proto, err = i.Mock(t.Context(), b, nil, fallback, alpn)
	b.Close()
	wg.Wait()
	return client, name, proto, err
}

func tcpPair(t testing.TB) (client, server net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	must(t, err)
	server, err = l.Accept()
	must(t, err)
	return client, server
}

func TestLeaf(t *testing.T) {
	ca, trust := newCA(t)
	i := newInterceptor(t, intercept.Options{CA: ca})
	long := strings.Repeat("a", 60) + "." + strings.Repeat("b", 60) + ".example.com"
	for _, c := range []struct{ sni, fallback, want string }{
		{"api.example.com", "other.example.com", "api.example.com"},
		{"API.Example.com", "", "api.example.com"},
		{"", "198.18.0.1:443", "198.18.0.1"},
		{"", "[fd00::1]:443", "fd00::1"},
		{"", "Recorded.example.com", "recorded.example.com"},
		{long, "", long},
		{"under_score.example.com", "", "under_score.example.com"},
	} {
		var leaf *x509.Certificate
		// The client checks the chain itself: it may have sent no SNI.
		_, name, _, err := mocked(t, i, &tls.Config{ServerName: c.sni, InsecureSkipVerify: true, VerifyConnection: func(s tls.ConnectionState) error {
			leaf = s.PeerCertificates[0]
			_, err := leaf.Verify(x509.VerifyOptions{Roots: trust, DNSName: c.want})
			return err
		}}, c.fallback, nil)
		if err != nil || name != c.want {
			t.Errorf("%+v: %q, %v", c, name, err)
			continue
		}
		if leaf.IsCA || leaf.KeyUsage != x509.KeyUsageDigitalSignature || len(leaf.AuthorityKeyId) == 0 || len(leaf.SubjectKeyId) == 0 {
			t.Errorf("%q: CA %v, usage %b, authority %x, subject %x", name, leaf.IsCA, leaf.KeyUsage, leaf.AuthorityKeyId, leaf.SubjectKeyId)
		}
		if now := time.Now(); now.Sub(leaf.NotBefore) < 4*time.Minute || leaf.NotAfter.Sub(now) > time.Hour {
			t.Errorf("%q: valid from %s to %s", name, leaf.NotBefore, leaf.NotAfter)
		}
	}
}

func TestLeafIsKeptAndRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, err := intercept.NewCA()
		must(t, err)
		i := newInterceptor(t, intercept.Options{CA: ca})
		serial := func() string {
			var s string
			a, b := net.Pipe()
			_, _, _, err := mockedOver(t, a, b, i, &tls.Config{ServerName: "a.test", InsecureSkipVerify: true, VerifyConnection: func(st tls.ConnectionState) error {
				s = st.PeerCertificates[0].SerialNumber.String()
				return nil
			}}, "", nil)
			must(t, err)
			return s
		}
		first := serial()
		time.Sleep(49 * time.Minute)
		if serial() != first {
			t.Error("a new leaf after 49 minutes")
		}
		time.Sleep(2 * time.Minute)
		second := serial()
		if second == first {
			t.Error("the same leaf 9 minutes before its end")
		}
		// Handshakes at the same time get the same new leaf.
		time.Sleep(time.Hour)
		var mu sync.Mutex
		seen := make(map[string]bool)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { s := serial(); mu.Lock(); seen[s] = true; mu.Unlock() })
		}
		wg.Wait()
		if len(seen) != 1 || seen[second] {
			t.Errorf("%d leaves for 20 handshakes", len(seen))
		}
	})
}

func TestMockALPN(t *testing.T) {
	ca, trust := newCA(t)
	i := newInterceptor(t, intercept.Options{CA: ca})
	for _, c := range []struct {
		offered, recorded []string
		want              string
	}{
		{[]string{"h2", "http/1.1"}, []string{"http/1.1"}, "http/1.1"},
		{[]string{"http/1.1", "h2"}, []string{"h2", "http/1.1"}, "h2"},
		{[]string{"http/1.1"}, []string{"h2"}, ""},
		{[]string{"mqtt"}, []string{"mqtt"}, "mqtt"},
		{[]string{"spdy/3", "http/1.1", "h2"}, nil, "http/1.1"},
		{nil, []string{"h2"}, ""},
	} {
		state, _, proto, err := mocked(t, i, &tls.Config{RootCAs: trust, ServerName: "a.test", NextProtos: c.offered}, "", c.recorded)
		if err != nil || proto != c.want || state.NegotiatedProtocol != c.want {
			t.Errorf("offered %v, recorded %v: %q and %q, %v", c.offered, c.recorded, proto, state.NegotiatedProtocol, err)
		}
	}
	if _, _, _, err := mocked(t, i, &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "a.test"}, "", nil); err == nil {
		t.Error("a client that does not trust the CA was answered")
	}
	if n := count(i, "a.test", intercept.ReasonClientRefused); n != 1 {
		t.Errorf("counted %v", i.Counts())
	}
	if _, _, _, err := mocked(t, i, &tls.Config{InsecureSkipVerify: true}, "", nil); err == nil {
		t.Error("a leaf without a name")
	}
	without := newInterceptor(t, intercept.Options{})
	if _, _, _, err := without.Mock(context.Background(), nil, nil, "", nil); err == nil || !strings.Contains(err.Error(), "CA") {
		t.Errorf("without a CA: %v", err)
	}
}

// TestSubjectHash compares with what openssl makes of subjects of all kinds.
func TestSubjectHash(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("SKIPPED: needs openssl")
	}
	dir := t.TempDir()
	key, crt := filepath.Join(dir, "k"), filepath.Join(dir, "c")
	for _, subject := range [][]string{
		{"-subj", "/CN=simple"},
		{"-subj", "/C=DE/O=  Spaces   and CAPS /CN=ÄÖ ß Ünïcode", "-utf8"},
		{"-subj", "/O=One/OU=Two/OU=Three/CN=example.com/emailAddress=A@Example.COM"},
		{"-subj", "/DC=test/DC=corp/O=Multi+OU=Valued+CN=x", "-multivalue-rdn"},
		{"-subj", "/serialNumber=0042/CN=T61"},
		{"-subj", "/CN=bmp ÄÖ string", "-utf8", "-nameopt", "utf8"},
	} {
		args := append([]string{"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", crt, "-days", "1",
			"-addext", "keyUsage=keyCertSign"}, subject...)
		if out, err := exec.Command("openssl", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", subject, err, out)
		}
		want, err := exec.Command("openssl", "x509", "-noout", "-hash", "-in", crt).Output()
		must(t, err)
		ca, err := intercept.LoadCA(crt, key)
		must(t, err)
		dir := t.TempDir()
		must(t, intercept.WriteTrust(dir, ca))
		if _, err := os.ReadFile(filepath.Join(dir, trust.Certs, strings.TrimSpace(string(want))+".0")); err != nil {
			entries, _ := filepath.Glob(filepath.Join(dir, trust.Certs, "*"))
			t.Errorf("%v: openssl's hash is %s, there is %v", subject, want, entries)
		}
	}
}
