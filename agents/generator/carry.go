package generator

import (
	"container/heap"
	"slices"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/carry"
	"github.com/speedscale/speedscale/traffic/report"
	"github.com/speedscale/speedscale/traffic/transform"
)

// link finds what is carried over from responses to later requests. sent has the
// request of each pair, nil where it is not sent.
func (r *run) link(pairs []*traffic.RRPair, sent []*request) {
	var hide func(string) string
	if r.opts.Masker != nil {
		hide = r.opts.Masker.Value
	}
	plan := carry.Find(pairs, hide)
	for i, req := range sent {
		links := plan.Pairs[i]
		if req == nil || links == nil {
			continue
		}
		r.links, req.links = plan, links
		for _, n := range links.Needs {
			if sent[n] != nil {
				req.needs = append(req.needs, sent[n])
			}
		}
	}
	if r.links != nil && r.opts.Share.Count > 1 {
		r.shareGroups()
	}
}

// shareGroups gives sessions that carry values from one to the other to one
// generator: no generator sees the responses that another one gets.
func (r *run) shareGroups() {
	// A group is a session, from 1, or one request without a session, from -1 down.
	parent, single := map[int]int{}, map[*request]int{}
	for i, req := range r.requests {
		single[req] = -1 - i
	}
	group := func(req *request) int {
		g := req.session
		if g == 0 {
			g = single[req]
		}
		for parent[g] != 0 {
			g = parent[g]
		}
		return g
	}
	for _, req := range r.requests {
		for _, giver := range req.needs {
			if a, b := group(giver), group(req); a != b {
				parent[b] = a
			}
		}
	}
	for _, req := range r.requests {
		if g := group(req); g > 0 {
			req.owner = r.opts.Share.owner(g)
		} else {
			req.owner = r.opts.Share.owner(-1 - g)
		}
	}
}

// transform finds the chains that rewrite a request, and has the recorded response
// rewritten as the observed one will be.
func (r *run) transform(req *request) {
	req.chains = r.opts.Transforms.For(req.pair)
	if req.chains.Responses() {
		req.pair = transform.Own(req.pair)
		req.chains.Recorded(r.opts.Transforms.NewVars(), req.pair)
	}
}

// changes says whether anything is done to a request or its response.
func (r *request) changes() bool { return r.links != nil || r.chains != nil }

// reads says whether anything is taken from the response, or changed in it.
func (r *request) reads() bool { return r.links.Gives() || r.chains.Responses() }

// scope is what the requests of one pass share: values that are carried over, and the
// variables of transforms. The dispatcher's mutex guards ended and waiting.
type scope struct {
	pass    int64
	values  *carry.Values
	vars    *transform.Vars
	ended   map[*request]bool
	waiting map[*request][]*job
}

// newScope begins a pass over the recorded requests; nil where they are sent as they
// are.
func (r *run) newScope(pass int64) *scope {
	if r.links == nil && r.opts.Transforms == nil {
		return nil
	}
	s := &scope{pass: pass}
	if r.links != nil {
		s.values = r.links.NewValues()
	}
	if r.opts.Transforms != nil {
		s.vars = r.opts.Transforms.NewVars()
	}
	return s
}

// park has a job wait for the responses that it needs; false means that all are
// there.
func (d *dispatcher) park(j *job) bool {
	for _, giver := range j.req.needs {
		if j.scope.ended[giver] {
			continue
		}
		if j.scope.waiting == nil {
			j.scope.waiting = map[*request][]*job{}
		}
		j.scope.waiting[giver] = append(j.scope.waiting[giver], j)
		j.pending++
	}
	if j.pending == 0 {
		return false
	}
	d.parked++
	return true
}

// unpark notes the end of an exchange, and lets those go ahead that waited for it.
func (d *dispatcher) unpark(j *job) {
	if j.scope == nil || j.req.links == nil || !j.req.links.Needed {
		return
	}
	if j.scope.ended == nil {
		j.scope.ended = map[*request]bool{}
	}
	j.scope.ended[j.req] = true
	for _, next := range j.scope.waiting[j.req] {
		next.after(j.done)
		if next.pending--; next.pending == 0 {
			d.parked--
			heap.Push(&d.ready, next)
		}
	}
	delete(j.scope.waiting, j.req)
}

// fill puts what was carried over into a request, and has it transformed.
func (r *run) fill(x *exchange) []carry.Outcome {
	changed, outcomes := x.req.links.Request(x.scope.values, x.req.pair.Http.Req)
	if x.req.chains != nil {
		pair := transform.Own(x.req.pair)
		if changed != nil {
			pair.Http.Req = changed
			changed.Headers, changed.Trailers = slices.Clone(changed.Headers), slices.Clone(changed.Trailers)
		}
		outcomes = append(outcomes, x.req.chains.Request(x.scope.vars, pair)...)
		changed = pair.Http.Req
	}
	if changed == nil {
		return outcomes
	}
	pair := &traffic.RRPair{NetworkAddress: x.req.pair.NetworkAddress, L7Protocol: x.req.pair.L7Protocol, Http: &traffic.HTTP{Req: changed}}
	made, skip := prepare(pair, x.req.target, r.opts.RewriteHost)
	if skip != "" {
		for i := range outcomes {
			outcomes[i].Missing = carry.MissingForm
		}
		return outcomes
	}
	req := *x.req
	req.head, req.body, req.http2 = made.head, made.body, made.http2
	x.wire = &req
	return outcomes
}

// taken has the values that a response gives noted, and returns it as it is compared.
func (r *run) taken(x *exchange, res *traffic.HTTPResponse, result *report.Result) *traffic.HTTPResponse {
	if res == nil {
		x.req.links.NoResponse(x.scope.values)
		return nil
	}
	res, outcomes := x.req.links.Response(x.scope.values, x.req.pair.Http.Res, res)
	result.Carried = append(result.Carried, outcomes...)
	if x.req.chains.Responses() {
		pair := transform.Own(&traffic.RRPair{Http: &traffic.HTTP{Res: res}})
		result.Carried = append(result.Carried, x.req.chains.Response(x.scope.vars, pair)...)
		res = pair.Http.Res
	}
	return res
}
