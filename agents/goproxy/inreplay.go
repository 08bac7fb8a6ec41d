package goproxy

import (
	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/agents/rules"
	"github.com/speedscale/speedscale/traffic"
)

// inReplay counts what is seen in a replay: none of it is live traffic, so no pair is
// published. The counts say where requests came from, by which the report tells those of
// others from the generator's.
type inReplay struct {
	*bus.Publisher
	id string
}

func (r inReplay) Pair(p *traffic.RRPair) { r.Publisher.Lost(rules.OfReplay(p)) }

func (r inReplay) Lost(l *traffic.Loss) {
	if l.Direction == traffic.Direction_DIRECTION_IN {
		l.Replay = r.id // whose it was is not known
	}
	r.Publisher.Lost(l)
}
