package replay

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

// Choose returns the pairs of the slices that one of the patterns means (see
// snapshot.Match; none means all), by time. Errors of the sequence go to
// unreadable, and the rest is used.
func Choose(recorded iter.Seq2[*traffic.RRPair, error], patterns []string, unreadable func(error)) ([]*traffic.RRPair, error) {
	var pairs []*traffic.RRPair
	keys := map[string]bool{}
	for p, err := range recorded {
		if err != nil {
			unreadable(err)
			continue
		}
		pairs = append(pairs, p)
		keys[snapshot.SliceKey(p)] = true
	}
	if len(patterns) > 0 {
		chosen := map[string]bool{}
		all := slices.Sorted(maps.Keys(keys))
		for _, pattern := range patterns {
			matched, err := snapshot.Match(all, pattern)
			if err != nil {
				return nil, fmt.Errorf("slice %q: %w", pattern, err)
			}
			for _, k := range matched {
				chosen[k] = true
			}
		}
		pairs = slices.DeleteFunc(pairs, func(p *traffic.RRPair) bool { return !chosen[snapshot.SliceKey(p)] })
	}
	slices.SortStableFunc(pairs, func(a, b *traffic.RRPair) int { return cmp.Compare(a.Ts, b.Ts) })
	return pairs, nil
}

// IsHTTP2 says whether a pair was recorded over HTTP/2.
func IsHTTP2(p *traffic.RRPair) bool {
	return p.L7Protocol == traffic.GRPCProtocol || strings.HasPrefix(p.GetHttp().GetReq().GetVersion(), "2")
}
