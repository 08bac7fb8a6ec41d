// Package responder answers requests with recorded responses, in place of the
// dependencies of a workload under test.
package responder

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/mask"
	"github.com/speedscale/speedscale/traffic/report"
	"github.com/speedscale/speedscale/traffic/signature"
	"github.com/speedscale/speedscale/traffic/transform"
)

// What happens to a request that no recorded response answers.
const (
	// NotFound answers 404 with a JSON body that says which recorded request was
	// nearest and where it differs (gRPC: status 12, UNIMPLEMENTED).
	NotFound = "404"
	// Passthrough sends the request to the real host.
	Passthrough = "passthrough"
	// Record sends it on too, and hands the new pair to Options.Recorder.
	Record = "record"
)

// What Options.Proxy says about PROXY protocol headers.
const (
	ProxyNone     = "none"     // connections have no header
	ProxyOptional = "optional" // they may have one
	ProxyRequired = "required" // those without one are closed
)

// Limits that apply where Options has none.
const (
	DefaultMaxBody     = 8 << 20
	DefaultMaxHead     = 1 << 20
	DefaultMaxConns    = 20_000
	DefaultIdleTimeout = 2 * time.Minute
	DefaultMaxMisses   = 1000
)

// Latency says how long an answer takes. The zero value is as fast as possible.
type Latency struct {
	// Multiple of the recorded time from the request's first byte to the
	// response's last: 1 is as recorded.
	Multiple float64
	// Fixed is added to that.
	Fixed time.Duration
}

// Upstream says how real hosts are reached.
type Upstream struct {
	TLS  *tls.Config
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// transport speaks one version of HTTP to real hosts.
func (u Upstream) transport(protocols ...func(*http.Protocols, bool)) *http.Transport {
	p := new(http.Protocols)
	for _, set := range protocols {
		set(p, true)
	}
	dial := u.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: 10 * time.Second}).DialContext
	}
	return &http.Transport{
		DialContext:           dial,
		TLSClientConfig:       u.TLS.Clone(),
		Protocols:             p,
		DisableCompression:    true, // the app's Accept-Encoding stands
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       30 * time.Second,
		ResponseHeaderTimeout: time.Minute,
	}
}

// Recorder takes the pairs of requests that were passed through.
type Recorder interface {
	// Pair takes over a pair. It may be called by many goroutines at once.
	Pair(p *traffic.RRPair)
}

// Options say what is answered and how.
type Options struct {
	// Reactions yields the recorded pairs, by time (Snapshot.Reactions). An error
	// beside a pair is counted and logged, and the rest is used.
	Reactions iter.Seq2[*traffic.RRPair, error]
	// Keys choose slices (service:host:port, or as snapshot.Match has it); none
	// means all.
	Keys []string
	// Signature says what of a request must be equal.
	Signature signature.Options
	// Masker masks each request as the recorded ones were masked, before its
	// signature is taken. Where it is nil, masked values in recorded requests
	// match any value.
	Masker *mask.Masker
	// Transforms rewrite requests before their signature is taken, recorded ones too,
	// and answers before they are sent; nil means none.
	Transforms *transform.Set
	// OnMiss is NotFound (also where it is empty), Passthrough or Record.
	OnMiss string
	// Recorder is for OnMiss: Record.
	Recorder Recorder
	// Latency delays answers.
	Latency Latency
	// Proxy is ProxyOptional where it is empty.
	Proxy string
	// TLS opens TLS connections; nil refuses them. ALPN is set by the responder.
	TLS *tls.Config
	// Upstream is for passing requests through: how the real hosts are verified
	// (nil means the system's roots) and dialled (nil means net.Dialer).
	Upstream Upstream
	// MaxHead and MaxBody bound a request, in bytes. A body that is longer is
	// read, counted, and answered as a miss.
	MaxHead, MaxBody int
	// MaxConns bounds the connections; further ones wait to be accepted.
	MaxConns int
	// IdleTimeout bounds the time from one request's end to the end of the next
	// one's head, and the time without progress in a body.
	IdleTimeout time.Duration
	// Report takes each answer; nil means none does.
	Report *report.Builder
	// Registry takes the metrics; nil means none does.
	Registry prometheus.Registerer
	// Logger is for what is not an answer; nil means none.
	Logger *slog.Logger
}

// Responder answers for the dependencies of one snapshot. It is safe for
// concurrent use.
type Responder struct {
	opts   Options
	slices []*slice
	// byKey finds slices by their key, byHost by what a Host field has for them,
	// in lower case; a host may be in the slices of several services.
	byKey  map[string]*slice
	byHost map[string][]*slice
	load   Loaded
	// These pass requests through in the version that they came in.
	http1Upstream, http2Upstream *http.Transport

	matched, missed, passed atomic.Int64
	open, refused           atomic.Int64 // connections
	misses                  missLog
	masked                  bool // a recorded request has masked values
}

// Loaded says what New made of the recorded pairs.
type Loaded struct {
	// Pairs are served; Signatures is how many different requests they answer.
	Pairs, Signatures int
	// Unreadable counts lines that are not pairs, Unusable pairs without a
	// response that could be served, by reason.
	Unreadable int
	Unusable   map[string]int
}

// Reasons in Loaded.Unusable.
const (
	UnusableNoResponse = "no_response"
	UnusableProtocol   = "unsupported_protocol"
	UnusableMalformed  = "malformed_response"
	UnusableUpgrade    = "upgrade"
)

// Stats counts answers. Requests = Matched + Missed + Passthrough.
type Stats struct {
	Requests, Matched, Missed, Passthrough int64
	// Refused counts connections that were closed before their first request: a
	// wrong PROXY header, or TLS that cannot be opened.
	Refused int64
	// Misses explain the first misses, each request that was missed once.
	Misses []Miss
	// Unexplained counts different requests that were missed after
	// DefaultMaxMisses others.
	Unexplained int64
}

// New loads the recorded pairs. All of their bodies stay in memory, equal ones
// once; everything that does not depend on the request is made here.
func New(opts Options) (*Responder, error) {
	if err := opts.validate(); err != nil {
		return nil, err
	}
	r := &Responder{
		opts: opts, byKey: map[string]*slice{}, byHost: map[string][]*slice{},
		load: Loaded{Unusable: map[string]int{}},
	}
	r.http1Upstream = opts.Upstream.transport((*http.Protocols).SetHTTP1)
	r.http2Upstream = opts.Upstream.transport((*http.Protocols).SetHTTP2, (*http.Protocols).SetUnencryptedHTTP2)
	if err := r.loadPairs(); err != nil {
		return nil, err
	}
	if opts.Registry != nil {
		if err := r.register(opts.Registry); err != nil {
			return nil, fmt.Errorf("responder: metrics: %w", err)
		}
	}
	return r, nil
}

func (o *Options) validate() error {
	if o.Reactions == nil {
		return errors.New("responder: no recorded pairs are given (Options.Reactions)")
	}
	if o.OnMiss == "" {
		o.OnMiss = NotFound
	}
	if o.Proxy == "" {
		o.Proxy = ProxyOptional
	}
	if known := []string{NotFound, Passthrough, Record}; !slices.Contains(known, o.OnMiss) {
		return fmt.Errorf("responder: on a miss %q: want one of %q", o.OnMiss, known)
	}
	if known := []string{ProxyNone, ProxyOptional, ProxyRequired}; !slices.Contains(known, o.Proxy) {
		return fmt.Errorf("responder: PROXY header %q: want one of %q", o.Proxy, known)
	}
	if o.OnMiss == Record && o.Recorder == nil {
		return errors.New("responder: misses are to be recorded, but there is no recorder (Options.Recorder)")
	}
	if o.Latency.Multiple < 0 || o.Latency.Fixed < 0 || o.MaxHead < 0 || o.MaxBody < 0 || o.MaxConns < 0 || o.IdleTimeout < 0 {
		return errors.New("responder: latency, limits and time-out must not be negative")
	}
	if err := o.Signature.Check(); err != nil {
		return fmt.Errorf("responder: %w", err)
	}
	o.MaxHead = orDefault(o.MaxHead, DefaultMaxHead)
	o.MaxBody = orDefault(o.MaxBody, DefaultMaxBody)
	o.MaxConns = orDefault(o.MaxConns, DefaultMaxConns)
	o.IdleTimeout = orDefault(o.IdleTimeout, DefaultIdleTimeout)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

func orDefault[T int | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

// Loaded says what was loaded.
func (r *Responder) Loaded() Loaded { return r.load }

// Keys are the slice keys that are answered for, sorted.
func (r *Responder) Keys() []string {
	keys := make([]string, len(r.slices))
	for i, s := range r.slices {
		keys[i] = s.key
	}
	return keys
}

// Mocks are what a proxy sends here: all slices, with the protocol that was recorded.
func (r *Responder) Mocks() []config.Mock {
	mocks := make([]config.Mock, len(r.slices))
	for i, s := range r.slices {
		mocks[i].Key = s.key
		switch {
		case s.http2 && !s.http1:
			mocks[i].ALPN = "h2"
		case s.http1 && !s.http2:
			mocks[i].ALPN = "http/1.1"
		}
	}
	return mocks
}

// Stats returns what was answered so far.
func (r *Responder) Stats() Stats {
	s := Stats{Matched: r.matched.Load(), Missed: r.missed.Load(), Passthrough: r.passed.Load(), Refused: r.refused.Load()}
	s.Requests = s.Matched + s.Missed + s.Passthrough
	s.Misses, s.Unexplained = r.misses.list()
	return s
}

func (r *Responder) register(reg prometheus.Registerer) error {
	var errs []error
	for outcome, n := range map[string]*atomic.Int64{"match": &r.matched, "miss": &r.missed, "passthrough": &r.passed} {
		errs = append(errs, reg.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name:        "speedscale_responder_requests_total",
			Help:        "Requests by what was done with them.",
			ConstLabels: prometheus.Labels{"outcome": outcome},
		}, func() float64 { return float64(n.Load()) })))
	}
	errs = append(errs, reg.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "speedscale_responder_connections_refused_total",
		Help: "Connections that were closed before their first request.",
	}, func() float64 { return float64(r.refused.Load()) })))
	errs = append(errs, reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "speedscale_responder_connections",
		Help: "Open connections.",
	}, func() float64 { return float64(r.open.Load()) })))
	return errors.Join(errs...)
}
