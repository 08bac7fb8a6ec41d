// Package client reaches the cloud of a context: one elsewhere, the local one that
// another speedctl has open, or the local one, opened in this process.
package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"connectrpc.com/connect"
	"github.com/nats-io/nats.go"

	"github.com/speedscale/speedscale/agents/bus"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/api/v1/cloudv1connect"
	"github.com/speedscale/speedscale/speedctl/home"
	"github.com/speedscale/speedscale/speedctl/term"
)

// Client is a connection to a cloud. It is safe for concurrent use.
type Client struct {
	Traffic   cloudv1connect.TrafficServiceClient
	Snapshots cloudv1connect.SnapshotServiceClient
	Reports   cloudv1connect.ReportServiceClient
	Keys      cloudv1connect.KeyServiceClient
	Masking   cloudv1connect.MaskingServiceClient

	busURL string
	key    string
	roots  *x509.CertPool
	local  *localCloud
	web    *http.Client
}

// Options say which cloud.
type Options struct {
	Home home.Dir
	// Context is its name; empty for the current one.
	Context string
	// APIKey replaces the context's.
	APIKey string
	// Logger takes what a cloud in this process has to say.
	Logger *slog.Logger
	// Say tells the user what was done for them.
	Say func(format string, args ...any)
}

// Connect reaches the cloud. Without a configuration it sets up the local one.
// The caller closes the client, which ends a cloud that runs in this process.
func Connect(ctx context.Context, o Options) (*Client, error) {
	cfg, err := o.Home.Load()
	if errors.Is(err, home.ErrNotInitialized) {
		if _, err = InitLocal(ctx, o.Home, o.Logger); err == nil {
			o.Say("made a local cloud in %s", o.Home.LocalCloud())
			cfg, err = o.Home.Load()
		}
	}
	if err != nil {
		return nil, err
	}
	c, err := cfg.Context(o.Context)
	if err != nil {
		return nil, term.WithCode(err, term.ExitUsage)
	}
	target := *c
	if o.APIKey != "" {
		target.APIKey = o.APIKey
	}
	if target.AppURL != "" {
		return remote(target)
	}
	return openLocal(ctx, o, target)
}

// Close ends the connection.
func (c *Client) Close() error {
	c.web.CloseIdleConnections()
	if c.local != nil {
		return c.local.close()
	}
	return nil
}

// Bus connects to the cloud's bus, as an agent does.
func (c *Client) Bus(ctx context.Context, name string, log *slog.Logger) (*nats.Conn, error) {
	return bus.Connect(ctx, bus.ConnectOptions{URLs: []string{c.busURL}, Token: c.key, RootCAs: c.roots, Name: name, Logger: log})
}

func remote(t home.Context) (*Client, error) {
	u, err := url.Parse(t.AppURL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, term.WithCode(fmt.Errorf("app-url %q of context %q: want http://host:port or https://host", t.AppURL, t.Name), term.ExitUsage)
	}
	var roots *x509.CertPool
	if t.CA != "" {
		if roots, err = poolWith(t.CA); err != nil {
			return nil, term.WithCode(err, term.ExitUsage)
		}
	}
	busURL := t.BusURL
	if busURL == "" {
		busURL = map[string]string{"http": "ws", "https": "wss"}[u.Scheme] + "://" + u.Host
	}
	return newClient(t.AppURL, busURL, t.APIKey, roots), nil
}

func newClient(appURL, busURL, key string, roots *x509.CertPool) *Client {
	web := &http.Client{Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: time.Minute,
		ForceAttemptHTTP2:     true,
	}}
	auth := connect.WithInterceptors(bearer(key))
	return &Client{
		Traffic:   cloudv1connect.NewTrafficServiceClient(web, appURL, auth),
		Snapshots: cloudv1connect.NewSnapshotServiceClient(web, appURL, auth),
		Reports:   cloudv1connect.NewReportServiceClient(web, appURL, auth),
		Keys:      cloudv1connect.NewKeyServiceClient(web, appURL, auth),
		Masking:   cloudv1connect.NewMaskingServiceClient(web, appURL, auth),
		busURL:    busURL, key: key, roots: roots, web: web,
	}
}

func poolWith(file string) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%q holds no PEM certificate", file)
	}
	return pool, nil
}

// bearer sends the API key with each call.
type bearer string

func (b bearer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		r.Header().Set("Authorization", "Bearer "+string(b))
		return next(ctx, r)
	}
}

func (b bearer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, s connect.Spec) connect.StreamingClientConn {
		c := next(ctx, s)
		c.RequestHeader().Set("Authorization", "Bearer "+string(b))
		return c
	}
}

func (b bearer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// Explain turns an error of a call into one with an exit code and a hint.
func Explain(err error) error {
	switch connect.CodeOf(err) {
	case connect.CodeUnauthenticated, connect.CodePermissionDenied:
		return term.WithCode(term.WithHint(message(err), "give a key with --api-key, or run speedctl init again"), term.ExitDenied)
	case connect.CodeNotFound:
		return term.WithCode(message(err), term.ExitNotFound)
	case connect.CodeInvalidArgument, connect.CodeAlreadyExists, connect.CodeFailedPrecondition:
		return term.WithCode(message(err), term.ExitUsage)
	case connect.CodeUnavailable:
		return term.WithHint(message(err), "is the cloud of this context running? speedctl init names its address")
	}
	return err
}

// message drops the code that connect writes in front of what the server said.
func message(err error) error {
	if e, ok := errors.AsType[*connect.Error](err); ok {
		return errors.New(e.Message())
	}
	return err
}

var _ connect.Interceptor = bearer("")

// Check calls the cloud with the key, and says what is wrong.
func (c *Client) Check(ctx context.Context) error {
	_, err := c.Traffic.Ingest(ctx, &cloudv1.IngestRequest{})
	return Explain(err)
}
