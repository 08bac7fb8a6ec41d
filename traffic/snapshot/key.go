package snapshot

import "github.com/speedscale/speedscale/traffic"

// SliceKey returns service:host:port.
func SliceKey(p *traffic.RRPair) string { return "" }

// Match returns the keys that a pattern means.
func Match(keys []string, pattern string) ([]string, error) { return nil, errTODO }

// SessionOf names the actor of a pair.
func SessionOf(p *traffic.RRPair) string { return "" }
