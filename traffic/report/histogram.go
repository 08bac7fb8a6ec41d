package report

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latencies are kept in microseconds, up to an hour.
const maxLatency = int64(time.Hour / time.Microsecond)

// Histogram counts latencies in microseconds, from 1 to an hour, with 2 or 3
// significant digits. Its JSON is the V2 compressed encoding of HdrHistogram, in
// base64. The zero value is empty.
type Histogram struct{ hdr *hdrhistogram.Histogram }

func newHistogram(digits int) Histogram { return Histogram{hdrhistogram.New(1, maxLatency, digits)} }

func (h Histogram) record(d time.Duration) {
	// The value is within the histogram's range, so this cannot fail.
	_ = h.hdr.RecordValue(min(max(d.Microseconds(), 1), maxLatency))
}

func (h Histogram) summary() Summary {
	if h.IsZero() {
		return Summary{}
	}
	ms := func(us int64) float64 { return float64(us) / 1000 }
	at := h.hdr.ValueAtPercentiles([]float64{50, 75, 90, 95, 99})
	return Summary{
		Count: h.hdr.TotalCount(), Min: ms(h.hdr.Min()), Max: ms(h.hdr.Max()), Avg: float64(int64(h.hdr.Mean())) / 1000,
		P50: ms(at[50]), P75: ms(at[75]), P90: ms(at[90]), P95: ms(at[95]), P99: ms(at[99]),
	}
}

// distribution counts in buckets, each 10^(1/5) times as wide as the one before.
func (h Histogram) distribution() []Bucket {
	var list []Bucket
	const step = 1.5848931924611136
	to := 0.001
	for _, bar := range h.hdr.Distribution() {
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

// IsZero says that nothing is counted.
func (h Histogram) IsZero() bool { return h.hdr == nil || h.hdr.TotalCount() == 0 }

// MarshalJSON implements json.Marshaler.
func (h Histogram) MarshalJSON() ([]byte, error) {
	if h.hdr == nil {
		return []byte("null"), nil
	}
	text, err := h.hdr.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return nil, fmt.Errorf("histogram: %w", err)
	}
	return json.Marshal(string(text))
}

// UnmarshalJSON implements json.Unmarshaler. A histogram of another range is an
// error.
func (h *Histogram) UnmarshalJSON(data []byte) error {
	var text *string
	if err := json.Unmarshal(data, &text); err != nil || text == nil {
		return err
	}
	hdr, err := hdrhistogram.Decode([]byte(*text))
	if err != nil {
		return fmt.Errorf("histogram: %w", err)
	}
	if digits := hdr.SignificantFigures(); hdr.LowestTrackableValue() != 1 || hdr.HighestTrackableValue() != maxLatency || digits < 2 || digits > 3 {
		return fmt.Errorf("histogram: range %d to %d with %d digits: want 1 to %d µs with 2 or 3",
			hdr.LowestTrackableValue(), hdr.HighestTrackableValue(), digits, maxLatency)
	}
	h.hdr = hdr
	return nil
}

func (h Histogram) clone() Histogram {
	if h.IsZero() {
		return Histogram{}
	}
	return Histogram{h.hdr.Clone()}
}

func (h Histogram) merge(from Histogram) error {
	if from.IsZero() {
		return nil
	}
	if want, got := h.hdr.SignificantFigures(), from.hdr.SignificantFigures(); want != got {
		return fmt.Errorf("histogram: %d digits, want %d", got, want)
	}
	if dropped := h.hdr.Merge(from.hdr); dropped > 0 {
		return fmt.Errorf("histogram: %d values are too many", dropped)
	}
	return nil
}
