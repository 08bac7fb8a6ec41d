package bus

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/net/http/httpproxy"

	"github.com/speedscale/speedscale/agents/agent"
)

// ConnectOptions say how to reach a bus.
type ConnectOptions struct {
	// URLs are nats://, tls://, ws:// or wss:// addresses of one bus.
	URLs []string
	// Token proves who the client is. TokenFile has one that is renewed, and is
	// read at each attempt instead.
	Token, TokenFile string
	// Identity is whom the server takes the client for, where that is known: its
	// inbox then outlives a token. "" means by the token.
	Identity string
	// RootCAs verify tls:// and wss:// servers; nil means the system's.
	RootCAs *x509.CertPool
	// Name tells the server who is connected.
	Name string
	// Proxy is used where it is set; nil means the environment's (HTTPS_PROXY,
	// HTTP_PROXY and NO_PROXY).
	Proxy *httpproxy.Config
	// MaxReconnectWait bounds the wait between attempts, which starts at 100 ms
	// and doubles; 0 means 10 s.
	MaxReconnectWait time.Duration
	// ConnectTimeout bounds one attempt; 0 means 10 s.
	ConnectTimeout time.Duration
	Logger         *slog.Logger
	// InProcess is a server in this process; URLs, RootCAs and Proxy are not
	// used then. Callers use broker.Server.Connect, which sets it.
	InProcess nats.InProcessConnProvider
}

// Connect returns a connection that is (re-)established for ever, until it is
// closed: the bus may be away when it is called. What is published while it is
// away fails with an error and is not buffered. An error means that the options
// are wrong.
func Connect(ctx context.Context, o ConnectOptions) (*nats.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxReconnectWait <= 0 {
		o.MaxReconnectWait = 10 * time.Second
	}
	if o.ConnectTimeout <= 0 {
		o.ConnectTimeout = 10 * time.Second
	}
	opts := []nats.Option{
		nats.Name(o.Name),
		proof(o),
		nats.CustomInboxPrefix(InboxPrefix(cmp.Or(o.Identity, o.Token))),
		nats.MaxReconnects(-1),
		nats.RetryOnFailedConnect(true),
		nats.IgnoreAuthErrorAbort(), // a token may be made known, or renewed, later
		nats.CustomReconnectDelay(backoff(o.MaxReconnectWait)),
		nats.ReconnectBufSize(-1),
		nats.Timeout(o.ConnectTimeout),
		nats.PingInterval(20 * time.Second),
		nats.FlusherTimeout(10 * time.Second),
		nats.SkipHostLookup(), // the dialer resolves, or the proxy does
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				o.Logger.Warn("bus connection lost", "name", o.Name, "error", err)
			}
		}),
		nats.ReconnectHandler(func(c *nats.Conn) {
			o.Logger.Info("bus connected", "name", o.Name, "url", c.ConnectedUrlRedacted())
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			o.Logger.Warn("bus not reached", "name", o.Name, "error", agent.TrustHint(err))
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			subject := ""
			if sub != nil {
				subject = sub.Subject
			}
			o.Logger.Warn("bus error", "name", o.Name, "subject", subject, "error", err)
		}),
	}
	if o.InProcess != nil {
		opts = append(opts, nats.InProcessServer(o.InProcess))
	} else {
		remote, err := remoteOptions(o)
		if err != nil {
			return nil, err
		}
		opts = append(opts, remote...)
	}
	nc, err := nats.Connect(strings.Join(o.URLs, ","), opts...)
	if err != nil {
		return nil, fmt.Errorf("bus %q: %w", strings.Join(o.URLs, ","), err)
	}
	return nc, nil
}

// proof is how a client says who it is.
func proof(o ConnectOptions) nats.Option {
	if o.TokenFile == "" {
		return nats.Token(o.Token)
	}
	return nats.TokenHandler(func() string {
		token, err := os.ReadFile(o.TokenFile)
		if err != nil {
			o.Logger.Warn("bus token not read", "name", o.Name, "error", err)
		}
		return strings.TrimSpace(string(token))
	})
}

// InboxPrefix is where the answers to a client come, by its identity or its token:
// only it may subscribe there, since answers hold keys.
func InboxPrefix(client string) string {
	sum := sha256.Sum256([]byte("inbox of " + client))
	return "_INBOX." + hex.EncodeToString(sum[:16])
}

func remoteOptions(o ConnectOptions) ([]nats.Option, error) {
	if len(o.URLs) == 0 {
		return nil, errors.New("bus URL is empty")
	}
	proxy := o.Proxy
	if proxy == nil {
		proxy = httpproxy.FromEnvironment()
	}
	d := &connectDialer{proxy: proxy.ProxyFunc(), timeout: o.ConnectTimeout, rootCAs: o.RootCAs}
	secure := false
	for _, raw := range o.URLs {
		u, err := url.Parse(raw)
		if err != nil {
			return nil, fmt.Errorf("bus URL: %w", err)
		}
		switch u.Scheme {
		case "nats", "ws":
		case "tls", "wss":
			secure = true
		default:
			return nil, fmt.Errorf("bus URL %q: scheme %q is not nats, tls, ws or wss", u.Redacted(), u.Scheme)
		}
		if u.Hostname() == "" {
			return nil, fmt.Errorf("bus URL %q has no host", u.Redacted())
		}
	}
	opts := []nats.Option{nats.SetCustomDialer(d)}
	if secure {
		opts = append(opts, nats.Secure(&tls.Config{RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12}))
	}
	return opts, nil
}

// backoff doubles from 100 ms to limit, with half of it random, so that clients of
// a server that restarts do not come back all at once.
func backoff(limit time.Duration) func(attempts int) time.Duration {
	return func(attempts int) time.Duration {
		d := min(limit, 100*time.Millisecond<<min(max(attempts-1, 0), 16))
		return d/2 + rand.N(d/2+1)
	}
}
