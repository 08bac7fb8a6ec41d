package forwarder

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/agents/bus"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/traffic"
)

// Telemetry says how the forwarder tells of itself, and of the sidecars.
type Telemetry struct {
	// Interval is how often; 0 is never, and then sidecars are not heard either.
	Interval time.Duration
	// Local keeps it from the cloud: it is at /telemetry only.
	Local bool
	// Version is the forwarder's, as people are shown it.
	Version string
}

// firstTry is how soon the first one is tried again, by which the cloud knows us.
const firstTry = time.Second

// hearSidecars keeps what sidecars say of themselves until ctx ends.
func (f *Forwarder) hearSidecars(ctx context.Context) error {
	sub, err := f.local.Subscribe(bus.RawTelemetry+">", func(m *nats.Msg) { f.sidecars.take(m, time.Now()) })
	if err != nil {
		return fmt.Errorf("forwarder: %w", err)
	}
	// What a burst brings beyond is lost; the next one says the same.
	if err := sub.SetPendingLimits(maxSidecars, 4<<20); err != nil {
		return fmt.Errorf("forwarder: %w", err)
	}
	context.AfterFunc(ctx, func() { sub.Unsubscribe() }) // fails only where the connection is closed
	return nil
}

// tellCloud sends telemetry over a connection of its own, which is not there where that
// is switched off, until ctx ends. A cloud that does not take it costs a line in the log.
func (f *Forwarder) tellCloud(ctx context.Context) {
	o := f.o.Cloud
	keyID, err := bus.KeyID(o.Token)
	if err == nil && f.o.Cluster == "" {
		err = errors.New("the cluster has no name")
	}
	if err != nil {
		f.log.Warn("telemetry is not sent", "error", err)
		return
	}
	o.Name = "telemetry " + f.o.Cluster
	conn, err := bus.Connect(ctx, o)
	if err != nil {
		f.log.Warn("telemetry is not sent", "error", err)
		return
	}
	defer conn.Close()
	subject := bus.ClusterTelemetry(keyID, f.o.Cluster)
	tick := time.NewTicker(f.o.Telemetry.Interval)
	defer tick.Stop()
	first := time.NewTicker(firstTry)
	defer first.Stop()
	for {
		data, err := proto.Marshal(f.Document(ctx))
		if err == nil {
			err = conn.Publish(subject, data)
		}
		if err == nil {
			first.Stop()
		} else {
			f.log.Debug("telemetry not sent", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-first.C:
		}
	}
}

// Document is what is told now.
func (f *Forwarder) Document(ctx context.Context) *cloudv1.ClusterTelemetry {
	now := time.Now()
	d := &cloudv1.ClusterTelemetry{Name: f.o.Cluster, Interval: int64(f.o.Telemetry.Interval), Forwarder: f.telemetry(ctx, now)}
	d.Sidecars, d.Omitted = f.sidecars.list(now, maxDocument)
	d.SidecarCount = uint64(len(d.Sidecars)) + d.Omitted
	return d
}

func (f *Forwarder) telemetry(ctx context.Context, now time.Time) *cloudv1.ForwarderTelemetry {
	s := f.Stats()
	t := &cloudv1.ForwarderTelemetry{
		Version: f.o.Telemetry.Version, Time: now.UnixNano(), Started: f.started.UnixNano(),
		DataOff: f.o.DataOff, DataConnected: f.cloud != nil && f.cloud.IsConnected(),
		Connections: uint64(max(0, s.Connections-1)), Pairs: s.Pairs, BatchesSent: s.Sent, Spool: f.spoolTelemetry(ctx), Ignored: f.sidecars.unheard(),
		Refused: counted(map[string]uint64{
			traffic.ReasonNoRules: s.RefusedNoRules, traffic.ReasonSpoolFull: s.RefusedSpoolFull, "spool_failed": s.RefusedSpoolFailed,
		}),
		Dropped: counted(map[string]uint64{
			traffic.ReasonFiltered: s.Filtered, traffic.ReasonReplay: s.ReplayIn + s.ReplayOut, traffic.ReasonMaskFailed: s.MaskFailed,
			traffic.ReasonOversized: s.Oversized, traffic.ReasonDataOff: s.DataOff,
		}),
	}
	if err := f.Ready(); err != nil {
		t.Unready = err.Error()
	}
	return t
}

// counted leaves out what did not happen.
func counted(counts map[string]uint64) map[string]uint64 {
	for reason, n := range counts {
		if n == 0 {
			delete(counts, reason)
		}
	}
	return counts
}

func (f *Forwarder) spoolTelemetry(ctx context.Context) *cloudv1.Spool {
	spool := &cloudv1.Spool{Limit: uint64(f.o.Spool.MaxBytes), Acknowledged: f.acknowledged.Load()}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	info, err := f.stream.Info(ctx)
	if err != nil {
		spool.Error = err.Error()
		return spool
	}
	spool.Batches, spool.Bytes = info.State.Msgs, info.State.Bytes
	if info.State.Msgs > 0 {
		spool.Oldest = info.State.FirstTime.UnixNano()
	}
	return spool
}

// health answers /healthz and /readyz as the given handler does and, for the operator
// and for people, /telemetry with the JSON of what Document returns.
func (f *Forwarder) health(h http.Handler) http.Handler {
	if f.o.Telemetry.Interval <= 0 {
		return h
	}
	mux := http.NewServeMux()
	mux.Handle("/", h)
	mux.HandleFunc("GET /telemetry", func(w http.ResponseWriter, r *http.Request) {
		text, err := protojson.Marshal(f.Document(r.Context()))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(text) // fails only where the client is gone
	})
	return mux
}
