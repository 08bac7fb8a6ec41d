package generator

import (
	"container/heap"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/carry"
	"github.com/speedscale/speedscale/traffic/report"
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

// newValues begins a pass over the recorded requests; nil where nothing is carried.
func (r *run) newValues() *carry.Values {
	if r.links == nil {
		return nil
	}
	return r.links.NewValues()
}

// scope is what the requests of one pass share. The dispatcher's mutex guards ended
// and waiting.
type scope struct {
	pass    int64
	values  *carry.Values
	ended   map[*request]bool
	waiting map[*request][]*job
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
	if j.scope == nil || !j.req.links.Needed {
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

// fill puts what was carried over into a request.
func (r *run) fill(x *exchange) []carry.Outcome {
	changed, outcomes := x.req.links.Request(x.values, x.req.pair.Http.Req)
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
		x.req.links.NoResponse(x.values)
		return nil
	}
	res, outcomes := x.req.links.Response(x.values, x.req.pair.Http.Res, res)
	result.Carried = append(result.Carried, outcomes...)
	return res
}
