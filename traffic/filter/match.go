package filter

import (
	"bytes"
	"encoding/hex"
	"strings"

	"github.com/speedscale/speedscale/traffic"
)

func (r *rule) match(p *traffic.RRPair) bool { return r.holds(p) != r.negate }

// holds says whether the rule, without its negation, holds for the pair. The
// usual rules allocate nothing here.
func (r *rule) holds(p *traffic.RRPair) bool {
	req := p.GetHttp().GetReq()
	switch r.key {
	case keyCluster:
		return r.is(p.Cluster)
	case keyCommand:
		return r.is(p.Command)
	case keyDirection:
		return r.is(directionName(p.Direction))
	case keyHeader:
		return r.header(req.GetHeaders())
	case keyHost:
		return r.host(p)
	case keyL7Protocol:
		return r.is(p.L7Protocol)
	case keyLocation:
		return r.is(p.Location)
	case keyNamespace:
		return r.is(p.Namespace)
	case keyNetworkAddr:
		return r.is(p.NetworkAddress)
	case keyService:
		return r.is(p.Service)
	case keySession:
		return r.is(p.Session)
	case keySource:
		return r.is(p.Tags[traffic.TagSource])
	case keyStatus:
		return r.is(p.Status)
	case keyTag:
		v, ok := p.Tags[r.param]
		return ok && r.is(v)
	case keyTech:
		return r.tech(p)
	case keyTimeRange:
		return p.Ts >= r.from && (r.to == 0 || p.Ts < r.to)
	case keyURL:
		return r.is(req.GetUrl())
	case keySample:
		return r.sample(p)
	case keyUUID:
		return r.hasUUID(p.Uuid)
	}
	return r.holdsForBody(p)
}

// is compares one value.
func (r *rule) is(s string) bool {
	switch r.op {
	case opContains:
		return strings.Contains(s, r.value)
	case opRegex:
		return r.re.MatchString(s)
	}
	return s == r.value || keys[r.key].fold && strings.EqualFold(s, r.value)
}

func (r *rule) isBytes(b []byte) bool {
	switch r.op {
	case opContains:
		return bytes.Contains(b, r.bytes)
	case opRegex:
		return r.re.Match(b)
	}
	return bytes.Equal(b, r.bytes)
}

func directionName(d traffic.Direction) string {
	switch d {
	case traffic.Direction_DIRECTION_IN:
		return "IN"
	case traffic.Direction_DIRECTION_OUT:
		return "OUT"
	}
	return ""
}

func (r *rule) header(headers []*traffic.Header) bool {
	for _, h := range headers {
		if len(h.Name) == len(r.param) && strings.EqualFold(h.Name, r.param) && r.is(h.Value) {
			return true
		}
	}
	return false
}

// host compares the host that the request was for, with and without its port.
func (r *rule) host(p *traffic.RRPair) bool {
	host := p.GetHttp().GetReq().GetHost()
	if host == "" {
		host = p.NetworkAddress
	}
	if r.is(host) {
		return true
	}
	i := strings.LastIndexByte(host, ':')
	if i < 0 || strings.HasSuffix(host, "]") {
		return false
	}
	return r.is(host[:i])
}

func (r *rule) tech(p *traffic.RRPair) bool {
	if r.is(p.Tech) {
		return true
	}
	for _, t := range p.DetectedTech {
		if r.is(t) {
			return true
		}
	}
	return false
}

func (r *rule) hasUUID(uuid []byte) bool {
	if r.op == opIs {
		return bytes.Equal(uuid, r.uuid)
	}
	if len(uuid) != 16 {
		return false
	}
	var b [36]byte
	hex.Encode(b[:8], uuid[:4])
	hex.Encode(b[9:13], uuid[4:6])
	hex.Encode(b[14:18], uuid[6:8])
	hex.Encode(b[19:23], uuid[8:10])
	hex.Encode(b[24:], uuid[10:])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return r.isBytes(b[:])
}

func (r *rule) sample(p *traffic.RRPair) bool {
	if r.param == "" {
		switch {
		case p.Session != "":
			return Sampled(p.Session, r.rate.n, r.rate.m)
		case p.GetNetinfo().GetId() != "":
			return Sampled(p.Netinfo.Id, r.rate.n, r.rate.m)
		}
	}
	return Sampled(p.Uuid, r.rate.n, r.rate.m)
}

// Sampled says whether the sample of n in m holds what has this id: a session,
// so that a session is kept whole or not at all; without one the connection, or
// the pair. The answer is the same in every process; a sample in 0 holds all.
func Sampled[T string | []byte](id T, n, m uint32) bool {
	h := uint64(14695981039346656037) // FNV-1a
	for i := range len(id) {
		h = (h ^ uint64(id[i])) * 1099511628211
	}
	// The low bits of FNV depend on few bits of the input: mix (MurmurHash3).
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	return m == 0 || h%uint64(m) < uint64(n)
}
