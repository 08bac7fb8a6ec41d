package report

import (
	"cmp"
	"slices"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/signature"
)

// Outcome is what the responder did with a request.
type Outcome string

// Outcomes, as documented.
const (
	Match       Outcome = "MATCH"
	NoMatch     Outcome = "NO_MATCH"
	Passthrough Outcome = "PASSTHROUGH"
)

// MockResult is one request that the responder answered.
type MockResult struct {
	Request *traffic.RRPair
	Outcome Outcome
	// Nearest and Fields explain a miss.
	Nearest *traffic.RRPair
	Fields  []signature.Field
}

// PartMocks is what a responder did, in a part.
type PartMocks struct {
	Requests    int64      `json:"requests"`
	Matched     int64      `json:"matched"`
	Missed      int64      `json:"missed"`
	Passthrough int64      `json:"passthrough"`
	Misses      []PartMiss `json:"misses,omitempty"`
}

// PartMiss is a miss in a part. Misses of the same endpoint have the same Key, and
// are one line of the report: they differ in an id or a body only.
type PartMiss struct {
	Key string `json:"key"`
	Miss
}

// AddMock folds in what the responder did. It keeps no reference to the pairs.
func (b *Builder) AddMock(r MockResult) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := &b.part.Mocks
	m.Requests++
	switch r.Outcome {
	case Match:
		m.Matched++
		return
	case Passthrough:
		m.Passthrough++
		return
	}
	m.Missed++
	key := keyOf(r.Request)
	name := key.method + " " + hostOf(r.Request) + key.path
	if i, ok := b.misses[name]; ok {
		m.Misses[i].Count++
		return
	}
	miss := Miss{Request: signature.Printable(requestLine(r.Request)), Count: 1, Fields: r.Fields}
	if r.Nearest != nil {
		miss.Nearest = signature.Printable(requestLine(r.Nearest))
	}
	b.addMiss(PartMiss{name, miss})
}

func (b *Builder) addMiss(miss PartMiss) {
	m := &b.part.Mocks
	if i, ok := b.misses[miss.Key]; ok {
		m.Misses[i].Count += miss.Count
		return
	}
	if len(m.Misses) < maxMisses {
		b.misses[miss.Key] = len(m.Misses)
		m.Misses = append(m.Misses, miss)
	}
}

func (b *Builder) mergeMocks(from *PartMocks) {
	m := &b.part.Mocks
	m.Requests += from.Requests
	m.Matched += from.Matched
	m.Missed += from.Missed
	m.Passthrough += from.Passthrough
	for _, miss := range from.Misses {
		b.addMiss(miss)
	}
}

func requestLine(p *traffic.RRPair) string {
	req := p.GetHttp().GetReq()
	uri := req.GetUri()
	if uri == "" {
		uri = p.GetLocation()
	}
	method := req.GetMethod()
	if method == "" {
		method = p.GetCommand()
	}
	return method + " " + hostOf(p) + uri
}

func hostOf(p *traffic.RRPair) string {
	if host := p.GetHttp().GetReq().GetHost(); host != "" {
		return host
	}
	return p.GetNetworkAddress()
}

func (m *PartMocks) result() *Mocks {
	if m.Requests == 0 {
		return nil
	}
	mocks := &Mocks{
		Requests: m.Requests, Matched: m.Matched, Missed: m.Missed, Passthrough: m.Passthrough,
		MatchRate: 100 * float64(m.Matched) / float64(m.Requests),
	}
	for _, miss := range m.Misses {
		mocks.Misses = append(mocks.Misses, miss.Miss)
	}
	slices.SortFunc(mocks.Misses, func(a, b Miss) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Request, b.Request))
	})
	return mocks
}
