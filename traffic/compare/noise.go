package compare

import (
	"cmp"
	"iter"
	"slices"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/jsondoc"
	"github.com/speedscale/speedscale/traffic/signature"
)

// Noise is a place in the responses of an endpoint that differs from one
// recording to the next, and so says nothing about a change of the program.
type Noise struct {
	Method string `json:"method"`
	// Path is the endpoint, as of signature.Endpoint.
	Path string `json:"path"`
	// Location is as in Difference, with [*] for every index.
	Location string `json:"location"`
	// Pairs counts the pairs that differed there.
	Pairs int64 `json:"pairs"`
}

// place is what noise is found by.
type place struct{ method, path, location string }

func endpointOf(p *traffic.RRPair) (method, path string) {
	req := p.GetHttp().GetReq()
	uri := req.GetUri()
	if uri == "" {
		uri = p.GetLocation()
	}
	return req.GetMethod(), signature.Endpoint(uri)
}

// Noise finds the places that differ between two recordings, or two baseline
// replays, of the same requests. A request is the same where its signature is,
// the first in a with the first in b, and so on. Errors in the sequences (lines
// that are no pairs) are passed over. It holds the responses of a in memory
// until they are met in b. The result is sorted.
func (c *Comparer) Noise(a, b iter.Seq2[*traffic.RRPair, error]) []Noise {
	waiting := make(map[[16]byte][]*traffic.RRPair)
	for p, err := range a {
		if err == nil {
			h := signature.Of(p, signature.Options{}).Hash()
			waiting[h] = append(waiting[h], p)
		}
	}
	counts := make(map[place]int64)
	for p, err := range b {
		if err != nil {
			continue
		}
		h := signature.Of(p, signature.Options{}).Hash()
		list := waiting[h]
		if len(list) == 0 {
			continue
		}
		waiting[h] = list[1:]
		c.countNoise(counts, list[0], p)
	}
	noise := make([]Noise, 0, len(counts))
	for at, n := range counts {
		noise = append(noise, Noise{Method: at.method, Path: at.path, Location: at.location, Pairs: n})
	}
	slices.SortFunc(noise, func(x, y Noise) int {
		return cmp.Or(cmp.Compare(x.Path, y.Path), cmp.Compare(x.Method, y.Method), cmp.Compare(x.Location, y.Location))
	})
	return noise
}

// countNoise counts each place once for a pair. A response of another status is
// another answer, of which no place is noise.
func (c *Comparer) countNoise(counts map[place]int64, a, b *traffic.RRPair) {
	if a.GetHttp().GetRes().GetStatusCode() != b.GetHttp().GetRes().GetStatusCode() {
		return
	}
	method, path := endpointOf(a)
	seen := make(map[string]bool)
	for _, d := range c.Compare(a, b) {
		if location := jsondoc.AnyIndex(d.Location); !seen[location] {
			seen[location] = true
			counts[place{method, path, location}]++
		}
	}
}
