// Package broker embeds a NATS server, for those whom agents connect to: the
// forwarder and the cloud. Package bus is the clients' side; a program that only
// connects does not link the server.
package broker

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/agents/disk"
)

// Options are what an embedded server is started with.
type Options struct {
	// Name is the server's name in logs and in its INFO line.
	Name string
	// Listen is the host:port for nats:// and tls:// clients; port 0 picks a
	// free one. Empty: no listener, only Server.Connect.
	Listen string
	// TLS, where set, is required of clients of Listen.
	TLS *tls.Config
	// WebSocket is the host:port for ws:// and wss:// clients; empty: none.
	WebSocket string
	// WebSocketTLS is nil where TLS ends before this process (an ingress, say).
	WebSocketTLS *tls.Config
	// Store is where JetStream keeps its streams; nil: no JetStream.
	Store *StoreOptions
	// MaxBody is the limit of a body in bytes, each way, from which the largest
	// message follows (see bus.MaxPayload). 0 means wire.DefaultMaxBody.
	MaxBody int
	// Authenticate says what the bearer of a token may do; an error refuses the
	// client and is logged, so it must not hold the token. nil lets everyone do
	// everything. Calls may be concurrent.
	Authenticate func(token string) (Permissions, error)
	Logger       *slog.Logger
}

// StoreOptions bound the files of JetStream.
type StoreOptions struct {
	// Dir is created where it does not exist.
	Dir string
	// MaxBytes bounds all streams together; 0 means three quarters of what is
	// free (nats-server's own rule).
	MaxBytes int64
	// Reserve is how much of the disk is left free: 0 means 64 MiB.
	Reserve int64
	// SyncAlways has each acknowledged message on the disk (fsync), so that it
	// outlives a loss of power. Without it files are synced each SyncInterval
	// (1 s when 0); kill -9 loses nothing either way, since a message is written
	// before it is acknowledged.
	SyncAlways   bool
	SyncInterval time.Duration
}

// Permissions are the subjects, with wildcards, that a client may use. Empty
// lists allow nothing, but that every client gets the answers to its own requests
// (bus.InboxPrefix). A client with AllowResponses may answer each request that it
// received once.
type Permissions struct {
	// Name says who it is, in logs.
	Name string
	// Identity is bus.ConnectOptions.Identity of such a client.
	Identity           string
	Publish, Subscribe []string
	AllowResponses     bool
	// Expires ends the connection at a time; zero: never.
	Expires time.Time
}

// Server is an embedded NATS server. Its methods are safe for concurrent use.
type Server struct {
	nats    *server.Server
	token   string // of clients in this process
	auth    func(token string) (Permissions, error)
	store   *StoreOptions
	log     *slog.Logger
	refused atomic.Uint64
	restart sync.Mutex
}

// ErrDiskFull is wrapped by the errors of StoreError.
var ErrDiskFull = errors.New("disk full")

// startTimeout bounds the start of a server, which reads its streams' files.
const startTimeout = time.Minute

// Start starts a server and returns when it takes connections.
func Start(o Options) (*Server, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{token: rand.Text(), auth: o.Authenticate, log: o.Logger}
	if o.Store != nil {
		store := *o.Store
		store.Reserve = cmp.Or(store.Reserve, 64<<20)
		store.SyncInterval = cmp.Or(store.SyncInterval, time.Second)
		s.store = &store
	}
	opts, err := s.options(o)
	if err != nil {
		return nil, err
	}
	s.nats, err = server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	log := &serverLog{log: o.Logger}
	s.nats.SetLoggerV2(log, false, false, false)
	s.nats.Start()
	for end := time.Now().Add(startTimeout); !s.nats.ReadyForConnections(50 * time.Millisecond); {
		if reason := log.fatal(); reason != "" || time.Now().After(end) {
			s.nats.Shutdown()
			return nil, fmt.Errorf("broker does not start: %s", cmp.Or(reason, "not ready after "+startTimeout.String()))
		}
	}
	return s, nil
}

func (s *Server) options(o Options) (*server.Options, error) {
	opts := &server.Options{
		ServerName:                 o.Name,
		NoSigs:                     true,
		NoLog:                      true,
		DontListen:                 o.Listen == "",
		MaxPayload:                 int32(bus.MaxPayload(o.MaxBody)),
		CustomClientAuthentication: s,
		DisableShortFirstPing:      true,
	}
	var err error
	if o.Listen != "" {
		if opts.Host, opts.Port, err = hostPort(o.Listen); err != nil {
			return nil, fmt.Errorf("broker listen address %q: %w", o.Listen, err)
		}
		if o.TLS != nil {
			opts.TLS, opts.TLSConfig, opts.TLSTimeout = true, o.TLS, 10
		}
	}
	if o.WebSocket != "" {
		w := &opts.Websocket
		if w.Host, w.Port, err = hostPort(o.WebSocket); err != nil {
			return nil, fmt.Errorf("broker web socket address %q: %w", o.WebSocket, err)
		}
		w.TLSConfig, w.NoTLS, w.HandshakeTimeout = o.WebSocketTLS, o.WebSocketTLS == nil, 10*time.Second
	}
	if s.store != nil {
		opts.JetStream, opts.DisableJetStreamBanner = true, true
		opts.StoreDir, opts.JetStreamMaxStore = s.store.Dir, s.store.MaxBytes
		opts.JetStreamMaxMemory = maxMemory
		opts.SyncAlways, opts.SyncInterval = s.store.SyncAlways, s.store.SyncInterval
	}
	return opts, nil
}

// maxMemory bounds what streams and consumers in memory may hold.
const maxMemory = 64 << 20

func (s *Server) jetStream() *server.JetStreamConfig {
	return &server.JetStreamConfig{
		StoreDir: s.store.Dir, MaxStore: s.store.MaxBytes, MaxMemory: maxMemory,
		SyncAlways: s.store.SyncAlways, SyncInterval: s.store.SyncInterval,
	}
}

func hostPort(addr string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(p)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("port %q is not a number from 0 to 65535", p)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	if host == "" {
		host = "0.0.0.0"
	}
	return host, port, nil
}

// Check implements nats-server's Authentication; it is not for callers.
func (s *Server) Check(c server.ClientAuthentication) bool {
	token := c.GetOpts().Token
	if subtle.ConstantTimeCompare([]byte(token), []byte(s.token)) == 1 || s.auth == nil {
		return true
	}
	p, err := s.auth(token)
	if err != nil {
		s.refused.Add(1)
		s.log.Warn("client refused", "remote", c.RemoteAddress(), "error", err)
		return false
	}
	u := &server.User{Username: p.Name, ConnectionDeadline: p.Expires, Permissions: &server.Permissions{
		Publish:   allow(p.Publish),
		Subscribe: allow(append(slices.Clone(p.Subscribe), bus.InboxPrefix(cmp.Or(p.Identity, token))+".>")),
	}}
	if p.AllowResponses {
		u.Permissions.Response = &server.ResponsePermission{MaxMsgs: 1, Expires: time.Minute}
	}
	c.RegisterUser(u)
	return true
}

// allow permits the subjects only; nats-server takes an empty list for "all".
func allow(subjects []string) *server.SubjectPermission {
	if len(subjects) == 0 {
		return &server.SubjectPermission{Deny: []string{">"}}
	}
	return &server.SubjectPermission{Allow: subjects}
}

// Connect connects a client in this process, without a socket. Without a token
// it may use every subject. URLs and RootCAs are not used.
func (s *Server) Connect(ctx context.Context, o bus.ConnectOptions) (*nats.Conn, error) {
	o.InProcess = s.nats
	if o.Token == "" {
		o.Token = s.token
	}
	return bus.Connect(ctx, o)
}

// Addr returns where the server listens, nil where it does not.
func (s *Server) Addr() net.Addr { return s.nats.Addr() }

// ClientURL returns the URL for clients of Listen, "" where there is no listener.
func (s *Server) ClientURL() string {
	if s.nats.Addr() == nil {
		return ""
	}
	return s.nats.ClientURL()
}

// WebSocketURL returns the URL for clients of WebSocket.
func (s *Server) WebSocketURL() string { return s.nats.WebsocketURL() }

// Refused counts the clients that Authenticate refused.
func (s *Server) Refused() uint64 { return s.refused.Load() }

// Clients returns how many clients are connected.
func (s *Server) Clients() int { return s.nats.NumClients() }

// RestartStore closes JetStream's files and opens them again, which a failed write
// (a full disk) makes necessary: until then nothing more is stored. Consumers that
// were kept in memory are gone after it.
func (s *Server) RestartStore() error {
	if err := s.StoreError(); err != nil {
		return err
	}
	s.restart.Lock()
	defer s.restart.Unlock()
	if s.nats.JetStreamEnabled() {
		if err := s.nats.ShutdownJetStream(); err != nil {
			return fmt.Errorf("close store: %w", err)
		}
	}
	if err := s.nats.EnableJetStream(s.jetStream()); err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	return nil
}

// StoreError says why nothing should be stored now: too little is free. It is
// asked before each message, so that a full disk is met by a clear refusal, not
// by a failed write in the middle of a file.
func (s *Server) StoreError() error {
	if s.store == nil {
		return errors.New("the broker has no store")
	}
	space, err := disk.SpaceOf(s.store.Dir)
	if err != nil {
		return fmt.Errorf("store %q: %w", s.store.Dir, err)
	}
	if space.Free < s.store.Reserve {
		return fmt.Errorf("store %q: %w: %d MiB free, %d MiB are kept in reserve", s.store.Dir, ErrDiskFull, space.Free>>20, s.store.Reserve>>20)
	}
	return nil
}

// Shutdown closes all connections and flushes the streams' files. When ctx ends
// first, it goes on behind the caller's back and ctx's error is returned.
func (s *Server) Shutdown(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.nats.Shutdown()
		s.nats.WaitForShutdown()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("broker shutdown: %w", errors.Join(ctx.Err(), context.Cause(ctx)))
	}
}
