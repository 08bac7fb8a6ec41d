// Package filter selects pairs by what they are. A forwarder's filter excludes
// the pairs that match, a snapshot's filter includes them; both have the same
// structure: conditions joined by AND or OR, each a list of rules joined by AND
// or OR. It is written as a query,
//
//	(service IS "cart" OR service IS "orders") AND (status NOT "200")
//
// or as JSON. The keys of a query are:
//
//	cluster namespace service session l7protocol tech source status
//	command location url host networkaddr direction uuid
//	header[NAME] tag[NAME]
//	req_json[PATH] resp_json[PATH]   a value in a JSON body ($.a.b[0].c)
//	req_xml[PATH]                    the text of elements (/a/b) in an XML body
//	req_body_hash                    SHA-256 of the body as sent, in hex
//	text                             anywhere: url, headers, bodies
//	timerange "FROM" "TO"            RFC 3339, FROM ≤ ts < TO, either may be ""
//	sample "1/5"                     one in five sessions; sample[rrpair], pairs
//
// and the operators IS, NOT, CONTAINS, NOT CONTAINS, REGEX and NOT REGEX (RE2).
// A value is quoted; \" and \\ stand for a quote and a backslash. Where
// something has several values (header fields, detected technologies), a rule
// holds if it does for one of them, and its negation if it does for none.
// direction, l7protocol, tech and host are compared by IS without regard to case.
package filter

import (
	"github.com/speedscale/speedscale/traffic"
)

// Filter is a compiled filter. It does not change and is safe for concurrent use.
type Filter struct {
	id         string
	joinedByOr bool
	conditions []condition
}

// condition is a list of rules, never empty.
type condition struct {
	joinedByOr bool
	rules      []rule
}

// ID is the id of the JSON form, empty for a query.
func (f *Filter) ID() string {
	if f == nil {
		return ""
	}
	return f.id
}

// Match says whether the pair is selected. A filter without conditions selects
// every pair, a nil one none.
func (f *Filter) Match(p *traffic.RRPair) bool {
	if f == nil {
		return false
	}
	if len(f.conditions) == 0 {
		return true
	}
	for i := range f.conditions {
		if f.conditions[i].match(p) == f.joinedByOr {
			return f.joinedByOr
		}
	}
	return !f.joinedByOr
}

func (c *condition) match(p *traffic.RRPair) bool {
	for i := range c.rules {
		if c.rules[i].match(p) == c.joinedByOr {
			return c.joinedByOr
		}
	}
	return !c.joinedByOr
}

// Excludes is Match for a filter that is used as an exclusion: one without
// conditions excludes nothing, and so does nil.
func (f *Filter) Excludes(p *traffic.RRPair) bool {
	return f != nil && len(f.conditions) > 0 && f.Match(p)
}

// Head is the part of the filter that the head of a request decides: every pair
// that it matches, the whole filter matches. It is nil, which matches nothing,
// where the head decides nothing.
//
// The pair that it is asked about needs its command, location and http.req
// without body and trailers, as wire.Options.Keep gives them, and what the
// producer fills in: ts, direction, cluster, namespace, service, network_address,
// l7protocol and the source tag, with the values that the whole pair will have.
func (f *Filter) Head() *Filter {
	if f == nil || len(f.conditions) == 0 {
		return f
	}
	head := &Filter{id: f.id, joinedByOr: f.joinedByOr}
	for _, c := range f.conditions {
		switch h := c.head(); {
		case len(h.rules) > 0:
			head.conditions = append(head.conditions, h)
		case !f.joinedByOr:
			return nil
		}
	}
	if len(head.conditions) == 0 {
		return nil
	}
	return head
}

// head leaves out the rules that need more than the head: that only makes an OR
// narrower; an AND with such a rule decides nothing.
func (c condition) head() condition {
	h := condition{joinedByOr: c.joinedByOr}
	for _, r := range c.rules {
		switch {
		case keys[r.key].head:
			h.rules = append(h.rules, r)
		case !c.joinedByOr:
			return condition{}
		}
	}
	return h
}
