package dnsrelay

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/speedscale/speedscale/agents/lru"
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
			r.names.Put(netip.AddrFrom4(a.A), name, expires)
		case h.Type == dnsmessage.TypeAAAA && h.Class == dnsmessage.ClassINET:
			a, err := p.AAAAResource()
			if err != nil {
				return
			}
			r.names.Put(netip.AddrFrom16(a.AAAA).Unmap(), name, expires)
		default:
			if p.SkipAnswer() != nil {
				return
			}
		}
	}
}

func plainName(n dnsmessage.Name) string { return strings.ToLower(strings.TrimSuffix(n.String(), ".")) }

// synthesizer answers for names that do not resolve. It does not change once made.
type synthesizer struct {
	byName map[string]netip.Addr
	byAddr map[netip.Addr]string
}

func newSynthesizer(names []string) (*synthesizer, error) {
	s := &synthesizer{byName: make(map[string]netip.Addr), byAddr: make(map[netip.Addr]string)}
	next := netip.MustParsePrefix(synthesizedPrefix).Addr().Next()
	for _, n := range names {
		n = strings.ToLower(strings.TrimSuffix(n, "."))
		if _, ok := s.byName[n]; ok {
			continue
		}
		if _, err := netip.ParseAddr(n); err == nil || n == "" || len(n) > 253 {
			return nil, fmt.Errorf("dns relay: %q is not a name to answer for", n)
		}
		s.byName[n], s.byAddr[next] = next, n
		next = next.Next()
	}
	return s, nil
}

func (s *synthesizer) name(addr netip.Addr) (string, bool) {
	name, ok := s.byAddr[addr]
	return name, ok
}

// question returns the header and the only question of a message.
func question(message []byte) (h dnsmessage.Header, q dnsmessage.Question, ok bool) {
	var p dnsmessage.Parser
	h, err := p.Start(message)
	if err != nil {
		return h, q, false
	}
	q, err = p.Question()
	return h, q, err == nil && q.Class == dnsmessage.ClassINET
}

// known answers queries that need no nameserver: the reverse of our addresses, and
// names that did not resolve a moment ago. nil means that it has no answer.
func (s *synthesizer) known(query []byte, unresolved *lru.Cache[string, struct{}]) []byte {
	if len(s.byName) == 0 {
		return nil
	}
	h, q, ok := question(query)
	if !ok || h.Response {
		return nil
	}
	if q.Type == dnsmessage.TypePTR {
		if name, ok := s.byAddr[reverseAddr(plainName(q.Name))]; ok {
			return respond(h, q, func(b *dnsmessage.Builder, rh dnsmessage.ResourceHeader) error {
				n, err := dnsmessage.NewName(name + ".")
				if err != nil {
					return err
				}
				return b.PTRResource(rh, dnsmessage.PTRResource{PTR: n})
			})
		}
		return nil
	}
	if _, ok := unresolved.Get(plainName(q.Name)); !ok {
		return nil
	}
	return s.respond(h, q)
}

// replace answers in place of a nameserver that has no address for a name of ours.
func (s *synthesizer) replace(answer []byte, unresolved *lru.Cache[string, struct{}]) []byte {
	if len(s.byName) == 0 {
		return nil
	}
	h, q, ok := question(answer)
	if !ok || !h.Response || h.Truncated {
		return nil
	}
	name := plainName(q.Name)
	if _, ours := s.byName[name]; !ours {
		return nil
	}
	switch h.RCode {
	case dnsmessage.RCodeNameError, dnsmessage.RCodeServerFailure, dnsmessage.RCodeRefused:
		unresolved.Put(name, struct{}{}, time.Now().Add(unresolvedFor))
		return s.respond(h, q)
	case dnsmessage.RCodeSuccess:
		// A name that exists without an IPv4 address may have an IPv6 one, so
		// only the question for the former gets our answer.
		if q.Type == dnsmessage.TypeA && answerCount(answer) == 0 {
			return s.respond(h, q)
		}
	}
	return nil
}

// unanswered answers where no nameserver did.
func (s *synthesizer) unanswered(query []byte, unresolved *lru.Cache[string, struct{}]) []byte {
	h, q, ok := question(query)
	if !ok || h.Response {
		return nil
	}
	name := plainName(q.Name)
	if _, ours := s.byName[name]; !ours {
		return nil
	}
	unresolved.Put(name, struct{}{}, time.Now().Add(unresolvedFor))
	return s.respond(h, q)
}

// respond answers a question about one of our names: its address, or that there
// is no record of the type asked for (RFC 2308, section 2.2).
func (s *synthesizer) respond(h dnsmessage.Header, q dnsmessage.Question) []byte {
	addr, ok := s.byName[plainName(q.Name)]
	if !ok {
		return nil
	}
	return respond(h, q, func(b *dnsmessage.Builder, rh dnsmessage.ResourceHeader) error {
		if q.Type != dnsmessage.TypeA && q.Type != dnsmessage.TypeALL {
			return nil
		}
		rh.Type = dnsmessage.TypeA
		return b.AResource(rh, dnsmessage.AResource{A: addr.As4()})
	})
}

func respond(h dnsmessage.Header, q dnsmessage.Question, fill func(*dnsmessage.Builder, dnsmessage.ResourceHeader) error) []byte {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{
		ID: h.ID, Response: true, OpCode: h.OpCode, RecursionDesired: h.RecursionDesired, RecursionAvailable: true,
	})
	b.EnableCompression()
	rh := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: synthesizedTTL}
	if b.StartQuestions() != nil || b.Question(q) != nil || b.StartAnswers() != nil || fill(&b, rh) != nil {
		return nil
	}
	message, err := b.Finish()
	if err != nil {
		return nil
	}
	return message
}

func answerCount(message []byte) int { return int(binary.BigEndian.Uint16(message[6:8])) }

// reverseAddr is the address in a name under in-addr.arpa (RFC 1035, section 3.5).
func reverseAddr(name string) netip.Addr {
	labels := strings.Split(strings.TrimSuffix(name, ".in-addr.arpa"), ".")
	if len(labels) != 4 {
		return netip.Addr{}
	}
	addr, _ := netip.ParseAddr(labels[3] + "." + labels[2] + "." + labels[1] + "." + labels[0])
	return addr
}
