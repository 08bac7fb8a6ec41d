// Package replays follows replays that run elsewhere: their tokens, their events in a
// stream that can be watched live or later, and the parts of which their reports are
// made.
package replays

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/speedscale/speedscale/agents/broker"
	"github.com/speedscale/speedscale/agents/bus"
	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/auth"
	"github.com/speedscale/speedscale/cloud/catalog"
	"github.com/speedscale/speedscale/traffic/snapshot"
	"github.com/speedscale/speedscale/traffic/testconfig"
)

// Errors that others wrap.
var (
	// ErrInvalid: the caller asked for what cannot be.
	ErrInvalid = errors.New("wrong request")
	// ErrUnavailable: the same may work later.
	ErrUnavailable = errors.New("not available now")
)

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrInvalid, fmt.Errorf(format, args...))
}

// Limits bound one replay. Zero fields have the defaults.
type Limits struct {
	// Events (0: 100,000) and EventBytes (0: 64 MiB) bound the events that are kept;
	// phases, progress and counts may take as much again.
	Events, EventBytes uint64
	// Parts (0: 600) and PartBytes (0: 256 MiB) bound the parts of a report.
	Parts, PartBytes int64
}

// Options are what a Replays is made with.
type Options struct {
	Catalog *catalog.Catalog
	Keyring *auth.Keyring
	// Broker has the stream of events, in a store.
	Broker *broker.Server
	// Full says why nothing should be written now, "" where it may be.
	Full func() string
	// Archived returns when the catalog has all that agents handed in before.
	Archived func(context.Context) error
	Limits   Limits
	Logger   *slog.Logger
}

// Replays is safe for concurrent use.
type Replays struct {
	o      Options
	log    *slog.Logger
	nc     *nats.Conn
	js     jetstream.JetStream
	wake   chan struct{} // a replay was started
	ctx    context.Context
	cancel context.CancelFunc

	events, dropped atomic.Uint64

	mu   sync.Mutex
	logs map[string]*eventLog // of replays that have events and run
}

// Open makes the stream, or finds it as it was left. The caller calls Run, and
// Close when that has returned.
func Open(ctx context.Context, o Options) (*Replays, error) {
	l := &o.Limits
	l.Events, l.EventBytes = cmp.Or(l.Events, 100_000), cmp.Or(l.EventBytes, 64<<20)
	l.Parts, l.PartBytes = cmp.Or(l.Parts, 600), cmp.Or(l.PartBytes, 256<<20)
	r := &Replays{o: o, log: o.Logger, wake: make(chan struct{}, 1), logs: map[string]*eventLog{}}
	r.ctx, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	var err error
	if r.nc, err = o.Broker.Connect(ctx, bus.ConnectOptions{Name: "replays", Logger: o.Logger}); err != nil {
		return nil, fmt.Errorf("replays: %w", err)
	}
	if r.js, err = jetstream.New(r.nc); err == nil {
		err = r.openStream(ctx)
	}
	if err != nil {
		r.nc.Close()
		return nil, fmt.Errorf("replays: %w", err)
	}
	return r, nil
}

// Close ends the connection to the bus.
func (r *Replays) Close() {
	r.cancel()
	r.nc.Close()
}

// Stats are counted since the start.
type Stats struct {
	// Events were kept, Dropped were left out.
	Events, Dropped uint64
}

// Stats returns the counts so far.
func (r *Replays) Stats() Stats { return Stats{Events: r.events.Load(), Dropped: r.dropped.Load()} }

// maxLifetime bounds how long a token is good without being renewed.
const maxLifetime = 31 * 24 * time.Hour

// Start enters a replay, or gives one that runs another token.
func (r *Replays) Start(ctx context.Context, req *cloudv1.StartReplayRequest) (*cloudv1.StartReplayResponse, error) {
	expires := time.Unix(req.GetExpires(), 0)
	if err := checkStart(req, expires); err != nil {
		return nil, err
	}
	replay, err := r.o.Catalog.Replay(ctx, req.GetId())
	if errors.Is(err, catalog.ErrNotFound) {
		replay, err = r.enter(ctx, req)
	}
	if err != nil {
		return nil, err
	}
	replay.Expires = expires.UnixNano()
	entry, token := r.o.Keyring.NewToken(replay.ID, expires)
	if err := r.o.Catalog.StartReplay(ctx, replay, entry); err != nil {
		return nil, err
	}
	r.log.Info("replay started", "replay", replay.ID, "name", replay.Name, "snapshot", replay.SnapshotID, "expires", expires.UTC().Format(time.RFC3339))
	select {
	case r.wake <- struct{}{}:
	default:
	}
	return &cloudv1.StartReplayResponse{Token: token, Snapshot: replay.Snapshot, TestConfig: replay.TestConfig}, nil
}

func checkStart(req *cloudv1.StartReplayRequest, expires time.Time) error {
	if id, err := uuid.Parse(req.GetId()); err != nil || id.String() != req.GetId() {
		return invalid("id %q is not a UUID in its usual form", req.GetId())
	}
	if left := time.Until(expires); left <= 0 || left > maxLifetime {
		return invalid("expires %s is over, or more than %d days away", expires.UTC().Format(time.RFC3339), int(maxLifetime.Hours()/24))
	}
	for field, text := range map[string]string{
		"name": req.GetName(), "cluster": req.GetCluster(), "namespace": req.GetNamespace(), "build_tag": req.GetBuildTag(),
		"snapshot_id": req.GetSnapshotId(), "test_config_id": req.GetTestConfigId(), "target": req.GetTarget(),
	} {
		if len(text) > 2048 || strings.ContainsFunc(text, func(c rune) bool { return c < ' ' }) {
			return invalid("%s is longer than 2048 bytes or has control characters", field)
		}
	}
	if req.GetSnapshotId() == "" || req.GetTestConfigId() == "" {
		return invalid("snapshot_id or test_config_id is empty")
	}
	return nil
}

// enter looks up what a new replay needs.
func (r *Replays) enter(ctx context.Context, req *cloudv1.StartReplayRequest) (catalog.Replay, error) {
	found, err := r.o.Catalog.Snapshot(ctx, req.GetSnapshotId())
	if err != nil {
		return catalog.Replay{}, err
	}
	meta, err := snapshot.ParseMeta(found.Document)
	if err != nil {
		return catalog.Replay{}, fmt.Errorf("snapshot %q: %w", found.ID, err)
	}
	config, err := r.TestConfig(ctx, req.GetTestConfigId())
	if err != nil {
		return catalog.Replay{}, err
	}
	replay := catalog.Replay{
		ID: req.GetId(), Name: req.GetName(), Cluster: req.GetCluster(), Namespace: req.GetNamespace(),
		Target: req.GetTarget(), BuildTag: req.GetBuildTag(), SnapshotID: found.ID,
		Snapshot: found.Document, TestConfig: config.JSON(), Started: time.Now().UnixNano(),
	}
	if meta.Masking != nil {
		replay.MaskKeyID = meta.Masking.KeyID
	}
	return replay, nil
}

// TestConfig returns a test config by its id, built in or not.
func (r *Replays) TestConfig(ctx context.Context, id string) (testconfig.Config, error) {
	if c, ok := testconfig.Builtin(id); ok {
		return c, nil
	}
	doc, err := r.o.Catalog.TestConfig(ctx, id)
	if err != nil {
		return testconfig.Config{}, err
	}
	c, err := testconfig.Parse(doc)
	if err != nil {
		// It was right for the version of the program that stored it.
		return testconfig.Config{}, fmt.Errorf("stored test config %q: %w", id, err)
	}
	return c, nil
}

// Run ends the replays that nobody else ended, until ctx ends. What is followed ends
// with it.
func (r *Replays) Run(ctx context.Context) {
	defer r.cancel()
	const most, again = time.Minute, 5 * time.Second
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-timer.C:
		}
		wait := most
		id, expires, err := r.o.Catalog.NextExpiry(ctx)
		if err == nil {
			wait = min(most, time.Until(expires))
		}
		if err == nil && wait <= 0 {
			wait = 0
			_, err = r.End(ctx, &cloudv1.EndReplayRequest{Id: id, Error: fmt.Sprintf(
				"nobody ended the replay before its token expired at %s; the operator that ran it may be gone", expires.UTC().Format(time.RFC3339))})
		}
		if err != nil && !errors.Is(err, catalog.ErrNotFound) && ctx.Err() == nil {
			r.log.Error("a replay whose token expired cannot be ended, and will be tried again", "replay", id, "error", err)
			wait = again
		}
		timer.Reset(wait)
	}
}
