// Package server puts the parts of the cloud together in one process: bus, ingest,
// archive, catalog and API, in one data folder.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/speedscale/speedscale/agents/broker"
	"github.com/speedscale/speedscale/cloud/api"
	"github.com/speedscale/speedscale/cloud/archive"
	"github.com/speedscale/speedscale/cloud/auth"
	"github.com/speedscale/speedscale/cloud/catalog"
	"github.com/speedscale/speedscale/cloud/control"
	"github.com/speedscale/speedscale/cloud/ingest"
	"github.com/speedscale/speedscale/cloud/replays"
	"github.com/speedscale/speedscale/cloud/telemetry"
)

// Options are what a cloud is opened with.
type Options struct {
	// DataDir holds everything but the bucket, and that too where BucketURL is
	// empty. One server at a time may have it open.
	DataDir string
	// Listen is the host:port of the API, where agents reach the bus by
	// WebSocket too; port 0 picks a free one. Empty: 127.0.0.1:0.
	Listen string
	// BusListen is the host:port of the bus for nats:// or tls:// clients; empty
	// leaves that listener out.
	BusListen string
	// BucketURL is where the archive is, as gocloud.dev/blob has it; empty is a
	// folder in DataDir.
	BucketURL string
	// TLS, where set, is required of the clients of both listeners.
	TLS *tls.Config
	// KeysDir is a folder whose keys are known, such as a mounted Secret (see
	// auth.Keyring.Declare). Empty: a new cloud makes its first key.
	KeysDir string
	// SyncAlways has each acknowledged batch on the disk, so that it outlives a
	// loss of power. Without it the stream is synced each second; kill -9 loses
	// nothing either way.
	SyncAlways bool
	Retention  archive.Retention
	// Ingest bounds the stream and segments; what it runs on is filled in here.
	Ingest ingest.Options
	// Replays bound what is kept of a replay.
	Replays replays.Limits
	// VanishAfter is how long a producer may be silent before a snapshot states
	// that it vanished; 0 means 5 minutes.
	VanishAfter time.Duration
	Logger      *slog.Logger
}

// Server is an open cloud. Its methods are safe for concurrent use.
type Server struct {
	o          Options
	log        *slog.Logger
	lock       *lock
	listener   net.Listener
	catalog    *catalog.Catalog
	archive    *archive.Archive
	broker     *broker.Server
	ingest     *ingest.Ingest
	replays    *replays.Replays
	api        *api.API
	keyring    *auth.Keyring
	initialKey string
	http       *http.Server
	closers    []func() error
}

// Open opens the data folder, which is made if it does not exist, and listens.
// Requests are answered once Run is called. The caller calls Run or Close.
func Open(ctx context.Context, o Options) (*Server, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	s := &Server{o: o, log: o.Logger}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) open(ctx context.Context) error {
	if s.o.DataDir == "" {
		return errors.New("data folder is empty: say where the cloud keeps its data")
	}
	dir, err := filepath.Abs(s.o.DataDir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	if s.lock, err = takeLock(dir); err != nil {
		return err
	}
	s.closers = append(s.closers, s.lock.release)
	if s.catalog, err = catalog.Open(ctx, filepath.Join(dir, "catalog.db")); err != nil {
		return err
	}
	s.closers = append(s.closers, s.catalog.Close)
	if err := s.openKeys(ctx); err != nil {
		return err
	}
	bucket := s.o.BucketURL
	if bucket == "" {
		bucket = (&url.URL{Scheme: "file", Path: filepath.ToSlash(filepath.Join(dir, "archive"))}).String()
	}
	if s.archive, err = archive.Open(ctx, archive.Options{URL: bucket, Catalog: s.catalog, Logger: s.log}); err != nil {
		return err
	}
	s.closers = append(s.closers, s.archive.Close)
	if err := s.openBus(ctx, filepath.Join(dir, "bus")); err != nil {
		return err
	}
	first, last, err := s.ingest.Holds(ctx)
	if err != nil {
		return err
	}
	if err := s.archive.Recover(ctx, first, last); err != nil {
		return err
	}
	s.replays, err = replays.Open(ctx, replays.Options{
		Catalog: s.catalog, Keyring: s.keyring, Broker: s.broker, Full: s.ingest.Full, Archived: s.ingest.Flush, Limits: s.o.Replays, Logger: s.log,
	})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, func() error { s.replays.Close(); return nil })
	commands, err := s.BusConn(ctx, "control")
	if err != nil {
		return err
	}
	s.closers = append(s.closers, func() error { commands.Close(); return nil })
	heard, err := telemetry.Follow(commands, s.log)
	if err != nil {
		return err
	}
	s.api, err = api.New(ctx, api.Options{
		Catalog: s.catalog, Archive: s.archive, Ingest: s.ingest, Keyring: s.keyring, Replays: s.replays,
		Control:   control.New(commands, s.catalog, s.log),
		Telemetry: heard,
		Snapshots: filepath.Join(dir, "snapshots"), VanishAfter: s.o.VanishAfter,
		Revoked: s.disconnect, Logger: s.log,
	})
	if err != nil {
		return err
	}
	return s.listen(ctx)
}

// openKeys makes the first key of a new cloud, unless keys are declared.
func (s *Server) openKeys(ctx context.Context) error {
	s.keyring = auth.NewKeyring(s.catalog, s.log)
	if s.o.KeysDir != "" {
		return s.keyring.Declare(ctx, s.o.KeysDir)
	}
	keys, err := s.catalog.Keys(ctx)
	if err != nil || len(keys) > 0 {
		return err
	}
	_, s.initialKey, err = s.keyring.Create(ctx, "initial", auth.AllScopes(), 0)
	return err
}

func (s *Server) listen(ctx context.Context) error {
	var lc net.ListenConfig
	var err error
	if s.listener, err = lc.Listen(ctx, "tcp", s.o.Listen); err != nil {
		return fmt.Errorf("API listen address %q: %w", s.o.Listen, err)
	}
	s.closers = append(s.closers, func() error {
		if err := s.listener.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	handler, err := s.handler()
	if err != nil {
		return err
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	s.http = &http.Server{
		Handler:           handler,
		Protocols:         protocols,
		ReadHeaderTimeout: 10 * time.Second,
		// A call that streams may take long, but a client that stands still must
		// not hold on to a scan, and the objects that it reads, for ever.
		ReadTimeout:    callTimeout,
		WriteTimeout:   callTimeout,
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 64 << 10,
		ErrorLog:       slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	s.http.RegisterOnShutdown(s.ingest.StopFollowing) // a follower has no end of its own
	if s.o.TLS != nil {
		s.http.TLSConfig = s.o.TLS.Clone()
	}
	return s.lock.write(Running{URL: s.URL(), BusURL: s.BusURL(), PID: os.Getpid()})
}

// handler is everything on the API's listener.
func (s *Server) handler() (http.Handler, error) {
	ws, err := url.Parse(s.broker.WebSocketURL())
	if err != nil {
		return nil, fmt.Errorf("bus web socket address: %w", err)
	}
	ws.Scheme = "http"
	toBus := &httputil.ReverseProxy{
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(ws) },
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	mux := http.NewServeMux()
	s.api.Register(mux)
	s.registerHealth(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && r.Header.Get("Upgrade") == "websocket" {
			toBus.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	}), nil
}

// callTimeout bounds each call of the API.
const callTimeout = time.Hour

// stopTimeout bounds each part's end.
const stopTimeout = 10 * time.Second

// Run answers requests, archives and cleans up until ctx ends, and then closes
// everything. Streams that are running are given 10 s to end.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	masking, err := s.answerMasking(ctx)
	if err != nil && ctx.Err() != nil {
		return s.Close() // there is nothing to stop yet
	}
	if err != nil {
		return errors.Join(err, s.Close())
	}
	var running sync.WaitGroup
	running.Go(func() { s.ingest.Run(ctx) })
	running.Go(func() { s.archive.Maintain(ctx, s.o.Retention) })
	running.Go(func() { s.replays.Run(ctx) })
	served := make(chan error, 1)
	running.Go(func() {
		if s.o.TLS != nil {
			served <- s.http.ServeTLS(s.listener, "", "")
			return
		}
		served <- s.http.Serve(s.listener)
	})
	s.log.Info("cloud is up", "url", s.URL(), "bus", s.BusURL(), "data", s.o.DataDir)
	select {
	case err = <-served:
	case <-ctx.Done():
	}
	stop, done := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer done()
	if s.http.Shutdown(stop) != nil {
		s.http.Close()
	}
	cancel()
	running.Wait()
	masking.Close()
	return errors.Join(err, s.Close())
}

// Close frees what Open opened. After Run it does nothing.
func (s *Server) Close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(errs...)
}

// URL is where the API listens.
func (s *Server) URL() string {
	scheme := "http"
	if s.o.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + s.listener.Addr().String()
}

// InitialKey is the first API key, with all scopes, where Open has just made it;
// else "". It is stored nowhere.
func (s *Server) InitialKey() string { return s.initialKey }

// Handler answers what the API's listener does, for a caller in this process.
func (s *Server) Handler() http.Handler { return s.http.Handler }

// Keyring makes keys for those in this process.
func (s *Server) Keyring() *auth.Keyring { return s.keyring }
