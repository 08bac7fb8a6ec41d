// Package dnsrelay passes DNS queries on to nameservers, bytes unchanged, and
// notes which names the answers give to addresses, so that connections can be
// named. In a replay it also answers for recorded names that do not resolve.
package dnsrelay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/speedscale/speedscale/agents/lru"
)

const (
	defaultTimeout = 2 * time.Second
	// A resolver waits 5 s for an answer by default (resolv.conf(5)), so all
	// nameservers together get less.
	totalTimeout    = 4 * time.Second
	tcpIdle         = 30 * time.Second
	defaultInFlight = 1024
	maxConnections  = 128
	maxMessage      = 65535
	maxNames        = 16384
	nameLifetime    = time.Hour
	maxUnresolved   = 4096
	unresolvedFor   = time.Minute
	maxAnswersNoted = 256
	synthesizedTTL  = 60 // seconds
)

// Options are what a Relay is made with.
type Options struct {
	// Listen are the addresses (host:port) to serve on, each for UDP and TCP.
	// With port 0 both get the same free port.
	Listen []string
	// Nameservers answer the queries; the first that answers is kept to.
	Nameservers []netip.AddrPort
	// Synthesize are names that get an address each from config.ReplayAddresses,
	// where the nameservers know none or do not answer. A name has the same address
	// in all forms (see hosts.Forms), and mostly in every relay.
	Synthesize []string
	// Ignored are addresses that these names are not given either: where an answer has
	// one, they get their own.
	Ignored []netip.Prefix
	// Search are the domains under which the clients look up short names.
	Search []string
	// MaxInFlight bounds the UDP queries that wait for an answer; 1024 when 0.
	// Queries beyond it are dropped and counted, and the client asks again.
	MaxInFlight int
	// Timeout is how long one nameserver is waited for; 2 s when 0.
	Timeout time.Duration
	// Log gets nameservers that fail; nil means none.
	Log *slog.Logger
}

// Stats are counts since the start.
type Stats struct {
	Queries     int64 // queries that came in, by UDP and TCP
	Answers     int64 // answers passed on
	Synthesized int64 // answers made here
	TimedOut    int64 // UDP queries that no nameserver answered
	Dropped     int64 // UDP queries and TCP connections over the bound
}

// Relay is a DNS relay whose sockets are bound. It is safe for concurrent use.
type Relay struct {
	servers  []netip.AddrPort
	current  atomic.Int64 // index of the server that answered last
	timeout  time.Duration
	log      *slog.Logger
	udp      []*net.UDPConn
	tcp      []*net.TCPListener
	inFlight chan struct{}
	conns    chan struct{}
	buffers  sync.Pool

	names      *lru.Cache[netip.Addr, string]
	unresolved *lru.Cache[string, struct{}]
	shared     *lru.Cache[netip.Addr, struct{}] // addresses of a name in Synthesize and another one
	synth      *synthesizer

	queries, answers, synthesized, timedOut, dropped atomic.Int64
}

// New binds the sockets. Close or Run, once its context is done, closes them.
func New(o Options) (*Relay, error) {
	if len(o.Nameservers) == 0 && len(o.Synthesize) == 0 {
		return nil, errors.New("dns relay: no nameservers given")
	}
	synth, err := newSynthesizer(o.Synthesize, o.Search, o.Ignored)
	if err != nil {
		return nil, err
	}
	inFlight := o.MaxInFlight
	if inFlight == 0 {
		inFlight = defaultInFlight
	}
	r := &Relay{
		servers:    o.Nameservers,
		timeout:    o.Timeout,
		log:        o.Log,
		inFlight:   make(chan struct{}, inFlight),
		conns:      make(chan struct{}, maxConnections),
		buffers:    sync.Pool{New: func() any { return new([maxMessage]byte) }},
		names:      lru.New[netip.Addr, string](maxNames),
		unresolved: lru.New[string, struct{}](maxUnresolved),
		shared:     lru.New[netip.Addr, struct{}](maxNames),
		synth:      synth,
	}
	if r.timeout == 0 {
		r.timeout = defaultTimeout
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	for _, addr := range o.Listen {
		if err := r.bind(addr); err != nil {
			r.Close()
			return nil, fmt.Errorf("dns relay: %w", err)
		}
	}
	return r, nil
}

// bind listens on an address for UDP and TCP. A free port for UDP may be taken
// for TCP, so that is tried a few times.
func (r *Relay) bind(addr string) error {
	ua, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return err
	}
	for attempt := 0; ; attempt++ {
		u, err := net.ListenUDP("udp", ua)
		if err != nil {
			return err
		}
		t, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(u.LocalAddr().(*net.UDPAddr).AddrPort()))
		if err == nil {
			r.udp, r.tcp = append(r.udp, u), append(r.tcp, t)
			return nil
		}
		u.Close()
		if ua.Port != 0 || attempt == 10 {
			return err
		}
	}
}

// Addrs are the addresses that it serves on, in the order of Options.Listen.
func (r *Relay) Addrs() []netip.AddrPort {
	addrs := make([]netip.AddrPort, len(r.udp))
	for n, u := range r.udp {
		addrs[n] = u.LocalAddr().(*net.UDPAddr).AddrPort()
	}
	return addrs
}

// Close closes the sockets. Queries under way end within their time-outs.
func (r *Relay) Close() {
	for _, u := range r.udp {
		u.Close()
	}
	for _, t := range r.tcp {
		t.Close()
	}
}

// Run serves until the context is done, and returns when all that it started has
// ended: nil, or the error of a socket that failed.
func (r *Relay) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, r.Close)
	defer stop()
	var wg sync.WaitGroup
	serve := func(loop func(context.Context, *sync.WaitGroup) error) {
		wg.Go(func() {
			if err := loop(ctx, &wg); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("dns relay: %w", err))
			}
		})
	}
	for _, u := range r.udp {
		serve(func(ctx context.Context, wg *sync.WaitGroup) error { return r.serveUDP(ctx, u, wg) })
	}
	for _, t := range r.tcp {
		serve(func(ctx context.Context, wg *sync.WaitGroup) error { return r.serveTCP(ctx, t, wg) })
	}
	<-ctx.Done()
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// Name returns the name that an address was last given in an answer: the name
// that was asked for, in lower case, without a final dot. Names are kept for an
// hour, the last 16384 of them, since apps cache answers beyond their TTL.
//
// An address that a name in Options.Synthesize shares with another name has none:
// which of them a connection is for, it has to say itself.
func (r *Relay) Name(addr netip.Addr) (string, bool) {
	addr = addr.Unmap().WithZone("")
	if name, ok := r.synth.name(addr); ok {
		return name, true
	}
	if _, ok := r.shared.Get(addr); ok {
		return "", false
	}
	return r.names.Get(addr)
}

// keep remembers that an answer gave an address to a name.
func (r *Relay) keep(addr netip.Addr, name string, expires time.Time) {
	if before, ok := r.names.Get(addr); ok && !r.synth.alike(before, name) {
		r.shared.Put(addr, struct{}{}, expires)
	}
	r.names.Put(addr, name, expires)
}

// Stats returns the counts.
func (r *Relay) Stats() Stats {
	return Stats{
		Queries: r.queries.Load(), Answers: r.answers.Load(), Synthesized: r.synthesized.Load(),
		TimedOut: r.timedOut.Load(), Dropped: r.dropped.Load(),
	}
}
