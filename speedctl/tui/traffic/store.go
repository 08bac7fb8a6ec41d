package traffic

import (
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/filter"
)

// Bounds on the pairs that are kept: the oldest go first.
const (
	MaxPairs = 5000
	MaxBytes = 64 << 20
)

// store keeps the pairs that came last, and which of them are shown.
type store struct {
	pairs []*traffic.RRPair // in the order that they came
	sizes []int
	bytes int
	// gone counts the pairs that made room for others, skipped those that never came.
	gone, skipped uint64

	filter *filter.Filter
	shown  []*traffic.RRPair
}

func newStore() *store {
	all, _ := filter.Parse("") // which matches every pair
	return &store{filter: all}
}

// add keeps pairs, and says how many lines at the head of shown made room.
func (s *store) add(pairs []*traffic.RRPair) (removed int) {
	for _, p := range pairs {
		size := proto.Size(p)
		s.pairs, s.sizes, s.bytes = append(s.pairs, p), append(s.sizes, size), s.bytes+size
		if s.filter.Match(p) {
			s.shown = append(s.shown, p)
		}
	}
	n := 0
	for len(s.pairs)-n > MaxPairs || s.bytes > MaxBytes && len(s.pairs)-n > 1 {
		if removed < len(s.shown) && s.shown[removed] == s.pairs[n] {
			removed++
		}
		s.bytes -= s.sizes[n]
		s.pairs[n] = nil
		n++
	}
	s.gone += uint64(n)
	s.pairs, s.sizes = s.pairs[n:], s.sizes[n:]
	clear(s.shown[:removed])
	s.shown = s.shown[removed:]
	return removed
}

// show shows the pairs that a filter matches.
func (s *store) show(f *filter.Filter) {
	s.filter = f
	s.shown = nil
	for _, p := range s.pairs {
		if f.Match(p) {
			s.shown = append(s.shown, p)
		}
	}
}

// place is where a pair is among those shown, -1 where it is not.
func (s *store) place(p *traffic.RRPair) int {
	for i, q := range s.shown {
		if q == p {
			return i
		}
	}
	return -1
}
