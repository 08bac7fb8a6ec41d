package kube

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"time"
)

// authority is a CA that ends with the test.
type authority struct {
	c    *cluster
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (c *cluster) authority(name string) *authority {
	c.Helper()
	a := &authority{c: c}
	a.cert, a.key = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// sign makes a certificate and its key; the first is signed by itself.
func (a *authority) sign(cert *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.c.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.c.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = cert, key
	}
	cert.SerialNumber = big.NewInt(time.Now().UnixNano())
	cert.NotBefore, cert.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, &key.PublicKey, signer)
	if err != nil {
		a.c.Fatal(err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		a.c.Fatal(err)
	}
	return cert, key
}

// files returns a certificate of the authority for a name and its key, as name.crt and
// name.key in PEM, and the pin of the key as curl has it.
func (a *authority) files(name, host string) (files map[string]string, pin string) {
	a.c.Helper()
	cert, key := a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.c.Fatal(err)
	}
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return map[string]string{
		name + ".crt": pemOf("CERTIFICATE", cert.Raw),
		name + ".key": pemOf("PRIVATE KEY", der),
	}, base64.StdEncoding.EncodeToString(sum[:])
}

func (a *authority) pem() string { return pemOf("CERTIFICATE", a.cert.Raw) }

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// https starts the servers of testdata/https.yaml in a namespace, which has in the
// ConfigMap ca what verifies "web", and in the Secret certs all that clients may need.
func (c *cluster) https(namespace string) {
	c.Helper()
	known, private := c.authority("known"), c.authority("private")
	certs := map[string]string{"ca.crt": known.pem(), "private-ca.crt": private.pem()}
	add := func(a *authority, name, host string) (pin string) {
		files, pin := a.files(name, host)
		for name, text := range files {
			certs[name] = text
		}
		return pin
	}
	certs["pin"] = add(known, "web", "web."+namespace+".svc")
	add(known, "mtls", "mtls."+namespace+".svc")
	add(known, "client", "client")
	add(private, "private", "private."+namespace+".svc")

	c.namespace(namespace)
	args := []string{"-n", namespace, "create", "secret", "generic", "certs"}
	for name, text := range certs {
		args = append(args, "--from-literal="+name+"="+text)
	}
	c.kubectl(args...)
	c.kubectl("-n", namespace, "create", "configmap", "ca", "--from-literal=ca.crt="+known.pem())
	c.kubectl("-n", namespace, "apply", "-f", "testdata/https.yaml")
	c.rollout(namespace, "deployment/https")
	c.rollout(namespace, "deployment/mtls")
}
