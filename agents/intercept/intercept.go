// Package intercept opens the TLS connections of an app, so that what it says and
// hears can be captured, without breaking those that must stay closed.
//
// The order is what matters: the ClientHello is read, the real host is dialled
// and its certificate verified, and only then is a leaf minted and the app's
// handshake answered, with the protocol that the host chose. Whatever cannot be
// opened is relayed opaque: the host gets the app's own ClientHello.
package intercept

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/agents/lru"
)

// Why a connection was relayed opaque, or what else became of it.
const (
	ReasonIntercepted   = "intercepted"            // it was opened
	ReasonMocked        = "mocked"                 // it was opened without dialling
	ReasonStaleFile     = config.TLSStaleFile      // it was opened with what a file held before it became missing or wrong
	ReasonUnverified    = config.TLSUnverifiedHost // the host's certificate is not trusted, or not for that name
	ReasonClientCert    = "client_certificate"     // the host asks for a client certificate, and none is configured
	ReasonRejectedCert  = config.TLSRejectedCert   // the host does not take the one that is configured
	ReasonClientRefused = "client_refused"         // the client does not take our leaf (pinning, or it does not trust the CA)
	ReasonALPN          = "alpn"                   // the client speaks neither h2 nor http/1.1
	ReasonVersion       = "tls_version"            // the client speaks nothing newer than TLS 1.1
	ReasonHandshake     = "upstream_tls"           // the host's handshake failed for another reason
	ReasonMalformed     = "malformed_hello"        // what the client sent is no ClientHello
	ReasonIncomplete    = "incomplete_hello"       // the ClientHello did not arrive whole
	ReasonNoName        = "no_server_name"         // neither the client nor the caller names the host
	ReasonNoCertificate = "no_certificate"         // there is no CA (outbound), or no certificate of the app's (inbound)
	ReasonOtherCert     = "other_certificate"      // the app's own certificate is not the one that was given
	ReasonUnusableFile  = config.TLSUnusableFile   // a file for the direction is missing or wrong
)

const (
	defaultHandshakeTimeout = 10 * time.Second
	// A host that could not be intercepted is tried again after this long, or
	// sooner where the network may have been the cause; a client after its
	// first refusal, and then ever more rarely.
	remember      = 10 * time.Minute
	rememberShort = time.Minute
	maxRemembered = 4096
	maxSessions   = 256
)

// Dial connects to the host that a client meant. It may be called twice for one
// client: the first connection is given up when it cannot be opened.
type Dial func(ctx context.Context) (net.Conn, error)

// Options are what an Interceptor is made with.
type Options struct {
	// CA signs the leaves; without one outbound connections stay opaque.
	CA *CA
	// UpstreamCA are PEM files with roots that verify hosts beside the system's.
	UpstreamCA []string
	// KubeCA (a PEM file) has the roots of the Kubernetes API server, and KubeHost is
	// its address. It asks for a client certificate without needing one, and is
	// answered with none. "" treats it like any other host.
	KubeCA, KubeHost string
	// ClientCert and ClientKey (PEM files) are shown to hosts that ask for a
	// certificate; without them such hosts are relayed opaque.
	ClientCert, ClientKey string
	// InCert and InKey (PEM files) are the app's own certificate, to open
	// inbound connections.
	InCert, InKey string
	// All files but the CA's are read again when they change, and what they held
	// before is used as long as they cannot be.
	//
	// Tolerant relays a direction's TLS opaque for as long as one of its files above is
	// missing or wrong; otherwise New refuses it.
	Tolerant bool
	// HandshakeTimeout bounds each side's handshake; 10 s when 0.
	HandshakeTimeout time.Duration
	// Log gets one line for each host and reason; nil means none.
	Log *slog.Logger
}

// Interceptor opens TLS connections. It is safe for concurrent use.
type Interceptor struct {
	log     *slog.Logger
	timeout time.Duration
	leaves  *leaves
	inbound *followed[ownCertificate] // nil where there is none
	files   *followed[hostTrust]
	counts  counts

	// server is shared by all connections: its session ticket keys make
	// resumption work from one connection to the next. Inbound has its own, so
	// that a ticket of one direction is worth nothing in the other.
	server, inServer *tls.Config

	refused  refusals
	accepted *lru.Cache[client, struct{}] // clients that used a leaf
	mu       sync.Mutex
	open     map[client]int // connections that are opened or about to be, guarded by mu
}

// client is one client of one host.
type client struct{ host, addr string }

// Result is what became of a connection.
type Result struct {
	// ClientConn and ServerConn are to be relayed to each other. When the
	// connection was opened they are plaintext, with CloseWrite (close_notify)
	// and NetConn (down to the TCP connection, to reset it). When it is opaque
	// they are the given client and what dial returned, and all that was read
	// from the client has been written to the server.
	ClientConn, ServerConn net.Conn
	// Opaque says that the connection was not opened, for the reason beside it.
	Opaque bool
	// Reason is one of the Reason constants.
	Reason string
	// ServerName is the name that the client asked for (SNI), else the host
	// given by the caller; in lower case, without port.
	ServerName string
	// ALPN is the protocol both sides agreed on, empty without one (or opaque).
	ALPN string
}

// New returns an Interceptor.
func New(o Options) (*Interceptor, error) {
	i := &Interceptor{
		log:      o.Log,
		timeout:  o.HandshakeTimeout,
		refused:  refusals{lru.New[client, refusal](maxRemembered)},
		accepted: lru.New[client, struct{}](maxRemembered),
		open:     map[client]int{},
	}
	if i.log == nil {
		i.log = slog.New(slog.DiscardHandler)
	}
	if i.timeout == 0 {
		i.timeout = defaultHandshakeTimeout
	}
	if o.CA != nil {
		i.leaves = newLeaves(o.CA)
	}
	choose := func(chi *tls.ClientHelloInfo) (*tls.Config, error) {
		return chi.Conn.(*helloConn).choose(chi)
	}
	i.server = &tls.Config{GetConfigForClient: choose}
	i.inServer = &tls.Config{GetConfigForClient: choose}
	i.files = hostFiles(o, i.log)
	err := i.files.load()
	if err != nil && !o.Tolerant {
		return nil, err
	}
	i.files.tell(err)
	if o.InCert != "" || o.InKey != "" {
		i.inbound = ownFiles(o.InCert, o.InKey, i.log)
		if err = i.inbound.load(); err != nil && !o.Tolerant {
			return nil, err
		}
		i.inbound.tell(err)
	}
	return i, nil
}

// Outbound opens a connection of the app's to a host. peeked is what has been read
// from the client already; host (a name or address, with or without port) is where
// it was going, for clients that send no SNI.
//
// An error means that there is no connection to relay: the host could not be
// dialled (the error of dial is wrapped), or the client refused the leaf. The
// caller closes client; connections that were dialled are closed already.
func (i *Interceptor) Outbound(ctx context.Context, client net.Conn, peeked []byte, dial Dial, host string) (Result, error) {
	a := &attempt{i: i, client: client, dial: dial, host: host, direction: i.outbound()}
	return a.run(ctx, peeked)
}

// Inbound opens a connection to the app with the app's own certificate, and goes
// on to the app over TLS again, verified against that very certificate. It is
// opaque and fails as Outbound does.
func (i *Interceptor) Inbound(ctx context.Context, client net.Conn, peeked []byte, dial Dial) (Result, error) {
	a := &attempt{i: i, client: client, dial: dial, host: "", direction: i.intoApp()}
	return a.run(ctx, peeked)
}

// Mock answers a client's handshake without dialling anyone, with a leaf for the
// SNI, or for fallbackName where the client sends none. The protocol is the first
// of alpn that the client offers, none where it offers none of them; with an empty
// alpn it is the client's own preference of h2 and http/1.1.
//
// A client that refuses the leaf gets an error, never the real host. The caller
// closes client then.
func (i *Interceptor) Mock(ctx context.Context, client net.Conn, peeked []byte, fallbackName string, alpn []string) (conn net.Conn, serverName, protocol string, err error) {
	if i.leaves == nil {
		return nil, "", "", errors.New("no CA to answer for mocked hosts: set the CA certificate and key")
	}
	hello := &helloConn{Conn: client, replay: peeked, undecided: true}
	hello.choose = func(chi *tls.ClientHelloInfo) (*tls.Config, error) {
		serverName = nameOf(chi, fallbackName)
		if serverName == "" {
			return nil, errors.New("the client names no host, and no name was recorded")
		}
		offered := httpProtocols(chi.SupportedProtos)
		if len(alpn) > 0 {
			offered = common(alpn, chi.SupportedProtos)
		}
		leaf, err := i.leaves.get([]string{serverName})
		if err != nil {
			return nil, err
		}
		hello.undecided = false
		return serverConfig(leaf, offered[:min(len(offered), 1)]), nil
	}
	tc, err := i.handshake(ctx, hello, i.server)
	if err != nil {
		if !hello.undecided {
			i.count(serverName, ReasonClientRefused)
		}
		return nil, serverName, "", fmt.Errorf("TLS of mocked host %q: %w", serverName, err)
	}
	i.count(serverName, ReasonMocked)
	return tc, serverName, tc.ConnectionState().NegotiatedProtocol, nil
}

func serverConfig(cert *tls.Certificate, protos []string) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{*cert},
		NextProtos:   protos,
		// One record for each write, instead of many small ones at first:
		// this hop has no slow start to be gentle with.
		DynamicRecordSizingDisabled: true,
	}
}

// handshake answers a client. Its deadlines, rather than the context of crypto/tls,
// bound it, since the client's connection must survive when it turns out opaque.
func (i *Interceptor) handshake(ctx context.Context, hello *helloConn, base *tls.Config) (*tls.Conn, error) {
	hello.extend(i.timeout)
	stop := context.AfterFunc(ctx, func() { hello.Conn.SetDeadline(time.Unix(1, 0)) })
	tc := tls.Server(hello, base)
	err := tc.Handshake()
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	hello.Conn.SetDeadline(time.Time{})
	if err != nil {
		return nil, err
	}
	return tc, nil
}
