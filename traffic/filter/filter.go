// Package filter selects pairs by what they are: a forwarder's filter excludes
// those that match, a snapshot's filter includes them.
package filter

import (
	"errors"
	"time"

	"github.com/speedscale/speedscale/traffic"
)

// Filter is a compiled rule. It does not change and is safe for concurrent use.
type Filter struct{}

// SyntaxError says where a query is wrong and what was expected there.
type SyntaxError struct {
	Query  string
	Offset int // in bytes
	Msg    string
}

func (e *SyntaxError) Error() string { return e.Msg }

// Bounds is what a store can narrow a search by before it matches.
type Bounds struct {
	From, To                       time.Time // From ≤ ts < To; zero is open
	Clusters, Namespaces, Services []string  // nil is any
	Directions                     []traffic.Direction
}

var errNotYet = errors.New("not there yet")

// Parse compiles the query-string form. An empty query matches every pair.
func Parse(query string) (*Filter, error) { return nil, errNotYet }

// ParseJSON compiles the documented JSON form.
func ParseJSON(data []byte) (*Filter, error) { return nil, errNotYet }

// Standard is the documented default exclusion rule.
func Standard() *Filter { return nil }

// ID is the id of the JSON form, empty for a query.
func (f *Filter) ID() string { return "" }

// Match says whether the pair is selected. A nil filter selects nothing.
func (f *Filter) Match(p *traffic.RRPair) bool { return false }

// Excludes is Match for a filter that is used as an exclusion: one without
// conditions, or nil, excludes nothing.
func (f *Filter) Excludes(p *traffic.RRPair) bool { return false }

// Head is the part that the head of a request decides alone: what it matches,
// the whole filter matches. It is nil where nothing can be decided.
func (f *Filter) Head() *Filter { return nil }

// Bounds never leaves out a pair that matches.
func (f *Filter) Bounds() Bounds { return Bounds{} }

// String is the query-string form.
func (f *Filter) String() string { return "" }

// JSON is the documented JSON form.
func (f *Filter) JSON() []byte { return nil }
