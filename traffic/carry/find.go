package carry

import (
	"cmp"
	"slices"
	"strings"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/mask"
	"github.com/speedscale/speedscale/traffic/signature"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

// Find returns what is carried between pairs, which are in the order of their
// times, as they were recorded. hide masks a value as the pairs are masked
// (mask.Masker.Value): a value may have been masked in one place, by its name, and
// not in the other. It is nil where nothing is masked or the key is not at hand.
func Find(pairs []*traffic.RRPair, hide func(string) string) *Plan {
	f := finder{pairs: pairs, hide: hide, plan: &Plan{Pairs: make([]*Pair, len(pairs))}, wanted: map[string]bool{}, sessions: map[string]map[string]*slot{}, first: map[string]*slot{}}
	for _, p := range pairs {
		f.want(p.GetHttp().GetReq())
	}
	if len(f.wanted) == 0 {
		return f.plan
	}
	order := events(pairs)
	for _, e := range order {
		if e.response {
			f.response(e.pair)
		} else {
			f.request(e.pair)
		}
	}
	f.number()
	for _, e := range order {
		if e.response {
			f.finds(e.pair)
		}
	}
	return f.plan
}

// event is the begin of a request or the end of its response.
type event struct {
	at       int64
	pair     int
	response bool
}

func events(pairs []*traffic.RRPair) []event {
	list := make([]event, 0, 2*len(pairs))
	for i, p := range pairs {
		list = append(list, event{at: p.GetTs(), pair: i}, event{at: p.GetTs() + max(p.GetDuration(), 0), pair: i, response: true})
	}
	// At one time requests come first: a client cannot have read what ends as it sends.
	slices.SortStableFunc(list, func(a, b event) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(order(a), order(b)))
	})
	return list
}

func order(e event) int {
	if e.response {
		return 1
	}
	return 0
}

type finder struct {
	pairs []*traffic.RRPair
	hide  func(string) string
	plan  *Plan
	// wanted are the keys of all that stands in requests: nothing else is kept of
	// responses.
	wanted map[string]bool
	// sessions have the slots of the keys that were seen in a session; nil is a
	// client's own value. first has those of the session that had a key first.
	sessions map[string]map[string]*slot
	first    map[string]*slot
	slots    []*slot
}

// Kinds of keys beside a distinct value itself.
const (
	keyUnder = "\x01" // path, value
	keyField = "\x02" // name, value
)

func underKey(path, value string) string { return keyUnder + path + "\x00" + value }

func fieldKey(name, value string) string { return keyField + name + "\x00" + value }

func (f *finder) session(pair int) map[string]*slot {
	name := snapshot.SessionOf(f.pairs[pair])
	s := f.sessions[name]
	if s == nil {
		s = map[string]*slot{}
		f.sessions[name] = s
	}
	return s
}

func (f *finder) pair(i int) *Pair {
	if f.plan.Pairs[i] == nil {
		f.plan.Pairs[i] = &Pair{}
	}
	return f.plan.Pairs[i]
}

// Endpoint names a pair's request.
func Endpoint(p *traffic.RRPair) string {
	req := p.GetHttp().GetReq()
	uri := uriOf(req)
	from, to := pathAt(uri)
	return signature.Printable(strings.TrimSpace(cmp.Or(req.GetMethod(), p.GetCommand()) + " " + signature.Endpoint(uri[from:to])))
}

// want notes the keys of a request.
func (f *finder) want(req *traffic.HTTPRequest) {
	if req == nil {
		return
	}
	requestPlaces(req, func(p place) bool {
		for _, key := range f.requestKeys(p) {
			f.wanted[key] = true
		}
		return false
	})
}

// request looks for values that responses gave, and notes those that none did.
func (f *finder) request(i int) {
	req := f.pairs[i].GetHttp().GetReq()
	if req == nil {
		return
	}
	known := f.session(i)
	requestPlaces(req, func(p place) bool {
		keys := f.requestKeys(p)
		var s *slot
		for _, key := range keys {
			own, seen := known[key]
			if !seen {
				own = f.first[key]
			}
			s = cmp.Or(s, own)
		}
		for _, key := range keys {
			if _, seen := known[key]; !seen {
				known[key] = s // nil where it is the client's own
			}
		}
		if s != nil {
			f.use(i, s, p)
		}
		return s != nil
	})
}

// distinctKeys are what a distinct value goes by: itself, and its masked form.
func (f *finder) distinctKeys(value string) []string {
	if f.hide == nil || mask.IsMasked(value) {
		return []string{value}
	}
	return []string{value, f.hide(value)}
}

func (f *finder) requestKeys(p place) []string {
	if distinct(p.value) {
		return f.distinctKeys(p.value)
	}
	if !shortID(p.value) {
		return nil
	}
	if p.under != "" {
		return []string{underKey(p.under, p.value)}
	}
	if name, qualified, ok := idName(p.field); ok && qualified {
		return []string{fieldKey(name, p.value)}
	}
	return nil
}

func (f *finder) use(i int, s *slot, p place) {
	s.used = true
	pair := f.pair(i)
	pair.uses = append(pair.uses, &use{slot: s, recorded: p.value, span: p.span, route: &Route{From: s.from, To: Endpoint(f.pairs[i]) + " " + signature.Printable(p.name)}})
	if !slices.Contains(pair.Needs, s.giver) {
		pair.Needs = append(pair.Needs, s.giver)
		f.pair(s.giver).Needed = true
	}
}

// response notes the values that a response gives first.
func (f *finder) response(i int) {
	p := f.pairs[i]
	known := f.session(i)
	responseLeaves(p.GetHttp().GetRes(), func(l leaf) {
		for _, c := range f.candidates(p, &l) {
			f.given(i, known, c, &l)
		}
	})
}

// given notes a value that a response has, unless the client had it before.
func (f *finder) given(i int, known map[string]*slot, c candidate, l *leaf) {
	if !slices.ContainsFunc(c.keys, func(key string) bool { return f.wanted[key] }) {
		return
	}
	var s *slot
	for _, key := range c.keys {
		old, seen := known[key]
		if seen && old == nil {
			return
		}
		s = cmp.Or(s, old)
	}
	if s == nil {
		s = &slot{giver: i, from: Endpoint(f.pairs[i]) + " " + signature.Printable(l.name())}
		f.slots = append(f.slots, s)
	}
	for _, key := range c.keys {
		known[key] = s
		if f.first[key] == nil {
			f.first[key] = s
		}
	}
}

// candidate is a stretch of a leaf that may be a value, and what it is found by.
type candidate struct {
	from, to int
	keys     []string
}

func (f *finder) candidates(p *traffic.RRPair, l *leaf) []candidate {
	whole := candidate{to: len(l.text)}
	if l.where != resText && distinct(l.text) {
		whole.keys = f.distinctKeys(l.text)
		return []candidate{whole}
	}
	if l.where == resJSON && shortID(l.text) {
		if whole.keys = shortKeys(p, l); whole.keys != nil {
			return []candidate{whole}
		}
		return nil
	}
	var list []candidate
	tokens(l.text, func(from, to int) {
		list = append(list, candidate{from, to, f.distinctKeys(l.text[from:to])})
	})
	if l.where == resHeader && strings.EqualFold(l.key, "Location") {
		return append(list, lastSegment(l)...)
	}
	return list
}

// shortKeys are what a short id in a response goes by: the path that what was
// made, or asked for, is under; and its name, where that tells of what it is.
func shortKeys(p *traffic.RRPair, l *leaf) (keys []string) {
	name, qualified, ok := idName(lastName([]byte(l.key)))
	if !ok {
		return nil
	}
	if qualified {
		keys = append(keys, fieldKey(name, l.text))
	}
	req := p.GetHttp().GetReq()
	uri := uriOf(req)
	from, to := pathAt(uri)
	path := strings.TrimSuffix(uri[from:to], "/")
	if under, ok := strings.CutSuffix(path, "/"+l.text); ok {
		return append(keys, underKey(under, l.text))
	}
	if req.GetMethod() == "POST" && strings.Count(l.key, ".") <= 1 && !strings.Contains(l.key, "[") && names(path, name) {
		keys = append(keys, underKey(path, l.text))
	}
	return keys
}

// names says whether an id is of what a path is for: id, or orderid under /orders.
func names(path, id string) bool {
	last := strings.ToLower(path[strings.LastIndexByte(path, '/')+1:])
	return strings.HasPrefix(last, strings.TrimSuffix(id, "id"))
}

// lastSegment is the short id at the end of a Location.
func lastSegment(l *leaf) []candidate {
	_, end := pathAt(l.text)
	from := strings.LastIndexByte(l.text[:end], '/') + 1
	if from < 2 || !shortID(l.text[from:end]) {
		return nil
	}
	return []candidate{{from, end, []string{underKey(l.text[:from-1], l.text[from:end])}}}
}

// number gives the slots that are used their numbers.
func (f *finder) number() {
	for _, s := range f.slots {
		if s.used {
			s.number = f.plan.slots
			f.plan.slots++
		}
	}
}

// finds notes where a response has values that are used.
func (f *finder) finds(i int) {
	p := f.pairs[i]
	known := f.session(i)
	var list []*find
	responseLeaves(p.GetHttp().GetRes(), func(l leaf) {
		all := &find{leaf: l}
		for _, c := range f.candidates(p, &l) {
			i := slices.IndexFunc(c.keys, func(key string) bool { s := known[key]; return s != nil && s.used })
			if i >= 0 {
				all.stretches = append(all.stretches, stretch{c.from, c.to, known[c.keys[i]]})
			}
		}
		if len(all.stretches) > 0 {
			list = append(list, f.found(i, all)...)
		}
	})
	if len(list) == 0 {
		return
	}
	pair := f.pair(i)
	pair.finds, pair.wanted = list, make(map[spot]bool, len(list))
	for _, at := range list {
		pair.wanted[at.spot()] = true
	}
}

// found says what a leaf gives, and where its values came from. Of a page each value
// is taken by itself, before the page is compared.
func (f *finder) found(i int, all *find) []*find {
	var list []*find
	for _, s := range all.stretches {
		switch {
		case !f.gives(i, s.slot):
		case all.where == resText:
			list = append(list, &find{leaf: all.leaf, stretches: []stretch{s}, gives: s.slot})
		case len(all.stretches) == 1:
			all.gives = s.slot
		}
		if all.where == resCookie {
			continue // values of cookies are not compared
		}
		all.routes = append(all.routes, &Route{From: s.slot.from, To: Endpoint(f.pairs[i]) + " " + signature.Printable(all.name())})
	}
	return append(list, all)
}

// gives says whether a response is one that a slot's value is taken from: the first
// one that had it, and later ones of the same session.
func (f *finder) gives(i int, s *slot) bool {
	return i == s.giver || snapshot.SessionOf(f.pairs[i]) == snapshot.SessionOf(f.pairs[s.giver])
}
