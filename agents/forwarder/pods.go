package forwarder

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/agents/broker"
	"github.com/speedscale/speedscale/agents/bus"
)

const (
	// serviceAccount is where a pod finds its own token and the API server's CA
	// (Kubernetes, "Accessing the API from a pod").
	serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"
	// verifyTimeout bounds the verification of one token, with the questions to
	// the API server that it may need.
	verifyTimeout = 5 * time.Second
)

// PodTokens verifies the service-account tokens of pods by the keys that the
// Kubernetes API server publishes (OpenID Connect discovery, "Service account
// issuer discovery"). It is safe for concurrent use.
type PodTokens struct {
	// API is the URL of the API server, Audience whom tokens must be for.
	API, Audience string
	// Client reaches the API server.
	Client *http.Client

	mu       sync.Mutex
	verifier *oidc.IDTokenVerifier // nil until the API server said who issues tokens
}

// Authenticate says what the pod of a token may do: publish pairs and telemetry as itself, and ask for
// masking rules, until the token expires. Errors do not quote the token.
func (p *PodTokens) Authenticate(token string) (broker.Permissions, error) {
	ctx, cancel := context.WithTimeout(context.Background(), verifyTimeout)
	defer cancel()
	v, err := p.ready(ctx)
	if err != nil {
		return broker.Permissions{}, fmt.Errorf("token not verified: %w", err)
	}
	verified, err := v.Verify(ctx, token)
	if err != nil {
		return broker.Permissions{}, fmt.Errorf("token not verified: %w", err)
	}
	var claims bus.PodClaims
	if err := verified.Claims(&claims); err != nil {
		return broker.Permissions{}, errors.New("the token's claims are not those of a service account")
	}
	pod, ok := claims.Pod()
	if !ok {
		return broker.Permissions{}, fmt.Errorf("the token of %q is not bound to a pod", verified.Subject)
	}
	return broker.Permissions{
		Name: pod.String(), Identity: pod.String(), Expires: verified.Expiry,
		Publish: []string{pod.Subject() + "*", pod.TelemetrySubject() + "*", bus.RulesMasking},
	}, nil
}

// ready returns the verifier, once the API server has said who issues tokens.
func (p *PodTokens) ready(ctx context.Context) (*oidc.IDTokenVerifier, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.verifier != nil {
		return p.verifier, nil
	}
	issuer, err := p.issuer(ctx)
	if err != nil {
		return nil, err
	}
	// The keys are asked of the API server itself: the address that it publishes is
	// for those outside the cluster. The key set outlives this call.
	keys := oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), p.Client), p.API+"/openid/v1/jwks")
	p.verifier = oidc.NewVerifier(issuer, keys, &oidc.Config{
		ClientID: p.Audience, SupportedSigningAlgs: []string{oidc.RS256, oidc.ES256, oidc.ES384, oidc.ES512},
	})
	return p.verifier, nil
}

func (p *PodTokens) issuer(ctx context.Context) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.API+"/.well-known/openid-configuration", nil)
	if err != nil {
		return "", err
	}
	res, err := p.Client.Do(r)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the API server's discovery of the issuer: %s", res.Status)
	}
	var discovery struct {
		Issuer string `json:"issuer"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&discovery); err != nil || discovery.Issuer == "" {
		return "", errors.New("the API server's discovery names no issuer of tokens")
	}
	return discovery.Issuer, nil
}

// readPodTokens reads how the API server is reached.
func readPodTokens(v *agent.Vars, audience string) func(string) (broker.Permissions, error) {
	host, port := v.String("KUBERNETES_SERVICE_HOST", ""), v.String("KUBERNETES_SERVICE_PORT", "443")
	if host == "" {
		v.Missing("KUBERNETES_SERVICE_HOST", "FORWARDER_TOKEN_AUDIENCE needs the Kubernetes API server, whose keys verify tokens")
		return nil
	}
	client, err := apiClient(serviceAccount)
	if err != nil {
		v.Fail("FORWARDER_TOKEN_AUDIENCE", audience, err.Error())
		return nil
	}
	p := &PodTokens{API: "https://" + net.JoinHostPort(host, port), Audience: audience, Client: client}
	return p.Authenticate
}

// apiClient speaks to the API server as the service account whose files are in dir.
func apiClient(dir string) (*http.Client, error) {
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%q holds no certificate", filepath.Join(dir, "ca.crt"))
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil // the API server is in the cluster
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return &http.Client{Timeout: verifyTimeout, Transport: &serviceAccountTransport{token: filepath.Join(dir, "token"), next: transport}}, nil
}

// serviceAccountTransport adds the service account's token, which is renewed.
type serviceAccountTransport struct {
	token string // file
	next  http.RoundTripper
}

func (t *serviceAccountTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := os.ReadFile(t.token)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	return t.next.RoundTrip(r)
}
