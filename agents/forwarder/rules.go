package forwarder

import (
	"github.com/nats-io/nats.go"

	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/traffic"
)

// answerRules gives rules and key to proxies that mask before they publish.
func (f *Forwarder) answerRules(m *nats.Msg) {
	var err error
	if r := f.rules.Load(); r != nil {
		err = m.Respond(r.Answer())
	} else {
		refusal := bus.Refusal{Reason: traffic.ReasonNoRules}
		if f.o.DataOff {
			refusal.Reason = traffic.ReasonDataOff
		}
		err = m.RespondMsg(&nats.Msg{Header: refusal.Header()})
	}
	if err != nil {
		f.log.Warn("rules not sent", "error", err)
	}
}
