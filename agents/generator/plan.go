package generator

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Plan says when requests are sent. One of Speed, Rate, Stages (open model: each
// request has a planned time) and VUs (closed model: each virtual user waits for
// a response before its next request) is given; none of them means Speed 1.
type Plan struct {
	// Speed multiplies the recorded pace: 2 is twice as fast.
	Speed float64
	// Rate is a constant number of requests a second.
	Rate float64
	// Stages change the rate over time; the last one ends the replay.
	Stages []Stage
	// VUs is how many virtual users there are, in each generator of a replay. Each
	// sends all recorded requests in order, on a connection of its own.
	VUs int
	// Times is how often the recorded requests are sent; 0 means once, or as
	// often as For allows.
	Times int
	// For ends the sending after so long.
	For time.Duration
}

// Stage is a stretch of time in which the rate changes evenly from that of the
// stage before (0 at first) to Rate, in requests a second.
type Stage struct {
	Rate float64
	For  time.Duration
}

// validate names what is wrong with a plan, and sets what was left open.
func (p *Plan) validate() error {
	models := 0
	for _, given := range []bool{p.Speed != 0, p.Rate != 0, len(p.Stages) > 0, p.VUs != 0} {
		if given {
			models++
		}
	}
	switch {
	case models > 1:
		return errors.New("plan: more than one of speed, rate, stages and virtual users is given")
	case models == 0:
		p.Speed = 1
	case !positive(p.Speed) && p.Speed != 0:
		return fmt.Errorf("plan: speed %v: want a number above 0", p.Speed)
	case !positive(p.Rate) && p.Rate != 0:
		return fmt.Errorf("plan: rate %v: want requests a second, above 0", p.Rate)
	case p.VUs < 0 || p.VUs > MaxConcurrency:
		return fmt.Errorf("plan: %d virtual users: want 1 to %d", p.VUs, MaxConcurrency)
	}
	if p.Times < 0 || p.For < 0 {
		return errors.New("plan: times and duration must not be negative")
	}
	for i, s := range p.Stages {
		if s.For <= 0 || s.Rate != 0 && !positive(s.Rate) {
			return fmt.Errorf("plan: stage %d: want a duration above 0 and a rate of at least 0", i+1)
		}
	}
	if p.Times == 0 && p.For == 0 && len(p.Stages) == 0 {
		p.Times = 1
	}
	return nil
}

func positive(f float64) bool { return f > 0 && !math.IsInf(f, 1) }

// Share is which of the requests of an open plan a generator sends, where several
// do. Each request is sent by one of them, at the time that it has in the whole
// plan, and so are all requests of a session in one pass over the recorded ones.
// The generators' shares of a pass change by turns. The zero value is all.
type Share struct {
	// Index is this generator's, from 0, of Count.
	Index, Count int
}

func (s Share) validate() error {
	if s.Count < 0 || s.Index < 0 || s.Index > max(s.Count-1, 0) {
		return fmt.Errorf("share %d of %d: want an index from 0, below the count", s.Index, s.Count)
	}
	return nil
}

// has says whether a request of such an owner, which is below Count, is in the
// share in a pass.
func (s Share) has(owner int, pass int64) bool {
	return s.Count <= 1 || (int64(owner)+pass)%int64(s.Count) == int64(s.Index)
}

// owner spreads sessions, or requests that have none, by their number.
func (s Share) owner(number int) int { return number % max(s.Count, 1) }

// size is how many requests there are in the share, of so many passes.
func (s Share) size(owners []int, passes int64) int64 {
	count := int64(max(s.Count, 1))
	n := passes / count * int64(len(owners)) // in Count passes, each is sent once
	for pass := range passes % count {
		for _, o := range owners {
			if s.has(o, pass) {
				n++
			}
		}
	}
	return n
}

// schedule gives the n-th request, from 0, its time after the start; ok is false
// where the plan has ended. offsets are the recorded times of one pass.
type schedule struct {
	plan    Plan
	offsets []time.Duration
	// period is how long one pass takes as recorded, up to the next pass.
	period time.Duration
}

func newSchedule(p Plan, offsets []time.Duration) *schedule {
	s := &schedule{plan: p, offsets: offsets}
	n := len(offsets)
	if span := offsets[n-1]; n > 1 {
		s.period = span + span/time.Duration(n-1)
	}
	s.period = max(s.period, time.Millisecond)
	return s
}

// passes is how often the recorded requests are sent, -1 where it depends on time.
func (p *Plan) passes() int64 {
	if p.Times > 0 && p.For == 0 && len(p.Stages) == 0 {
		return int64(p.Times)
	}
	return -1
}

func (s *schedule) at(n int64) (at time.Duration, ok bool) {
	pass := n / int64(len(s.offsets))
	if s.plan.Times > 0 && pass >= int64(s.plan.Times) {
		return 0, false
	}
	var seconds float64
	switch {
	case len(s.plan.Stages) > 0:
		if seconds, ok = staged(s.plan.Stages, float64(n)); !ok {
			return 0, false
		}
	case s.plan.Rate > 0:
		seconds = float64(n) / s.plan.Rate
	default:
		recorded := float64(pass)*s.period.Seconds() + s.offsets[n%int64(len(s.offsets))].Seconds()
		seconds = recorded / s.plan.Speed
	}
	if seconds > math.MaxInt64/float64(time.Second)/2 {
		return 0, false
	}
	at = time.Duration(seconds * float64(time.Second))
	return at, s.plan.For == 0 || at < s.plan.For
}

// staged returns when request n is due. In a stage of length T the rate goes
// from a to b, so that after t seconds a·t + (b-a)·t²/(2T) requests were due; the
// time of a request is the root of that.
func staged(stages []Stage, n float64) (seconds float64, ok bool) {
	from, begun := 0.0, 0.0
	for _, s := range stages {
		length := s.For.Seconds()
		if due := (from + s.Rate) / 2 * length; n >= due {
			n -= due
			begun += length
			from = s.Rate
			continue
		}
		slope := (s.Rate - from) / length
		if slope == 0 {
			return begun + n/from, true
		}
		root := math.Sqrt(max(0, from*from+2*slope*n))
		return begun + (root-from)/slope, true
	}
	return 0, false
}
