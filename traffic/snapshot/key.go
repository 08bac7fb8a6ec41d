package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/speedscale/speedscale/traffic"
)

// SliceKey returns service:host:port, under which snapshot.json sums a pair up.
// Host and port are those of the network address; where that is missing, of the
// request's Host and then of the connection. A port that is nowhere stated is
// the scheme's. An IPv6 address is in brackets.
func SliceKey(p *traffic.RRPair) string {
	host, port := hostPort(p)
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return serviceOf(p) + ":" + host + ":" + strconv.Itoa(port)
}

func serviceOf(p *traffic.RRPair) string {
	if p.GetService() != "" {
		return p.GetService()
	}
	return p.GetResource()
}

func hostPort(p *traffic.RRPair) (host string, port int) {
	req := p.GetHttp().GetReq()
	up := p.GetNetinfo().GetUpstream()
	for _, address := range []string{p.GetNetworkAddress(), req.GetHost(), up.GetHostname(), up.GetIpAddress()} {
		if address == "" {
			continue
		}
		h, n := splitHostPort(address)
		if host == "" {
			host = h
		}
		if port == 0 {
			port = n
		}
	}
	if port == 0 {
		port = int(up.GetPort())
	}
	if port == 0 && req != nil {
		if port = 80; strings.HasPrefix(req.GetUrl(), "https:") {
			port = 443
		}
	}
	return host, port
}

// splitHostPort takes host:port, a host alone, and IPv6 with or without brackets.
func splitHostPort(address string) (host string, port int) {
	if h, p, err := net.SplitHostPort(address); err == nil {
		n, err := strconv.ParseUint(p, 10, 16)
		if err == nil {
			return h, int(n)
		}
	}
	return strings.Trim(address, "[]"), 0
}

// Match returns the keys that a pattern means, sorted: * is all of them, a key is
// itself, and other text is the one key that contains it. Text that no key or
// more than one contains is an error that lists them.
func Match(keys []string, pattern string) ([]string, error) {
	keys = slices.Sorted(slices.Values(keys))
	if pattern == "*" {
		return keys, nil
	}
	if pattern == "" {
		return nil, fmt.Errorf("slice key is empty, want service:host:port, a part of one, or *")
	}
	if slices.Contains(keys, pattern) {
		return []string{pattern}, nil
	}
	found := slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return !strings.Contains(k, pattern) })
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("no slice key contains %q; there are %s", pattern, listed(keys))
	case 1:
		return found, nil
	}
	return nil, fmt.Errorf("%q is in %d slice keys, name one of %s", pattern, len(found), listed(found))
}

func listed(keys []string) string {
	const most = 20
	if len(keys) == 0 {
		return "none"
	}
	if len(keys) > most {
		return fmt.Sprintf("%q and %d more", keys[:most], len(keys)-most)
	}
	return fmt.Sprintf("%q", keys)
}

// SessionOf names the actor of a pair, whose requests keep their order in a
// replay. It is, in this order: the pair's session; a hash of the Authorization
// header; a hash of the first cookie that looks like a session's (its name
// contains "sess" or is sid, or ends in .sid or _sid); the producer and the
// connection. It is empty where none of these is known. Hashes are the same in
// every process, and do not tell what they were made of.
func SessionOf(p *traffic.RRPair) string {
	if p.GetSession() != "" {
		return p.GetSession()
	}
	headers := p.GetHttp().GetReq().GetHeaders()
	if v, ok := traffic.HeaderValue(headers, "Authorization"); ok && v != "" {
		return "authorization-" + shortHash(v)
	}
	for _, h := range headers {
		if !strings.EqualFold(h.GetName(), "Cookie") {
			continue
		}
		if v := sessionCookie(h.GetValue()); v != "" {
			return "cookie-" + shortHash(v)
		}
	}
	if id := p.GetNetinfo().GetId(); id != "" {
		return "connection-" + p.GetTags()[traffic.TagProxyID] + "-" + id
	}
	return ""
}

// sessionCookie returns the first session-like name=value of a Cookie field.
func sessionCookie(field string) string {
	for part := range strings.SplitSeq(field, ";") {
		part = strings.TrimSpace(part)
		name, value, _ := strings.Cut(part, "=")
		name = strings.ToLower(name)
		if value != "" && (strings.Contains(name, "sess") || name == "sid" ||
			strings.HasSuffix(name, ".sid") || strings.HasSuffix(name, "_sid")) {
			return part
		}
	}
	return ""
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}
