package dnsrelay

import (
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// FuzzMessage: neither answers nor queries can make the relay panic, and what it
// makes itself is a response with the id of the question.
func FuzzMessage(f *testing.F) {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: 1, Response: true, RCode: dnsmessage.RCodeNameError})
	b.StartQuestions()
	b.Question(dnsmessage.Question{Name: dnsmessage.MustNewName("payments.internal."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET})
	seed, _ := b.Finish()
	f.Add(seed)
	seed = append([]byte(nil), seed...)
	seed[2], seed[3] = 1, 0
	f.Add(seed)
	f.Fuzz(func(t *testing.T, message []byte) {
		r, err := New(Options{Synthesize: []string{"payments.internal", "ledger.internal"}})
		if err != nil {
			t.Fatal(err)
		}
		r.note(message)
		if r.names.Len() > maxAnswersNoted {
			t.Errorf("%d names of one answer", r.names.Len())
		}
		for _, own := range [][]byte{
			r.synth.replace(message, r.unresolved, func([]string) bool { return false }), r.synth.unanswered(message, r.unresolved), r.synth.known(message, r.unresolved),
		} {
			if own == nil {
				continue
			}
			var p dnsmessage.Parser
			h, err := p.Start(own)
			if err != nil || !h.Response || own[0] != message[0] || own[1] != message[1] {
				t.Errorf("made %x of %x: %v", own, message, err)
			}
		}
	})
}
