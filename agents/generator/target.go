package generator

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

// ParseTarget reads where requests are sent. Each of scheme, host and port may be
// left out, and is then as recorded: "https://new.example.com:8443",
// "localhost:8080", "new.example.com", ":8080", "https:".
func ParseTarget(s string) (*url.URL, error) {
	if strings.Contains(s, "@") { // before any error shows the text
		return nil, errors.New("target: a user or password in the URL is not supported; requests carry their recorded credentials")
	}
	text := s
	if scheme, ok := strings.CutSuffix(s, ":"); ok && (scheme == "http" || scheme == "https") {
		return &url.URL{Scheme: scheme}, nil
	}
	if !strings.Contains(text, "://") {
		text = "//" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("target %q: %w", s, errors.Unwrap(err))
	}
	switch {
	case u.Scheme != "" && u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("target %q: scheme %q: want http or https", s, u.Scheme)
	case u.Path != "" && u.Path != "/", u.RawQuery != "", u.Fragment != "":
		return nil, fmt.Errorf("target %q: only scheme, host and port can be given; paths stay as recorded", s)
	case u.Scheme == "" && u.Host == "":
		return nil, fmt.Errorf("target %q: no scheme, host or port", s)
	}
	u.Path = ""
	return u, nil
}

// targets finds the target of a recorded request.
type targets struct {
	all     *url.URL
	bySlice map[string]*url.URL
}

// newTargets finds out which slices the targets are for. Without a target, a
// request would go to where it went when it was recorded: a slice that has none
// among others that do is an error.
func newTargets(o *Options, pairs []*traffic.RRPair) (*targets, error) {
	t := &targets{all: o.Target, bySlice: map[string]*url.URL{}}
	if len(o.Targets) == 0 {
		return t, nil
	}
	found := map[string]bool{}
	for _, p := range pairs {
		found[snapshot.SliceKey(p)] = true
	}
	keys := slices.Sorted(maps.Keys(found))
	for _, pattern := range slices.Sorted(maps.Keys(o.Targets)) {
		matched, err := snapshot.Match(keys, pattern)
		if err != nil {
			return nil, fmt.Errorf("target of slice %q: %w", pattern, err)
		}
		for _, key := range matched {
			if t.bySlice[key] != nil {
				return nil, fmt.Errorf("target of slice %q: slice %q has another one already", pattern, key)
			}
			t.bySlice[key] = o.Targets[pattern]
		}
	}
	for _, key := range keys {
		if t.bySlice[key] == nil {
			return nil, fmt.Errorf("slice %q has no target, and is not sent to where it was recorded; give it one, or choose other slices", key)
		}
	}
	return t, nil
}

func (t *targets) of(p *traffic.RRPair) *url.URL {
	if t.all != nil || len(t.bySlice) == 0 {
		return t.all
	}
	return t.bySlice[snapshot.SliceKey(p)]
}

// endpoint is where a request is sent.
type endpoint struct {
	scheme string
	addr   string // host:port
}

// rewrite applies a target to a recorded place.
func rewrite(target *url.URL, scheme, host, port string) endpoint {
	if target != nil {
		if target.Scheme != "" {
			if target.Host != "" || target.Scheme != scheme {
				port = "" // a scheme names its port
			}
			scheme = target.Scheme
		}
		if h := target.Hostname(); h != "" {
			host = h
		}
		if p := target.Port(); p != "" {
			port = p
		}
	}
	if port == "" {
		port = "80"
		if scheme == "https" {
			port = "443"
		}
	}
	return endpoint{scheme, net.JoinHostPort(host, port)}
}
