// Package client reaches the cloud of a context: one elsewhere, one in a cluster, the
// local one that another speedctl has open, or the local one, opened in this process.
package client

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/nats-io/nats.go"

	"github.com/speedscale/speedscale/agents/bus"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/client"
	"github.com/speedscale/speedscale/cluster/forward"
	"github.com/speedscale/speedscale/speedctl/home"
	"github.com/speedscale/speedscale/speedctl/term"
)

// Client is a connection to a cloud. It is safe for concurrent use.
type Client struct {
	*client.Client

	busURL string
	key    string
	roots  *x509.CertPool
	// What the connection needs, and ends with: at most one of them.
	local   *localCloud
	forward *forward.Forward
	// encrypted says that the Service at the end of forward speaks TLS.
	encrypted bool
}

// Options say which cloud.
type Options struct {
	Home home.Dir
	// Context is its name; empty for the current one.
	Context string
	// Cluster, where no Context is named, is the cluster whose cloud is meant.
	Cluster *Cluster
	// APIKey replaces the context's. KeyFrom says where it is from.
	APIKey, KeyFrom string
	// Running leaves a local cloud closed that nobody has open: Connect returns
	// ErrNotRunning then.
	Running bool
	// Logger takes what a cloud in this process has to say.
	Logger *slog.Logger
	// Say tells the user what was done for them.
	Say func(format string, args ...any)
}

// Connect reaches the cloud. Without a configuration it sets up the local one, unless
// a cluster is named. The caller closes the client, which ends a cloud that runs in
// this process.
func Connect(ctx context.Context, o Options) (*Client, error) {
	if o.Context == "" && o.Cluster != nil {
		return inCluster(ctx, o, *o.Cluster, home.Context{})
	}
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
	if target.Cluster != nil {
		cluster, err := KubeCluster(*target.Cluster)
		if err != nil {
			return nil, term.WithCode(fmt.Errorf("context %q: %w", target.Name, err), term.ExitUsage)
		}
		return inCluster(ctx, o, cluster, target)
	}
	from := fmt.Sprintf("context %q", target.Name)
	if o.APIKey != "" {
		target.APIKey, from = o.APIKey, o.KeyFrom
	}
	o.Logger.Info("API key", "from", from)
	if target.AppURL != "" {
		return remote(target, o.Context == "")
	}
	return openLocal(ctx, o, target)
}

// Here says that the cloud runs in this process, and nothing arrives that this process
// does not send.
func (c *Client) Here() bool { return c.local != nil }

// Close ends the connection.
func (c *Client) Close() error {
	c.Client.Close()
	switch {
	case c.local != nil:
		return c.local.close()
	case c.forward != nil:
		return c.forward.Close()
	}
	return nil
}

// Bus connects to the cloud's bus, as an agent does.
func (c *Client) Bus(ctx context.Context, name string, log *slog.Logger) (*nats.Conn, error) {
	url := c.busURL
	if c.encrypted {
		return nil, errors.New("the cluster's cloud has a certificate, which is not that of a port of this machine: reach it by its address, with speedctl init --app-url")
	}
	if c.forward != nil {
		address, err := c.forward.Listen()
		if err != nil {
			return nil, err
		}
		url = "ws://" + address
	}
	return bus.Connect(ctx, bus.ConnectOptions{URLs: []string{url}, Token: c.key, RootCAs: c.roots, Name: name, Logger: log})
}

// remote reaches a cloud by its address. current says that the context was not named.
func remote(t home.Context, current bool) (*Client, error) {
	var roots *x509.CertPool
	if t.CA != "" {
		var err error
		if roots, err = poolWith(t.CA); err != nil {
			return nil, term.WithCode(err, term.ExitUsage)
		}
	}
	called := "the cloud at " + t.AppURL
	switch {
	case current:
		called += fmt.Sprintf(" (context %q, the current one)", t.Name)
	case t.Name != "":
		called += fmt.Sprintf(" (context %q)", t.Name)
	}
	c, err := newClient(called, t.AppURL, t.BusURL, t.APIKey, roots)
	if err != nil {
		return nil, term.WithCode(fmt.Errorf("app-url %q of context %q: %w", t.AppURL, t.Name, err), term.ExitUsage)
	}
	return c, nil
}

// newClient returns a client of a cloud, which errors call so. Without busURL the bus is
// where the API is.
func newClient(called, appURL, busURL, key string, roots *x509.CertPool) (*Client, error) {
	api, err := client.New(client.Options{Name: called, URL: appURL, Key: key, Roots: roots})
	if err != nil {
		return nil, err
	}
	if busURL == "" {
		busURL = "ws" + strings.TrimPrefix(appURL, "http") // https is wss
	}
	return &Client{Client: api, busURL: busURL, key: key, roots: roots}, nil
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

// Explain turns an error of a call into one with an exit code and a hint.
func Explain(err error) error {
	switch connect.CodeOf(err) {
	case connect.CodeUnauthenticated, connect.CodePermissionDenied:
		return term.WithCode(term.WithHint(client.Message(err), "give a key with --api-key, or run speedctl init again"), term.ExitDenied)
	case connect.CodeNotFound:
		return term.WithCode(client.Message(err), term.ExitNotFound)
	case connect.CodeInvalidArgument, connect.CodeAlreadyExists, connect.CodeFailedPrecondition:
		return term.WithCode(client.Message(err), term.ExitUsage)
	case connect.CodeUnavailable:
		hint := "is it running? speedctl init --app-url names another address, and -c another context"
		if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
			hint = "if its CA is a private one, speedctl init --app-url with --ca names a PEM file with it"
		}
		return term.WithHint(client.Message(err), hint)
	}
	return err
}

// Check calls the cloud with the key, and says what is wrong.
func (c *Client) Check(ctx context.Context) error {
	_, err := c.Traffic.Ingest(ctx, &cloudv1.IngestRequest{})
	return Explain(err)
}

// Remote is the context of a cloud with an address, empty but for that where there is
// none.
func Remote(dir home.Dir, appURL string) home.Context {
	if cfg, err := dir.Load(); err == nil {
		for _, c := range cfg.Contexts {
			if strings.TrimSuffix(c.AppURL, "/") == strings.TrimSuffix(appURL, "/") {
				return c
			}
		}
	}
	return home.Context{AppURL: appURL}
}

// CheckAgent calls a cloud with the key of an agent, of scope ingest or control, and says
// what is wrong.
func CheckAgent(ctx context.Context, target home.Context) error {
	c, err := remote(target, false)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	_, err = c.Masking.Get(ctx, &cloudv1.GetMaskingRequest{})
	return Explain(err)
}

// checkLimit is how long a cloud may take to answer that may not be reached from here.
const checkLimit = 10 * time.Second
