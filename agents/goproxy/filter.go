package goproxy

import (
	"fmt"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/filter"
)

// headFilter is what can be left out by the head of a request alone, so that it
// costs no bus; nil where nothing is.
func headFilter(cfg config.Proxy) (func(*traffic.RRPair) string, error) {
	var exclude *filter.Filter
	if len(cfg.Filter) > 0 {
		f, err := filter.ParseJSON(cfg.Filter)
		if err != nil {
			return nil, fmt.Errorf("filter: %w", err)
		}
		exclude = f.Head()
	}
	if exclude == nil && cfg.Sample <= 1 {
		return nil, nil
	}
	return func(head *traffic.RRPair) string {
		switch {
		case exclude.Excludes(head):
			return traffic.ReasonFiltered
		case cfg.Sample > 1 && !filter.Sampled(session(head), 1, uint32(cfg.Sample)):
			return traffic.ReasonSampled
		}
		return ""
	}, nil
}

// session is what a sample is taken by: the recorded session, or else the connection.
func session(p *traffic.RRPair) string {
	if p.Session != "" {
		return p.Session
	}
	return p.GetNetinfo().GetId()
}
