package transform

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/carry"
)

// maxLearned bounds what a pass replaces in every request.
const maxLearned = 10_000

// Vars are the variables of one pass over the pairs, or of one virtual user in it.
// They are safe for concurrent use.
type Vars struct {
	mu      sync.Mutex
	values  map[string]string
	counts  map[*byte]int
	learned map[string]string
	order   []string // of learned, the longest first
}

// NewVars begins a pass: its variables have their first values.
func (s *Set) NewVars() *Vars {
	v := &Vars{values: map[string]string{}, counts: map[*byte]int{}, learned: map[string]string{}}
	for _, def := range s.variables {
		c := call{set: s, vars: v}
		if value, _, err := def.lead(&c, nil, nil); err == nil {
			v.store(def.name, value)
		}
	}
	return v
}

func (v *Vars) load(name string) (string, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	value, ok := v.values[name]
	return value, ok
}

func (v *Vars) store(name, value string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.values[name] = value
}

// count returns how often it was called for a key before.
func (v *Vars) count(key *byte) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.counts[key]++
	return v.counts[key] - 1
}

func (v *Vars) learn(old, now string, overwrite bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, known := v.learned[old]
	if known && !overwrite || !known && len(v.learned) >= maxLearned {
		return
	}
	v.learned[old] = now
	if !known {
		v.order = append(v.order, old)
		slices.SortStableFunc(v.order, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	}
}

// replacer puts what was learned in the place of what was recorded; nil where
// nothing was learned.
func (v *Vars) replacer() *strings.Replacer {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.learned) == 0 {
		return nil
	}
	var list []string
	for _, old := range v.order {
		list = append(list, old, v.learned[old])
	}
	return strings.NewReplacer(list...)
}

// call is one run of a chain.
type call struct {
	set  *Set
	vars *Vars
	// at is when the pair was recorded, in Unix nanoseconds; 0 where there is none.
	at int64
	// recorded is what the recorded pair has where the value is.
	recorded string
	// dry runs leave the variables as they are.
	dry bool
}

// lead takes a value out of a pair and through the steps. recorded is the pair as
// recorded, from which the same value is taken; both are nil for what is not of a
// pair. back leads what became of the value back.
func (ch *chain) lead(c *call, p, recorded *traffic.RRPair) (value string, back []func(string) (string, error), err error) {
	value, ok := ch.extract.get(p)
	if !ok {
		return "", nil, ReasonNoValue
	}
	c.recorded, _ = ch.extract.get(recorded)
	for _, s := range ch.steps {
		if f, ok := s.(finder); ok {
			if c.recorded, _, err = f(c.recorded); err != nil {
				c.recorded = ""
			}
		}
		var b func(string) (string, error)
		if value, b, err = s.forward(c, value); err != nil {
			return "", nil, err
		}
		if b != nil {
			back = append(back, b)
		}
	}
	return value, back, nil
}

// apply runs a chain on a pair. Where it cannot, the pair stays as it was.
func (ch *chain) apply(c *call, p, recorded *traffic.RRPair) error {
	before, _ := ch.extract.get(p)
	value, back, err := ch.lead(c, p, recorded)
	for i := len(back) - 1; i >= 0 && err == nil; i-- {
		value, err = back[i](value)
	}
	if err != nil || value == before {
		return err
	}
	return ch.extract.put(p, value)
}

func (a *Applying) run(chains []*chain, v *Vars, p *traffic.RRPair, dry bool, where string) []carry.Outcome {
	var outcomes []carry.Outcome
	for _, ch := range chains {
		c := call{set: a.set, vars: v, at: a.pair.GetTs(), dry: dry}
		err := ch.apply(&c, p, a.pair)
		o := carry.Outcome{Route: &carry.Route{From: ch.name, To: where}}
		if err != nil {
			o.Missing = "failed"
			if f, ok := errors.AsType[failure](err); ok {
				o.Missing = string(f)
			}
		}
		outcomes = append(outcomes, o)
	}
	return outcomes
}

// Request changes a request before it is sent, or its signature is taken. p's request
// and its list of fields are changed in place.
func (a *Applying) Request(v *Vars, p *traffic.RRPair) []carry.Outcome {
	if a == nil {
		return nil
	}
	outcomes := a.run(a.request, v, p, false, carry.Endpoint(a.pair))
	if r := v.replacer(); r != nil {
		replaceAll(r, p.Http.Req)
	}
	return outcomes
}

// replaceAll replaces in all parts of a request that have no coding.
func replaceAll(r *strings.Replacer, req *traffic.HTTPRequest) {
	req.Uri, req.Url = r.Replace(req.Uri), r.Replace(req.Url)
	for i, h := range req.Headers {
		if now := r.Replace(h.GetValue()); now != h.GetValue() {
			req.Headers[i] = &traffic.Header{Name: h.GetName(), Value: now}
		}
	}
	if now := r.Replace(string(req.Body)); now != string(req.Body) {
		req.Body, req.BodySize = []byte(now), int64(len(now))
	}
}

// Response changes an observed response before it is compared, or the answer of a
// responder before it is sent. p's response is changed in place.
func (a *Applying) Response(v *Vars, p *traffic.RRPair) []carry.Outcome {
	if a == nil {
		return nil
	}
	return a.run(a.response, v, p, false, carry.Endpoint(a.pair))
}

// Recorded changes a recorded response as Response changes the observed one, so that
// they can be compared. It stores no variable.
func (a *Applying) Recorded(v *Vars, p *traffic.RRPair) {
	if a != nil {
		a.run(a.response, v, p, true, "")
	}
}

// Responses says whether a chain changes or reads responses.
func (a *Applying) Responses() bool { return a != nil && len(a.response) > 0 }

// Own returns a pair whose request and response can be changed without changing p.
func Own(p *traffic.RRPair) *traffic.RRPair {
	own := &traffic.RRPair{
		Uuid: p.Uuid, Ts: p.Ts, Duration: p.Duration, Direction: p.Direction, Cluster: p.Cluster, Namespace: p.Namespace,
		Service: p.Service, Resource: p.Resource, L7Protocol: p.L7Protocol, Tech: p.Tech, Command: p.Command, Location: p.Location,
		Status: p.Status, NetworkAddress: p.NetworkAddress, Session: p.Session, Tags: maps.Clone(p.Tags), Http: &traffic.HTTP{},
	}
	if r := p.GetHttp().GetReq(); r != nil {
		own.Http.Req = &traffic.HTTPRequest{
			Url: r.Url, Uri: r.Uri, Version: r.Version, Method: r.Method, Host: r.Host,
			Headers: slices.Clone(r.Headers), Body: r.Body, BodySize: r.BodySize, Trailers: slices.Clone(r.Trailers),
		}
	}
	if r := p.GetHttp().GetRes(); r != nil {
		own.Http.Res = &traffic.HTTPResponse{
			ContentType: r.ContentType, StatusCode: r.StatusCode, StatusMessage: r.StatusMessage, Version: r.Version,
			Headers: slices.Clone(r.Headers), Body: r.Body, BodySize: r.BodySize, Trailers: slices.Clone(r.Trailers),
		}
	}
	return own
}
