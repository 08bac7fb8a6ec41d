package report

import (
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

// AddMock folds in what the responder did. It keeps no reference to the pairs.
func (b *Builder) AddMock(r MockResult) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mocks.add(r)
}

// mocks gathers what the responder did.
type mocks struct {
	Mocks
	at map[string]int // where a request's miss is in Misses
}

func newMocks() mocks { return mocks{at: map[string]int{}} }

func (m *mocks) add(r MockResult) {
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
	// Misses that differ in an id or a body only are one line of the report.
	key := keyOf(r.Request)
	name := key.method + " " + hostOf(r.Request) + key.path
	if i, ok := m.at[name]; ok {
		m.Misses[i].Count++
		return
	}
	if len(m.Misses) >= maxMisses {
		return
	}
	m.at[name] = len(m.Misses)
	miss := Miss{Request: signature.Printable(requestLine(r.Request)), Count: 1, Fields: r.Fields}
	if r.Nearest != nil {
		miss.Nearest = signature.Printable(requestLine(r.Nearest))
	}
	m.Misses = append(m.Misses, miss)
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

func (m *mocks) result() *Mocks {
	if m.Requests == 0 {
		return nil
	}
	m.MatchRate = 100 * float64(m.Matched) / float64(m.Requests)
	return &m.Mocks
}
