package forwarder_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/nats-io/nats.go"

	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/agents/forwarder"
)

const audience = "speedscale-forwarder"

// issuer is the part of a Kubernetes API server that issues tokens.
type issuer struct {
	t      *testing.T
	key    *ecdsa.PrivateKey
	server *httptest.Server
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{t: t, key: newKey(t)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		// The address of the keys is for those outside the cluster.
		json.NewEncoder(w).Encode(map[string]any{"issuer": "https://kubernetes.default.svc", "jwks_uri": "https://203.0.113.1/openid/v1/jwks"})
	})
	mux.HandleFunc("GET /openid/v1/jwks", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: i.key.Public(), KeyID: "k1", Algorithm: "ES256", Use: "sig"}}})
	})
	i.server = httptest.NewTLSServer(mux)
	t.Cleanup(i.server.Close)
	return i
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// token makes a token as the API server does for a projected volume.
func (i *issuer) token(namespace, pod string, changes map[string]any) string {
	i.t.Helper()
	claims := map[string]any{
		"iss": "https://kubernetes.default.svc", "aud": []string{audience}, "sub": "system:serviceaccount:" + namespace + ":default",
		"iat": time.Now().Add(-time.Minute).Unix(), "exp": time.Now().Add(time.Hour).Unix(),
		"kubernetes.io": map[string]any{
			"namespace": namespace, "pod": map[string]any{"name": pod, "uid": "u"}, "serviceaccount": map[string]any{"name": "default", "uid": "v"},
		},
	}
	key := i.key
	for k, v := range changes {
		if k == "key" {
			key = v.(*ecdsa.PrivateKey)
			continue
		}
		claims[k] = v
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k1"}}, nil)
	if err != nil {
		i.t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		i.t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		i.t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		i.t.Fatal(err)
	}
	return text
}

func (i *issuer) tokens() *forwarder.PodTokens {
	return &forwarder.PodTokens{API: i.server.URL, Audience: audience, Client: i.server.Client()}
}

func TestPodTokens(t *testing.T) {
	i := newIssuer(t)
	tokens := i.tokens()
	p, err := tokens.Authenticate(i.token("shop", "cart-7d9f.x", nil))
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "shop/cart-7d9f.x" || p.Publish[0] != "pairs.raw.shop.cart-7d9f_x.*" || p.Publish[1] != "telemetry.raw.shop.cart-7d9f_x.*" || len(p.Subscribe) != 0 || time.Until(p.Expires) > time.Hour {
		t.Errorf("permissions are %+v", p)
	}
	for what, token := range map[string]string{
		"another audience": i.token("shop", "cart", map[string]any{"aud": []string{"https://kubernetes.default.svc"}}),
		"expired":          i.token("shop", "cart", map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}),
		"another issuer":   i.token("shop", "cart", map[string]any{"iss": "https://elsewhere.example"}),
		"another key":      i.token("shop", "cart", map[string]any{"key": newKey(t)}),
		"bound to no pod":  i.token("shop", "", nil),
		"a wildcard":       i.token("*", "cart", nil),
		"no token":         "x.y.z",
		"nothing":          "",
	} {
		if p, err := tokens.Authenticate(token); err == nil {
			t.Errorf("%s: was let in as %+v", what, p)
		} else if token != "" && strings.Contains(err.Error(), token) {
			t.Errorf("%s: the error quotes the token: %v", what, err)
		}
	}
	i.server.Close()
	if _, err := tokens.Authenticate(i.token("shop", "cart", nil)); err != nil {
		t.Errorf("the API server is away, and its keys are known: %v", err)
	}
	if _, err := i.tokens().Authenticate(i.token("shop", "cart", nil)); err == nil {
		t.Error("nobody has verified a token, and it was let in")
	}
}

// TestPodsPublishAsThemselves: namespace and pod of what is stored are the token's,
// whatever the pair says; and a proxy goes on when its token is renewed.
func TestPodsPublishAsThemselves(t *testing.T) {
	i := newIssuer(t)
	c := startCloud(t, "127.0.0.1:0", t.TempDir(), true)
	listen := freePort(t)
	f := run(t, forwarder.Options{
		Cloud: bus.ConnectOptions{URLs: []string{c.server.ClientURL()}}, Listen: listen, Authenticate: i.tokens().Authenticate,
	})
	file := filepath.Join(t.TempDir(), "token")
	write := func(expires time.Duration) {
		token := i.token("shop", "cart.0", map[string]any{"exp": time.Now().Add(expires).Unix()})
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(3 * time.Second)
	pod := bus.Pod{Namespace: "shop", Name: "cart.0"}
	lost := make(chan struct{}, 16)
	nc, err := bus.Connect(t.Context(), bus.ConnectOptions{
		URLs: []string{"nats://" + listen}, TokenFile: file, Identity: pod.String(), MaxReconnectWait: 100 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	nc.SetDisconnectErrHandler(func(*nats.Conn, error) { lost <- struct{}{} })
	p, err := bus.NewPublisher(bus.PublisherOptions{Conn: nc, Subject: pod.Subject(), Producer: "p1", MaxDelay: 5 * time.Millisecond, AckTimeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	forged := pair(1, "/orders")
	forged.Namespace, forged.Resource = "kube-system", "etcd"
	p.Pair(forged)
	eventually(t, "an acknowledgement", func() bool { return p.Stats().AckedPairs == 1 })

	violation := make(chan error, 4)
	nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { violation <- err })
	other := bus.Pod{Namespace: "shop", Name: "cart"}
	if err := nc.Publish(other.Subject()+"p2", []byte("x")); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-violation:
		if !errors.Is(err, nats.ErrPermissionViolation) {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("a pod may publish as another one")
	}

	write(time.Hour)
	select {
	case <-lost:
	case <-time.After(20 * time.Second):
		t.Fatal("the connection outlives its token")
	}
	p.Pair(pair(2, "/orders"))
	closeNow(t, p)
	drain(t, f)
	pairs, _ := c.pairs(t)
	for _, got := range pairs {
		if got.Namespace != "shop" || got.Resource != "cart.0" {
			t.Errorf("stored as of %s/%s", got.Namespace, got.Resource)
		}
	}
	if len(pairs) != 2 {
		t.Errorf("%d pairs of 2 arrived", len(pairs))
	}
}
