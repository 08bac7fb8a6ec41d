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

// link is the connection to the forwarder, and the publisher on it.
type link struct {
	publisher *bus.Publisher
	conn      *nats.Conn
	producer  string
	// telemetry is the subject of this producer's telemetry.
	telemetry string
}

// connect returns the link to the forwarder, which may be away.
func connect(ctx context.Context, log *slog.Logger, s Settings, budget *wire.Budget) (link, error) {
	o := bus.ConnectOptions{URLs: []string{"nats://" + s.Forwarder}, Name: "goproxy " + s.Service, Logger: log}
	if s.ForwarderCA != "" {
		pem, err := os.ReadFile(s.ForwarderCA)
		if err != nil {
			return link{}, fmt.Errorf("FORWARDER_CA: %w", err)
		}
		o.RootCAs = x509.NewCertPool()
		if !o.RootCAs.AppendCertsFromPEM(pem) {
			return link{}, fmt.Errorf("FORWARDER_CA: %q holds no certificate", s.ForwarderCA)
		}
		o.URLs = []string{"tls://" + s.Forwarder}
	}
	l := link{producer: "goproxy-" + uuid.NewString(), telemetry: bus.RawTelemetry}
	subject := bus.RawPairs
	if s.ForwarderToken != "" {
		token, err := os.ReadFile(s.ForwarderToken)
		if err != nil {
			return link{}, fmt.Errorf("FORWARDER_TOKEN_FILE: %w", err)
		}
		o.Token = strings.TrimSpace(string(token))
		if pod, ok := bus.PodOfToken(o.Token); ok {
			o.TokenFile, o.Identity = s.ForwarderToken, pod.String()
			subject, l.telemetry = pod.Subject(), pod.TelemetrySubject()
		}
	}
	l.telemetry += l.producer
	var err error
	if l.conn, err = bus.Connect(ctx, o); err != nil {
		return link{}, fmt.Errorf("FORWARDER_ADDR %q: %w", s.Forwarder, err)
	}
	l.publisher, err = bus.NewPublisher(bus.PublisherOptions{
		Conn: l.conn, Subject: subject, Producer: l.producer, Budget: budget, Logger: log,
	})
	if err != nil {
		l.conn.Close()
		return link{}, err
	}
	return l, nil
}

// masking filters and masks what it publishes. Until it knows by which rules,
// pairs are lost, and counted.
type masking struct {
	*bus.Publisher
	rules *rules.Follower
	lost  *reasons
}

func (m masking) Pair(p *traffic.RRPair) {
	r := m.rules.Load()
	if r == nil {
		m.lost.add(traffic.ReasonNoRules)
		m.Lost(rules.Whole(p, traffic.ReasonNoRules))
		return
	}
	keep, lost := r.Clean(p)
	if lost != nil {
		if !keep {
			m.lost.add(lost.Reason)
		}
		m.Lost(lost)
	}
	if keep {
		m.Publisher.Pair(p)
	}
}
