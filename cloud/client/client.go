// Package client calls the cloud's API, for all that dial out to it: speedctl, the
// operator and the agents of a replay.
package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"connectrpc.com/connect"

	"github.com/speedscale/speedscale/cloud/api/v1/cloudv1connect"
)

// Limits of a call. A stream may last as long as its caller waits.
const (
	dialLimit   = 10 * time.Second
	answerLimit = time.Minute
)

// Client has a client for each service. It is safe for concurrent use.
type Client struct {
	Traffic     cloudv1connect.TrafficServiceClient
	Snapshots   cloudv1connect.SnapshotServiceClient
	Reports     cloudv1connect.ReportServiceClient
	Keys        cloudv1connect.KeyServiceClient
	Masking     cloudv1connect.MaskingServiceClient
	Replays     cloudv1connect.ReplayServiceClient
	TestConfigs cloudv1connect.TestConfigServiceClient
	Control     cloudv1connect.ControlServiceClient
	Telemetry   cloudv1connect.TelemetryServiceClient

	web *http.Client
	url *url.URL
	key string
}

// Options say which cloud.
type Options struct {
	// URL is http://host[:port] or https://host[:port].
	URL string
	// Key is an API key, or a replay's token.
	Key string
	// Roots verify the cloud; nil means the system's.
	Roots *x509.CertPool
	// Dial opens connections; nil means a plain dial.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Name is what the cloud is called where it is not reached; "" says nothing of it.
	Name string
}

// New returns a client. Nothing is sent before the first call.
func New(o Options) (*Client, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, errors.New("the cloud's address: want http://host:port or https://host")
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{Timeout: dialLimit}).DialContext
	}
	web := &http.Client{Transport: named{name: o.Name, Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           o.Dial,
		TLSClientConfig:       &tls.Config{RootCAs: o.Roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   dialLimit,
		ResponseHeaderTimeout: answerLimit,
		ForceAttemptHTTP2:     true,
	}}}
	auth := connect.WithInterceptors(bearer(o.Key))
	return &Client{
		Traffic:     cloudv1connect.NewTrafficServiceClient(web, o.URL, auth),
		Snapshots:   cloudv1connect.NewSnapshotServiceClient(web, o.URL, auth),
		Reports:     cloudv1connect.NewReportServiceClient(web, o.URL, auth),
		Keys:        cloudv1connect.NewKeyServiceClient(web, o.URL, auth),
		Masking:     cloudv1connect.NewMaskingServiceClient(web, o.URL, auth),
		Replays:     cloudv1connect.NewReplayServiceClient(web, o.URL, auth),
		TestConfigs: cloudv1connect.NewTestConfigServiceClient(web, o.URL, auth),
		Control:     cloudv1connect.NewControlServiceClient(web, o.URL, auth),
		Telemetry:   cloudv1connect.NewTelemetryServiceClient(web, o.URL, auth),
		web:         web,
		url:         u,
		key:         o.Key,
	}, nil
}

// Close ends idle connections.
func (c *Client) Close() { c.web.CloseIdleConnections() }

// named says whom a request did not reach. Other errors are as connect knows them.
type named struct {
	*http.Transport
	name string
}

// RoundTrip implements http.RoundTripper.
func (n named) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := n.Transport.RoundTrip(r)
	if n.name == "" || err == nil {
		return res, err
	}
	opErr, ok := errors.AsType[*net.OpError](err)
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	if untrusted || ok && (opErr.Op == "dial" || opErr.Op == "proxyconnect") {
		return res, fmt.Errorf("%s is not reached: %w", n.name, err)
	}
	return res, err
}

// bearer sends the API key with each call.
type bearer string

var _ connect.Interceptor = bearer("")

// WrapUnary implements connect.Interceptor.
func (b bearer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		r.Header().Set("Authorization", "Bearer "+string(b))
		return next(ctx, r)
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (b bearer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, s connect.Spec) connect.StreamingClientConn {
		c := next(ctx, s)
		c.RequestHeader().Set("Authorization", "Bearer "+string(b))
		return c
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (b bearer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// Message returns what the cloud said, without the code that connect writes in front,
// or what hindered the call.
func Message(err error) error {
	if e, ok := errors.AsType[*connect.Error](err); ok && e.Unwrap() != nil {
		return e.Unwrap()
	}
	return err
}

// Retryable says that the same call may succeed later: the cloud is away or busy.
func Retryable(err error) bool {
	switch connect.CodeOf(err) {
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded, connect.CodeResourceExhausted, connect.CodeAborted, connect.CodeInternal, connect.CodeUnknown:
		return err != nil
	}
	return false
}
