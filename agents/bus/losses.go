package bus

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/traffic"
)

// maxLosses bounds how many losses are kept apart; past it, sources, and then
// services, are no longer told apart.
const maxLosses = 256

type lossKey struct {
	reason, service, namespace string
	replay, source             string
	direction                  traffic.Direction
}

// losses merges losses of the same reason, service, namespace, replay, source and direction.
type losses struct {
	byKey map[lossKey]*traffic.Loss
}

func (t *losses) add(l *traffic.Loss) {
	k := lossKey{text(l.Reason), text(l.Service), text(l.Namespace), text(l.Replay), text(l.Source), l.Direction}
	have := t.byKey[k]
	if have == nil && len(t.byKey) >= maxLosses {
		if k.source != "" {
			k.source = ""
		} else {
			k.service, k.namespace = "", ""
		}
		have = t.byKey[k]
	}
	if have == nil {
		if t.byKey == nil {
			t.byKey = make(map[lossKey]*traffic.Loss)
		}
		t.byKey[k] = &traffic.Loss{
			Reason: k.reason, Service: k.service, Namespace: k.namespace, Direction: k.direction,
			Replay: k.replay, Source: k.source,
			From: l.From, To: max(l.From, l.To), Pairs: l.Pairs, Connections: l.Connections, Bytes: l.Bytes,
		}
		return
	}
	// 0 is "not known".
	if l.From != 0 && (have.From == 0 || l.From < have.From) {
		have.From = l.From
	}
	have.To = max(have.To, l.From, l.To)
	have.Pairs += l.Pairs
	have.Connections += l.Connections
	have.Bytes += l.Bytes
}

func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// addAs adds what another table counts, under one reason.
func (t *losses) addAs(reason string, from *losses) {
	for _, l := range from.byKey {
		l := proto.CloneOf(l)
		l.Reason = reason
		t.add(l)
	}
}

func (t *losses) empty() bool { return len(t.byKey) == 0 }

// size bounds the bytes that appendTo adds.
func (t *losses) size() int {
	n := 0
	for _, l := range t.byKey {
		n += 16 + proto.Size(l)
	}
	return n
}

// appendTo appends the wire form of Batch.losses.
func (t *losses) appendTo(b []byte) []byte {
	for _, l := range t.byKey {
		b = protowire.AppendTag(b, 6, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(proto.Size(l)))
		b, _ = proto.MarshalOptions{}.MarshalAppend(b, l) // fails for text that is not UTF-8 only
	}
	return b
}

// MergeLosses returns the losses with those of the same reason, service, namespace,
// replay, source and direction added up, earliest first.
func MergeLosses(all []*traffic.Loss) []*traffic.Loss {
	var t losses
	for _, l := range all {
		t.add(l)
	}
	merged := slices.Collect(maps.Values(t.byKey))
	slices.SortFunc(merged, func(a, b *traffic.Loss) int {
		return cmp.Or(cmp.Compare(a.From, b.From), strings.Compare(a.Reason, b.Reason))
	})
	return merged
}
