package report

import (
	"fmt"
	"time"
)

// Timeline counts responses by time, in at most maxTicks ticks: when they run out,
// ticks become twice as long.
type Timeline struct {
	// Interval is the length of a tick in seconds, a power of two.
	Interval int64 `json:"interval"`
	// First is the number of the first of Ticks: tick n begins n Intervals after
	// the Unix epoch, so that ticks of several agents are of the same time.
	First int64  `json:"first"`
	Ticks []Tick `json:"ticks,omitempty"`
}

const maxTicks = 240

// check names what is wrong with a timeline that comes from elsewhere.
func (t *Timeline) check() error {
	const longest = 1 << 32 // seconds
	switch {
	case t.Interval == 0 && len(t.Ticks) == 0: // nothing was counted
	case t.Interval < 1 || t.Interval > longest || t.Interval&(t.Interval-1) != 0:
		return fmt.Errorf("interval %d: want seconds, a power of two", t.Interval)
	case len(t.Ticks) > maxTicks:
		return fmt.Errorf("%d ticks: want at most %d", len(t.Ticks), maxTicks)
	case t.First < 0 || t.First > longest/t.Interval*1024:
		return fmt.Errorf("first tick %d of %d s: want one after 1970", t.First, t.Interval)
	}
	return nil
}

// add counts a response at a time in Unix seconds.
func (t *Timeline) add(at int64, failed bool) {
	tick := t.at(at)
	tick.Requests++
	if failed {
		tick.Failed++
	}
}

// at returns the tick of a time, which there is room made for.
func (t *Timeline) at(at int64) *Tick {
	i := at/t.Interval - t.First
	if i < 0 || i >= int64(len(t.Ticks)) {
		t.cover(at, at)
		i = at/t.Interval - t.First
	}
	return &t.Ticks[i]
}

// cover makes ticks for all of a time, in Unix seconds.
func (t *Timeline) cover(from, to int64) {
	if n := int64(len(t.Ticks)); n > 0 {
		from, to = min(from, t.First*t.Interval), max(to, (t.First+n)*t.Interval-1)
	}
	for to/t.Interval-from/t.Interval >= maxTicks {
		t.double()
	}
	ticks := make([]Tick, to/t.Interval-from/t.Interval+1, maxTicks)
	if len(t.Ticks) > 0 {
		copy(ticks[t.First-from/t.Interval:], t.Ticks)
	}
	t.First, t.Ticks = from/t.Interval, ticks
}

func (t *Timeline) double() {
	var ticks []Tick
	for i, tick := range t.Ticks {
		if i == 0 || (t.First+int64(i))%2 == 0 {
			ticks = append(ticks, Tick{})
		}
		sum := &ticks[len(ticks)-1]
		sum.Requests += tick.Requests
		sum.Failed += tick.Failed
	}
	t.Interval, t.First, t.Ticks = 2*t.Interval, t.First/2, ticks
}

func (t *Timeline) merge(from Timeline) {
	for t.Interval < from.Interval {
		t.double()
	}
	for i, tick := range from.Ticks {
		sum := t.at((from.First + int64(i)) * from.Interval)
		sum.Requests += tick.Requests
		sum.Failed += tick.Failed
	}
}

func (t *Timeline) throughput(responses int64, from, to time.Time) Throughput {
	elapsed := to.Sub(from)
	if responses == 0 || elapsed <= 0 {
		return Throughput{}
	}
	t.cover(from.Unix(), from.Unix())
	perSecond := float64(responses) / elapsed.Seconds()
	return Throughput{PerSecond: perSecond, PerMinute: 60 * perSecond, Interval: float64(t.Interval), Timeline: t.Ticks}
}
