package goproxy

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/agents/rules"
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
)

// connect returns a publisher to the forwarder, which may be away, and the
// connection under it.
func connect(ctx context.Context, log *slog.Logger, s Settings, budget *wire.Budget) (*bus.Publisher, *nats.Conn, error) {
	o := bus.ConnectOptions{URLs: []string{"nats://" + s.Forwarder}, Name: "goproxy " + s.Service, Logger: log}
	if s.ForwarderCA != "" {
		pem, err := os.ReadFile(s.ForwarderCA)
		if err != nil {
			return nil, nil, fmt.Errorf("FORWARDER_CA: %w", err)
		}
		o.RootCAs = x509.NewCertPool()
		if !o.RootCAs.AppendCertsFromPEM(pem) {
			return nil, nil, fmt.Errorf("FORWARDER_CA: %q holds no certificate", s.ForwarderCA)
		}
		o.URLs = []string{"tls://" + s.Forwarder}
	}
	subject := bus.RawPairs
	if s.ForwarderToken != "" {
		token, err := os.ReadFile(s.ForwarderToken)
		if err != nil {
			return nil, nil, fmt.Errorf("FORWARDER_TOKEN_FILE: %w", err)
		}
		o.Token = strings.TrimSpace(string(token))
		if pod, ok := bus.PodOfToken(o.Token); ok {
			o.TokenFile, o.Identity = s.ForwarderToken, pod.String()
			subject = pod.Subject()
		}
	}
	conn, err := bus.Connect(ctx, o)
	if err != nil {
		return nil, nil, fmt.Errorf("FORWARDER_ADDR %q: %w", s.Forwarder, err)
	}
	publisher, err := bus.NewPublisher(bus.PublisherOptions{
		Conn: conn, Subject: subject, Producer: "goproxy-" + uuid.NewString(), Budget: budget, Logger: log,
	})
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return publisher, conn, nil
}

// masking filters and masks what it publishes. Until it knows by which rules,
// pairs are lost, and counted.
type masking struct {
	*bus.Publisher
	rules *rules.Follower
}

func (m masking) Pair(p *traffic.RRPair) {
	r := m.rules.Load()
	if r == nil {
		m.Lost(rules.Whole(p, traffic.ReasonNoRules))
		return
	}
	keep, lost := r.Clean(p)
	if lost != nil {
		m.Lost(lost)
	}
	if keep {
		m.Publisher.Pair(p)
	}
}
