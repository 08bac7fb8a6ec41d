package workload_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/speedscale/speedscale/cluster/annotation"
	"github.com/speedscale/speedscale/cluster/workload"
)

// keyPair is a certificate with its key, both PEM.
func keyPair(t *testing.T) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	own, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: own})
}

// TestUnusableFilesOfAnnotations: what an annotation names may be missing or wrong.
func TestUnusableFilesOfAnnotations(t *testing.T) {
	cert, key := keyPair(t)
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "shop", Name: name} }
	objects := []runtime.Object{
		&corev1.ConfigMap{ObjectMeta: meta("roots"), Data: map[string]string{"ca.crt": string(cert), "readme": "no PEM"}},
		&corev1.Secret{ObjectMeta: meta("own"), Data: map[string][]byte{"tls.crt": cert, "tls.key": key, "wrong": []byte("sesame")}},
	}
	for _, c := range []struct {
		annotations map[string]string
		want        string // "" is nothing
	}{
		{map[string]string{annotation.TLSOut: "true", annotation.TLSOutCA: "configmap/roots", annotation.TLSInSecret: "own", annotation.TLSMutualSecret: "own"}, ""},
		{map[string]string{annotation.TLSOut: "true", annotation.TLSOutCA: "configmap/typo"}, `configmap "typo", which the annotation ` + annotation.TLSOutCA + ` names, does not exist`},
		{map[string]string{annotation.TLSOut: "true", annotation.TLSOutCA: "secret/own"}, `has no key "ca.crt"`},
		{map[string]string{annotation.TLSOut: "true", annotation.TLSOutCA: "configmap/roots/readme"}, `has no certificate in key "readme" (want PEM)`},
		{map[string]string{annotation.TLSInSecret: "typo"}, `secret "typo", which the annotation ` + annotation.TLSInSecret + ` names, does not exist`},
		{map[string]string{annotation.TLSInSecret: "own", annotation.TLSInPrivate: "key"}, `has no key "key"`},
		{map[string]string{annotation.TLSOut: "true", annotation.TLSMutualSecret: "own", annotation.TLSMutualPrivate: "wrong"}, `has no certificate with its key in keys "tls.crt" and "wrong"`},
	} {
		s, err := annotation.Parse(c.annotations)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(workload.Unusable(t.Context(), fake.NewClientset(objects...), "shop", s), "\n")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) || strings.Contains(got, "sesame") {
			t.Errorf("%v: %q, want %q", c.annotations, got, c.want)
		}
		denied := fake.NewClientset(objects...)
		denied.PrependReactor("get", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, errors.New("forbidden")
		})
		if got := workload.Unusable(t.Context(), denied, "shop", s); len(got) > 0 {
			t.Errorf("of objects that may not be read: %q", got)
		}
	}
}

// TestPlanWarns of what a sidecar will not see or overrides.
func TestPlanWarns(t *testing.T) {
	d := shop()
	d.Spec.Template.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{}}}
	c := fake.NewClientset(d)
	changes, err := workload.PlanAll(t.Context(), c, []workload.Ref{get(t, d).Ref}, map[string]string{annotation.TLSOut: "true", annotation.TLSOutCA: "configmap/typo"})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(changes[0].Warnings, "\n"); !strings.Contains(got, `configmap "typo"`) || !strings.Contains(got, "has envFrom") {
		t.Errorf("warnings are %q", got)
	}
}
