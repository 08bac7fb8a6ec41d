package responder

import (
	"cmp"
	"encoding/base64"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/carry"
	"github.com/speedscale/speedscale/traffic/mask"
	"github.com/speedscale/speedscale/traffic/report"
	"github.com/speedscale/speedscale/traffic/signature"
	"github.com/speedscale/speedscale/traffic/transform"
)

// maxCandidates bounds how many recorded requests are looked at to explain a miss.
const maxCandidates = 200

// Reasons of a Miss.
const (
	MissNoHost     = "no recorded host has this name"
	MissNoRequest  = "no recorded request is equal"
	MissCutBody    = "the request's body is longer than the limit"
	MissCutAnswer  = "the recorded body was cut when it was captured"
	MissUnmaskable = "the request cannot be masked by the snapshot's rules"
)

// Miss explains requests that no recorded response answers.
type Miss struct {
	// Reason is one of the Miss constants.
	Reason string `json:"reason"`
	// SliceKey is where the request belongs, empty where no slice does.
	SliceKey string `json:"sliceKey,omitempty"`
	// Request is method and path.
	Request string `json:"request"`
	// Count is how many such requests there were.
	Count int64 `json:"count"`
	// Nearest is the recorded request that is most like it, nil where none is.
	Nearest *traffic.RRPair `json:"-"`
	// Fields are those in which they differ. What the request has there is left
	// out where the snapshot is masked and the key is not at hand.
	Fields []signature.Field `json:"fields,omitempty"`
}

// NearestUUID is the nearest pair's, in base64 as in raw.jsonl.
func (m *Miss) NearestUUID() string {
	return base64.StdEncoding.EncodeToString(m.Nearest.GetUuid())
}

// origin is what is known of where a connection was to go.
type origin struct {
	// slice is set where a header or a port names it.
	slice *slice
	// sliceKey is the name of a slice that is not recorded.
	sliceKey string
	// authority is the name that the client asked for, without the Host field.
	authority string
	// destination is host:port of the original connection.
	destination string
	tls         bool
}

// find returns the slices that a request can be for.
func (r *Responder) find(o *origin, host string) []*slice {
	if o.slice != nil {
		return []*slice{o.slice}
	}
	if o.sliceKey != "" {
		return nil
	}
	for _, name := range [...]string{host, o.authority, o.destination} {
		if name == "" {
			continue
		}
		if s, ok := r.byHost[name]; ok {
			return byScheme(s, o.tls)
		}
		if s, ok := r.byHost[strings.ToLower(name)]; ok {
			return byScheme(s, o.tls)
		}
	}
	return nil
}

// byScheme puts those first that were recorded as the connection is: a host often
// answers on port 80 that it has moved to port 443.
func byScheme(list []*slice, secure bool) []*slice {
	if len(list) < 2 {
		return list
	}
	return slices.SortedStableFunc(slices.Values(list), func(a, b *slice) int {
		return cmp.Compare(a.rank(secure), b.rank(secure))
	})
}

func (s *slice) rank(secure bool) int {
	if (s.scheme == "https") == secure {
		return 0
	}
	return 1
}

// match returns the response to a request, or why there is none. It transforms and
// masks p as the recorded requests are, and sets its host to the recorded one.
func (r *Responder) match(o *origin, p *traffic.RRPair, v *transform.Vars) (*reaction, *Miss) {
	req := p.Http.Req
	found := r.find(o, req.Host)
	if len(found) == 0 {
		return nil, r.misses.addAlike(missKey{uri: req.Host},
			Miss{Reason: MissNoHost, SliceKey: o.sliceKey, Request: r.shown(req, nil)})
	}
	if p.RequestCut() {
		return nil, r.misses.addAlike(missKey{slice: found[0], uri: MissCutBody},
			Miss{Reason: MissCutBody, SliceKey: found[0].key, Request: r.shown(req, nil)})
	}
	if v != nil {
		p.Service, p.NetworkAddress = found[0].service, found[0].address
		r.carried(r.opts.Transforms.For(p).Request(v, p))
	}
	if r.opts.Masker != nil {
		p.Service, p.NetworkAddress = found[0].service, found[0].address
		if _, err := r.opts.Masker.Mask(p); err != nil {
			return nil, r.misses.addAlike(missKey{slice: found[0], uri: MissUnmaskable},
				Miss{Reason: MissUnmaskable, SliceKey: found[0].key, Request: req.Method + " (withheld)"})
		}
	}
	var sig signature.Signature
	for _, s := range found {
		p.Service, p.NetworkAddress = s.service, s.address
		if s.host != "" {
			req.Host = s.host
		}
		sig = signature.Of(p, r.opts.Signature)
		a := s.signature[sig.Hash()]
		if a == nil {
			a = s.likeMasked(sig)
		}
		if a == nil {
			continue
		}
		if made := a.take(); !made.cut {
			return made, nil
		}
		return nil, r.misses.add(missKey{slice: s, uri: MissCutAnswer, hash: sig.Hash()}, func() Miss {
			return Miss{Reason: MissCutAnswer, SliceKey: s.key, Request: r.shown(req, a.request), Nearest: a.request}
		})
	}
	s := found[0]
	return nil, r.misses.add(missKey{slice: s, hash: sig.Hash()}, func() Miss { return r.explain(s, req, sig) })
}

// shown is a request in words. A path can have secrets: where requests cannot be
// masked as the recorded ones were, it is shown only if it was recorded so.
func (r *Responder) shown(req *traffic.HTTPRequest, nearest *traffic.RRPair) string {
	path := pathOf(req)
	if r.withheld() && path != nearest.GetLocation() {
		path = "(withheld)"
	}
	return req.Method + " " + path
}

// withheld says that the recorded requests are masked and ours cannot be.
func (r *Responder) withheld() bool { return r.opts.Masker == nil && r.masked }

// likeMasked returns answers whose request differs in masked values only.
func (s *slice) likeMasked(sig signature.Signature) *answers {
	if len(s.masked) == 0 {
		return nil
	}
	for _, place := range [...]string{placeOf(sig), ""} {
		for _, a := range s.masked[place] {
			different := signature.Diff(a.signature, sig)
			if len(different) < signature.MaxFields && !slices.ContainsFunc(different, func(f signature.Field) bool {
				return !mask.Matches(f.Want, f.Got)
			}) {
				return a
			}
		}
	}
	return nil
}

// explain finds the nearest recorded request: among those for the same path, for
// the same endpoint, or all, of which at most maxCandidates are looked at.
func (r *Responder) explain(s *slice, req *traffic.HTTPRequest, sig signature.Signature) Miss {
	m := Miss{Reason: MissNoRequest, SliceKey: s.key, Request: r.shown(req, nil)}
	path := pathOf(req)
	candidates := s.near[path]
	if len(candidates) == 0 {
		candidates = s.near[signature.Endpoint(path)]
	}
	if len(candidates) == 0 {
		candidates = s.list
	}
	nearest, fields := signature.Nearest(sig, signatures(candidates))
	if nearest < 0 {
		return m
	}
	m.Nearest, m.Fields = candidates[nearest].request, fields
	m.Request = r.shown(req, m.Nearest)
	if r.withheld() {
		for i := range m.Fields {
			if m.Fields[i].Key != signature.KeyMethod {
				m.Fields[i].Got = "(withheld)"
			}
		}
	}
	return m
}

func signatures(candidates []*answers) iter.Seq2[int, signature.Signature] {
	return func(yield func(int, signature.Signature) bool) {
		for i, a := range candidates[:min(len(candidates), maxCandidates)] {
			if !yield(i, a.signature) {
				return
			}
		}
	}
}

// answered counts an outcome and tells the report.
func (r *Responder) answered(outcome report.Outcome, p *traffic.RRPair, m *Miss) {
	switch outcome {
	case report.Match:
		r.matched.Add(1)
	case report.NoMatch:
		r.missed.Add(1)
	case report.Passthrough:
		r.passed.Add(1)
	}
	if r.opts.Report == nil {
		return
	}
	result := report.MockResult{Request: p, Outcome: outcome}
	if m != nil {
		result.Nearest, result.Fields = m.Nearest, m.Fields
		if r.withheld() || m.Reason == MissUnmaskable {
			result.Request = reportable(p, m)
		}
	}
	r.opts.Report.AddMock(result)
}

// reportable leaves of a request that is not masked what a miss shows of it.
func reportable(p *traffic.RRPair, m *Miss) *traffic.RRPair {
	method, path, _ := strings.Cut(m.Request, " ")
	return &traffic.RRPair{
		Direction: p.Direction, Service: p.Service, L7Protocol: p.L7Protocol, NetworkAddress: p.NetworkAddress,
		Command: method, Location: path,
		Http: &traffic.HTTP{Req: &traffic.HTTPRequest{Method: method, Uri: path, Host: p.Http.Req.Host}},
	}
}

// carried tells the report what transforms did.
func (r *Responder) carried(outcomes []carry.Outcome) {
	if r.opts.Report != nil {
		r.opts.Report.AddCarried(outcomes)
	}
}

// missKey tells one missed request from another.
type missKey struct {
	slice *slice
	hash  [16]byte
	uri   string
}

// missLog keeps the explanations of the first DefaultMaxMisses missed requests,
// each of which is explained once.
type missLog struct {
	mu     sync.Mutex
	byKey  map[missKey]*Miss
	order  []*Miss
	beyond int64
}

func (l *missLog) add(key missKey, explain func() Miss) *Miss {
	l.mu.Lock()
	if m, ok := l.byKey[key]; ok {
		m.Count++
		l.mu.Unlock()
		return m
	}
	full := len(l.order) >= DefaultMaxMisses
	l.mu.Unlock()
	m := explain()
	m.Count = 1
	l.mu.Lock()
	defer l.mu.Unlock()
	if full {
		l.beyond++
		return &m
	}
	if known, ok := l.byKey[key]; ok { // explained by another meanwhile
		known.Count++
		return known
	}
	if l.byKey == nil {
		l.byKey = map[missKey]*Miss{}
	}
	l.byKey[key] = &m
	l.order = append(l.order, &m)
	return &m
}

// addAlike adds a miss that stands for different requests, of which the log keeps
// the first. It returns the explanation of this one.
func (l *missLog) addAlike(key missKey, m Miss) *Miss {
	l.add(key, func() Miss { return m })
	m.Count = 1
	return &m
}

func (l *missLog) list() ([]Miss, int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Miss, len(l.order))
	for i, m := range l.order {
		out[i] = *m
	}
	return out, l.beyond
}
