package forwarder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/bus"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/filter"
	"github.com/speedscale/speedscale/traffic/mask"
)

// rules are what is excluded and what is masked. They are in memory only.
type rules struct {
	filter *filter.Filter
	masker *mask.Masker
	// raw is the cloudv1.Masking for proxies, who mask by the same rules.
	raw []byte
	// source is the cloud's answer that they were made of.
	source []byte
}

// rulesTimeout bounds one question to the cloud.
const rulesTimeout = 5 * time.Second

// followRules asks the cloud for rules until ctx ends: often until there are some,
// and then now and again. The last known ones stay in force while it is away.
func (f *Forwarder) followRules(ctx context.Context) {
	for attempt := 1; ; attempt++ {
		err := f.updateRules(ctx)
		if ctx.Err() != nil {
			return
		}
		wait := f.o.RulesInterval
		if err != nil {
			if attempt == 1 || attempt%60 == 0 {
				f.log.Warn("no rules from the cloud", "have_some", f.rules.Load() != nil, "error", err)
			}
			wait = min(wait, time.Second)
		} else {
			attempt = 0
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func (f *Forwarder) updateRules(ctx context.Context) error {
	if !f.cloud.IsConnected() {
		return errors.New("there is no connection to the cloud")
	}
	ctx, cancel := context.WithTimeout(ctx, rulesTimeout)
	defer cancel()
	m, err := f.cloud.RequestWithContext(ctx, bus.ControlMasking, nil)
	if err != nil {
		return err
	}
	if text := m.Header.Get(bus.HeaderError); text != "" {
		return fmt.Errorf("refused: %s", text)
	}
	if old := f.rules.Load(); old != nil && bytes.Equal(old.source, m.Data) {
		return nil
	}
	r, err := f.compile(m.Data)
	if err != nil {
		return err
	}
	f.rules.Store(r)
	f.log.Info("rules in force", "masking_key", r.masker.KeyID())
	return nil
}

func (f *Forwarder) compile(source []byte) (*rules, error) {
	var m cloudv1.Masking
	if err := proto.Unmarshal(source, &m); err != nil {
		return nil, errors.New("the answer is not a cloudv1.Masking")
	}
	if len(m.Key) == 0 || m.KeyId == "" {
		return nil, errors.New("the cloud's answer has no masking key")
	}
	r := &rules{filter: f.o.Filter, source: source}
	if r.filter == nil && len(m.Filter) > 0 {
		var err error
		if r.filter, err = filter.ParseJSON(m.Filter); err != nil {
			return nil, fmt.Errorf("filter: %w", err)
		}
	}
	config := f.o.Masking
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
	if r.raw, err = proto.Marshal(&m); err != nil {
		return nil, err
	}
	return r, nil
}

// answerRules gives proxies rules and key.
func (f *Forwarder) answerRules(m *nats.Msg) {
	var err error
	if r := f.rules.Load(); r != nil {
		err = m.Respond(r.raw)
	} else {
		refusal := bus.Refusal{Reason: traffic.ReasonNoRules}
		err = m.RespondMsg(&nats.Msg{Header: refusal.Header()})
	}
	if err != nil {
		f.log.Warn("rules not sent", "error", err)
	}
}
