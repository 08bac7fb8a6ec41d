package dnsrelay

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/speedscale/speedscale/agents/config"
	"github.com/speedscale/speedscale/agents/config/hosts"
	"github.com/speedscale/speedscale/agents/lru"
)

// Synthesized says whether an address is one that was given to a name which does not
// resolve, so that nothing can be reached there.
func Synthesized(addr netip.Addr) bool {
	return netip.MustParsePrefix(config.ReplayAddresses).Contains(addr.Unmap())
}

// synthesizer answers for names that do not resolve. It does not change once made.
type synthesizer struct {
	byName map[string]netip.Addr
	byAddr map[netip.Addr]string
	of     map[string]string   // each form of a name → the name
	wholes map[string][]string // each name → what it may be as a whole
	// ignored are addresses that no name of ours is given.
	ignored []netip.Prefix
}

func newSynthesizer(names, search []string, ignored []netip.Prefix) (*synthesizer, error) {
	s := &synthesizer{
		byAddr: make(map[netip.Addr]string), wholes: make(map[string][]string), ignored: ignored,
	}
	var plain []string
	for _, n := range names {
		n = hosts.Plain(n)
		if _, err := netip.ParseAddr(n); err == nil || n == "" || len(n) > 253 {
			return nil, fmt.Errorf("dns relay: %q is not a name to answer for", n)
		}
		plain = append(plain, n)
	}
	s.byName, s.of = hosts.Addresses(plain, netip.MustParsePrefix(config.ReplayAddresses)), hosts.Meant(plain, search)
	for n, addr := range s.byName {
		s.byAddr[addr] = n
		s.wholes[n] = hosts.Wholes(n, search)
	}
	return s, nil
}

func (s *synthesizer) name(addr netip.Addr) (string, bool) {
	name, ok := s.byAddr[addr]
	return name, ok
}

// alike says that two names need not be told apart: neither is one to answer for, or
// both are forms of the same.
func (s *synthesizer) alike(a, b string) bool { return s.of[a] == s.of[b] }

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

// replace answers in place of a nameserver that has no address for a name of ours. It
// asks elsewhere whether another name, of those that may be meant, resolves: the client
// then finds that one, by its search list.
func (s *synthesizer) replace(answer []byte, unresolved *lru.Cache[string, struct{}], elsewhere func(names []string) bool) []byte {
	if len(s.byName) == 0 {
		return nil
	}
	h, q, ok := question(answer)
	if !ok || !h.Response || h.Truncated {
		return nil
	}
	name := plainName(q.Name)
	ours, ok := s.of[name]
	if !ok {
		return nil
	}
	others := slices.DeleteFunc(slices.Clone(s.wholes[ours]), func(n string) bool { return n == name })
	switch h.RCode {
	case dnsmessage.RCodeNameError, dnsmessage.RCodeServerFailure, dnsmessage.RCodeRefused:
		if elsewhere(others) {
			return nil
		}
		unresolved.Put(name, struct{}{}, time.Now().Add(unresolvedFor))
		return s.respond(h, q)
	case dnsmessage.RCodeSuccess:
		// A name that exists without an IPv4 address may have an IPv6 one, so
		// only the question for the former gets our answer.
		addresses := addressesIn(answer)
		if slices.ContainsFunc(addresses, s.isIgnored) || q.Type == dnsmessage.TypeA && len(addresses) == 0 && !elsewhere(others) {
			return s.respond(h, q)
		}
	}
	return nil
}

func (s *synthesizer) isIgnored(a netip.Addr) bool {
	return slices.ContainsFunc(s.ignored, func(p netip.Prefix) bool { return p.Contains(a) })
}

// unanswered answers where no nameserver did.
func (s *synthesizer) unanswered(query []byte, unresolved *lru.Cache[string, struct{}]) []byte {
	h, q, ok := question(query)
	if !ok || h.Response {
		return nil
	}
	name := plainName(q.Name)
	if _, ours := s.of[name]; !ours {
		return nil
	}
	unresolved.Put(name, struct{}{}, time.Now().Add(unresolvedFor))
	return s.respond(h, q)
}

// respond answers a question about one of our names: its address, or that there
// is no record of the type asked for (RFC 2308, section 2.2).
func (s *synthesizer) respond(h dnsmessage.Header, q dnsmessage.Question) []byte {
	addr, ok := s.byName[s.of[plainName(q.Name)]]
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

// addressesIn an answer, behind aliases or not, at most maxAnswersNoted.
func addressesIn(message []byte) (found []netip.Addr) {
	var p dnsmessage.Parser
	if _, err := p.Start(message); err != nil || p.SkipAllQuestions() != nil {
		return nil
	}
	for range maxAnswersNoted {
		r, err := p.Answer()
		if err != nil {
			return found
		}
		switch body := r.Body.(type) {
		case *dnsmessage.AResource:
			found = append(found, netip.AddrFrom4(body.A))
		case *dnsmessage.AAAAResource:
			found = append(found, netip.AddrFrom16(body.AAAA).Unmap())
		}
	}
	return found
}

// reverseAddr is the address in a name under in-addr.arpa (RFC 1035, section 3.5).
func reverseAddr(name string) netip.Addr {
	labels := strings.Split(strings.TrimSuffix(name, ".in-addr.arpa"), ".")
	if len(labels) != 4 {
		return netip.Addr{}
	}
	addr, _ := netip.ParseAddr(labels[3] + "." + labels[2] + "." + labels[1] + "." + labels[0])
	return addr
}

// resolves says whether the nameserver that answered last knows one of the names. One
// that does not answer knows none.
func (r *Relay) resolves(ctx context.Context, names []string) bool {
	if len(names) == 0 || len(r.servers) == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, totalTimeout)
	defer cancel()
	buf := r.buffers.Get().(*[maxMessage]byte)
	defer r.buffers.Put(buf)
	for _, name := range names {
		query, err := queryFor(name)
		if err != nil {
			continue // it cannot be asked for by anybody
		}
		n, err := r.exchange(ctx, r.servers[int(r.current.Load())], query, buf[:])
		if err != nil {
			return false
		}
		if h, _, ok := question(buf[:n]); ok && h.Response && h.RCode == dnsmessage.RCodeSuccess {
			return true
		}
	}
	return false
}

// queryFor asks for the IPv4 address of a name.
func queryFor(name string) ([]byte, error) {
	n, err := dnsmessage.NewName(name + ".")
	if err != nil {
		return nil, err
	}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: uint16(rand.Uint32()), RecursionDesired: true})
	if err := b.StartQuestions(); err != nil {
		return nil, err
	}
	if err := b.Question(dnsmessage.Question{Name: n, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}); err != nil {
		return nil, err
	}
	return b.Finish()
}
