package intercept

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// direction is what differs between the connections that an app opens and those
// that it gets.
type direction struct {
	name string
	// server is the shared configuration towards the client.
	server *tls.Config
	// upstream is how to reach and verify the host.
	upstream func(name string) *tls.Config
	// certificate answers the client, given what the host showed.
	certificate func(name string, sni bool, host *x509.Certificate) (*tls.Certificate, error)
	// clientCert is shown to hosts that ask for one; nil means none.
	clientCert *tls.Certificate
	// optional says that a host asks for a certificate without needing one; nil is no host.
	optional func(name string) bool
	// ready is false where there is nothing to answer clients with.
	ready bool
	// unusable says that a file of the direction is missing or wrong, and stale that it
	// became so: what was in it before is used.
	unusable, stale bool
	memory
	// named says that a connection cannot be opened without a host's name.
	named bool
}

func (i *Interceptor) outbound() *direction {
	d := &direction{name: "outbound", server: i.server, ready: i.leaves != nil, named: true}
	trust := i.files.get()
	d.unusable, d.stale = trust == nil, i.files.stale.Load()
	if trust == nil {
		return d
	}
	d.memory = trust.memory
	d.clientCert = trust.clientCert
	d.optional = trust.isKube
	d.upstream = func(name string) *tls.Config {
		roots := trust.roots
		if trust.isKube(name) {
			roots = trust.kubeRoots
		}
		return &tls.Config{ServerName: name, RootCAs: roots, ClientSessionCache: trust.sessions}
	}
	d.certificate = func(name string, sni bool, host *x509.Certificate) (*tls.Certificate, error) {
		names := []string{name}
		if !sni {
			// The client may expect any of the host's names.
			names = append(names, otherNames(name, host)...)
		}
		return i.leaves.get(names)
	}
	return d
}

func otherNames(name string, cert *x509.Certificate) (names []string) {
	for _, n := range cert.DNSNames {
		if n != name {
			names = append(names, n)
		}
	}
	for _, ip := range cert.IPAddresses {
		if n := ip.String(); n != name {
			names = append(names, n)
		}
	}
	return names
}

// attempt is the way of one connection, from its first bytes to a Result.
type attempt struct {
	*direction
	i      *Interceptor
	client net.Conn
	dial   Dial
	host   string

	serverName string
	upstreamTo *upstream
	watch      *watch // once the client is answered
	reason     string // why it is opaque, once that is decided
	failure    error  // why there is nothing to relay
}

// run lets crypto/tls read the ClientHello, and decides in its callback: either
// it gets a configuration and the handshake goes on, or it gets an error, and what
// was read so far goes to the host as it is.
func (a *attempt) run(ctx context.Context, peeked []byte) (Result, error) {
	a.serverName = withoutPort(a.host)
	hello := &helloConn{Conn: a.client, replay: peeked, undecided: true}
	if !a.ready {
		return a.opaque(ctx, hello, ReasonNoCertificate)
	}
	if a.unusable {
		return a.opaque(ctx, hello, ReasonUnusableFile)
	}
	hello.choose = func(chi *tls.ClientHelloInfo) (*tls.Config, error) {
		cfg, reason, err := a.choose(ctx, chi)
		if cfg == nil {
			a.reason, a.failure = reason, err
			return nil, errors.New(reason)
		}
		hello.undecided, hello.read = false, nil
		a.watch = a.i.watch(a)
		hello.extend(a.i.timeout) // the host's time is not the client's
		return cfg, nil
	}
	tc, err := a.i.handshake(ctx, hello, a.server)
	canceled := ctx.Err() != nil
	if a.watch != nil && (err != nil || canceled) {
		a.watch.ended()
	}
	switch {
	case canceled:
		a.giveUp()
		return Result{}, context.Cause(ctx)
	case a.failure != nil:
		return Result{}, a.failure
	case hello.undecided && a.reason != "":
		return a.opaque(ctx, hello, a.reason)
	case hello.undecided && hello.cut:
		return a.opaque(ctx, hello, ReasonIncomplete)
	case hello.undecided:
		return a.opaque(ctx, hello, ReasonMalformed)
	case err != nil:
		a.giveUp()
		a.refused(err)
		return Result{}, fmt.Errorf("%s TLS of %q: client: %w", a.name, a.serverName, err)
	}
	reason := ReasonIntercepted
	if a.stale {
		reason = ReasonStaleFile
	}
	a.i.count(a.serverName, reason)
	return Result{
		ClientConn: &clientConn{Conn: tc, opened: time.Now(), watch: a.watch},
		ServerConn: a.upstreamTo.conn(),
		Reason:     reason,
		ServerName: a.serverName,
		ALPN:       tc.ConnectionState().NegotiatedProtocol,
	}, nil
}

// choose decides by the ClientHello. It returns a configuration to answer the
// client with, or the reason to relay opaque, or the error of a failed dial.
func (a *attempt) choose(ctx context.Context, chi *tls.ClientHelloInfo) (cfg *tls.Config, reason string, err error) {
	name := nameOf(chi, a.host)
	if name == "" && a.named {
		return nil, ReasonNoName, nil
	}
	a.serverName = name
	protos := httpProtocols(chi.SupportedProtos)
	if len(protos) == 0 && len(chi.SupportedProtos) > 0 {
		return nil, ReasonALPN, nil
	}
	if newest(chi.SupportedVersions) < tls.VersionTLS12 {
		return nil, ReasonVersion, nil
	}
	if reason, ok := a.hosts.Get(a.hostKey()); ok {
		return nil, reason, nil
	}
	if a.i.refused.waiting(a.clientKey()) {
		return nil, ReasonClientRefused, nil
	}
	up, reason, err := a.connect(ctx, name, protos)
	if up == nil {
		return nil, reason, err
	}
	state := up.tls.ConnectionState()
	cert, err := a.certificate(name, chi.ServerName != "", state.PeerCertificates[0])
	if err != nil {
		up.tls.NetConn().Close()
		return nil, "", fmt.Errorf("certificate for %q: %w", name, err)
	}
	a.upstreamTo = up
	var agreed []string
	if state.NegotiatedProtocol != "" {
		agreed = []string{state.NegotiatedProtocol}
	}
	return serverConfig(cert, agreed), "", nil
}

// newest ignores the values that clients send to keep servers tolerant (GREASE,
// RFC 8701: 0x?A?A).
func newest(versions []uint16) (v uint16) {
	for _, o := range versions {
		if o&0x0f0f != 0x0a0a {
			v = max(v, o)
		}
	}
	return v
}

// opaque connects the client to the host, which gets what was read so far.
func (a *attempt) opaque(ctx context.Context, hello *helloConn, reason string) (Result, error) {
	conn, err := a.dial(ctx)
	if err != nil {
		return Result{}, err
	}
	if sent := hello.unsent(); len(sent) > 0 {
		conn.SetWriteDeadline(time.Now().Add(a.i.timeout))
		if _, err := conn.Write(sent); err != nil {
			conn.Close()
			return Result{}, fmt.Errorf("opaque relay to %q: %w", a.serverName, err)
		}
		conn.SetWriteDeadline(time.Time{})
	}
	a.i.count(a.serverName, reason)
	return Result{
		ClientConn: a.client,
		ServerConn: conn,
		Opaque:     true,
		Reason:     reason,
		ServerName: a.serverName,
	}, nil
}

// refused notes that a client does not take our certificate. Its connections to
// that host are relayed opaque from the next one on, for a while. Time-outs are no
// refusal.
func (a *attempt) refused(err error) {
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return
	}
	a.i.refused.add(a.clientKey())
	a.i.count(a.serverName, ReasonClientRefused)
	a.i.log.Info("client refused our certificate, so it is relayed without capture", "direction", a.name, "host", a.serverName, "error", err)
}

func (a *attempt) remember(reason string, d time.Duration) {
	a.hosts.Put(a.hostKey(), reason, time.Now().Add(d))
}

func (a *attempt) giveUp() {
	if a.upstreamTo != nil {
		a.upstreamTo.tls.NetConn().Close()
	}
}

// hostKey tells hosts of one name apart by where they are.
func (a *attempt) hostKey() string { return a.name + " " + a.serverName + " " + a.host }

func (a *attempt) clientKey() client {
	addr := a.client.RemoteAddr().String()
	if ap, err := netip.ParseAddrPort(addr); err == nil {
		addr = ap.Addr().Unmap().String()
	}
	return client{a.hostKey(), addr}
}
