package goproxy

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	runtimemetrics "runtime/metrics"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/goproxy/tap"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/traffic"
)

// telemetry tells the forwarder how the proxy is, over the connection that pairs go too.
// It keeps nothing: what cannot be sent now is not sent, since the next one says the same.
type telemetry struct {
	proxy    *Proxy
	link     link
	settings Settings
	restarts int
	masked   *reasons // what was lost where the proxy masks
}

// firstTry is how soon the first one, which says that there is such a proxy, is tried again.
const firstTry = time.Second

// run sends until ctx ends, and then says goodbye.
func (t telemetry) run(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(t.settings.TelemetryInterval)
	defer tick.Stop()
	first := time.NewTicker(firstTry)
	defer first.Stop()
	for {
		if err := t.send(false); err == nil {
			first.Stop()
		} else {
			log.Debug("telemetry not sent", "error", err)
		}
		select {
		case <-ctx.Done():
			err := t.send(true)
			if err == nil {
				err = t.link.conn.FlushTimeout(exitTime)
			}
			if err != nil {
				log.Debug("the end is not told", "error", err)
			}
			return
		case <-tick.C:
		case <-first.C:
		}
	}
}

func (t telemetry) send(gone bool) error {
	m := t.message(time.Now())
	m.Gone = gone
	data, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	return t.link.conn.Publish(t.link.telemetry, data)
}

// message is what is said now. Nothing of what was captured is in it, nor any host.
func (t telemetry) message(now time.Time) *cloudv1.SidecarTelemetry {
	s := t.proxy.Status()
	m := &cloudv1.SidecarTelemetry{
		Producer: t.link.producer, Service: t.settings.Service, Version: t.settings.Version, Mode: t.settings.Mode,
		Time: now.UnixNano(), Started: t.proxy.started.UnixNano(), Interval: int64(t.settings.TelemetryInterval),
		Replay: t.settings.Tags[traffic.TagReplay], CaptureDisabled: s.CaptureDisabled, Restarts: uint64(t.restarts),
		OpenConnections: uint64(s.Open), Memory: memory(),
		CaptureMemory: uint64(max(0, s.BudgetUsed)), CaptureMemoryLimit: uint64(max(0, s.BudgetLimit)),
		Tls: t.proxy.tlsOutcomes(),
	}
	if t.proxy.listensFor(traffic.Direction_DIRECTION_IN) {
		m.Inbound = s.Inbound.telemetry()
	}
	if t.proxy.listensFor(traffic.Direction_DIRECTION_OUT) {
		m.Outbound = s.Outbound.telemetry()
	}
	unsent := t.link.publisher.LostPairs()
	for reason, n := range t.masked.counts() {
		if unsent == nil {
			unsent = map[string]uint64{}
		}
		unsent[reason] += n
	}
	for reason, n := range unsent {
		m.Unsent = append(m.Unsent, &cloudv1.LossTelemetry{Reason: reason, Pairs: n})
	}
	slices.SortFunc(m.Unsent, byReason)
	return m
}

func byReason(a, b *cloudv1.LossTelemetry) int { return cmp.Compare(a.GetReason(), b.GetReason()) }

func (s DirectionStatus) telemetry() *cloudv1.DirectionTelemetry {
	d := &cloudv1.DirectionTelemetry{Connections: s.Connections, Bytes: s.Bytes, Pairs: s.Pairs, Refused: s.Refused}
	if !s.LastSeen.IsZero() {
		d.LastSeen = s.LastSeen.UnixNano()
	}
	for _, reason := range slices.Sorted(maps.Keys(s.Lost)) {
		d.Lost = append(d.Lost, lossTelemetry(reason, s.Lost[reason]))
	}
	return d
}

func lossTelemetry(reason string, n tap.Lost) *cloudv1.LossTelemetry {
	return &cloudv1.LossTelemetry{Reason: reason, Pairs: n.Pairs, Connections: n.Connections, Bytes: n.Bytes}
}

// tlsOutcomes counts TLS connections by what became of them, without their hosts.
func (p *Proxy) tlsOutcomes() map[string]uint64 {
	if p.intercept == nil {
		return nil
	}
	outcomes := map[string]uint64{}
	for _, c := range p.intercept.Counts() {
		outcomes[c.Reason] += uint64(max(0, c.Connections))
	}
	return outcomes
}

// memory is what the process has of the system, in bytes (package runtime/metrics).
func memory() uint64 {
	samples := []runtimemetrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	runtimemetrics.Read(samples)
	if samples[0].Value.Kind() != runtimemetrics.KindUint64 || samples[1].Value.Kind() != runtimemetrics.KindUint64 {
		return 0
	}
	return samples[0].Value.Uint64() - samples[1].Value.Uint64()
}
