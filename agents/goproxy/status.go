package goproxy

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/speedscale/speedscale/agents/goproxy/tap"
	"github.com/speedscale/speedscale/traffic"
)

// Why a connection was refused.
const (
	refusedUpstream      = "upstream"       // it could not be reached
	refusedNoDestination = "no_destination" // it was not redirected to us
	refusedRequest       = "bad_request"    // it did not say where to go
	refusedRoute         = "route"          // the replay's routing says so
	refusedResponder     = "responder"      // the responder could not be reached
	refusedTLS           = "tls"            // a mocked host's TLS could not be opened
)

// Status is what a proxy saw since it started.
type Status struct {
	// Draining is set once Run's context has ended.
	Draining bool
	// CaptureDisabled says that connections are relayed without capture.
	CaptureDisabled bool
	// Open is how many connections are open.
	Open int
	// BudgetUsed and BudgetLimit are the memory of capture, in bytes.
	BudgetUsed, BudgetLimit int64

	Inbound, Outbound DirectionStatus
}

// DirectionStatus is what a proxy saw in one direction.
type DirectionStatus struct {
	tap.Stats
	// Refused counts connections that were reset at once, by reason.
	Refused map[string]uint64
	// Silent says that nothing was seen for the time that is worth a warning.
	Silent bool
}

// Status returns what was seen until now.
func (p *Proxy) Status() Status {
	return Status{
		Draining:        p.drains.Load(),
		CaptureDisabled: p.opts.CaptureDisabled,
		Open:            p.openCount(),
		BudgetUsed:      p.budget.Used(),
		BudgetLimit:     p.budget.Limit(),
		Inbound:         p.directionStatus(traffic.Direction_DIRECTION_IN),
		Outbound:        p.directionStatus(traffic.Direction_DIRECTION_OUT),
	}
}

func (p *Proxy) directionStatus(d traffic.Direction) DirectionStatus {
	return DirectionStatus{
		Stats:   p.tap.Stats(d),
		Refused: p.refused[d].counts(),
		Silent:  p.silent(d, time.Now()),
	}
}

// reasons counts what was refused or lost, by reason.
type reasons struct {
	mu sync.Mutex
	n  map[string]uint64
}

func (r *reasons) add(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n == nil {
		r.n = map[string]uint64{}
	}
	r.n[why]++
}

func (r *reasons) counts() map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.n)
}

// direction is the name of a direction in logs, metrics and tags.
func direction(d traffic.Direction) string {
	if d == traffic.Direction_DIRECTION_IN {
		return "in"
	}
	return "out"
}

// listensFor says whether a listener is there for a direction.
func (p *Proxy) listensFor(d traffic.Direction) bool {
	for _, l := range p.listeners {
		if l.direction == d {
			return true
		}
	}
	return false
}

// silent says whether a direction that is listened for saw nothing for so long
// that it is worth a warning.
func (p *Proxy) silent(d traffic.Direction, now time.Time) bool {
	if !p.listensFor(d) {
		return false
	}
	last := p.tap.Stats(d).LastSeen
	if last.IsZero() {
		last = p.started
	}
	return now.Sub(last) >= p.cfg.SilenceWarning
}

// watchSilence says once for each direction that it saw nothing, with what may
// be wrong: forward and dual mode capture nothing where the app ignores its
// proxy settings.
func (p *Proxy) watchSilence(ctx context.Context) {
	directions := []traffic.Direction{traffic.Direction_DIRECTION_IN, traffic.Direction_DIRECTION_OUT}
	said := map[traffic.Direction]bool{}
	tick := time.NewTicker(p.cfg.SilenceWarning)
	defer tick.Stop()
	for len(said) < len(directions) {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for _, d := range directions {
				if !said[d] && p.silent(d, now) {
					said[d] = true
					p.log.Warn("nothing was seen", "direction", direction(d),
						"for", p.cfg.SilenceWarning.String(), "hint", silenceHint(d, p.cfg.Mode))
				}
			}
		}
	}
}

func silenceHint(d traffic.Direction, mode string) string {
	switch {
	case mode == "transparent":
		return "look at the init container's redirect rules and their exclusions"
	case d == traffic.Direction_DIRECTION_IN:
		return "clients must connect to the proxy's inbound port instead of the app's"
	default:
		return "the app must use the proxy (HTTP_PROXY, HTTPS_PROXY or ALL_PROXY); clients never proxy localhost"
	}
}
