package certs_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/speedscale/speedscale/operator/certs"
)

const (
	namespace  = "speedscale"
	secretName = "speedscale-webhook-certs"
	serverName = "speedscale-operator.speedscale.svc"
	day        = 24 * time.Hour
)

func mutating(hooks ...string) *admissionv1.MutatingWebhookConfiguration {
	c := &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "speedscale-operator"}}
	for _, name := range hooks {
		c.Webhooks = append(c.Webhooks, admissionv1.MutatingWebhook{
			Name: name, SideEffects: new(admissionv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
			ClientConfig: admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: namespace, Name: "speedscale-operator"}},
		})
	}
	return c
}

func validating() *admissionv1.ValidatingWebhookConfiguration {
	return &admissionv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "speedscale-operator-replay"},
		Webhooks: []admissionv1.ValidatingWebhook{{
			Name: "replay.speedscale.com", SideEffects: new(admissionv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
		}},
	}
}

func options(c client.Client) certs.Options {
	return certs.Options{
		Secret: certs.Secret{Client: c, Namespace: namespace, Name: secretName}, Service: "speedscale-operator",
		Mutating: []string{"speedscale-operator"}, Validating: []string{"speedscale-operator-replay"},
		Logger: slog.New(slog.DiscardHandler),
	}
}

func newClient(objects ...client.Object) client.WithWatch {
	home := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace, UID: "home"}}
	return fake.NewClientBuilder().WithObjects(append(objects, home)...).Build()
}

// bundles returns the caBundles of all webhooks in the cluster.
func bundles(t *testing.T, c client.Client) [][]byte {
	t.Helper()
	var m admissionv1.MutatingWebhookConfiguration
	var v admissionv1.ValidatingWebhookConfiguration
	if err := errors.Join(
		c.Get(t.Context(), client.ObjectKey{Name: "speedscale-operator"}, &m),
		c.Get(t.Context(), client.ObjectKey{Name: "speedscale-operator-replay"}, &v)); err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for _, w := range m.Webhooks {
		out = append(out, w.ClientConfig.CABundle)
	}
	for _, w := range v.Webhooks {
		out = append(out, w.ClientConfig.CABundle)
	}
	return out
}

// verify checks the served certificate as the API server does.
func verify(m *certs.Manager, bundle []byte, now time.Time) error {
	leaf, err := m.GetCertificate(&tls.ClientHelloInfo{ServerName: serverName})
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(bundle) {
		return errors.New("the bundle holds no certificate")
	}
	_, err = leaf.Leaf.Verify(x509.VerifyOptions{DNSName: serverName, Roots: roots, CurrentTime: now})
	return err
}

func sync1(t *testing.T, m *certs.Manager) {
	t.Helper()
	if err := m.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func readSecret(t *testing.T, c client.Client) *corev1.Secret {
	t.Helper()
	s := &corev1.Secret{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: secretName}, s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFirstPassMakesEverything(t *testing.T) {
	c := newClient(mutating("sidecar.speedscale.com", "pod.sidecar.speedscale.com"), validating())
	o := options(c)
	o.Secret.Owner = &metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "speedscale-operator", UID: "7"}
	m := certs.New(o)
	if m.Ready(nil) == nil {
		t.Error("ready before there is a certificate")
	}
	if m.NeedLeaderElection() {
		t.Error("only the leader would serve")
	}
	sync1(t, m)
	if err := m.Ready(nil); err != nil {
		t.Error(err)
	}
	got := bundles(t, c)
	if len(got) != 3 {
		t.Fatalf("%d webhooks, want 3", len(got))
	}
	for _, b := range got {
		if err := verify(m, b, time.Now()); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff([]metav1.OwnerReference{*o.Secret.Owner}, readSecret(t, c).OwnerReferences); diff != "" {
		t.Errorf("owner of the secret (-want +got):\n%s", diff)
	}
	var config admissionv1.MutatingWebhookConfiguration
	if err := c.Get(t.Context(), client.ObjectKey{Name: "speedscale-operator"}, &config); err != nil {
		t.Fatal(err)
	}
	if s := config.Webhooks[0].ClientConfig.Service; s == nil || s.Name != "speedscale-operator" {
		t.Errorf("the installer's service reference is gone: %v", s)
	}
}

// TestWebhooksEndWithTheNamespace: where it is deleted with the operator in it, no pod is refused for ever. A configuration
// of an earlier version, which has its bundle, gets its owner too.
func TestWebhooksEndWithTheNamespace(t *testing.T) {
	c := newClient(mutating("a"), validating())
	m := certs.New(options(c))
	sync1(t, m)
	want := []metav1.OwnerReference{{APIVersion: "v1", Kind: "Namespace", Name: namespace, UID: "home"}}
	for _, object := range []client.Object{mutating(), validating()} {
		for _, when := range []string{"at first", "after somebody took it away"} {
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, object.GetOwnerReferences()); diff != "" {
				t.Errorf("owners of %s %s (-want +got):\n%s", object.GetName(), when, diff)
			}
			object.SetOwnerReferences(nil)
			if err := c.Update(t.Context(), object); err != nil {
				t.Fatal(err)
			}
			sync1(t, m)
		}
	}
}

// TestUnreadableNamespaceKeepsNoWebhookFromWorking: the bundles are written all the same, and the pass is repeated soon.
func TestUnreadableNamespaceKeepsNoWebhookFromWorking(t *testing.T) {
	c := interceptor.NewClient(newClient(mutating("a"), validating()), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if _, ok := o.(*corev1.Namespace); ok {
				return errors.New("forbidden")
			}
			return c.Get(ctx, key, o, opts...)
		},
	})
	m := certs.New(options(c))
	if err := m.Sync(t.Context()); err == nil || !strings.Contains(err.Error(), `namespace "speedscale", which owns the webhook configurations: forbidden`) {
		t.Error(err)
	}
	for _, bundle := range bundles(t, c) {
		if err := verify(m, bundle, time.Now()); err != nil {
			t.Error(err)
		}
	}
}

func TestUnchangedStateIsNotWritten(t *testing.T) {
	writes := 0
	c := interceptor.NewClient(newClient(mutating("a"), validating()), countWrites(&writes))
	m := certs.New(options(c))
	sync1(t, m)
	first := writes
	sync1(t, m)
	sync1(t, certs.New(options(c)))
	if first != 3 || writes != first {
		t.Errorf("%d writes by the first pass and %d later, want 3 and 0", first, writes-first)
	}
}

func TestLostCABundleIsWrittenAgain(t *testing.T) {
	c := newClient(mutating("a"), validating())
	m := certs.New(options(c))
	sync1(t, m)
	fresh := mutating("a", "b")
	fresh.ResourceVersion = ""
	if err := c.Delete(t.Context(), mutating()); err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), fresh); err != nil {
		t.Fatal(err)
	}
	sync1(t, m)
	for _, b := range bundles(t, c) {
		if err := verify(m, b, time.Now()); err != nil {
			t.Error(err)
		}
	}
}

func TestMissingConfigurationIsNamedAndTheOtherIsWritten(t *testing.T) {
	c := newClient(mutating("a"))
	m := certs.New(options(c))
	err := m.Sync(t.Context())
	if err == nil || !strings.Contains(err.Error(), `"speedscale-operator-replay"`) {
		t.Fatalf("error %v does not name the missing configuration", err)
	}
	var config admissionv1.MutatingWebhookConfiguration
	if err := c.Get(t.Context(), client.ObjectKey{Name: "speedscale-operator"}, &config); err != nil {
		t.Fatal(err)
	}
	if err := verify(m, config.Webhooks[0].ClientConfig.CABundle, time.Now()); err != nil {
		t.Error(err)
	}
}

func TestDamagedSecretIsFilledAnew(t *testing.T) {
	good := newClient(mutating("a"), validating())
	sync1(t, certs.New(options(good)))
	whole := readSecret(t, good).Data
	other := newClient(mutating("a"), validating())
	sync1(t, certs.New(options(other)))
	for name, damage := range map[string]func(map[string][]byte){
		"empty":               func(d map[string][]byte) { clear(d) },
		"no key":              func(d map[string][]byte) { delete(d, "tls.key") },
		"another CA's key":    func(d map[string][]byte) { d["tls.key"] = readSecret(t, other).Data["tls.key"] },
		"no bundle":           func(d map[string][]byte) { delete(d, "ca.crt") },
		"another CA's bundle": func(d map[string][]byte) { d["ca.crt"] = readSecret(t, other).Data["ca.crt"] },
		"cut":                 func(d map[string][]byte) { d["tls.crt"] = d["tls.crt"][:100] },
	} {
		t.Run(name, func(t *testing.T) {
			data := map[string][]byte{}
			for k, v := range whole {
				data[k] = bytes.Clone(v)
			}
			damage(data)
			c := newClient(mutating("a"), validating(), &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: secretName}, Data: data})
			m := certs.New(options(c))
			sync1(t, m)
			if err := verify(m, bundles(t, c)[0], time.Now()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestReplicasThatStartAtOnceShareOneCA(t *testing.T) {
	c := newClient(mutating("a"), validating())
	replicas := make([]*certs.Manager, 8)
	errs := make([]error, len(replicas))
	var wg sync.WaitGroup
	for i := range replicas {
		replicas[i] = certs.New(options(c))
		wg.Go(func() { errs[i] = replicas[i].Sync(t.Context()) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	bundle := readSecret(t, c).Data["ca.crt"]
	if n := bytes.Count(bundle, []byte("BEGIN CERTIFICATE")); n != 1 {
		t.Errorf("%d certificates in the bundle, want 1", n)
	}
	for _, b := range bundles(t, c) {
		if !bytes.Equal(b, bundle) {
			t.Error("a caBundle is not the Secret's")
		}
	}
	for _, m := range replicas {
		if err := verify(m, bundle, time.Now()); err != nil {
			t.Error(err)
		}
	}
}

// Replicas make passes in changing order for two years, and one of them starts
// in the midst of it. After each pass every replica is trusted, by the present
// caBundle and by the one before, which an API server may still have.
func TestEveryReplicaIsTrustedForTwoYears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(mutating("a"), validating())
		replicas := []*certs.Manager{certs.New(options(c)), certs.New(options(c))}
		for _, m := range replicas {
			sync1(t, m)
		}
		authorities := map[string]bool{}
		before := bundles(t, c)
		for step := range 2 * 365 {
			if step == 244 { // the first CA is due to be renewed
				m := certs.New(options(c))
				sync1(t, m)
				replicas = append(replicas, m)
			}
			for i := range replicas {
				sync1(t, replicas[(i+step)%len(replicas)])
				now := bundles(t, c)
				for _, b := range distinct(append(before, now...)) {
					for r, m := range replicas {
						if err := verify(m, b, time.Now()); err != nil {
							t.Fatalf("replica %d after %d days: %v", r, step, err)
						}
					}
				}
				before = now
			}
			authorities[string(readSecret(t, c).Data["tls.crt"])] = true
			time.Sleep(day)
		}
		if n := len(authorities); n != 3 {
			t.Errorf("%d CAs in two years, want 3, one each eight months", n)
		}
	})
}

func distinct(bundles [][]byte) [][]byte {
	slices.SortFunc(bundles, bytes.Compare)
	return slices.CompactFunc(bundles, bytes.Equal)
}

func TestFailedPassIsRepeatedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down sync.Once
		c := interceptor.NewClient(newClient(mutating("a"), validating()), interceptor.Funcs{
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) (err error) {
				down.Do(func() { err = errors.New("connection refused") })
				if err != nil {
					return err
				}
				return c.Get(ctx, key, o, opts...)
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		m := certs.New(options(c))
		done := make(chan error)
		go func() { done <- m.Start(ctx) }()
		synctest.Wait()
		if m.Ready(nil) == nil {
			t.Error("ready without a CA")
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if err := m.Ready(nil); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func countWrites(n *int) interceptor.Funcs {
	return interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			*n++
			return c.Create(ctx, o, opts...)
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			*n++
			return fmt.Errorf("update of %T", o)
		},
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			*n++
			return c.Apply(ctx, o, opts...)
		},
	}
}
