package dnsrelay

import (
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/speedscale/speedscale/agents/config/hosts"
)

// note remembers which name the addresses of an answer were asked for under. All
// addresses of an answer belong to the name of its question, whichever aliases
// (CNAME) lie between. Answers that make no sense are left alone: they are the
// client's business.
func (r *Relay) note(message []byte) {
	var p dnsmessage.Parser
	header, err := p.Start(message)
	if err != nil || !header.Response || header.RCode != dnsmessage.RCodeSuccess {
		return
	}
	q, err := p.Question()
	if err != nil || q.Class != dnsmessage.ClassINET || q.Type != dnsmessage.TypeA && q.Type != dnsmessage.TypeAAAA {
		return
	}
	if p.SkipAllQuestions() != nil {
		return
	}
	name := plainName(q.Name)
	expires := time.Now().Add(nameLifetime)
	for range maxAnswersNoted {
		h, err := p.AnswerHeader()
		if err != nil {
			return
		}
		switch {
		case h.Type == dnsmessage.TypeA && h.Class == dnsmessage.ClassINET:
			a, err := p.AResource()
			if err != nil {
				return
			}
			r.keep(netip.AddrFrom4(a.A), name, expires)
		case h.Type == dnsmessage.TypeAAAA && h.Class == dnsmessage.ClassINET:
			a, err := p.AAAAResource()
			if err != nil {
				return
			}
			r.keep(netip.AddrFrom16(a.AAAA).Unmap(), name, expires)
		default:
			if p.SkipAnswer() != nil {
				return
			}
		}
	}
}

func plainName(n dnsmessage.Name) string { return hosts.Plain(n.String()) }
