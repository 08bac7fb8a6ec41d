package bus

import (
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
)

// Refusal is an error that a receiver answers with: the batch was not taken.
type Refusal struct {
	// Reason is one token, one of traffic's reasons where there is one for it.
	Reason string
	// Final says that the same batch will never be taken; otherwise it may be
	// sent again later.
	Final bool
	// Text explains, for logs. It must hold nothing of the batch's content.
	Text string
}

// Reasons of refusals beside those of package traffic.
const (
	RefusedBusy      = "busy"      // too much waits already
	RefusedStopping  = "stopping"  // the receiver is being shut down
	RefusedMalformed = "malformed" // not a batch of that producer
	RefusedFailed    = "failed"    // an error inside the receiver
)

func (r *Refusal) Error() string {
	if r.Text == "" {
		return "refused: " + r.Reason
	}
	return fmt.Sprintf("refused: %s: %s", r.Reason, r.Text)
}

// Header is the header of an answer that refuses: HeaderError is "retry REASON TEXT" or "final REASON TEXT".
func (r *Refusal) Header() nats.Header {
	kind := "retry"
	if r.Final {
		kind = "final"
	}
	text := strings.NewReplacer("\r", " ", "\n", " ").Replace(r.Text)
	return nats.Header{HeaderError: []string{strings.TrimSpace(kind + " " + r.Reason + " " + text)}}
}

// refusalOf reads an answer; nil means that the batch was taken. An unknown kind
// counts as one that may be sent again, since that loses nothing.
func refusalOf(m *nats.Msg) *Refusal {
	if m.Header.Get("Status") == "503" && len(m.Data) == 0 {
		return &Refusal{Reason: RefusedBusy, Text: "nobody receives"}
	}
	value := m.Header.Get(HeaderError)
	if value == "" {
		return nil
	}
	kind, rest, _ := strings.Cut(value, " ")
	reason, text, _ := strings.Cut(rest, " ")
	return &Refusal{Reason: reason, Final: kind == "final", Text: text}
}
