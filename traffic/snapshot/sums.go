package snapshot

import (
	"slices"
	"time"

	"github.com/speedscale/speedscale/traffic"
)

// sums gathers what snapshot.json says of the pairs.
type sums struct {
	in, out     map[string]*Slice
	services    map[string]bool
	namespaces  map[string]bool
	first, last time.Time
	undirected  int
}

func newSums() sums {
	return sums{
		in: map[string]*Slice{}, out: map[string]*Slice{},
		services: map[string]bool{}, namespaces: map[string]bool{},
	}
}

func (s *sums) add(p *traffic.RRPair) {
	if v := serviceOf(p); v != "" && !s.services[v] {
		s.services[v] = true
	}
	if v := p.GetNamespace(); v != "" && !s.namespaces[v] {
		s.namespaces[v] = true
	}
	if p.GetTs() != 0 {
		ts := time.Unix(0, p.GetTs()).UTC()
		if s.first.IsZero() || ts.Before(s.first) {
			s.first = ts
		}
		if ts.After(s.last) {
			s.last = ts
		}
	}
	switch p.GetDirection() {
	case traffic.Direction_DIRECTION_IN:
		addTo(s.in, p)
	case traffic.Direction_DIRECTION_OUT:
		addTo(s.out, p)
	default:
		s.undirected++
	}
}

func addTo(slices map[string]*Slice, p *traffic.RRPair) {
	key := SliceKey(p)
	sl := slices[key]
	if sl == nil {
		host, port := hostPort(p)
		sl = &Slice{Name: serviceOf(p), Hostname: host, Port: port, Protocol: p.GetL7Protocol()}
		slices[key] = sl
	}
	sl.add(p)
}

func (sl *Slice) add(p *traffic.RRPair) {
	req, res := p.GetHttp().GetReq(), p.GetHttp().GetRes()
	in := max(req.GetBodySize(), int64(len(req.GetBody())))
	out := max(res.GetBodySize(), int64(len(res.GetBody())))
	sl.NumRequests++
	sl.ReqBodyBytes += in
	sl.ResBodyBytes += out
	sl.TotalBytes += max(p.GetWireformatSize(), in+out)
	sl.TotalDuration += float64(p.GetDuration()) / 1e6
	for _, tech := range p.GetDetectedTech() {
		if !slices.Contains(sl.DetectedTech, tech) && len(sl.DetectedTech) < 32 {
			sl.DetectedTech = append(sl.DetectedTech, tech)
		}
	}
}

// slices returns the sums of each direction, with their shares.
func (s *sums) slices() (in, out map[string]*Slice) {
	total := int64(0)
	for _, m := range []map[string]*Slice{s.in, s.out} {
		for _, sl := range m {
			total += sl.NumRequests
			sl.AvgLatency = sl.TotalDuration / float64(sl.NumRequests)
			slices.Sort(sl.DetectedTech)
		}
	}
	for _, m := range []map[string]*Slice{s.in, s.out} {
		for _, sl := range m {
			sl.PercentageOfTotal = 100 * float64(sl.NumRequests) / float64(total)
		}
	}
	return s.in, s.out
}

// losses sums up losses by what they are about.
type losses struct {
	list []Loss
	at   map[lossKey]int
}

type lossKey struct{ reason, namespace, service, direction string }

func newLosses(list []Loss) losses {
	l := losses{at: map[lossKey]int{}}
	for _, loss := range list {
		l.add(loss)
	}
	return l
}

func (l *losses) add(n Loss) {
	key := lossKey{n.Reason, n.Namespace, n.Service, n.Direction}
	i, ok := l.at[key]
	if !ok {
		l.at[key] = len(l.list)
		l.list = append(l.list, n)
		return
	}
	sum := &l.list[i]
	if !n.From.IsZero() && (sum.From.IsZero() || n.From.Before(sum.From)) {
		sum.From = n.From
	}
	if n.To.After(sum.To) {
		sum.To = n.To
	}
	sum.Pairs += n.Pairs
	sum.Connections += n.Connections
	sum.Bytes += n.Bytes
}

func lossOf(l *traffic.Loss) Loss {
	n := Loss{
		Reason: l.GetReason(), Namespace: l.GetNamespace(), Service: l.GetService(),
		Pairs: l.GetPairs(), Connections: l.GetConnections(), Bytes: l.GetBytes(),
	}
	switch l.GetDirection() {
	case traffic.Direction_DIRECTION_IN:
		n.Direction = "IN"
	case traffic.Direction_DIRECTION_OUT:
		n.Direction = "OUT"
	}
	if l.GetFrom() != 0 {
		n.From = time.Unix(0, l.GetFrom()).UTC()
	}
	if l.GetTo() != 0 {
		n.To = time.Unix(0, l.GetTo()).UTC()
	}
	return n
}
