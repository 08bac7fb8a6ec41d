// Package rules keeps what is excluded and what is masked, and applies it to
// pairs. The cloud decides it; the forwarder asks the cloud, and proxies that mask
// before they publish ask the forwarder. Rules and key are in memory only.
package rules

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"google.golang.org/protobuf/proto"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/filter"
	"github.com/speedscale/speedscale/traffic/mask"
)

// Own are rules that come before those that are asked for; nil is none.
type Own struct {
	Filter  *filter.Filter
	Masking *mask.Config
}

// Rules are a filter and a masker. They are safe for concurrent use.
type Rules struct {
	filter *filter.Filter
	masker *mask.Masker
	log    *slog.Logger
	answer []byte // cloudv1.Masking, for whoever asks
	source []byte // the answer that they were made of
}

// compile reads a cloudv1.Masking. Errors do not quote it: it holds the key.
func compile(source []byte, own Own, log *slog.Logger) (*Rules, error) {
	var m cloudv1.Masking
	if err := proto.Unmarshal(source, &m); err != nil {
		return nil, errors.New("the answer is not a cloudv1.Masking")
	}
	if len(m.Key) == 0 || m.KeyId == "" {
		return nil, errors.New("the answer has no masking key")
	}
	r := &Rules{filter: own.Filter, log: log, source: source}
	if r.filter == nil && len(m.Filter) > 0 {
		var err error
		if r.filter, err = filter.ParseJSON(m.Filter); err != nil {
			return nil, fmt.Errorf("filter: %w", err)
		}
	}
	config := own.Masking
	if config == nil {
		var err error
		if config, err = mask.ParseConfig(m.Config); err != nil {
			return nil, fmt.Errorf("masking rules: %w", err)
		}
	}
	var err error
	if r.masker, err = mask.New(config, mask.Key{ID: m.KeyId, Secret: m.Key}); err != nil {
		return nil, fmt.Errorf("masking rules: %w", err)
	}
	m.Config, m.Filter = r.masker.ConfigJSON(), nil
	if r.filter != nil {
		m.Filter = r.filter.JSON()
	}
	r.answer, err = proto.Marshal(&m)
	return r, err
}

// Answer is what those are told who ask for rules in their turn: a cloudv1.Masking,
// with the key.
func (r *Rules) Answer() []byte { return r.answer }

// Clean filters and masks a pair. It says whether the pair is kept, and what of
// it, if anything, is lost: the whole pair (traffic.ReasonFiltered, or
// traffic.ReasonMaskFailed after a defect of ours), or the bodies that masking
// could not read (traffic.ReasonMaskFailed of no pair).
func (r *Rules) Clean(p *traffic.RRPair) (keep bool, lost *traffic.Loss) {
	defer func() {
		if v := recover(); v != nil {
			// The value may hold a part of the pair, so only its type is logged.
			r.log.Error("masking panicked, the pair is dropped", "panic", fmt.Sprintf("%T", v))
			keep, lost = false, Whole(p, traffic.ReasonMaskFailed)
		}
	}()
	if r.filter.Excludes(p) {
		return false, Whole(p, traffic.ReasonFiltered)
	}
	before := bodyBytes(p)
	if _, err := r.masker.Mask(p); err != nil {
		return true, loss(p, traffic.ReasonMaskFailed, 0, before-bodyBytes(p))
	}
	return true, nil
}

// Whole is the loss of a pair.
func Whole(p *traffic.RRPair, reason string) *traffic.Loss {
	return loss(p, reason, 1, p.WireformatSize)
}

// probes is how the kubelet's probes name themselves in User-Agent.
const probes = "kube-probe/"

// OfReplay is the loss of a pair that was seen in a replay: it is not live traffic, and
// is kept nowhere. By where it came from, requests of others than the generator are
// told; those of the kubelet's probes are nobody's.
func OfReplay(p *traffic.RRPair) *traffic.Loss {
	l := Whole(p, traffic.ReasonReplay)
	agent, _ := traffic.HeaderValue(p.GetHttp().GetReq().GetHeaders(), "user-agent")
	if p.Direction == traffic.Direction_DIRECTION_IN && !strings.HasPrefix(agent, probes) {
		l.Replay, l.Source = p.Tags[traffic.TagReplay], p.GetNetinfo().GetDownstream().GetIpAddress()
	}
	return l
}

func bodyBytes(p *traffic.RRPair) int64 {
	return int64(len(p.GetHttp().GetReq().GetBody()) + len(p.GetHttp().GetRes().GetBody()))
}

func loss(p *traffic.RRPair, reason string, pairs uint64, bytes int64) *traffic.Loss {
	return &traffic.Loss{
		Reason: reason, Service: p.Service, Namespace: p.Namespace, Direction: p.Direction,
		From: p.Ts, To: p.Ts, Pairs: pairs, Bytes: uint64(max(0, bytes)),
	}
}
