package report

import (
	"cmp"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latencies are kept in microseconds, up to an hour.
const maxLatency = int64(time.Hour / time.Microsecond)

func newHistogram(digits int) *hdrhistogram.Histogram { return hdrhistogram.New(1, maxLatency, digits) }

func record(h *hdrhistogram.Histogram, d time.Duration) {
	// The value is within the histogram's range, so this cannot fail.
	_ = h.RecordValue(min(max(d.Microseconds(), 1), maxLatency))
}

func summary(h *hdrhistogram.Histogram) Summary {
	if h.TotalCount() == 0 {
		return Summary{}
	}
	ms := func(us int64) float64 { return float64(us) / 1000 }
	at := h.ValueAtPercentiles([]float64{50, 75, 90, 95, 99})
	return Summary{
		Count: h.TotalCount(), Min: ms(h.Min()), Max: ms(h.Max()), Avg: float64(int64(h.Mean())) / 1000,
		P50: ms(at[50]), P75: ms(at[75]), P90: ms(at[90]), P95: ms(at[95]), P99: ms(at[99]),
	}
}

// distribution counts in buckets, each 10^(1/5) times as wide as the one before.
func distribution(h *hdrhistogram.Histogram) []Bucket {
	var list []Bucket
	const step = 1.5848931924611136
	to := 0.001
	for _, bar := range h.Distribution() {
		if bar.Count == 0 {
			continue
		}
		ms := float64(bar.To) / 1000
		for ms > to {
			to *= step
		}
		if n := len(list); n > 0 && list[n-1].To == to {
			list[n-1].Count += bar.Count
		} else {
			list = append(list, Bucket{To: to, Count: bar.Count})
		}
	}
	for i := range list {
		list[i].To = rounded(list[i].To)
	}
	return list
}

// rounded keeps three digits.
func rounded(ms float64) float64 {
	unit := 0.001
	for ms/unit >= 1000 {
		unit *= 10
	}
	return float64(int64(ms/unit+0.5)) * unit
}

// timeline counts responses by time, in at most maxTicks intervals: when they
// run out, intervals become twice as long.
type timeline struct {
	start    time.Time
	interval time.Duration
	ticks    []Tick
}

const maxTicks = 240

func (t *timeline) add(at time.Time, failed bool) {
	d := max(at.Sub(t.start), 0)
	for d/t.interval >= maxTicks {
		half := t.ticks[:(len(t.ticks)+1)/2]
		for i := range half {
			sum := t.ticks[2*i]
			if 2*i+1 < len(t.ticks) {
				sum.Requests += t.ticks[2*i+1].Requests
				sum.Failed += t.ticks[2*i+1].Failed
			}
			half[i] = sum
		}
		t.ticks = half
		t.interval *= 2
	}
	i := int(d / t.interval)
	for len(t.ticks) <= i {
		t.ticks = append(t.ticks, Tick{})
	}
	t.ticks[i].Requests++
	if failed {
		t.ticks[i].Failed++
	}
}

func (t *timeline) throughput(responses int64, elapsed time.Duration) Throughput {
	if responses == 0 || elapsed <= 0 {
		return Throughput{}
	}
	perSecond := float64(responses) / elapsed.Seconds()
	return Throughput{PerSecond: perSecond, PerMinute: 60 * perSecond, Interval: t.interval.Seconds(), Timeline: t.ticks}
}

// counter counts texts, in the order they came, and is bounded: what comes when
// it is full is counted under "other".
type counter struct {
	keys   []string
	counts []int64
	most   int
}

func newCounter(most int) counter { return counter{most: most} }

func (c *counter) add(key string) {
	i := slices.Index(c.keys, key)
	if i < 0 && len(c.keys) >= c.most {
		key = "other"
		i = slices.Index(c.keys, key)
	}
	if i < 0 {
		c.keys, c.counts = append(c.keys, key), append(c.counts, 1)
		return
	}
	c.counts[i]++
}

// byUrgency puts what failed first, then what was requested most.
func byUrgency(a, b Endpoint) int {
	return cmp.Or(
		cmp.Compare(b.Failed+b.Errors, a.Failed+a.Errors), cmp.Compare(b.Requests, a.Requests),
		cmp.Compare(a.Path, b.Path), cmp.Compare(a.Method, b.Method))
}
