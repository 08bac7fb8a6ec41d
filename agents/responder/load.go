package responder

import (
	"bytes"
	"cmp"
	"fmt"
	"hash/maphash"
	"maps"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/speedscale/speedscale/agents/replay"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/signature"
	"github.com/speedscale/speedscale/traffic/snapshot"
	"github.com/speedscale/speedscale/traffic/transform"
)

// slice is what was recorded for one service:host:port.
type slice struct {
	key, service, address string
	scheme                string
	http1, http2          bool // which protocols were recorded
	// host is the Host that all recorded requests had, empty where they differ.
	host      string
	signature map[[16]byte]*answers
	// list has all answers; near finds those for a path, and for an endpoint
	// (signature.Endpoint), which explain a miss.
	list []*answers
	near map[string][]*answers
	// masked finds those whose requests have masked values, by method and path
	// ("" where the path itself has one). It is for want of a key only.
	masked map[string][]*answers
}

// answers are the recorded responses to one request, in recorded order. They are
// given in turn; after the last comes the first again.
type answers struct {
	signature signature.Signature
	request   *traffic.RRPair
	next      atomic.Uint64
	list      []*reaction
}

// take returns the next response.
func (a *answers) take() *reaction {
	if len(a.list) == 1 {
		return a.list[0]
	}
	return a.list[(a.next.Add(1)-1)%uint64(len(a.list))]
}

func (r *Responder) loadPairs() error {
	pairs, err := replay.Choose(r.opts.Reactions, r.opts.Keys, func(err error) {
		r.load.Unreadable++
		r.opts.Logger.Warn("recorded pair skipped", "error", err)
	})
	if err != nil {
		return fmt.Errorf("responder: %w", err)
	}
	share := sharedBodies()
	for _, p := range pairs {
		r.add(p, share)
	}
	r.slices = slices.SortedFunc(maps.Values(r.byKey), func(a, b *slice) int { return cmp.Compare(a.key, b.key) })
	for _, s := range r.slices {
		r.index(s)
	}
	return nil
}

// sharedBodies returns a function that returns the same bytes for equal bodies.
func sharedBodies() func([]byte) []byte {
	seed := maphash.MakeSeed()
	seen := map[uint64][]byte{}
	return func(b []byte) []byte {
		if len(b) == 0 {
			return nil
		}
		sum := maphash.Bytes(seed, b)
		if known, ok := seen[sum]; ok {
			if string(known) == string(b) {
				return known
			}
			return b
		}
		seen[sum] = b
		return b
	}
}

func (r *Responder) add(p *traffic.RRPair, share func([]byte) []byte) {
	made, reason := newReaction(p)
	if reason != "" {
		r.load.Unusable[reason]++
		return
	}
	made.body = share(made.body)
	made.delay = time.Duration(float64(p.Duration)*r.opts.Latency.Multiple) + r.opts.Latency.Fixed
	key := snapshot.SliceKey(p)
	s := r.byKey[key]
	if s == nil {
		service, address, _ := strings.Cut(key, ":")
		s = &slice{
			key: key, service: service, address: address, scheme: "http", host: p.Http.Req.Host,
			signature: map[[16]byte]*answers{}, near: map[string][]*answers{}, masked: map[string][]*answers{},
		}
		if strings.HasPrefix(p.Http.Req.Url, "https:") {
			s.scheme = "https"
		}
		r.byKey[key] = s
	}
	if s.host != p.Http.Req.Host {
		s.host = ""
	}
	if replay.IsHTTP2(p) {
		s.http2 = true
	} else {
		s.http1 = true
	}
	r.byName(p.Http.Req.Host, s)
	sig := signature.Of(r.rewritten(p, made), r.opts.Signature)
	hash := sig.Hash()
	a := s.signature[hash]
	if a == nil {
		a = &answers{signature: sig, request: named(p)}
		s.signature[hash] = a
		s.list = append(s.list, a)
		r.load.Signatures++
	}
	a.list = append(a.list, made)
	r.load.Pairs++
}

// rewritten is a recorded pair whose request the transforms have changed, as they
// will those that come.
func (r *Responder) rewritten(p *traffic.RRPair, made *reaction) *traffic.RRPair {
	chains := r.opts.Transforms.For(p)
	if chains == nil {
		return p
	}
	if chains.Responses() {
		made.chains = chains
	}
	own := transform.Own(p)
	chains.Request(r.opts.Transforms.NewVars(), own)
	return own
}

// named leaves of a pair what names its request.
func named(p *traffic.RRPair) *traffic.RRPair {
	req := p.Http.Req
	return &traffic.RRPair{
		Uuid: p.Uuid, Ts: p.Ts, Direction: p.Direction, Service: p.Service, L7Protocol: p.L7Protocol,
		Command: req.Method, Location: pathOf(req), NetworkAddress: p.NetworkAddress,
		Http: &traffic.HTTP{Req: &traffic.HTTPRequest{Method: req.Method, Url: req.Url, Uri: req.Uri, Host: req.Host}},
	}
}

// byName notes that a Host means a slice.
func (r *Responder) byName(host string, s *slice) {
	host = strings.ToLower(host)
	if host != "" && !slices.Contains(r.byHost[host], s) {
		r.byHost[host] = append(r.byHost[host], s)
	}
}

// index makes what finds a slice by name, and its answers by path.
func (r *Responder) index(s *slice) {
	r.byName(s.address, s)
	if host, port, err := net.SplitHostPort(s.address); err == nil && (port == "80" || port == "443") {
		r.byName(host, s)
	}
	for _, a := range s.list {
		path := a.request.Location
		s.near[path] = append(s.near[path], a)
		if e := signature.Endpoint(path); e != path {
			s.near[e] = append(s.near[e], a)
		}
		if hasMasked(a.signature) && r.opts.Masker == nil {
			r.masked = true
			place := ""
			if !hasToken(a.signature.Get(signature.KeyURL)) {
				place = placeOf(a.signature)
			}
			s.masked[place] = append(s.masked[place], a)
		}
	}
}

// pathOf returns the path as it was sent.
func pathOf(req *traffic.HTTPRequest) string {
	uri := req.Uri
	if uri == "" {
		uri = req.Url
	}
	if _, rest, ok := strings.Cut(uri, "://"); ok {
		_, uri, _ = strings.Cut(rest, "/")
		uri = "/" + uri
	}
	path, _, _ := strings.Cut(uri, "?")
	return path
}

// placeOf is the method and the path of a signature.
func placeOf(sig signature.Signature) string {
	return string(sig.Get(signature.KeyMethod)) + " " + string(sig.Get(signature.KeyURL))
}

func hasMasked(sig signature.Signature) bool {
	return slices.ContainsFunc(sig, func(e signature.Entry) bool { return hasToken(e.Value) })
}

// hasToken says whether a text may have a masked value in it; it may say so of
// text that only looks like it, which then is compared as text.
func hasToken(value []byte) bool { return bytes.Contains(value, []byte("REDACTED-")) }
