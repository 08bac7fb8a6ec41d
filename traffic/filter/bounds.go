package filter

import (
	"slices"
	"strings"

	"github.com/speedscale/speedscale/traffic"
)

// Bounds narrows a search before pairs are read and matched: no pair outside it
// matches the filter. The zero Bounds is no bound.
type Bounds struct {
	// From and To bound ts: From ≤ ts < To, in Unix nanoseconds; 0 is open.
	From, To int64
	// The lists name the only values that can match; nil is any, and an empty
	// list that is not nil means that nothing matches.
	Clusters, Namespaces, Services []string
	Directions                     []traffic.Direction
}

// Bounds returns what a store can select by.
func (f *Filter) Bounds() Bounds {
	if f == nil || len(f.conditions) == 0 {
		return Bounds{}
	}
	all := f.conditions[0].bounds()
	for i := range f.conditions[1:] {
		all = all.join(f.conditions[i+1].bounds(), f.joinedByOr)
	}
	return all
}

func (c *condition) bounds() Bounds {
	all := c.rules[0].bounds()
	for i := range c.rules[1:] {
		all = all.join(c.rules[i+1].bounds(), c.joinedByOr)
	}
	return all
}

func (r *rule) bounds() Bounds {
	var b Bounds
	if r.negate || r.op != opIs {
		return b
	}
	switch r.key {
	case keyTimeRange:
		b.From, b.To = r.from, r.to
	case keyCluster:
		b.Clusters = []string{r.value}
	case keyNamespace:
		b.Namespaces = []string{r.value}
	case keyService:
		b.Services = []string{r.value}
	case keyDirection:
		d := traffic.Direction_DIRECTION_IN
		if strings.EqualFold(r.value, "OUT") {
			d = traffic.Direction_DIRECTION_OUT
		}
		b.Directions = []traffic.Direction{d}
	}
	return b
}

// join is the bounds of what either matches (or), or of what both match.
func (b Bounds) join(o Bounds, or bool) Bounds {
	j := Bounds{
		Clusters:   joinSets(b.Clusters, o.Clusters, or),
		Namespaces: joinSets(b.Namespaces, o.Namespaces, or),
		Services:   joinSets(b.Services, o.Services, or),
		Directions: joinSets(b.Directions, o.Directions, or),
	}
	switch {
	case !or:
		j.From, j.To = max(b.From, o.From), min(b.To, o.To)
		if j.To == 0 { // an open end gives way to the other
			j.To = max(b.To, o.To)
		}
	default:
		j.From = min(b.From, o.From)
		if b.To != 0 && o.To != 0 {
			j.To = max(b.To, o.To)
		}
	}
	return j
}

func joinSets[T comparable](a, b []T, or bool) []T {
	switch {
	case or && (a == nil || b == nil):
		return nil
	case a == nil:
		return b
	case b == nil:
		return a
	}
	set := []T{}
	if or {
		set = append(set, a...)
	}
	for _, v := range b {
		if slices.Contains(a, v) != or && !slices.Contains(set, v) {
			set = append(set, v)
		}
	}
	return set
}

// Contains says whether the pair lies within the bounds.
func (b Bounds) Contains(p *traffic.RRPair) bool {
	return p.Ts >= b.From && (b.To == 0 || p.Ts < b.To) &&
		in(b.Clusters, p.Cluster) && in(b.Namespaces, p.Namespace) && in(b.Services, p.Service) &&
		in(b.Directions, p.Direction)
}

func in[T comparable](set []T, v T) bool { return set == nil || slices.Contains(set, v) }
